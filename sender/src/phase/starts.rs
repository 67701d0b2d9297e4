//! What starting a camera does to its phase: learned from every start.
//!
//! A camera exposes its first frame some time after the stream was asked for. Of that delay only its
//! remainder by the period shows, and only that is needed. Floats are used: this is a filter.

use std::collections::VecDeque;
use std::f64::consts::TAU;

use framelock_common::time::Span;

use super::grid::Grid;

/// Starts that are remembered: enough for a mean, few enough to follow a camera that warms up.
const REMEMBERED: usize = 16;
/// The scatter from which on starting again is no means, as a part of the period. A camera with more
/// lands too often where it may not stay.
const WORST: f64 = 1.0 / 6.0;
/// Evidence against predictability at which it is given up: a camera that scatters by [`WORST`] gets here
/// in 3 of 100 cases, e^-3.5 (Wald's sequential test).
const GIVE_UP: f64 = -3.5;
/// Evidence for it is kept up to this, so that a camera that changes its ways is noticed.
const TRUST: f64 = 3.0;

/// What is known of a camera's start-to-phase delay.
#[derive(Clone, Debug)]
pub(crate) struct Starts {
    grid: Grid,
    /// Of the last start that was not a restart of ours: cameras and drivers take another time when they
    /// are opened. A guess until there is better.
    opened: Option<Span>,
    /// Of restarts.
    delays: VecDeque<Span>,
    /// Log-likelihood of the delays seen: normal with the worst scatter that is of use, against uniform.
    evidence: f64,
}

impl Starts {
    /// Of a camera that was never started.
    pub(crate) const fn new(grid: Grid) -> Self {
        Self { grid, opened: None, delays: VecDeque::new(), evidence: 0.0 }
    }

    /// Takes the delay when the camera was opened, by whole periods more or less.
    pub(crate) const fn learn_opened(&mut self, delay: Span) {
        self.opened = Some(delay);
    }

    /// Takes the delay of a restart, by whole periods more or less.
    pub(crate) fn learn(&mut self, delay: Span) {
        if let Some(predicted) = self.middle() {
            let miss = self.grid.wrap(delay - predicted).as_secs_f64() / self.grid.period().as_secs_f64();
            let normal = -0.5 * (miss / WORST).powi(2) - (WORST * TAU.sqrt()).ln();
            self.evidence = (self.evidence + normal).min(TRUST);
        }
        if self.delays.len() == REMEMBERED {
            self.delays.pop_front();
        }
        self.delays.push_back(delay);
    }

    /// The delay to expect, by whole periods more or less; `None` before the first start.
    pub(crate) fn predict(&self) -> Option<Span> {
        self.middle().or(self.opened)
    }

    /// The median on the half circle on either side of the mean: a start that a busy machine made late says nothing
    /// of the others.
    fn middle(&self) -> Option<Span> {
        let (x, y, count) = self.sums();
        if count == 0.0 {
            return None;
        }
        let mean = self.span_of(y.atan2(x));
        let mut off: Vec<Span> = self.delays.iter().map(|delay| self.grid.wrap(*delay - mean)).collect();
        off.sort_unstable();
        let (low, high) = (off[(off.len() - 1) / 2], off[off.len() / 2]);
        Some(mean + low + (high - low) / 2)
    }

    /// The standard deviation of the delay; `None` while there are too few starts to tell.
    pub(crate) fn scatter(&self) -> Option<Span> {
        let (x, y, count) = self.sums();
        if count < 3.0 {
            return None;
        }
        // The circular standard deviation, its bias at small counts taken off.
        let squared = (x * x + y * y) / (count * count);
        let unbiased = ((count * squared - 1.0) / (count - 1.0)).clamp(1e-9, 1.0);
        Some(self.span_of((-unbiased.ln()).sqrt()))
    }

    /// Whether it makes sense to start again.
    pub(crate) fn is_predictable(&self) -> bool {
        self.evidence > GIVE_UP
    }

    /// The sum of the delays as directions on a circle of one period, and their number.
    fn sums(&self) -> (f64, f64, f64) {
        let period = self.grid.period().as_secs_f64();
        self.delays.iter().fold((0.0, 0.0, 0.0), |(x, y, count), delay| {
            let (sin, cos) = (delay.as_secs_f64() / period * TAU).sin_cos();
            (x + cos, y + sin, count + 1.0)
        })
    }

    fn span_of(&self, angle: f64) -> Span {
        Span::from_secs_f64(angle / TAU * self.grid.period().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::FrameRate;
    use crate::phase::sim::Random;

    fn starts() -> Starts {
        Starts::new(Grid::new(FrameRate::from_hz(30), Span::ZERO))
    }

    #[test]
    fn the_mean_is_that_of_a_circle() {
        let mut starts = starts();
        assert_eq!((starts.predict(), starts.scatter()), (None, None));
        // 1 ms before and after a whole number of periods.
        for ms in [1_000 - 1, 2_000 + 1, 1_000 - 1, 1] {
            starts.learn(Span::from_millis(ms));
        }
        assert!(starts.predict().unwrap().abs() < Span::from_micros(1), "{:?}", starts.predict());
        let scatter = starts.scatter().unwrap();
        assert!((scatter - Span::from_micros(1_150)).abs() < Span::from_micros(20), "{scatter}");
    }

    #[test]
    fn restarts_count_for_more_than_being_opened() {
        let mut starts = starts();
        starts.learn_opened(Span::from_millis(13));
        assert_eq!(starts.predict(), Some(Span::from_millis(13)));
        starts.learn(Span::from_millis(2));
        starts.learn_opened(Span::from_millis(14));
        let off = starts.predict().unwrap() - Span::from_millis(2);
        assert!(off.abs() < Span::from_micros(1), "{off}");
    }

    #[test]
    fn scatter_is_estimated_and_what_cannot_be_predicted_is_given_up() {
        let mut random = Random::new(7);
        let (mut wrongly_given_up, mut given_up_after) = (0, Vec::new());
        for _ in 0..200 {
            let (mut steady, mut wild) = (starts(), starts());
            for _ in 0..40 {
                steady.learn(Span::from_millis(400) + random.normal(Span::from_millis(3)));
            }
            let scatter = steady.scatter().unwrap().as_secs_f64();
            // Sixteen starts tell it to within a factor of two or three.
            assert!((0.001..0.006).contains(&scatter), "{scatter}");
            wrongly_given_up += u32::from(!steady.is_predictable());
            let count = (1..200).find(|_| {
                wild.learn(random.uniform(Span::from_secs(1)));
                !wild.is_predictable()
            });
            given_up_after.push(count.expect("a uniform phase must be given up"));
        }
        given_up_after.sort_unstable();
        assert_eq!(wrongly_given_up, 0);
        let median = given_up_after[100];
        assert!((4..=14).contains(&median), "{median}");
    }
}
