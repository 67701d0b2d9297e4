//! The operating system's clock as a [`ClockMapping`], from readings that the caller takes.
//!
//! Reading `CLOCK_MONOTONIC`, `CLOCK_REALTIME` and `adjtimex` is the caller's part.
//!
//! The kernel slews both clocks together, so `CLOCK_REALTIME - CLOCK_MONOTONIC` is constant until
//! somebody *sets* the time. Hence the mapping's rate is zero, and any change of the difference beyond
//! the reading error is a step.

use super::{ClockMapping, ClockState, RFC5905_PHI_PPB};
use crate::time::{BoardTime, Span, Utc};

/// One sandwich reading: the real-time clock between two readings of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    /// `CLOCK_MONOTONIC` before `realtime` was read.
    pub before: BoardTime,
    /// `CLOCK_REALTIME`.
    pub realtime: Utc,
    /// `CLOCK_MONOTONIC` after `realtime` was read.
    pub after: BoardTime,
}

/// The system clock's mapping with step detection.
#[derive(Debug, Default)]
pub struct SystemClock {
    mapping: Option<ClockMapping>,
    reading_error: Span,
    state: ClockState,
    epoch: u32,
}

impl SystemClock {
    /// A clock of which nothing is known yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { mapping: None, reading_error: Span::ZERO, state: ClockState::Unsynchronized, epoch: 0 }
    }

    /// Takes a burst of `readings`, of which the narrowest is used, and what the kernel says of the
    /// clock: whether it is disciplined (`adjtimex` without `STA_UNSYNC`) and its `max_error`.
    ///
    /// Returns whether the clock was stepped since the last call. An empty burst, or one in which the
    /// monotonic clock ran backwards, changes nothing.
    pub fn handle_readings(&mut self, readings: &[ClockReading], state: ClockState, max_error: Span) -> bool {
        let Some(best) =
            readings.iter().filter(|r| r.after >= r.before).min_by_key(|r| (r.after - r.before).as_nanos())
        else {
            return false;
        };
        let half = (best.after - best.before) / 2;
        let exact = ClockMapping {
            mono0: best.before + half,
            utc0: best.realtime,
            rate_ppb: 0,
            // Half a sandwich, rounded up.
            uncertainty: half + Span::from_nanos(1),
            drift_ppb: 0,
            epoch: 0,
        };
        let stepped = self.mapping.is_some_and(|old| {
            // The bound of the reading alone: what the kernel thinks of the clock says nothing of steps.
            let old = ClockMapping { uncertainty: self.reading_error, drift_ppb: 0, ..old };
            !old.agrees_with(&exact, exact.mono0)
        });
        self.reading_error = exact.uncertainty;
        if stepped {
            self.epoch = self.epoch.wrapping_add(1);
        }
        self.state = state;
        self.mapping = Some(ClockMapping {
            uncertainty: exact.uncertainty + max_error.max(Span::ZERO),
            drift_ppb: RFC5905_PHI_PPB,
            epoch: self.epoch,
            ..exact
        });
        stepped
    }

    /// The current mapping; `None` before the first reading and while the system clock is
    /// unsynchronized.
    #[must_use]
    pub fn mapping(&self) -> Option<ClockMapping> {
        self.mapping.filter(|_| self.state == ClockState::Synchronized)
    }

    /// The mapping whatever the state, for display and comparison only: an unsynchronized clock is not
    /// UTC.
    #[must_use]
    pub const fn unchecked_mapping(&self) -> Option<ClockMapping> {
        self.mapping
    }

    /// Whether the kernel calls its clock disciplined.
    #[must_use]
    pub const fn state(&self) -> ClockState {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTC: Utc = Utc::from_unix_nanos(1_790_000_000_000_000_000);
    const MAX_ERROR: Span = Span::from_millis(2);

    /// A reading at `ms` that took `ns`, of a clock that was set `set` ahead.
    fn reading(ms: i64, ns: i64, set: Span) -> ClockReading {
        let middle = BoardTime::from_nanos(0) + Span::from_millis(ms);
        let half = Span::from_nanos(ns) / 2;
        ClockReading {
            before: middle - half,
            realtime: UTC + Span::from_millis(ms) + set,
            after: middle + half,
        }
    }

    fn synchronized(clock: &mut SystemClock, readings: &[ClockReading]) -> bool {
        clock.handle_readings(readings, ClockState::Synchronized, MAX_ERROR)
    }

    #[test]
    fn the_narrowest_sandwich_is_used() {
        let mut clock = SystemClock::new();
        let late = ClockReading { realtime: UTC + Span::from_micros(90), ..reading(0, 200_000, Span::ZERO) };
        assert!(!synchronized(&mut clock, &[late, reading(0, 400, Span::ZERO), late]));
        let at = clock.mapping().unwrap().utc_at(BoardTime::from_nanos(0));
        assert_eq!(at.utc, UTC);
        assert_eq!(at.uncertainty, MAX_ERROR + Span::from_nanos(201));
    }

    #[test]
    fn a_set_clock_is_a_step_and_reading_noise_is_not() {
        let mut clock = SystemClock::new();
        synchronized(&mut clock, &[reading(0, 400, Span::ZERO)]);
        let noisy = ClockReading {
            realtime: UTC + Span::from_millis(1_000) + Span::from_micros(40),
            ..reading(1_000, 100_000, Span::ZERO)
        };
        assert!(!synchronized(&mut clock, &[noisy]));
        assert!(!synchronized(&mut clock, &[reading(2_000, 400, Span::ZERO)]));
        assert_eq!(clock.mapping().unwrap().epoch, 0);
        // Far below the kernel's own bound, yet seen at once.
        assert!(synchronized(&mut clock, &[reading(3_000, 400, Span::from_micros(5))]));
        assert!(synchronized(&mut clock, &[reading(4_000, 400, Span::from_secs(-1))]));
        assert_eq!(clock.mapping().unwrap().epoch, 2);
    }

    #[test]
    fn an_undisciplined_clock_is_not_utc_but_its_steps_count() {
        let mut clock = SystemClock::new();
        assert!(!clock.handle_readings(
            &[reading(0, 400, Span::ZERO)],
            ClockState::Unsynchronized,
            MAX_ERROR
        ));
        assert_eq!((clock.mapping(), clock.state()), (None, ClockState::Unsynchronized));
        assert!(clock.unchecked_mapping().is_some());
        assert!(synchronized(&mut clock, &[reading(1_000, 400, Span::from_secs(1))]));
        assert_eq!(clock.mapping().unwrap().epoch, 1);
    }

    #[test]
    fn useless_readings_change_nothing() {
        let mut clock = SystemClock::new();
        let backwards = ClockReading { after: BoardTime::from_nanos(-1), ..reading(0, 0, Span::ZERO) };
        assert!(!synchronized(&mut clock, &[]));
        assert!(!synchronized(&mut clock, &[backwards]));
        assert_eq!(clock.mapping(), None);
    }
}
