//! Decides when a camera's phase has to be moved, how, and when that is of no use.

use std::fmt;

use framelock_common::clock::ClockMapping;
use framelock_common::time::{BoardTime, Span};

use super::estimator::{Estimator, Phase};
use super::grid::Grid;
use super::starts::Starts;
use crate::capture::{FrameRate, IntervalChoice, PhaseMeans, PhaseMove, StretchRange};

/// For how long frames are looked at before a judgement, where a move costs nothing, and where it costs frames.
const FREE_BLOCK: Span = Span::from_millis(500);
const COSTLY_BLOCK: Span = Span::from_secs(2);
/// Errors below this are left alone where a move costs nothing, and where it costs frames.
const FREE_BAND: Span = Span::from_micros(100);
const COSTLY_BAND: Span = Span::from_millis(1);
/// The part of what starts scatter by that is left alone: one of four restarts lands within. Once there a camera stays,
/// so a few restarts more buy the better place for long.
const SCATTER_PART: i64 = 3;
/// A restart should be good for twice this long: the drift's way in this time is half of what is tolerated.
const HOLD: f64 = 150.0;
/// Between the decision and the earliest start, at least and in periods: what stopping a stream takes, and the
/// encoder to be done with the last frame, as a driver whose start waits for a busy processor starts anyhow.
const LEAD: Span = Span::from_millis(50);
const LEAD_PERIODS: i64 = 2;
/// Blocks of frames in a row that must show an error before it costs frames.
const SURE_BLOCKS: u32 = 2;
/// First frames of a stream that are not looked at: cameras and drivers settle.
const FRESH_FRAMES: u32 = 5;
/// Frames on their way while a camera is told something.
const FRAMES_UNDER_WAY: u32 = 4;
/// Moves in a row that did not do what they should, after which a means is none.
const FAILURES: u32 = 4;
/// Frames over which a shift by other intervals is spread where any interval can be had, and at most.
const NUDGE_FRAMES: i64 = 8;
const NUDGE_LIMIT: i64 = 250;

/// What to keep a camera to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseConfig {
    /// How much after the multiples of the frame period in UTC it shall expose.
    pub target: Span,
    /// From one restart of the stream to the next at least.
    pub restart_interval: Span,
    /// The error that is left alone where a move costs frames; `None` leaves it to what is known of the camera.
    pub tolerance: Option<Span>,
}

/// Why a camera is not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The source has no means to.
    NoMeans,
    /// It lands anywhere when it is started.
    Unpredictable,
    /// Device or driver refuse.
    Refused,
    /// It does not do what it was told.
    NoEffect,
    /// Its rate is so far from the one it declares that restarts cannot keep up.
    Drift,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMeans => "the source has no means to move its phase",
            Self::Unpredictable => "its phase after a start cannot be predicted",
            Self::Refused => "the device refuses every means",
            Self::NoEffect => "the device does not do what it is told",
            Self::Drift => "its rate is not the declared one and it drifts away between restarts",
        })
    }
}

/// Where the camera stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseState {
    /// UTC or the frames' times are not known well enough.
    Waiting,
    /// It is off its place and will be moved.
    Seeking,
    /// It is in its place as well as its means and the clock allow.
    Holding,
    /// Nothing can be done about its phase.
    CannotMove(Obstacle),
}

impl PhaseState {
    /// The name used in JSON and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Seeking => "seeking",
            Self::Holding => "holding",
            Self::CannotMove(_) => "cannot-move",
        }
    }
}

/// How it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseStatus {
    /// Where the camera stands.
    pub state: PhaseState,
    /// How much later than the grid it exposes, by the last frames; `None` while UTC is not known.
    pub error: Option<Span>,
    /// Half-width of the error of `error`.
    pub uncertainty: Option<Span>,
    /// Moves made, restarts included.
    pub moves: u64,
    /// Restarts of the stream among them.
    pub restarts: u64,
    /// Frame periods without a frame because of restarts.
    pub lost: u64,
}

/// A free move whose effect is not seen yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    expected: Span,
    shift: Span,
}

/// Keeps one camera on the grid. Told the time: reads no clock.
///
/// Tell it of every start of the stream ([`handle_start`](Self::handle_start)) and every frame
/// ([`handle_frame`](Self::handle_frame)), then ask for a move ([`poll_move`](Self::poll_move)).
///
/// A move is asked for only where the error exceeds the bound on its own error, so that its direction
/// is certain. The best means comes first: stretching a frame costs nothing; a restart costs frames, is
/// made at an instant from which past starts predict the right phase, and not more often than
/// configured; other intervals come last. A means that is refused, has no effect or cannot be
/// predicted is not used again.
#[derive(Debug)]
pub struct Supervisor {
    grid: Grid,
    config: PhaseConfig,
    means: PhaseMeans,
    obstacle: Obstacle,
    starts: Starts,
    estimator: Estimator,
    epoch: Option<u32>,
    /// Frames that are not looked at.
    skip: u32,
    /// When the stream was asked for, and whether for a move, until its phase has been seen.
    started: Option<(BoardTime, bool)>,
    last_frame: Option<BoardTime>,
    last_restart: Option<BoardTime>,
    /// A restart was asked for and its first frame is still to come.
    restarting: bool,
    pending: Option<Pending>,
    failures: u32,
    /// Blocks in a row with an error beyond what is tolerated.
    beyond: u32,
    order: Option<PhaseMove>,
    status: PhaseStatus,
}

impl Supervisor {
    /// Of a camera that runs at `rate` and has these means.
    #[must_use]
    pub fn new(config: PhaseConfig, rate: FrameRate, means: PhaseMeans) -> Self {
        let grid = Grid::new(rate, config.target);
        let block = if means.stretch.is_some() { FREE_BLOCK } else { COSTLY_BLOCK };
        Self {
            grid,
            config,
            means,
            obstacle: Obstacle::NoMeans,
            starts: Starts::new(grid),
            estimator: Estimator::new(grid, block),
            epoch: None,
            skip: FRESH_FRAMES,
            started: None,
            last_frame: None,
            last_restart: None,
            restarting: false,
            pending: None,
            failures: 0,
            beyond: 0,
            order: None,
            status: PhaseStatus {
                state: PhaseState::Waiting,
                error: None,
                uncertainty: None,
                moves: 0,
                restarts: 0,
                lost: 0,
            },
        }
    }

    /// Of a camera that took this one's place: another rate, other means. The counts go on.
    #[must_use]
    pub(super) fn replaced(&self, rate: FrameRate, means: PhaseMeans) -> Self {
        let PhaseStatus { moves, restarts, lost, .. } = self.status;
        let mut new = Self::new(self.config, rate, means);
        // The limit on restarts is of the stream, whichever camera gives it.
        new.last_restart = self.last_restart;
        new.status = PhaseStatus { moves, restarts, lost, ..new.status };
        new
    }

    /// How it goes.
    #[must_use]
    pub const fn status(&self) -> PhaseStatus {
        self.status
    }

    /// The stream was asked for at `at`: at first, for a move, or because it had failed.
    pub fn handle_start(&mut self, at: BoardTime) {
        if !self.restarting {
            self.estimator.forget();
            self.last_frame = None;
        }
        self.started = Some((at, self.restarting));
        self.beyond = 0;
        self.skip = FRESH_FRAMES;
        self.pending = None;
        self.order = None;
    }

    /// A frame was exposed at `mono`, known to within `jitter`; `mapping` tells UTC, if anything does.
    pub fn handle_frame(&mut self, mono: BoardTime, jitter: Span, mapping: Option<&ClockMapping>) {
        self.count_lost(mono);
        let Some(mapping) = mapping else {
            self.estimator.reset();
            (self.epoch, self.order) = (None, None);
            (self.status.error, self.status.uncertainty) = (None, None);
            self.set_state(PhaseState::Waiting);
            return;
        };
        if self.epoch.replace(mapping.epoch).is_some_and(|epoch| epoch != mapping.epoch) {
            self.estimator.forget();
            self.pending = None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let time = mapping.utc_at(mono);
        let Some(phase) = self.estimator.push(mono, self.grid.error(time.utc)) else { return };
        let bound = time.uncertainty + jitter + phase.noise;
        self.status.error = Some(self.grid.wrap(phase.error));
        self.status.uncertainty = Some(bound);
        self.judge(mono, phase, bound, mapping);
    }

    /// What to do now. What comes of it is seen in the frames that follow.
    pub fn poll_move(&mut self) -> Option<PhaseMove> {
        let order = self.order.take()?;
        self.status.moves += 1;
        match order {
            PhaseMove::Restart { .. } => {
                self.status.restarts += 1;
                self.last_restart = self.last_frame;
                self.restarting = true;
            }
            PhaseMove::Stretch(_) => self.skip = FRAMES_UNDER_WAY,
            PhaseMove::Nudge { frames, .. } => self.skip = frames.saturating_add(FRAMES_UNDER_WAY),
        }
        self.estimator.reset();
        Some(order)
    }

    /// The device refused a move; its kind is not tried again.
    pub fn handle_refusal(&mut self, refused: PhaseMove) {
        match refused {
            PhaseMove::Stretch(_) => self.means.stretch = None,
            PhaseMove::Restart { .. } => {
                self.means.restart = false;
                self.restarting = false;
                self.status.restarts = self.status.restarts.saturating_sub(1);
            }
            PhaseMove::Nudge { .. } => self.means.intervals = None,
        }
        self.status.moves = self.status.moves.saturating_sub(1);
        (self.obstacle, self.pending) = (Obstacle::Refused, None);
    }

    /// Counts the periods without a frame that a restart cost.
    fn count_lost(&mut self, mono: BoardTime) {
        if std::mem::take(&mut self.restarting)
            && let Some(last) = self.last_frame
        {
            let period = self.grid.period().as_nanos().max(1);
            let periods = ((mono - last).as_nanos() + period / 2) / period;
            self.status.lost += u64::try_from(periods - 1).unwrap_or(0);
        }
        self.last_frame = Some(mono);
    }

    /// Looks at a block of frames.
    fn judge(&mut self, now: BoardTime, phase: Phase, bound: Span, mapping: &ClockMapping) {
        if bound > self.grid.period() / 4 {
            self.set_state(PhaseState::Waiting);
            return;
        }
        if let Some((started, restarted)) = self.started.take() {
            let delay = phase.error - self.grid.error(mapping.utc_at(started).utc);
            tracing::debug!(delay = %self.grid.wrap(delay), restarted, "phase: start-to-phase delay");
            if restarted {
                self.starts.learn(delay);
            } else {
                self.starts.learn_opened(delay);
            }
            if self.means.restart && !self.starts.is_predictable() {
                (self.means.restart, self.obstacle) = (false, Obstacle::Unpredictable);
            }
        }
        self.check_effect(phase.error, bound);
        let error = self.grid.wrap(phase.error);
        let order = if let Some(range) = self.means.stretch {
            let band = FREE_BAND.max(range.step).max(bound);
            (error.abs() > band).then(|| self.stretch(error, range))
        } else if self.means.restart {
            let band = self.costly_band(bound);
            if self.outruns(band) {
                self.set_state(PhaseState::CannotMove(Obstacle::Drift));
                return;
            }
            self.beyond = if error.abs() > band { self.beyond.saturating_add(1) } else { 0 };
            let off = self.beyond >= SURE_BLOCKS;
            if !off && self.beyond > 0 {
                // Not sure yet: it is what it was.
                return;
            }
            off.then(|| self.restart(now, band, mapping))
        } else if let Some(choice) = self.means.intervals.clone() {
            let nudge = nudge(self.grid, -error, &choice);
            let left = nudge.map_or(self.grid.period(), |(left, _)| left.abs());
            // What halves the error at least is worth it.
            let band = self.config.tolerance.unwrap_or(COSTLY_BAND).max(bound).max(left * 2);
            (error.abs() > band).then(|| self.nudge(error, nudge))
        } else {
            self.set_state(PhaseState::CannotMove(self.obstacle));
            return;
        };
        self.set_state(if order.is_some() { PhaseState::Seeking } else { PhaseState::Holding });
        self.order = order.flatten();
    }

    fn set_state(&mut self, state: PhaseState) {
        self.status.state = state;
    }

    /// Whether the last free move did what it should, more or less.
    fn check_effect(&mut self, error: Span, bound: Span) {
        let Some(pending) = self.pending.take() else { return };
        let miss = self.grid.wrap(error - pending.expected).abs();
        self.failures = if miss > bound.max(pending.shift.abs() / 2) { self.failures + 1 } else { 0 };
        if self.failures >= FAILURES {
            self.failures = 0;
            self.obstacle = Obstacle::NoEffect;
            if self.means.stretch.take().is_none() {
                self.means.intervals = None;
            }
        }
    }

    /// Makes a frame longer or shorter, as far as one frame can be.
    fn stretch(&mut self, error: Span, range: StretchRange) -> Option<PhaseMove> {
        let mut shift = -error;
        if shift < range.shortest {
            // What cannot be made shorter is made longer all the way round.
            shift += self.grid.period();
        }
        let shift = shift.max(range.shortest).min(range.longest);
        self.pending = Some(Pending { expected: error + shift, shift });
        Some(PhaseMove::Stretch(shift))
    }

    /// What is tolerated where a move costs frames: what is configured, else what a few restarts can be expected to
    /// reach and what the drift covers while one should hold; not so much that alignment would mean nothing.
    fn costly_band(&self, bound: Span) -> Span {
        let expected = || {
            let scatter = self.starts.scatter().unwrap_or(Span::ZERO) / SCATTER_PART;
            let drift = Span::from_secs_f64(self.estimator.drift().unwrap_or(0.0).abs() * HOLD);
            COSTLY_BAND.max(scatter).max(drift)
        };
        self.config.tolerance.unwrap_or_else(expected).min(self.grid.period() / 6).max(bound * 2)
    }

    /// Whether the camera crosses what is tolerated faster than it may be started again.
    fn outruns(&self, band: Span) -> bool {
        let drift = self.estimator.drift().unwrap_or(0.0).abs();
        Span::from_secs_f64(drift * self.config.restart_interval.as_secs_f64()) > band * 2
    }

    /// A restart that is expected to land on the near side of the grid, from where the drift carries
    /// the camera over it; nothing while the last one is too recent.
    fn restart(&mut self, now: BoardTime, band: Span, mapping: &ClockMapping) -> Option<PhaseMove> {
        if self.last_restart.is_some_and(|last| now - last < self.config.restart_interval) {
            return None;
        }
        let drift = Span::from_secs_f64(self.estimator.drift().unwrap_or(0.0) * HOLD);
        let aim = -drift.max(-(band / 2)).min(band / 2);
        // Of a camera of which no start was seen, the first restart is one to learn from.
        let delay = self.starts.predict().unwrap_or(Span::ZERO);
        let earliest = mapping.utc_at(now + LEAD.max(self.grid.period() * LEAD_PERIODS)).utc;
        let at = mapping.mono_at(self.grid.next(earliest, self.grid.wrap(aim - delay)));
        Some(PhaseMove::Restart { at, every: self.grid.period() })
    }

    fn nudge(&mut self, error: Span, nudge: Option<(Span, PhaseMove)>) -> Option<PhaseMove> {
        let (left, order) = nudge?;
        self.pending = Some(Pending { expected: -left, shift: error });
        Some(order)
    }
}

/// Frames at another interval that shift the phase by `shift`, and what they leave of it.
fn nudge(grid: Grid, shift: Span, choice: &IntervalChoice) -> Option<(Span, PhaseMove)> {
    let period = grid.period();
    let candidates = match choice {
        IntervalChoice::Discrete(intervals) => intervals.clone(),
        IntervalChoice::Range { shortest, longest } => {
            let spread = |shift: Span| (period + shift / NUDGE_FRAMES).max(*shortest).min(*longest);
            vec![spread(shift), spread(shift + period), spread(shift - period)]
        }
    };
    let plan = |interval: Span| {
        let each = interval - period;
        if each == Span::ZERO || each.abs() >= period {
            return None;
        }
        // All the way round where the interval shifts the other way.
        let way = match (each > Span::ZERO, shift >= Span::ZERO) {
            (true, false) => shift + period,
            (false, true) => shift - period,
            _ => shift,
        };
        let frames = (way.as_nanos() + each.as_nanos() / 2) / each.as_nanos();
        let frames = frames.clamp(1, NUDGE_LIMIT);
        let order = PhaseMove::Nudge { interval, frames: u32::try_from(frames).unwrap_or(1) };
        Some((way - each * frames, order))
    };
    candidates.into_iter().filter_map(plan).min_by_key(|(left, _)| left.abs())
}
