//! Simulated cameras and clocks for the tests of this module: seeded, with the truth at hand.

use framelock_common::clock::ClockMapping;
use framelock_common::time::{BoardTime, Span, Utc};

use super::{Grid, PhaseConfig, PhaseState, Supervisor};
use crate::capture::{FrameRate, PhaseMeans, PhaseMove};

/// UTC when the board's monotonic clock shows zero.
pub(crate) const BOOT: Utc = Utc::from_unix_nanos(1_790_000_000_123_456_789);

/// Random numbers (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From zero to one.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn uniform(&mut self, below: Span) -> Span {
        Span::from_secs_f64(self.unit() * below.as_secs_f64())
    }

    pub(crate) fn normal(&mut self, deviation: Span) -> Span {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.unit();
        Span::from_secs_f64(deviation.as_secs_f64() * radius * angle.cos())
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.unit() * 100.0 < f64::from(percent)
    }
}

/// How a simulated camera and its board behave.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    pub(crate) rate: FrameRate,
    pub(crate) means: PhaseMeans,
    pub(crate) first_phase: Span,
    pub(crate) drift_ppb: i64,
    /// From the order to start until the first exposure, and the standard deviation of that.
    pub(crate) start_delay: Span,
    pub(crate) start_scatter: Span,
    /// The standard deviation of the stamps; one in twenty comes late by up to fifty times as much.
    pub(crate) stamp_noise: Span,
    /// What the camera makes of a stretch, in per cent.
    pub(crate) stretch_gain: i64,
    /// The standard deviation of the clock's error, and the bound that is claimed for it.
    pub(crate) clock_error: Span,
    pub(crate) clock_bound: Span,
}

impl Behaviour {
    /// A camera at `hz` with these means and otherwise no faults, on a board on a LAN.
    pub(crate) fn new(hz: u32, means: PhaseMeans) -> Self {
        Self {
            rate: FrameRate::from_hz(hz),
            means,
            first_phase: Span::from_millis(9),
            drift_ppb: 0,
            start_delay: Span::from_millis(413),
            start_scatter: Span::ZERO,
            stamp_noise: Span::ZERO,
            stretch_gain: 100,
            clock_error: Span::from_micros(20),
            clock_bound: Span::from_micros(100),
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// When the camera was first in its place.
    pub(crate) held_after: Option<Span>,
    /// True errors against the grid, without sign, of the frames since.
    pub(crate) errors: Vec<Span>,
    /// The orders and when.
    pub(crate) orders: Vec<(Span, PhaseMove)>,
    /// Periods in which there was no frame because of restarts.
    pub(crate) truly_lost: i64,
    /// Frames while nothing could be done.
    pub(crate) unmovable: u64,
}

impl Outcome {
    /// The error that so many in a thousand frames do not exceed.
    pub(crate) fn permille(&self, permille: usize) -> Span {
        let mut errors = self.errors.clone();
        errors.sort_unstable();
        errors
            .get((errors.len() * permille / 1_000).min(errors.len().saturating_sub(1)))
            .copied()
            .unwrap_or(Span::MAX)
    }

    pub(crate) fn restarts(&self) -> impl Iterator<Item = Span> {
        self.orders.iter().filter(|(_, order)| matches!(order, PhaseMove::Restart { .. })).map(|(at, _)| *at)
    }
}

/// A camera, its board and its supervisor.
pub(crate) struct Simulation {
    pub(crate) supervisor: Supervisor,
    pub(crate) outcome: Outcome,
    /// Whether the clock is synchronized, and how often UTC was stepped by how much in all.
    pub(crate) synchronized: bool,
    pub(crate) epoch: u32,
    pub(crate) stepped: Span,
    /// Refuses every order of this kind.
    pub(crate) refuses: fn(&PhaseMove) -> bool,
    grid: Grid,
    behaviour: Behaviour,
    random: Random,
    /// Board time of the next exposure.
    next: Span,
    /// Parts of a nanosecond that exposures are behind, as a fraction with the rate's numerator.
    carry: i128,
    clock_error: Span,
    clock_changes: Span,
    /// Frames that take another interval, and by how much longer one is.
    nudge: (u32, Span),
}

impl Simulation {
    pub(crate) fn new(behaviour: Behaviour, config: PhaseConfig, seed: u64) -> Self {
        let grid = Grid::new(behaviour.rate, config.target);
        let mut random = Random::new(seed);
        let asked = random.uniform(Span::from_secs(1));
        let mut supervisor = Supervisor::new(config, behaviour.rate, behaviour.means.clone());
        let mut next = grid.next(BOOT, behaviour.first_phase) - BOOT;
        if behaviour.means.restart {
            supervisor.handle_start(BoardTime::from_nanos(asked.as_nanos()));
            next = asked + behaviour.start_delay + random.normal(behaviour.start_scatter);
        }
        Self {
            supervisor,
            outcome: Outcome::default(),
            synchronized: true,
            epoch: 0,
            stepped: Span::ZERO,
            refuses: |_| false,
            grid,
            behaviour,
            random,
            next,
            carry: 0,
            clock_error: Span::ZERO,
            clock_changes: Span::ZERO,
            nudge: (0, Span::ZERO),
        }
    }

    /// Runs for so long.
    pub(crate) fn run(&mut self, time: Span) {
        let end = self.next + time;
        while self.next < end {
            self.frame();
        }
    }

    pub(crate) fn state(&self) -> PhaseState {
        self.supervisor.status().state
    }

    /// The camera is away for so long and then started by whoever found it.
    pub(crate) fn replug(&mut self, away: Span) {
        let start = self.next + away + self.random.uniform(Span::from_secs(1));
        self.supervisor.handle_start(BoardTime::from_nanos(start.as_nanos()));
        self.next = start + self.behaviour.start_delay + self.random.normal(self.behaviour.start_scatter);
    }

    fn frame(&mut self) {
        let exposed = self.next;
        self.advance();
        let late = if self.random.chance(5) {
            self.random.uniform(self.behaviour.stamp_noise * 50)
        } else {
            self.random.normal(self.behaviour.stamp_noise)
        };
        let mono = BoardTime::from_nanos((exposed + late).as_nanos());
        let mapping = self.mapping(exposed);
        self.supervisor.handle_frame(mono, self.behaviour.stamp_noise, mapping.as_ref());
        let error = self.grid.error(BOOT + exposed + self.stepped).abs();
        match self.state() {
            PhaseState::Holding => _ = self.outcome.held_after.get_or_insert(exposed),
            PhaseState::CannotMove(_) => self.outcome.unmovable += 1,
            PhaseState::Waiting | PhaseState::Seeking => {}
        }
        if self.outcome.held_after.is_some() {
            self.outcome.errors.push(error);
        }
        if let Some(order) = self.supervisor.poll_move() {
            self.outcome.orders.push((exposed, order));
            if (self.refuses)(&order) {
                self.supervisor.handle_refusal(order);
            } else {
                self.obey(exposed, order);
            }
        }
    }

    /// To the next frame, by the camera's own oscillator and without adding up rounding.
    fn advance(&mut self) {
        let rate = self.behaviour.rate;
        let scale = i128::from(rate.numerator()) * (1_000_000_000 + i128::from(self.behaviour.drift_ppb));
        let parts = 1_000_000_000_000_000_000 * i128::from(rate.denominator()) + self.carry;
        self.carry = parts % scale;
        self.next += Span::from_nanos(i64::try_from(parts / scale).unwrap());
        if self.nudge.0 > 0 {
            self.nudge.0 -= 1;
            self.next += self.nudge.1;
        }
    }

    fn obey(&mut self, now: Span, order: PhaseMove) {
        match order {
            PhaseMove::Stretch(by) => self.next += by * self.behaviour.stretch_gain / 100,
            PhaseMove::Nudge { interval, frames } => self.nudge = (frames, interval - self.grid.period()),
            PhaseMove::Restart { at, every } => {
                let stopped = now + Span::from_millis(20) + self.random.uniform(Span::from_millis(80));
                let mut start = Span::from_nanos(at.as_nanos());
                assert!(start > now, "an order for the past");
                while start < stopped {
                    start += every;
                }
                start += self.random.uniform(Span::from_micros(200));
                self.supervisor.handle_start(BoardTime::from_nanos(start.as_nanos()));
                self.next =
                    start + self.behaviour.start_delay + self.random.normal(self.behaviour.start_scatter);
                let period = self.grid.period().as_nanos();
                self.outcome.truly_lost += ((self.next - now).as_nanos() + period / 2) / period - 1;
            }
        }
    }

    /// What the clock tells: another error every 16 s, always within the bound.
    fn mapping(&mut self, now: Span) -> Option<ClockMapping> {
        if now >= self.clock_changes {
            self.clock_changes = now + Span::from_secs(16);
            let bound = self.behaviour.clock_bound;
            self.clock_error = self.random.normal(self.behaviour.clock_error).max(-bound).min(bound);
        }
        self.synchronized.then(|| ClockMapping {
            mono0: BoardTime::from_nanos(now.as_nanos()),
            utc0: BOOT + now + self.clock_error + self.stepped,
            rate_ppb: 0,
            uncertainty: self.behaviour.clock_bound,
            drift_ppb: 15_000,
            epoch: self.epoch,
        })
    }
}
