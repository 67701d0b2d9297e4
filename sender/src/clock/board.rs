//! The only place in the sender that reads a clock: this board's `CLOCK_MONOTONIC` and
//! `CLOCK_REALTIME`, optionally through a simulated error.
//!
//! Estimating UTC from them does not live here.
#![expect(clippy::disallowed_methods, reason = "this is the sender's clock reader")]

use std::time::Duration;

use framelock_common::clock::ClockReading;
use framelock_common::time::{BoardTime, Span, Utc};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// How a simulated board's clock is wrong, for tests and demonstrations on one machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimulatedError {
    /// What the wall clock shows beyond the truth at start.
    pub offset: Span,
    /// How much too fast both clocks run, in parts per billion.
    pub drift_ppb: i64,
}

/// Readings of which the narrowest places a datagram's stamp.
const STAMP_READINGS: usize = 3;

/// The kernel's clocks, untransformed, in ns.
struct RawReading {
    before: i64,
    realtime: i64,
    after: i64,
}

/// This board's clocks. Everything in the process that needs a time gets it from here, so that a
/// simulated error reaches every consumer alike.
#[derive(Clone, Copy, Debug)]
pub struct BoardClock {
    error: SimulatedError,
    /// The true monotonic instant at which the simulated drift starts, in ns.
    origin: i64,
}

impl BoardClock {
    /// The clocks as the kernel shows them.
    #[must_use]
    pub const fn real() -> Self {
        Self { error: SimulatedError { offset: Span::ZERO, drift_ppb: 0 }, origin: 0 }
    }

    /// Clocks with a simulated error that starts to drift now.
    #[must_use]
    pub fn simulated(error: SimulatedError) -> Self {
        Self { error, origin: nanos(clock_gettime(ClockId::Monotonic)) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> BoardTime {
        self.at_kernel(nanos(clock_gettime(ClockId::Monotonic)))
    }

    /// The instant at which the kernel's `CLOCK_MONOTONIC` shows `ns`: for timestamps that the kernel
    /// hands out, such as those of V4L2 buffers.
    #[must_use]
    pub fn at_kernel(&self, ns: i64) -> BoardTime {
        BoardTime::from_nanos(ns.saturating_add(self.drifted(ns)))
    }

    /// What the kernel's `CLOCK_MONOTONIC` shows at `instant`, in ns, to within the rounding of the
    /// simulated drift; the inverse of [`Self::at_kernel`].
    #[must_use]
    pub fn to_kernel(&self, instant: BoardTime) -> i64 {
        let since = Span::from_nanos(instant.as_nanos().saturating_sub(self.origin));
        let rate = 1_000_000_000 + self.error.drift_ppb;
        self.origin.saturating_add(since.mul_div(1_000_000_000, rate).as_nanos())
    }

    /// The instant at which the kernel's `CLOCK_REALTIME` showed `ns`, for stamps of datagrams: not before the
    /// first and not after the second. `None` if that is not within the last `max_age`.
    #[must_use]
    pub fn at_kernel_realtime(&self, ns: i64, max_age: Span) -> Option<(BoardTime, BoardTime)> {
        // A reading that was interrupted says little.
        let readings = std::array::from_fn::<_, STAMP_READINGS, _>(|_| Self::read_raw());
        let raw = readings.into_iter().min_by_key(|raw| raw.after - raw.before)?;
        let age = Span::from_nanos(raw.realtime.saturating_sub(ns));
        let at = |now: i64| self.at_kernel(now.saturating_sub(age.as_nanos()));
        (age >= Span::ZERO && age <= max_age).then(|| (at(raw.before), at(raw.after)))
    }

    /// Reads the wall clock, as this board sees it, between two readings of the monotonic one.
    #[must_use]
    pub fn reading(&self) -> ClockReading {
        let raw = Self::read_raw();
        let wrong_by = self.error.offset + Span::from_nanos(self.drifted(raw.before));
        ClockReading {
            before: self.at_kernel(raw.before),
            realtime: Utc::from_unix_nanos(raw.realtime) + wrong_by,
            after: self.at_kernel(raw.after),
        }
    }

    fn read_raw() -> RawReading {
        RawReading {
            before: nanos(clock_gettime(ClockId::Monotonic)),
            realtime: nanos(clock_gettime(ClockId::Realtime)),
            after: nanos(clock_gettime(ClockId::Monotonic)),
        }
    }

    /// The wall clock of this machine without the simulated error, at `instant`: the truth that the
    /// test source draws into its pictures, and nothing else may use.
    #[must_use]
    pub fn truth(&self, instant: BoardTime) -> Utc {
        let raw = Self::read_raw();
        let read_at = raw.before + (raw.after - raw.before) / 2;
        Utc::from_unix_nanos(raw.realtime) + Span::from_nanos(self.to_kernel(instant).saturating_sub(read_at))
    }

    /// CPU time that the calling thread has used.
    #[must_use]
    pub fn thread_cpu() -> Span {
        Span::from_nanos(nanos(clock_gettime(ClockId::ThreadCPUTime)))
    }

    /// CPU time that this process has used, all threads together.
    #[must_use]
    pub fn process_cpu() -> Span {
        Span::from_nanos(nanos(clock_gettime(ClockId::ProcessCPUTime)))
    }

    /// What the simulated drift has added when the kernel's clock shows `ns`.
    fn drifted(&self, ns: i64) -> i64 {
        let since = Span::from_nanos(ns.saturating_sub(self.origin));
        since.mul_div(self.error.drift_ppb, 1_000_000_000).as_nanos()
    }
}

/// Nanoseconds of a kernel time, whose fields have other types on other machines. Clocks set before 1970
/// count as 1970.
fn nanos(time: Timespec) -> i64 {
    Duration::try_from(time).map_or(0, |since| Span::from(since).as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_clock_is_wrong_by_what_was_asked() {
        let error = SimulatedError { offset: Span::from_millis(80), drift_ppb: 30_000 };
        let clock = BoardClock { error, origin: 5_000_000_000 };
        // 100 s after the start of the drift a clock 30 ppm fast has gained 3 ms.
        assert_eq!(clock.at_kernel(105_000_000_000), BoardTime::from_nanos(105_003_000_000));
        let back = clock.to_kernel(BoardTime::from_nanos(105_003_000_000));
        assert!((back - 105_000_000_000).abs() <= 1, "{back}");
    }

    #[test]
    fn truth_ignores_the_simulated_error() {
        let wrong = BoardClock::simulated(SimulatedError { offset: Span::from_secs(3600), drift_ppb: 0 });
        let real = BoardClock::real();
        let seen = wrong.reading();
        let error = seen.realtime - real.truth(seen.before);
        assert!((error - Span::from_secs(3600)).abs() < Span::from_secs(60), "{error}");
        assert!((wrong.truth(seen.before) - real.truth(seen.before)).abs() < Span::from_secs(60));
    }
}
