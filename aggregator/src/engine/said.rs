//! What the log says of something that may change far more often than anybody wants to read: the first change
//! at once, then what it has come to, now and then.

use framelock_common::time::{HostTime, Span};

/// From one line about it to the next.
const INTERVAL: Span = Span::from_secs(10);

/// Something that the log follows. It begins with its default, of which nothing is said.
#[derive(Debug, Default)]
pub(super) struct Said<T> {
    is: T,
    said: T,
    at: Option<HostTime>,
}

impl<T: Copy + PartialEq> Said<T> {
    /// It is `value` now.
    pub(super) fn set(&mut self, value: T) {
        self.is = value;
    }

    /// What it is.
    pub(super) const fn is(&self) -> T {
        self.is
    }

    /// Whether something else is the case than was said last.
    pub(super) fn is_due(&self) -> bool {
        self.is != self.said
    }

    /// What to say now, if anything.
    pub(super) fn poll(&mut self, now: HostTime) -> Option<T> {
        if !self.is_due() || self.at.is_some_and(|at| now - at < INTERVAL) {
            return None;
        }
        (self.said, self.at) = (self.is, Some(now));
        Some(self.is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_change_is_said_at_once_and_a_flapping_thing_now_and_then_as_it_is() {
        let mut late = Said::default();
        let mut lines = Vec::new();
        // It changes every 10 ms for a minute, and then stays.
        for tick in 0..8_000 {
            let now = HostTime::from_nanos(tick * 10_000_000);
            late.set(if tick < 6_000 { tick % 2 == 0 } else { true });
            lines.extend(late.poll(now).map(|late| (tick, late)));
        }
        assert_eq!(lines[0], (0, true));
        assert!(lines.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 1_000 && pair[1].1 != pair[0].1));
        assert!((5..=7).contains(&lines.len()), "{lines:?}");
        assert!(lines.last().unwrap().1 && !late.is_due());
    }
}
