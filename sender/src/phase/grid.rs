//! The grid of UTC that cameras are moved to.

use framelock_common::time::{Span, Utc};

use crate::capture::FrameRate;

/// The instants `target + k / rate` after the Unix epoch, for all whole `k`, leap seconds not counted.
///
/// They are computed as fractions, so cameras of one rate share one grid whenever they start, also
/// where the period is no whole number of nanoseconds: at 30 frames a second, frame `k` belongs at
/// `k / 30` s and every thirtieth on a whole second; at 30000/1001, every 30000th on a multiple of 1001 s.
/// Cameras of different rates have no grid in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    rate: FrameRate,
    target: Span,
}

impl Grid {
    /// The grid of `rate`, `target` later than the multiples of its period.
    #[must_use]
    pub const fn new(rate: FrameRate, target: Span) -> Self {
        Self { rate, target }
    }

    /// The time from one instant of the grid to the next, rounded down to the nanosecond.
    #[must_use]
    pub fn period(self) -> Span {
        self.rate.period()
    }

    /// How much `utc` lies after the nearest instant of the grid; negative before it. From minus half a
    /// period (excluded) to plus half a period, rounded down to the nanosecond.
    #[must_use]
    pub fn error(self, utc: Utc) -> Span {
        let parts = self.parts(utc).rem_euclid(self.parts_of_period());
        let parts = if 2 * parts > self.parts_of_period() { parts - self.parts_of_period() } else { parts };
        self.span_of(parts)
    }

    /// The first instant not before `utc` whose [`error`](Self::error) is `error`, to within 1 ns.
    #[must_use]
    pub fn next(self, utc: Utc, error: Span) -> Utc {
        let past = self.parts(utc - error).rem_euclid(self.parts_of_period());
        let wait = if past == 0 { 0 } else { self.parts_of_period() - past };
        utc + self.span_of(wait)
    }

    /// `span` brought into the half period on either side of zero by whole periods.
    #[must_use]
    pub fn wrap(self, span: Span) -> Span {
        Self { target: Span::ZERO, ..self }.error(Utc::from_unix_nanos(span.as_nanos()))
    }

    /// The time since the grid's origin, in parts of which a nanosecond has as many as the rate's numerator:
    /// then the period is a whole number.
    fn parts(self, utc: Utc) -> i128 {
        (i128::from(utc.as_unix_nanos()) - i128::from(self.target.as_nanos()))
            * i128::from(self.rate.numerator())
    }

    fn parts_of_period(self) -> i128 {
        1_000_000_000 * i128::from(self.rate.denominator())
    }

    fn span_of(self, parts: i128) -> Span {
        let ns = parts.div_euclid(i128::from(self.rate.numerator()));
        Span::from_nanos(i64::try_from(ns).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grid(rate: &str, target: Span) -> Grid {
        Grid::new(rate.parse().unwrap(), target)
    }

    #[test]
    fn at_thirty_a_second_every_thirtieth_frame_is_on_a_whole_second() {
        let grid = grid("30", Span::ZERO);
        let second = Utc::from_unix_nanos(1_790_000_000_000_000_000);
        assert_eq!(grid.error(second), Span::ZERO);
        for k in 0..30 {
            // The instant k/30 s itself lies between two nanoseconds: the grid's is the one above.
            let exact = (k * 1_000_000_000 + 29) / 30;
            let near = grid.error(second + Span::from_nanos(exact));
            assert!(near >= Span::ZERO && near <= Span::from_nanos(1), "{k}: {near}");
        }
        // A hundred years on it is still the same grid: nothing has added up.
        assert_eq!(grid.error(second + Span::from_secs(3_155_760_000)), Span::ZERO);
    }

    #[test]
    fn the_ntsc_rate_has_a_grid_of_its_own() {
        let grid = grid("30000/1001", Span::ZERO);
        let whole = Utc::from_unix_nanos(1_001 * 1_788_211 * 1_000_000_000);
        assert_eq!(grid.error(whole), Span::ZERO);
        assert_eq!(grid.error(whole + Span::from_nanos(5)), Span::from_nanos(5));
        // Thirty periods are 1.001 s.
        assert_eq!(grid.error(whole + Span::from_secs(1)), Span::from_millis(-1));
        assert_eq!(grid.error(whole + Span::from_millis(1_001)), Span::ZERO);
    }

    #[test]
    fn a_target_moves_the_grid() {
        let utc = Utc::from_unix_nanos(1_790_000_000_000_000_000);
        assert_eq!(grid("50", Span::from_millis(3)).error(utc), Span::from_millis(-3));
        // More than a period is the same as what is left of it.
        assert_eq!(grid("50", Span::from_millis(23)).error(utc), Span::from_millis(-3));
        assert_eq!(grid("50", Span::ZERO).error(utc + Span::from_millis(10)), Span::from_millis(10));
        assert_eq!(grid("50", Span::ZERO).wrap(Span::from_millis(-10)), Span::from_millis(10));
    }

    proptest! {
        #[test]
        fn the_next_instant_is_within_a_period_and_has_the_error_asked_for(
            ns in 0_i64..4_000_000_000_000_000_000, numerator in 1_u32..100_000, denominator in 1_u32..2_000, part in -50_i64..50
        ) {
            let Some(rate) = FrameRate::new(numerator, denominator) else { return Ok(()) };
            let grid = Grid::new(rate, Span::from_millis(1));
            let utc = Utc::from_unix_nanos(ns);
            let error = grid.period() * part / 100;
            let next = grid.next(utc, error);
            prop_assert!(next >= utc && next - utc <= grid.period() + Span::from_nanos(1));
            let off = grid.wrap(grid.error(next) - error);
            prop_assert!(off.abs() <= Span::from_nanos(2), "{off}");
        }

        #[test]
        fn no_instant_panics(ns: i64, target: i64, error: i64, numerator in 1_u32.., denominator in 1_u32..) {
            let Some(rate) = FrameRate::new(numerator, denominator) else { return Ok(()) };
            let grid = Grid::new(rate, Span::from_nanos(target));
            let _ = (grid.error(Utc::from_unix_nanos(ns)), grid.wrap(Span::from_nanos(error)));
            let _ = grid.next(Utc::from_unix_nanos(ns), Span::from_nanos(error));
        }
    }
}
