//! Which camera's frames the sets of `tightest` are anchored on.

use framelock_common::time::{HostTime, Span};

use super::camera::{CLOCK_STEP, Camera};
use super::{Rate, SourceState, SyncEvent, Synchronizer};

/// Periods that differ by less than this part of themselves are equal.
const EQUAL_PERIODS: i64 = 50;
/// The reference keeps its place while its period differs by less than this part: estimates waver.
const EQUAL_TO_REFERENCE: i64 = 25;

/// The estimate of a period may be off by this part of the jitter: it is a mean of up to 32 intervals.
const JITTER_IN_PERIOD: i64 = 3;

impl<T> Synchronizer<T> {
    /// The reference's place in the order of cameras, or how long to wait for one.
    pub(super) fn pick_reference(&mut self, due: HostTime) -> Result<usize, Option<HostTime>> {
        if let Some(deadline) = self.learning_until(due) {
            return Err(Some(deadline));
        }
        let current = self.anchoring.reference.and_then(|index| self.position(index));
        let best = self.best_reference(current, due);
        if let Some(current) = current {
            // Frames that a reference left behind still anchor their sets.
            let left = !self.cameras[current].queue().is_empty();
            if best == Some(current) || (left && !self.eligible(due).any(|at| at == current)) {
                return Ok(current);
            }
        }
        let best = best.ok_or(None)?;
        self.change_reference(best);
        Ok(best)
    }

    /// The distance from one anchor to the next.
    pub(super) fn spacing(&self, reference: usize) -> Span {
        let period = self.cameras[reference].period_or_guess();
        match self.config.rate {
            Rate::Slowest | Rate::Fastest => period,
            Rate::Hertz(hertz) => period.max(hertz.period()),
        }
    }

    /// How long the reference may be silent before another takes its place.
    pub(super) fn silence(&self, camera: &Camera<T>) -> Span {
        let period = camera.period_or_guess();
        period + self.max_wait(camera.period()).max(period)
    }

    /// Until when the first set waits for every camera to show its period.
    fn learning_until(&self, due: HostTime) -> Option<HostTime> {
        if self.anchoring.reference.is_some() || self.finished {
            return None;
        }
        let mut longest = Some(Span::ZERO);
        let mut unseen = false;
        for camera in self.cameras.iter().filter(|camera| camera.is_awaited()) {
            longest = longest.zip(camera.period()).map(|(longest, period)| longest.max(period));
            unseen |= !camera.seen();
        }
        let deadline = self.first_arrival? + self.max_wait(longest);
        ((unseen || longest.is_none()) && due < deadline).then_some(deadline)
    }

    fn is_alive(&self, camera: &Camera<T>, due: HostTime) -> bool {
        let in_time = |last| self.finished || due < last + self.silence(camera);
        camera.state != SourceState::Broken && camera.last_arrival().is_some_and(in_time)
    }

    /// The cameras that are alive and whose frames do not take much longer than those of the others: a
    /// camera that is late must not hold the others, nor must one whose clock is far off.
    fn eligible(&self, due: HostTime) -> impl Iterator<Item = usize> {
        let alive = || self.cameras.iter().enumerate().filter(move |(_, camera)| self.is_alive(camera, due));
        let mut delays: Vec<_> = alive().filter_map(|(_, camera)| camera.delay()).collect();
        delays.sort_unstable();
        let median = delays.get(delays.len().saturating_sub(1) / 2).copied();
        alive().filter_map(move |(at, camera)| {
            let Some((delay, median)) = camera.delay().zip(median) else { return Some(at) };
            let behind = delay.longer_than(median);
            let limit = self.max_wait(camera.period()).max(camera.period_or_guess());
            (-CLOCK_STEP..=limit).contains(&behind).then_some(at)
        })
    }

    fn best_reference(&self, current: Option<usize>, due: HostTime) -> Option<usize> {
        let eligible: Vec<_> = self.eligible(due).collect();
        let known: Vec<_> =
            eligible.iter().filter_map(|at| Some((*at, self.cameras[*at].period()?))).collect();
        let longest = || known.iter().map(|(_, period)| *period).max();
        let shortest = || known.iter().map(|(_, period)| *period).min();
        let wanted = match self.config.rate {
            Rate::Slowest => longest(),
            Rate::Fastest => shortest(),
            Rate::Hertz(hertz) => {
                let limit = hertz.period() + hertz.period() / EQUAL_PERIODS;
                let enough = known.iter().map(|(_, period)| *period).filter(|period| *period <= limit);
                enough.max().or_else(shortest)
            }
        };
        let Some(wanted) = wanted else { return eligible.first().copied() };
        // What jitter leaves unsure of a period cannot make a difference either.
        let jitter = eligible.iter().map(|at| self.cameras[*at].jitter()).max().unwrap_or(Span::ZERO);
        let equal = |(at, period): &&(usize, Span)| {
            let part = if Some(*at) == current { EQUAL_TO_REFERENCE } else { EQUAL_PERIODS };
            (*period - wanted).abs() <= (wanted / part).max(jitter / JITTER_IN_PERIOD)
        };
        known.iter().find(equal).map(|(at, _)| *at)
    }

    fn change_reference(&mut self, best: usize) {
        let half = self.spacing(best) / 2;
        let camera = &mut self.cameras[best];
        // Sets go on where the last reference left off; but a last anchor that is far ahead came from a
        // clock that was wrong.
        if let Some((last, _)) = self.anchoring.last {
            let stale = camera.queue().front().is_some_and(|front| front.time > last - CLOCK_STEP);
            if stale {
                camera.skip_until(last + half);
            }
        }
        let index = camera.index;
        self.anchoring.reference = Some(index);
        self.event(SyncEvent::Reference { camera: index });
    }
}
