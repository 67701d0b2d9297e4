//! A camera's phase error from the times of its frames, and how fast it drifts.
//!
//! Frames are looked at in short blocks, of which the median counts: a timestamp that comes late now and
//! then, as they do from USB and busy drivers, says nothing about the camera. Floats are used: this is
//! a filter.

use framelock_common::time::{BoardTime, Span};

use super::grid::Grid;

/// Frames of a block at least.
const BLOCK_FRAMES: usize = 8;
/// Frames of a block at most: a bound on memory.
const BLOCK_LIMIT: usize = 512;
/// From so long on the drift since the last move is believed.
const DRIFT_TIME: Span = Span::from_secs(20);

/// What a block of frames says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    /// The error against the grid: the median of the block. Follows the camera over the edges of a period
    /// where it drifts that far.
    pub(crate) error: Span,
    /// Half-width of the error of that median, from the scatter in the block.
    pub(crate) noise: Span,
}

/// Estimates phase and drift between moves.
#[derive(Clone, Debug)]
pub(crate) struct Estimator {
    grid: Grid,
    /// The time that a block spans at least.
    block_time: Span,
    /// Errors of the current block's frames, unwrapped.
    block: Vec<Span>,
    block_start: Option<BoardTime>,
    last: Option<Phase>,
    line: Line,
    /// The drift of an earlier stretch of time, which outlives the moves.
    known_drift: Option<f64>,
}

impl Estimator {
    pub(crate) const fn new(grid: Grid, block_time: Span) -> Self {
        Self {
            grid,
            block_time,
            block: Vec::new(),
            block_start: None,
            last: None,
            line: Line::empty(),
            known_drift: None,
        }
    }

    /// Forgets the phase, which has moved. The drift is the oscillator's and stays.
    pub(crate) fn reset(&mut self) {
        self.known_drift = self.drift();
        self.block.clear();
        self.block_start = None;
        self.last = None;
        self.line = Line::empty();
    }

    /// Forgets the drift too: the clock was stepped, or this may be another camera.
    pub(crate) fn forget(&mut self) {
        self.line = Line::empty();
        self.reset();
        self.known_drift = None;
    }

    /// Takes a frame exposed at `mono`, `error` after the grid. Gives the phase at the end of a block.
    pub(crate) fn push(&mut self, mono: BoardTime, error: Span) -> Option<Phase> {
        // The frames of a block may lie on both sides of the point farthest from the grid.
        let near = self.last.map(|last| last.error).or_else(|| self.block.first().copied()).unwrap_or(error);
        self.block.push(near + self.grid.wrap(error - near));
        let start = *self.block_start.get_or_insert(mono);
        let full = self.block.len() >= BLOCK_FRAMES && mono - start >= self.block_time;
        if !full && self.block.len() < BLOCK_LIMIT {
            return None;
        }
        let error = median(&mut self.block);
        let mut off: Vec<Span> = self.block.iter().map(|value| (*value - error).abs()).collect();
        let count = i64::try_from(off.len()).unwrap_or(i64::MAX);
        // Of a normal distribution 1.48 times the median deviation is the standard deviation; that of a
        // median is 1.25 of it by the root of the count; three of those.
        let noise = median(&mut off).mul_div(556, 100 * count.isqrt().max(1));
        self.block.clear();
        self.block_start = None;
        let middle = start + (mono - start) / 2;
        self.line.add(middle, error);
        let phase = Phase { error, noise };
        self.last = Some(phase);
        Some(phase)
    }

    /// How fast the error surely grows, as a part of the time that passes: what may be chance is taken off.
    /// `None` while it is not known.
    pub(crate) fn drift(&self) -> Option<f64> {
        self.line.slope().or(self.known_drift)
    }
}

fn median(values: &mut [Span]) -> Span {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(Span::ZERO)
}

/// A line through the errors since the last move, by least squares, in constant memory.
#[derive(Clone, Debug)]
struct Line {
    origin: Option<(BoardTime, Span)>,
    latest: Span,
    count: f64,
    t: f64,
    e: f64,
    tt: f64,
    te: f64,
    ee: f64,
}

impl Line {
    const fn empty() -> Self {
        Self { origin: None, latest: Span::ZERO, count: 0.0, t: 0.0, e: 0.0, tt: 0.0, te: 0.0, ee: 0.0 }
    }

    fn add(&mut self, at: BoardTime, error: Span) {
        let (start, first) = *self.origin.get_or_insert((at, error));
        self.latest = at - start;
        let (t, e) = (self.latest.as_secs_f64(), (error - first).as_secs_f64());
        self.count += 1.0;
        self.t += t;
        self.e += e;
        self.tt += t * t;
        self.te += t * e;
        self.ee += e * e;
    }

    /// The slope, nearer to zero by twice its standard error.
    fn slope(&self) -> Option<f64> {
        // Sums of squares about the means, times the count.
        let tt = self.count * self.tt - self.t * self.t;
        let te = self.count * self.te - self.t * self.e;
        let ee = self.count * self.ee - self.e * self.e;
        if self.latest < DRIFT_TIME || self.count < 3.0 || tt <= 0.0 {
            return None;
        }
        let slope = te / tt;
        let error = ((ee - slope * te).max(0.0) / (self.count - 2.0) / tt).sqrt();
        Some(slope.signum() * (slope.abs() - 2.0 * error).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::FrameRate;
    use crate::phase::sim::Random;

    fn estimator() -> Estimator {
        Estimator::new(Grid::new(FrameRate::from_hz(30), Span::ZERO), Span::from_millis(500))
    }

    /// Runs `frames` frames of a camera that begins at `first` and drifts, with late stamps among them.
    fn run(estimator: &mut Estimator, frames: i64, first: Span, drift_ppb: i64) -> Vec<Phase> {
        let mut random = Random::new(3);
        let phases = (0..frames).filter_map(|n| {
            let time = Span::from_nanos(n * 33_333_333);
            let late = if random.chance(10) { random.uniform(Span::from_millis(9)) } else { Span::ZERO };
            let error = first + time.mul_div(drift_ppb, 1_000_000_000) + late;
            let error = error + random.normal(Span::from_micros(50));
            estimator.push(BoardTime::from_nanos(0) + time, estimator.grid.wrap(error))
        });
        phases.collect()
    }

    #[test]
    fn late_stamps_do_not_count_and_drift_is_found() {
        let mut estimator = estimator();
        let phases = run(&mut estimator, 1_800, Span::from_millis(5), -50_000);
        for (n, phase) in phases.iter().enumerate() {
            // Blocks of 17 frames, 567 ms.
            let truth = Span::from_millis(5) - Span::from_nanos(28_333) * n as i64;
            assert!((phase.error - truth).abs() < Span::from_micros(120), "{n}: {}", phase.error);
            assert!(phase.noise < Span::from_micros(200), "{}", phase.noise);
        }
        let drift = estimator.drift().unwrap();
        assert!((drift + 50e-6).abs() < 3e-6, "{drift}");
        // From chance alone none is seen.
        let mut steady = Estimator::new(estimator.grid, Span::from_secs(2));
        let mut random = Random::new(9);
        for n in 0..1_200 {
            let mono = BoardTime::from_nanos(n * 33_333_333);
            steady.push(mono, random.normal(Span::from_millis(3)));
        }
        assert!(steady.drift().unwrap().abs() < 5e-6, "{:?}", steady.drift());
        // A move does not change the oscillator; a camera that was unplugged may be another.
        estimator.reset();
        assert_eq!(estimator.drift(), Some(drift));
        estimator.forget();
        assert_eq!(estimator.drift(), None);
    }

    #[test]
    fn a_camera_at_the_far_side_of_the_grid_has_one_phase_and_not_two() {
        let mut estimator = estimator();
        let phases = run(&mut estimator, 700, Span::from_nanos(16_666_000), 2_000);
        let first = phases[0].error;
        assert!(phases.iter().all(|phase| (phase.error - first).abs() < Span::from_millis(1)));
        assert!(estimator.drift().unwrap().abs() < 10e-6);
    }
}
