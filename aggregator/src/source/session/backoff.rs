//! How long to wait before a session is tried again.

use framelock_common::time::Span;

/// The wait after the first failure.
const FIRST: Span = Span::from_secs(1);
/// The longest wait.
const LONGEST: Span = Span::from_secs(30);

/// Doubles from one failure to the next, and spreads: a hundred clients of a server that restarted must not
/// come back in one instant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The session worked: the next failure is a first one.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure: three to five quarters of 1, 2, 4, ... 30 s, by the number `random`.
    pub(super) fn next(&mut self, random: u64) -> Span {
        let doubled = FIRST * (1 << self.failures.min(5));
        self.failures = self.failures.saturating_add(1);
        let wait = doubled.min(LONGEST);
        #[expect(clippy::cast_possible_wrap, reason = "below 1001")]
        let spread = (random % 1_001) as i64;
        wait.mul_div(750 + spread / 2, 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_half_a_minute_and_begin_anew_after_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.next(500)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30].map(Span::from_secs));
        backoff.reset();
        assert_eq!(backoff.next(0), Span::from_millis(750));
        assert_eq!(backoff.next(1_000), Span::from_millis(2_500));
    }

    #[test]
    fn a_year_of_failures_overflows_nothing() {
        let mut backoff = Backoff { failures: u32::MAX - 1 };
        for random in [0, u64::MAX, 7] {
            let wait = backoff.next(random);
            assert!(wait >= Span::from_millis(22_500) && wait <= Span::from_millis(37_500), "{wait}");
        }
    }
}
