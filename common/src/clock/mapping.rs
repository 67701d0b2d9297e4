//! The linear model from a board's monotonic clock to UTC.

use std::fmt;

use crate::time::{BoardTime, Span, Utc, UtcEstimate};

/// How far an oscillator may wander in parts per 10^9 where nothing better is known: the constant PHI
/// of RFC 5905 section 7.2, 15 ppm.
pub const RFC5905_PHI_PPB: i64 = 15_000;

/// An estimate that moved further than this is told at once and not with the next report. No frame is sorted
/// wrongly for less.
const NEWS: Span = Span::from_millis(1);

/// Whether a clock's relation to UTC is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClockState {
    /// UTC is not known; nothing may be passed off as UTC.
    #[default]
    Unsynchronized,
    /// UTC is known within the mapping's uncertainty.
    Synchronized,
}

impl ClockState {
    /// The name used in JSON and logs: `synchronized` or `unsynchronized`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsynchronized => "unsynchronized",
            Self::Synchronized => "synchronized",
        }
    }
}

impl fmt::Display for ClockState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `utc = utc0 + (mono - mono0) * (1 + rate)`, with a bound that grows away from `mono0`.
///
/// A mapping is a value: a better estimate or a clock step makes a new one. A step also changes
/// `epoch`, so nobody interpolates across it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockMapping {
    /// The reference instant on the board's monotonic clock.
    pub mono0: BoardTime,
    /// UTC at `mono0`.
    pub utc0: Utc,
    /// How much faster UTC runs than the monotonic clock, in parts per 10^9.
    pub rate_ppb: i64,
    /// Half-width of the interval around `utc0` that contains the true UTC of `mono0`.
    pub uncertainty: Span,
    /// Growth of the half-width with distance from `mono0`, in parts per 10^9.
    pub drift_ppb: i64,
    /// Changes at every step of the underlying clock, never otherwise.
    pub epoch: u32,
}

impl ClockMapping {
    /// UTC at `mono`, with its bound. Instants before `mono0` are as good as those after it.
    #[must_use]
    pub fn utc_at(&self, mono: BoardTime) -> UtcEstimate {
        let elapsed = mono - self.mono0;
        let utc = self.utc0 + elapsed + elapsed.mul_div(self.rate_ppb, 1_000_000_000);
        let growth = elapsed.abs().mul_div(self.drift_ppb, 1_000_000_000);
        UtcEstimate { utc, uncertainty: self.uncertainty + growth }
    }

    /// The monotonic instant at which UTC is `utc`: the inverse of [`Self::utc_at`] to within 1 ns.
    #[must_use]
    pub fn mono_at(&self, utc: Utc) -> BoardTime {
        let elapsed = utc - self.utc0;
        let scale = 1_000_000_000_i64.saturating_add(self.rate_ppb).max(1);
        self.mono0 + elapsed.mul_div(1_000_000_000, scale)
    }

    /// Whether whoever was told `before` and now believes it has to be told `now` at once: UTC has become known or
    /// unknown, the clock stepped, or the estimate moved by more than a millisecond, as the first ones of a
    /// busy network do.
    #[must_use]
    pub fn is_news(before: Option<&Self>, now: Option<&Self>) -> bool {
        match (before, now) {
            (Some(before), Some(now)) => {
                let moved = now.utc0 - before.utc_at(now.mono0).utc;
                before.epoch != now.epoch || moved.abs() > NEWS
            }
            (before, now) => before.is_some() != now.is_some(),
        }
    }

    /// Whether `self` and `other` can both be right about `mono`: their intervals there overlap.
    #[must_use]
    pub fn agrees_with(&self, other: &Self, mono: BoardTime) -> bool {
        let (a, b) = (self.utc_at(mono), other.utc_at(mono));
        (a.utc - b.utc).abs() <= a.uncertainty + b.uncertainty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAPPING: ClockMapping = ClockMapping {
        mono0: BoardTime::from_nanos(5_000_000_000),
        utc0: Utc::from_unix_nanos(1_790_000_000_000_000_000),
        rate_ppb: -30_000,
        uncertainty: Span::from_micros(100),
        drift_ppb: RFC5905_PHI_PPB,
        epoch: 1,
    };

    #[test]
    fn follows_the_rate_and_grows_on_both_sides() {
        for (seconds, shift_us) in [(100, -3_000), (-100, 3_000)] {
            let at = MAPPING.utc_at(MAPPING.mono0 + Span::from_secs(seconds));
            assert_eq!(at.utc, MAPPING.utc0 + Span::from_secs(seconds) + Span::from_micros(shift_us));
            assert_eq!(at.uncertainty, Span::from_micros(100 + 1_500));
        }
    }

    #[test]
    fn tells_a_step_from_noise() {
        let moved = |by| ClockMapping { utc0: MAPPING.utc0 + by, ..MAPPING };
        assert!(MAPPING.agrees_with(&moved(Span::from_micros(200)), MAPPING.mono0));
        assert!(!MAPPING.agrees_with(&moved(Span::from_micros(-201)), MAPPING.mono0));
    }

    #[test]
    fn what_moves_little_is_no_news() {
        let moved = |us| ClockMapping { utc0: MAPPING.utc0 + Span::from_micros(us), ..MAPPING };
        let is_news = |now: &ClockMapping| ClockMapping::is_news(Some(&MAPPING), Some(now));
        assert!(!is_news(&MAPPING) && !is_news(&moved(900)) && !is_news(&moved(-900)));
        assert!(is_news(&moved(1_100)) && is_news(&moved(-1_100)));
        assert!(is_news(&ClockMapping { epoch: 2, ..MAPPING }));
        // A later mapping of the same line.
        let mono0 = MAPPING.mono0 + Span::from_secs(100);
        assert!(!is_news(&ClockMapping { mono0, utc0: MAPPING.utc_at(mono0).utc, ..MAPPING }));
        let none = None;
        assert!(ClockMapping::is_news(none, Some(&MAPPING)) && ClockMapping::is_news(Some(&MAPPING), none));
        assert!(!ClockMapping::is_news(none, none));
    }

    proptest! {
        #[test]
        fn inverse_is_exact_to_a_nanosecond(ns in -1_000_000_000_000_i64..1_000_000_000_000_000, rate in -500_000_i64..500_000) {
            let mapping = ClockMapping { rate_ppb: rate, ..MAPPING };
            let mono = BoardTime::from_nanos(ns);
            let back = mapping.mono_at(mapping.utc_at(mono).utc);
            prop_assert!((back - mono).abs() <= Span::from_nanos(1), "{:?}", back - mono);
        }

        #[test]
        fn any_mapping_at_any_instant_is_harmless(m in any::<[i64; 6]>(), at in any::<i64>()) {
            let mapping = ClockMapping {
                mono0: BoardTime::from_nanos(m[0]),
                utc0: Utc::from_unix_nanos(m[1]),
                rate_ppb: m[2],
                uncertainty: Span::from_nanos(m[3]),
                drift_ppb: m[4],
                epoch: 0,
            };
            let _ = (mapping.utc_at(BoardTime::from_nanos(at)), mapping.mono_at(Utc::from_unix_nanos(m[5])));
        }
    }
}
