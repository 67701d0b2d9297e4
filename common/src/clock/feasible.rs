//! Which offsets and rates of a clock a set of exchanges allows at all.
//!
//! Each exchange is a constraint, not a measurement with noise: UTC at its middle lies within half its
//! round trip, however the delay was split between the two directions (RFC 5905 section 10, the
//! root-synchronization-distance argument). All constraints together leave a convex polygon in the
//! plane of offset and rate, since a line `offset + rate * x` must pass between every `low` and `high`;
//! its extremes are the tightest bound that can be claimed without assuming anything about delays.
//! It is tighter than the best single exchange: the fastest request and the fastest answer may belong
//! to different exchanges, so that only the fixed part of the path's delay remains.
//!
//! Floats are in use here: `x` in seconds, offsets in ns, rates in parts per 10^9.

/// Rounds of the one-dimensional searches; each leaves less than two thirds of the interval, so 1000 ppm
/// become less than 10^-5 ppm.
const ROUNDS: usize = 40;

/// What one exchange says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Constraint {
    /// Seconds from the reference instant.
    pub(super) x: f64,
    /// The offset at `x` is at least this.
    pub(super) low: f64,
    /// The offset at `x` is at most this.
    pub(super) high: f64,
}

/// What all exchanges allow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Region {
    /// Least and greatest offset at the reference instant.
    pub(super) low: f64,
    pub(super) high: f64,
    /// Least and greatest rate.
    pub(super) slow: f64,
    pub(super) fast: f64,
}

impl Region {
    /// The region that `constraints` leave when the rate is within ±`max_rate`; `None` if they contradict
    /// each other.
    pub(super) fn of(constraints: &[Constraint], max_rate: f64) -> Option<Self> {
        if constraints.is_empty() {
            return None;
        }
        let width = |rate| {
            let (low, high) = envelope(constraints, rate);
            high - low
        };
        let deepest = argmax(-max_rate, max_rate, width);
        if width(deepest) < 0.0 {
            return None;
        }
        let slow = edge(deepest, -max_rate, width);
        let fast = edge(deepest, max_rate, width);
        let high = envelope(constraints, argmax(slow, fast, |rate| envelope(constraints, rate).1)).1;
        let low = envelope(constraints, argmax(slow, fast, |rate| -envelope(constraints, rate).0)).0;
        Some(Self { low, high, slow, fast })
    }
}

/// The offsets at the reference instant that are allowed at `rate`: at least the first, at most the
/// second; the first is the greater one where none is.
fn envelope(constraints: &[Constraint], rate: f64) -> (f64, f64) {
    let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
    for c in constraints {
        let moved = rate * c.x;
        low = low.max(c.low - moved);
        high = high.min(c.high - moved);
    }
    (low, high)
}

/// Rate and offset of the line that keeps the greatest distance from all `constraints`, with a rate from
/// `slow` to `fast`; of equally good ones that with the rate nearest to `preferred`. It exists even where
/// the constraints contradict each other.
pub(super) fn deepest(constraints: &[Constraint], slow: f64, fast: f64, preferred: f64) -> (f64, f64) {
    /// Less than rounding of the timestamps.
    const PREFERENCE: f64 = 1e-9;
    let rate = argmax(slow, fast, |rate| {
        let (low, high) = envelope(constraints, rate);
        high - low - PREFERENCE * (rate - preferred).abs()
    });
    let (low, high) = envelope(constraints, rate);
    (rate, f64::midpoint(low, high))
}

/// Where in `a..=b` the concave function `f` is greatest, by golden-section search.
fn argmax(mut a: f64, mut b: f64, f: impl Fn(f64) -> f64) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let (mut left, mut right) = (b - GOLDEN * (b - a), a + GOLDEN * (b - a));
    let (mut at_left, mut at_right) = (f(left), f(right));
    for _ in 0..ROUNDS {
        if at_left < at_right {
            (a, left, at_left) = (left, right, at_right);
            right = a + GOLDEN * (b - a);
            at_right = f(right);
        } else {
            (b, right, at_right) = (right, left, at_left);
            left = b - GOLDEN * (b - a);
            at_left = f(left);
        }
    }
    f64::midpoint(a, b)
}

/// The last point from `inside` towards `end` at which the concave function `f` is not negative.
fn edge(mut inside: f64, mut end: f64, f: impl Fn(f64) -> f64) -> f64 {
    if f(end) >= 0.0 {
        return end;
    }
    for _ in 0..ROUNDS {
        let middle = f64::midpoint(inside, end);
        if f(middle) >= 0.0 { inside = middle } else { end = middle }
    }
    // From outside: a bound must not lose what rounding lost.
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(x: f64, low: f64, high: f64) -> Constraint {
        Constraint { x, low, high }
    }

    fn close(region: Region, low: f64, high: f64, slow: f64, fast: f64) {
        let found = [region.low, region.high, region.slow, region.fast];
        for (found, wanted) in found.into_iter().zip([low, high, slow, fast]) {
            assert!((found - wanted).abs() < 0.01, "{region:?}");
        }
    }

    #[test]
    fn one_exchange_bounds_the_offset_only() {
        let region = Region::of(&[at(0.0, -50.0, 70.0)], 120.0).unwrap();
        close(region, -50.0, 70.0, -120.0, 120.0);
    }

    #[test]
    fn two_exchanges_bound_the_rate() {
        // From anywhere in ±10 to anywhere in ±10, in 4 seconds.
        let region = Region::of(&[at(-4.0, -10.0, 10.0), at(0.0, -10.0, 10.0)], 120.0).unwrap();
        close(region, -10.0, 10.0, -5.0, 5.0);
    }

    #[test]
    fn the_fastest_request_and_the_fastest_answer_may_be_of_different_exchanges() {
        let region = Region::of(&[at(0.0, -90.0, 10.0), at(0.0, -10.0, 90.0)], 120.0).unwrap();
        close(region, -10.0, 10.0, -120.0, 120.0);
    }

    #[test]
    fn contradictions_are_seen() {
        assert_eq!(Region::of(&[at(0.0, 0.0, 10.0), at(0.0, 11.0, 20.0)], 120.0), None);
        // 1000 in one second is more than 120.
        assert_eq!(Region::of(&[at(-1.0, 0.0, 10.0), at(0.0, 1_000.0, 1_010.0)], 120.0), None);
        assert_eq!(Region::of(&[], 120.0), None);
    }

    #[test]
    fn the_deepest_line_keeps_away_from_all() {
        let near = |(rate, offset): (f64, f64), wanted: (f64, f64)| {
            assert!((rate - wanted.0).abs() < 0.01 && (offset - wanted.1).abs() < 0.01, "{rate} {offset}");
        };
        let free = [at(-4.0, 0.0, 10.0), at(0.0, 20.0, 30.0)];
        near(deepest(&free, -120.0, 120.0, 0.0), (5.0, 25.0));
        // Undecided without a second exchange; and the best of a contradiction.
        near(deepest(&free[1..], -120.0, 120.0, 7.0), (7.0, 25.0));
        near(deepest(&[at(0.0, 0.0, 10.0), at(0.0, 12.0, 30.0)], -120.0, 120.0, 7.0), (7.0, 11.0));
    }

    proptest! {
        /// The region contains every line that satisfies the constraints: the bound is never a lie.
        #[test]
        fn contains_the_truth(
            offset in -1e6..1e6_f64, rate in -100.0..100.0_f64,
            exchanges in proptest::collection::vec((-100.0..0.0_f64, 0.0..1e4_f64, 0.0..1e4_f64), 1..40),
        ) {
            let constraints: Vec<_> = exchanges.iter().map(|&(x, under, over)| {
                let truth = offset + rate * x;
                at(x, truth - under, truth + over)
            }).collect();
            let region = Region::of(&constraints, 120.0).unwrap();
            prop_assert!(region.low <= offset + 1e-3 && offset <= region.high + 1e-3, "{region:?}");
            prop_assert!(region.slow <= rate + 1e-3 && rate <= region.fast + 1e-3, "{region:?}");
        }
    }
}
