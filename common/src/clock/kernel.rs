//! What an operating system's kernel says of its own clock, and what that is worth.
//!
//! Reading it (`adjtimex`) is the business of the crate `framelock-timex`.

use super::ClockState;
use super::ntp::Leap;
use crate::time::Span;

/// The error that stands for "unknown" in NTP: MAXDISP of RFC 5905 section 7.2.
pub const UNKNOWN_ERROR: Span = Span::from_secs(16);

/// The bound where the time daemon gives none. Machines whose clock is disciplined over the Internet stay
/// well within it.
pub const UNBUDGETED_ERROR: Span = Span::from_millis(50);

/// The kernel's clock discipline as `adjtimex` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelClock {
    /// Whether a time daemon keeps the clock: neither `STA_UNSYNC` nor `TIME_ERROR`.
    pub synchronized: bool,
    /// `maxerror`: set by the daemon, grown by the kernel at 500 ppm since.
    pub max_error: Span,
    /// `esterror`: the daemon's estimate of the error.
    pub est_error: Span,
    /// A leap second at the end of the UTC day.
    pub leap: Leap,
    /// TAI minus UTC in seconds; 0 where nobody has told the kernel.
    pub tai_offset: i32,
}

impl KernelClock {
    /// What is taken where the kernel cannot be asked: unsynchronized.
    pub const UNKNOWN: Self = Self {
        synchronized: false,
        max_error: UNKNOWN_ERROR,
        est_error: UNKNOWN_ERROR,
        leap: Leap::None,
        tai_offset: 0,
    };

    /// Whether the clock is UTC at all.
    #[must_use]
    pub const fn state(&self) -> ClockState {
        if self.synchronized { ClockState::Synchronized } else { ClockState::Unsynchronized }
    }

    /// The bound on the clock's error; [`UNKNOWN_ERROR`] or more while it is unsynchronized.
    ///
    /// chronyd and ntpd set `maxerror` to root dispersion plus half the root delay, and `esterror` to
    /// something smaller. systemd-timesyncd sets both to zero, and phc2sys sets `maxerror` to zero and leaves
    /// `esterror` at the kernel's 16 s: zeros that only keep the kernel content. Where the two figures show
    /// that, [`UNBUDGETED_ERROR`] is added.
    #[must_use]
    pub fn bound(&self) -> Span {
        let max_error = self.max_error.max(Span::ZERO);
        if !self.synchronized {
            return max_error.max(UNKNOWN_ERROR);
        }
        let budgeted = self.est_error > Span::ZERO && self.est_error <= max_error;
        if budgeted { max_error } else { max_error + UNBUDGETED_ERROR }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(synchronized: bool, max_us: i64, est_us: i64) -> KernelClock {
        let (max_error, est_error) = (Span::from_micros(max_us), Span::from_micros(est_us));
        KernelClock { synchronized, max_error, est_error, ..KernelClock::UNKNOWN }
    }

    #[test]
    fn the_bound_of_a_daemon_with_an_error_budget_is_taken_as_it_is() {
        assert_eq!(clock(true, 1_500, 20).bound(), Span::from_micros(1_500));
    }

    #[test]
    fn zeros_of_a_daemon_without_one_are_no_bound() {
        // systemd-timesyncd, just after and 100 s after it set the clock; phc2sys.
        for (max, est) in [(0, 0), (50_000, 0), (0, 16_000_000), (500, 16_000_000)] {
            let bound = clock(true, max, est).bound();
            assert_eq!(bound, Span::from_micros(max) + UNBUDGETED_ERROR);
        }
    }

    #[test]
    fn an_unsynchronized_clock_has_no_bound_worth_the_name() {
        assert_eq!(clock(false, 0, 0).bound(), UNKNOWN_ERROR);
        assert_eq!(clock(false, 16_000_500, 0).bound(), Span::from_micros(16_000_500));
        assert_eq!(clock(false, 0, 0).state(), ClockState::Unsynchronized);
        assert_eq!(KernelClock::UNKNOWN.bound(), UNKNOWN_ERROR);
    }
}
