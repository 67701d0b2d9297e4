//! A weighted straight line through a server's samples: the rate of UTC against the board's clock, and
//! how well it is known.
//!
//! After the method of chrony (`regress.c`): samples of longer delay weigh less, and the oldest samples
//! are left out as long as the residuals' signs come in too few runs, that is as long as the line is
//! visibly bent by a wandering oscillator. A prior on the rate takes the place of a least number of
//! samples: two samples half a second apart hardly move it, sixty seconds of samples replace it.
//!
//! Floats are in use here: `x` in seconds, `y` in ns, rates in parts per 10^9.

/// The prior's standard deviation: what crystals are sold as.
const PRIOR_RATE: f64 = 30_000.0;
/// Fewer samples are never judged by their runs.
const MIN_RUNS_SAMPLES: usize = 8;

/// A sample to fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Seconds from the reference instant.
    pub(super) x: f64,
    /// The offset.
    pub(super) y: f64,
    /// The standard deviation to expect of `y`; positive.
    pub(super) sigma: f64,
}

/// The fitted line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    /// Slope.
    pub(super) rate: f64,
    /// Standard error of the slope.
    pub(super) rate_error: f64,
    /// Offset at `x` = 0.
    pub(super) offset: f64,
    /// The points used: this many of the newest.
    pub(super) used: usize,
}

/// Fits `points`, oldest first. Without points it is the prior.
pub(super) fn fit(points: &[Point]) -> Line {
    let mut points = points;
    loop {
        let line = fit_all(points);
        if points.len() < MIN_RUNS_SAMPLES || is_straight(points, &line) {
            return line;
        }
        points = &points[points.len().div_ceil(8)..];
    }
}

fn fit_all(points: &[Point]) -> Line {
    let weight = |p: &Point| p.sigma.powi(-2);
    let total: f64 = points.iter().map(weight).sum();
    if !total.is_normal() {
        return Line { rate: 0.0, rate_error: PRIOR_RATE, offset: 0.0, used: points.len() };
    }
    let mean = |of: fn(&Point) -> f64| points.iter().map(|p| weight(p) * of(p)).sum::<f64>() / total;
    let (x, y) = (mean(|p| p.x), mean(|p| p.y));
    let xx: f64 = points.iter().map(|p| weight(p) * (p.x - x).powi(2)).sum();
    let xy: f64 = points.iter().map(|p| weight(p) * (p.x - x) * (p.y - y)).sum();
    let information = xx + PRIOR_RATE.powi(-2);
    let rate = xy / information;
    let offset = y - rate * x;
    let chi2: f64 = points.iter().map(|p| weight(p) * (p.y - offset - rate * p.x).powi(2)).sum();
    // Never better than the samples' own expectation: a lucky few must not pass for precise.
    #[expect(clippy::cast_precision_loss, reason = "a few dozen samples")]
    let scatter = (chi2 / points.len().saturating_sub(2).max(1) as f64).max(1.0);
    Line { rate, rate_error: (scatter / information).sqrt(), offset, used: points.len() }
}

/// The runs test of Wald and Wolfowitz on the residuals' signs, one-sided at 5 %: too few runs mean that
/// the points do not lie along a line.
fn is_straight(points: &[Point], line: &Line) -> bool {
    let above = |p: &Point| p.y > line.offset + line.rate * p.x;
    let up = points.iter().filter(|p| above(p)).count();
    let changes = points.windows(2).filter(|pair| above(&pair[0]) != above(&pair[1])).count();
    #[expect(clippy::cast_precision_loss, reason = "a few dozen samples")]
    let (runs, up, n) = ((changes + 1) as f64, up as f64, points.len() as f64);
    let product = 2.0 * up * (n - up);
    let expected = product / n + 1.0;
    let variance = product * (product - n) / (n * n * (n - 1.0));
    runs >= expected - 1.645 * variance.max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Alternating residuals of ±`noise` around a line.
    fn line(n: i32, rate: f64, noise: f64) -> Vec<Point> {
        let noise = |i: i32| if i % 2 == 0 { noise } else { -noise };
        (0..n)
            .map(|i| f64::from(i - n + 1))
            .zip(0..n)
            .map(|(x, i)| Point { x, y: 500.0 + rate * x + noise(i), sigma: 1_000.0 })
            .collect()
    }

    #[test]
    fn a_long_line_replaces_the_prior() {
        let found = fit(&line(60, 40_000.0, 200.0));
        assert!((found.rate - 40_000.0).abs() < 3.0 * found.rate_error, "{found:?}");
        assert!(found.rate_error < 20.0 && found.used == 60, "{found:?}");
        assert!((found.offset - 500.0).abs() < 300.0, "{found:?}");
    }

    #[test]
    fn two_samples_hardly_move_the_prior() {
        let noisy =
            [Point { x: -0.5, y: 0.0, sigma: 100_000.0 }, Point { x: 0.0, y: 50_000.0, sigma: 100_000.0 }];
        let found = fit(&noisy);
        assert!(found.rate.abs() < 5_000.0 && found.rate_error > 25_000.0, "{found:?}");
        let prior = fit(&[]);
        assert_eq!((prior.rate, prior.rate_error, prior.used), (0.0, PRIOR_RATE, 0));
    }

    #[test]
    fn long_delays_weigh_less() {
        let mut points = line(30, 0.0, 100.0);
        points[29] = Point { y: 5_000_000.0, sigma: 5_000_000.0, ..points[29] };
        let found = fit(&points);
        assert!(found.rate.abs() < 100.0, "{found:?}");
    }

    #[test]
    fn a_bent_line_is_shortened_until_it_is_straight() {
        let mut points = line(60, 0.0, 100.0);
        for p in &mut points[..30] {
            p.y += 20_000.0 * (p.x + 30.0);
        }
        let found = fit(&points);
        assert!(found.used < 40, "{found:?}");
        assert!(found.rate.abs() < 2_000.0, "{found:?}");
    }
}
