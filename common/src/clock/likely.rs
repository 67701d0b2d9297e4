//! The most likely course of a clock through a server's exchanges, for delays as networks make them: hardly
//! ever below the free path's, mostly a little above, now and then far.
//!
//! Request and answer are measurements of their own. Each shows the clock's offset (the request adds it, the
//! answer takes it away) plus the free path's delay plus what it waited for. The wait is taken as
//! exponential, with an edge at zero that is soft: timestamps jitter themselves, and how far a clock
//! went astray in a minute nobody knows exactly, so the edge is the softer the older an exchange is. A wait's
//! influence does not grow with its length, and in an exchange that waited both ways the two cancel: what
//! decides are the fastest requests and the fastest answers, but several of them each, and no single one
//! as in a [`super::feasible`] region's corner.
//!
//! The course is a parabola. Its bend is a wandering oscillator's; where the delays cannot tell it, what
//! oscillators usually do keeps it small, as it does the rate. The logarithm of the likelihood is concave, so
//! Newton's method finds its peak from anywhere, and within a few rounds from a good start.
//!
//! Floats are in use here: `x` in seconds, offsets and delays in ns, rates in parts per 10^9.

/// Standard deviation of a rate that nothing is known of: what crystals are sold as.
const RATE: f64 = 30_000.0;
/// Standard deviation of a rate's change, in parts per 10^9 a second.
const BEND: f64 = 30.0;
/// How quickly that changes, in parts per 10^9 a second squared.
const JERK: f64 = 3.0;
/// How far timestamps scatter that software takes: interrupts, caches, a core that must wake up first.
const TIMESTAMP_NOISE: f64 = 3_000.0;
/// The edge's softness, as a share of the mean wait. A hard edge follows the single fastest; a very soft one
/// is a mean.
const SOFTNESS: f64 = 0.06;
/// Median of the sum of two exponential waits of mean 1.
const MEDIAN_OF_TWO: f64 = 1.678;
/// Rounds of Newton's method; three to five are usual.
const ROUNDS: usize = 20;
/// Trials of one round; each is ten times as cautious as the one before.
const TRIALS: usize = 10;
/// No likelihood ratio that matters is smaller.
const PRECISION: f64 = 1e-6;

/// What one exchange says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    /// Seconds from the reference instant.
    pub(super) x: f64,
    /// The offset, if both ways took equally long.
    pub(super) y: f64,
    /// The round trip's delay.
    pub(super) delay: f64,
}

/// Where the clock goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Course {
    /// Rate at the reference instant.
    pub(super) rate: f64,
    /// Offset at the reference instant.
    pub(super) offset: f64,
}

/// Offset, rate and bend at the reference instant, and the free path's delay one way.
type Unknowns = [f64; 4];

/// One way of an exchange.
struct Leg {
    /// How much one more of each unknown adds to what is seen.
    effect: Unknowns,
    seen: f64,
    /// How soft the edge is.
    soft: f64,
    /// Mean wait.
    wait: f64,
}

/// The logarithm of the likelihood around some [`Unknowns`].
#[derive(Default)]
struct Slope {
    gradient: Unknowns,
    /// Its negative second derivatives, and the most that they can be.
    curvature: [Unknowns; 4],
    steepest: Unknowns,
}

/// The most likely course, looked for from `start`; `None` if there is nothing to go by.
pub(super) fn course(exchanges: &[Exchange], start: Course) -> Option<Course> {
    let least = exchanges.iter().map(|e| e.delay).reduce(f64::min)?;
    let mut waits: Vec<f64> = exchanges.iter().map(|e| e.delay - least).collect();
    let middle = waits.len() / 2;
    let (_, median, _) = waits.select_nth_unstable_by(middle, f64::total_cmp);
    let wait = (*median / MEDIAN_OF_TWO).max(TIMESTAMP_NOISE);
    let legs: Vec<Leg> = exchanges.iter().flat_map(|e| legs(e, wait)).collect();
    let found = climb(&legs, [start.offset, start.rate, 0.0, least / 2.0]);
    let course = Course { rate: found[1], offset: found[0] };
    (course.rate.is_finite() && course.offset.is_finite()).then_some(course)
}

fn legs(exchange: &Exchange, wait: f64) -> [Leg; 2] {
    let Exchange { x, y, delay } = *exchange;
    let astray = JERK * x.abs().powi(3) / 6.0;
    let soft = (SOFTNESS * wait).max(TIMESTAMP_NOISE).hypot(astray);
    // The far side must be gentler than the edge, or an exchange of long ago would want to be missed.
    let wait = wait + 2.0 * soft;
    let leg = |sign: f64| {
        let effect = [sign, sign * x, sign * x * x / 2.0, 1.0];
        Leg { effect, seen: delay / 2.0 + sign * y, soft, wait }
    };
    [leg(1.0), leg(-1.0)]
}

/// The peak of the likelihood.
fn climb(legs: &[Leg], start: Unknowns) -> Unknowns {
    let (mut at, mut height) = (start, log_likelihood(legs, &start));
    let mut caution = 1e-3;
    for _ in 0..ROUNDS {
        let slope = slope(legs, &at);
        let mut gain = 0.0;
        for _ in 0..TRIALS {
            let trial = slope.step(caution).map(|step| std::array::from_fn(|i| at[i] + step[i]));
            let better = trial.map(|trial| (trial, log_likelihood(legs, &trial))).filter(|t| t.1 >= height);
            if let Some((trial, higher)) = better {
                gain = higher - height;
                (at, height) = (trial, higher);
                caution = (caution / 10.0).max(1e-9);
                break;
            }
            caution *= 10.0;
        }
        if gain < PRECISION {
            break;
        }
    }
    at
}

/// What oscillators do, as the reciprocal variances of the unknowns.
const PRIOR: Unknowns = [0.0, 1.0 / (RATE * RATE), 1.0 / (BEND * BEND), 0.0];

fn log_likelihood(legs: &[Leg], at: &Unknowns) -> f64 {
    let of_legs: f64 = legs
        .iter()
        .map(|leg| {
            let waited = leg.waited(at);
            // ln(1 + exp(z)), without overflow.
            let z = -waited / leg.soft;
            let edge = z.max(0.0) + (-z.abs()).exp().ln_1p();
            waited / leg.wait + edge
        })
        .sum();
    let of_oscillator: f64 = at.iter().zip(PRIOR).map(|(value, prior)| value * value * prior / 2.0).sum();
    -of_legs - of_oscillator
}

fn slope(legs: &[Leg], at: &Unknowns) -> Slope {
    let mut slope = Slope::default();
    for leg in legs {
        let missed = 1.0 / (1.0 + (leg.waited(at) / leg.soft).exp());
        let pull = 1.0 / leg.wait - missed / leg.soft;
        let bend = missed * (1.0 - missed) / (leg.soft * leg.soft);
        for (i, effect) in leg.effect.iter().enumerate() {
            slope.gradient[i] += pull * effect;
            slope.steepest[i] += effect * effect / (4.0 * leg.soft * leg.soft);
            for (j, other) in leg.effect.iter().enumerate() {
                slope.curvature[i][j] += bend * effect * other;
            }
        }
    }
    for (i, prior) in PRIOR.into_iter().enumerate() {
        slope.gradient[i] -= at[i] * prior;
        slope.curvature[i][i] += prior;
    }
    slope
}

impl Leg {
    fn waited(&self, at: &Unknowns) -> f64 {
        self.seen - self.effect.iter().zip(at).map(|(effect, value)| effect * value).sum::<f64>()
    }
}

impl Slope {
    /// Newton's step, the shorter the greater `caution`; `None` if rounding leaves none.
    fn step(&self, caution: f64) -> Option<Unknowns> {
        let (mut matrix, mut step) = (self.curvature, self.gradient);
        for (i, steepest) in self.steepest.into_iter().enumerate() {
            matrix[i][i] += caution * steepest;
        }
        for i in 0..step.len() {
            let row = matrix[i];
            if row[i].partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
                return None;
            }
            for below in i + 1..step.len() {
                let factor = matrix[below][i] / row[i];
                for (value, above) in matrix[below].iter_mut().zip(row) {
                    *value -= factor * above;
                }
                step[below] -= factor * step[i];
            }
        }
        for i in (0..step.len()).rev() {
            let known: f64 = (i + 1..step.len()).map(|j| matrix[i][j] * step[j]).sum();
            step[i] = (step[i] - known) / matrix[i][i];
        }
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::super::feasible::{self, Constraint};
    use super::*;
    use proptest::prelude::*;

    const UNKNOWN: Course = Course { rate: 0.0, offset: 0.0 };

    /// A course, and what both ways of an exchange at `x` wait on a path that takes 100 us one way.
    fn exchange(truth: Course, x: f64, there: f64, back: f64) -> Exchange {
        let y = truth.offset + truth.rate * x + (there - back) / 2.0;
        Exchange { x, y, delay: 200_000.0 + there + back }
    }

    /// Exponential waits of mean 1, well mixed.
    fn waits() -> impl Iterator<Item = f64> {
        (1..).map(|i| -(1.0 - (f64::from(i) * 0.618_033_988_749_895).fract()).ln())
    }

    /// One exchange a second that waits for `mean` each way.
    fn minute(truth: Course, mean: f64) -> Vec<Exchange> {
        let mut waits = waits();
        let mut wait = || mean * waits.next().unwrap();
        (-63..=0).map(|x| exchange(truth, f64::from(x), wait(), wait())).collect()
    }

    fn error(exchanges: &[Exchange], truth: Course) -> f64 {
        (course(exchanges, UNKNOWN).unwrap().offset - truth.offset).abs()
    }

    #[test]
    fn queues_both_ways_leave_little() {
        let truth = Course { rate: 30_000.0, offset: -700_000.0 };
        let found = course(&minute(truth, 25_000.0), UNKNOWN).unwrap();
        assert!((found.offset - truth.offset).abs() < 4_000.0, "{found:?}");
        assert!((found.rate - truth.rate).abs() < 500.0, "{found:?}");
    }

    #[test]
    fn long_waits_change_nothing() {
        let truth = Course { rate: -5_000.0, offset: 40_000.0 };
        let mut exchanges = minute(truth, 25_000.0);
        let before = course(&exchanges, UNKNOWN).unwrap();
        for (i, exchange) in exchanges.iter_mut().enumerate().filter(|(i, _)| i % 7 == 3) {
            let wait = 1e6 * f64::from(u32::try_from(i).unwrap());
            *exchange = Exchange { y: exchange.y + wait / 2.0, delay: exchange.delay + wait, ..*exchange };
        }
        let after = course(&exchanges, UNKNOWN).unwrap();
        assert!((after.offset - before.offset).abs() < 3_000.0, "{before:?} {after:?}");
    }

    /// A request that met a relay or driver just awake. The middle of what is possible goes half the way.
    #[test]
    fn a_single_one_that_was_too_fast_is_not_followed() {
        let truth = Course { rate: 1_000.0, offset: 0.0 };
        let mut exchanges = minute(truth, 25_000.0);
        exchanges[50] = exchange(truth, exchanges[50].x, -40_000.0, 10_000.0);
        assert!(error(&exchanges, truth) < 6_000.0, "{}", error(&exchanges, truth));
        let constraint =
            |e: &Exchange| Constraint { x: e.x, low: e.y - e.delay / 2.0, high: e.y + e.delay / 2.0 };
        let constraints: Vec<_> = exchanges.iter().map(constraint).collect();
        let (_, middle) = feasible::deepest(&constraints, -1e5, 1e5, 0.0);
        assert!(middle.abs() > 12_000.0, "{middle}");
    }

    /// 100 ppb a second: a fan that starts. A straight line through the minute would be 30 us off.
    #[test]
    fn a_bend_is_followed() {
        let truth = Course { rate: 0.0, offset: 0.0 };
        let bent = |e: Exchange| Exchange { y: e.y + 100.0 * e.x * e.x / 2.0, ..e };
        let exchanges: Vec<_> = minute(truth, 10_000.0).into_iter().map(bent).collect();
        assert!(error(&exchanges, truth) < 4_000.0, "{}", error(&exchanges, truth));
    }

    #[test]
    fn one_exchange_is_its_own_middle() {
        let found = course(&[Exchange { x: 0.0, y: 1_234.0, delay: 80_000.0 }], UNKNOWN).unwrap();
        assert!((found.offset - 1_234.0).abs() < 1.0 && found.rate.abs() < 1.0, "{found:?}");
        assert_eq!(course(&[], UNKNOWN), None);
    }

    proptest! {
        /// The peak does not depend on where it is looked for.
        #[test]
        fn the_start_does_not_matter(offset in -1e6..1e6_f64, rate in -1e5..1e5_f64, mean in 1e3..1e6_f64) {
            let truth = Course { rate: 20_000.0, offset: 5_000.0 };
            let exchanges = minute(truth, mean);
            let near = course(&exchanges, truth).unwrap();
            let far = course(&exchanges, Course { rate, offset }).unwrap();
            prop_assert!((near.offset - far.offset).abs() < 0.01 * mean, "{near:?} {far:?}");
        }

        #[test]
        fn nothing_is_too_wild(exchanges in proptest::collection::vec(any::<(i64, i64, i64)>(), 0..70)) {
            let float = |value: i64| super::super::filter::to_float(value);
            let wild = |&(x, y, delay): &(i64, i64, i64)| {
                Exchange { x: float(x) / 1e9, y: float(y), delay: float(delay).abs() }
            };
            let found = course(&exchanges.iter().map(wild).collect::<Vec<_>>(), UNKNOWN);
            prop_assert!(found.is_none_or(|c| c.rate.is_finite() && c.offset.is_finite()));
        }
    }
}
