//! Sleeping until a source's next frame is due.

use std::time::Duration;

use framelock_common::time::{BoardTime, Span};
use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::Timespec;

use crate::clock::BoardClock;

/// Sleeps until `wake`, or for `timeout` where that is sooner; tells whether `wake` was reached. The
/// sleep is absolute: what happens between reading the clock and falling asleep costs nothing.
pub(crate) fn sleep_until(clock: &BoardClock, wake: BoardTime, timeout: Duration) -> bool {
    let limit = clock.now() + Span::from(timeout);
    let since_boot = Span::from_nanos(clock.to_kernel(wake.min(limit))).to_duration();
    let Ok(request) = Timespec::try_from(since_boot) else { return false };
    // A signal may interrupt; the target is absolute, so starting again is right.
    while clock_nanosleep_absolute(ClockId::Monotonic, &request) == Err(rustix::io::Errno::INTR) {}
    wake <= limit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedError;

    #[test]
    fn sleeps_to_the_instant_also_on_a_wrong_clock() {
        for clock in [
            BoardClock::real(),
            BoardClock::simulated(SimulatedError { offset: Span::from_secs(9), drift_ppb: 500_000 }),
        ] {
            let wake = clock.now() + Span::from_millis(20);
            assert!(sleep_until(&clock, wake, Duration::from_secs(5)));
            // A few ns early is the rounding of the simulated drift.
            assert!(clock.now() + Span::from_micros(1) >= wake);
        }
    }

    #[test]
    fn gives_up_at_the_timeout() {
        let clock = BoardClock::real();
        let start = clock.now();
        assert!(!sleep_until(&clock, start + Span::from_secs(3_600), Duration::from_millis(5)));
        assert!(clock.now() - start >= Span::from_millis(5));
        assert!(sleep_until(&clock, start, Duration::ZERO));
    }
}
