//! The system clock as a source of UTC: sandwich readings, what the kernel says of them, and steps.

use std::io;

use framelock_common::clock::{ClockMapping, ClockReading, ClockState, KernelClock, SystemClock};
use framelock_common::time::Span;

use super::BoardClock;

/// Readings at a time, of which the narrowest counts.
const READINGS: usize = 5;

/// How far to believe the system clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// As far as the kernel says (`adjtimex`): while it is synchronized, within its `maxerror`.
    Kernel,
    /// Always, within this: somebody vouches for it.
    Within(Span),
}

/// Reads the system clock and logs what becomes of it.
pub(super) struct SystemShell {
    clock: BoardClock,
    trust: Trust,
    /// Whether nothing else tells UTC.
    alone: bool,
    estimate: SystemClock,
    /// What was logged last.
    said: Option<ClockState>,
}

impl SystemShell {
    /// `alone`: nothing else tells UTC.
    pub(super) const fn new(clock: BoardClock, trust: Trust, alone: bool) -> Self {
        Self { clock, trust, alone, estimate: SystemClock::new(), said: None }
    }

    /// Reads the clock; `None` if it is not UTC.
    pub(super) fn read(&mut self) -> Option<ClockMapping> {
        let kernel = match self.trust {
            Trust::Kernel => framelock_timex::read(),
            Trust::Within(_) => Ok(KernelClock::UNKNOWN),
        };
        let (state, bound) = believe(self.trust, kernel.as_ref().unwrap_or(&KernelClock::UNKNOWN));
        let readings: [ClockReading; READINGS] = std::array::from_fn(|_| self.clock.reading());
        if self.estimate.handle_readings(&readings, state, bound) {
            tracing::warn!("the system clock was stepped; capture times follow it");
        }
        if self.said.replace(state) != Some(state) {
            self.report(state, bound, kernel.as_ref().err());
        }
        self.estimate.mapping()
    }

    fn report(&self, state: ClockState, bound: Span, error: Option<&io::Error>) {
        match (state, error) {
            (ClockState::Synchronized, _) if matches!(self.trust, Trust::Within(_)) => {
                tracing::info!(within = %bound, "the system clock is taken for UTC, as configured");
            }
            (ClockState::Synchronized, _) => {
                tracing::info!(within = %bound, "the system clock is synchronized");
            }
            (ClockState::Unsynchronized, _) if !self.alone => {
                tracing::info!(
                    "the system clock is not synchronized; UTC can come from the NTP servers only"
                );
            }
            (ClockState::Unsynchronized, None) => tracing::warn!(
                "the system clock is not synchronized, so it is not taken for UTC; run a time daemon (chronyd needs `rtcsync`) or use --clock ntp:HOST"
            ),
            (ClockState::Unsynchronized, Some(error)) => tracing::warn!(
                "the kernel does not tell whether the system clock is synchronized ({error}), so it is not taken for UTC; use --clock ntp:HOST"
            ),
        }
    }
}

/// State and bound of the clock, by the kernel or by who vouches for it.
fn believe(trust: Trust, kernel: &KernelClock) -> (ClockState, Span) {
    match trust {
        Trust::Kernel => (kernel.state(), kernel.bound()),
        Trust::Within(bound) => (ClockState::Synchronized, bound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_believed_and_so_is_who_vouches() {
        let kept = KernelClock {
            synchronized: true,
            max_error: Span::from_micros(900),
            est_error: Span::from_micros(9),
            ..KernelClock::UNKNOWN
        };
        assert_eq!(believe(Trust::Kernel, &kept), (ClockState::Synchronized, Span::from_micros(900)));
        assert_eq!(believe(Trust::Kernel, &KernelClock::UNKNOWN).0, ClockState::Unsynchronized);
        let within = Trust::Within(Span::from_millis(5));
        let vouched = (ClockState::Synchronized, Span::from_millis(5));
        assert_eq!(believe(within, &KernelClock::UNKNOWN), vouched);
    }

    #[test]
    fn this_machines_clock_is_utc_exactly_where_its_kernel_says_so() {
        let kernel = framelock_timex::read().expect("adjtimex is allowed");
        let clock = BoardClock::real();
        let mapping = SystemShell::new(clock, Trust::Kernel, true).read();
        assert_eq!(mapping.is_some(), kernel.synchronized);
        let vouched = SystemShell::new(clock, Trust::Within(Span::from_millis(5)), true).read();
        let bound = vouched.expect("vouched for").uncertainty;
        assert!(bound > Span::from_millis(5) && bound < Span::from_secs(1), "{bound}");
    }
}
