//! Which camera's frames the sets of `tightest` are anchored on.

use framelock_common::time::{HostTime, Span};

use super::camera::{CLOCK_STEP, Camera};
use super::rhythm::Delay;
use super::{CameraIndex, Rate, SourceState, SyncEvent, Synchronizer, TimeBasis};

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
        let usual = self.usual_delay(due);
        let alive = self.cameras.iter().enumerate().filter(move |(_, camera)| self.is_alive(camera, due));
        alive.filter_map(move |(at, camera)| {
            let Some((delay, usual)) = camera.delay().zip(usual) else { return Some(at) };
            let behind = delay.longer_than(usual);
            let limit = self.max_wait(camera.period()).max(camera.period_or_guess());
            (-CLOCK_STEP..=limit).contains(&behind).then_some(at)
        })
    }

    /// The median delay of the cameras that agree about the time, as far as a second. Where there are several such
    /// groups, theirs in which the most cameras know the time by themselves and are not contradicted by the
    /// arrival of their frames; then the largest; then one that is not contradicted; then the earliest.
    fn usual_delay(&self, due: HostTime) -> Option<Delay> {
        let alive = self.cameras.iter().filter(|camera| self.is_alive(camera, due));
        let mut delays: Vec<_> = alive.filter_map(|camera| Some((camera.delay()?, camera.basis))).collect();
        delays.sort_unstable_by_key(|(delay, _)| *delay);
        let rank = |group: &[(Delay, TimeBasis)]| {
            let known = group.iter().filter(|(_, basis)| *basis == TimeBasis::Told).count();
            let possible = group.iter().any(|(_, basis)| *basis != TimeBasis::Contradicted);
            (known, group.len(), possible)
        };
        let mut best: &[(Delay, TimeBasis)] = &[];
        let mut rest = delays.as_slice();
        while let Some(((first, _), others)) = rest.split_first() {
            let together = |(delay, _): &(Delay, TimeBasis)| delay.longer_than(*first) <= CLOCK_STEP;
            let group = &rest[..rest.partition_point(together)];
            if best.is_empty() || rank(group) > rank(best) {
                best = group;
            }
            if group.len() == rest.len() {
                break;
            }
            rest = others;
        }
        best.get(best.len().checked_sub(1)? / 2).map(|(delay, _)| *delay)
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
        let camera = &self.cameras[best];
        let (index, follows) = (camera.index, camera.in_last_set);
        self.anchoring.reference = Some(index);
        // Sets go on where those of the last reference left off. A camera that was in the last of them goes on
        // with its next frame.
        if !follows {
            self.space_anchors(index);
        }
        self.event(SyncEvent::Reference { camera: index });
    }

    /// Passes over those of the reference's frames that are too near to the last anchor for a set of their own:
    /// the frames of the other cameras around there are used.
    pub(super) fn space_anchors(&mut self, reference: CameraIndex) {
        let Some(at) = self.position(reference) else { return };
        let half = self.spacing(at) / 2;
        let camera = &mut self.cameras[at];
        // A last anchor that is far ahead came from a clock that was wrong.
        if let Some((last, _)) = self.anchoring.last
            && camera.front().is_some_and(|front| front.time > last - CLOCK_STEP)
        {
            camera.skip_until(last + half);
        }
    }
}
