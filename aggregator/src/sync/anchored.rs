//! The policy `tightest`: a set for each anchor, with the smallest spread that is possible.

use std::collections::VecDeque;

use framelock_common::time::{HostTime, Span, Utc};

use super::camera::{CLOCK_STEP, Camera, Queued};
use super::rhythm::Delay;
use super::synchronizer::Step;
use super::tightest::{Choices, Interval, Side, shortest};
use super::{CameraIndex, Hertz, Policy, Rate, Synchronizer};

/// A camera keeps its frame for the next anchor only if that makes this set tighter by this part of the
/// distance of anchors.
const YIELD_MARGIN: i64 = 16;
/// And by this many times the jitter, for noise must not cost frames; but by no more than a quarter.
const YIELD_JITTER: i64 = 3;

/// What one camera could give to the set of an anchor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Candidate {
    choices: Choices,
    /// Places in the queue of the two frames in `choices`.
    before: usize,
    after: usize,
    /// A damaged frame that belongs to the anchor: its place and time.
    damaged: Option<(usize, Utc)>,
    /// A frame counts if it is nearer to the anchor than this.
    reach: Span,
}

impl Candidate {
    fn pick(&self, interval: Interval) -> Option<usize> {
        match interval.pick(self.choices) {
            Some(Side::Before) => Some(self.before),
            Some(Side::After) => Some(self.after),
            None => self.damaged.map(|(at, _)| at),
        }
    }
}

impl<T> Synchronizer<T> {
    /// Finishes the set of the next anchor, if that can be.
    pub(super) fn step_anchored(&mut self, due: HostTime, now: HostTime) -> Step {
        let reference = match self.pick_reference(due) {
            Ok(reference) => reference,
            Err(timer) => return Step::Wait(timer),
        };
        let at = match self.next_anchor(reference, due) {
            Ok(at) => at,
            Err(timer) => return Step::Wait(timer),
        };
        let Some(anchor) = self.cameras[reference].queue().get(at) else { return Step::Wait(None) };
        let (time, arrival) = (anchor.time, anchor.arrival);
        let deadline = arrival + self.max_wait(self.cameras[reference].period());
        let mut candidates = std::mem::take(&mut self.anchoring.candidates);
        self.look_around(reference, time, &mut candidates);
        let interval = self.shortest(candidates.iter().map(|candidate| candidate.choices));
        let overdue = due >= deadline;
        if !overdue && !self.finished && self.could_improve(reference, time, &candidates, interval) {
            self.anchoring.candidates = candidates;
            return Step::Wait(Some(deadline));
        }
        if overdue && !self.finished {
            self.mark_overdue(reference, time);
        }
        let interval = self.keep_for_next(reference, time, &mut candidates, interval);
        let mut picks: Vec<_> = candidates.iter().map(|candidate| candidate.pick(interval)).collect();
        picks[reference] = Some(at);
        let index = self.cameras[reference].index;
        self.deliver(&picks, Some(index), time, now);
        self.anchoring.last = Some((time, arrival));
        if let Rate::Hertz(hertz) = self.config.rate {
            self.anchoring.last_grid = Some(hertz.nearest(time));
        }
        self.pass_over(reference, &candidates);
        self.anchoring.candidates = candidates;
        Step::Again
    }

    /// The place of the next anchor in the reference's queue, or how long to wait for it.
    fn next_anchor(&mut self, reference: usize, due: HostTime) -> Result<usize, Option<HostTime>> {
        if let (Rate::Hertz(hertz), Some(last)) = (self.config.rate, self.anchoring.last_grid) {
            let camera = &mut self.cameras[reference];
            // A grid instant that is far ahead came from a clock that was wrong.
            let begin = hertz.instant(last) - hertz.period() - CLOCK_STEP;
            if camera.front().is_some_and(|front| front.time > begin) {
                let done = camera.queue().partition_point(|item| hertz.nearest(item.time) <= last);
                camera.skip(done);
            }
        }
        let camera = &self.cameras[reference];
        let Some(front) = camera.queue().front() else {
            let others_wait = self.cameras.iter().any(|camera| !camera.queue().is_empty());
            let silent = camera.last_arrival().map(|last| last + self.silence(camera));
            return Err(silent.filter(|silent| others_wait && !self.finished && *silent > due));
        };
        let (at, best, end) = match self.config.rate {
            // Up to where a frame still to come would be the anchor in its place.
            Rate::Slowest | Rate::Fastest => (0, front, front.time),
            Rate::Hertz(hertz) => nearest_to_grid(camera.queue(), hertz).unwrap_or((0, front, front.time)),
        };
        let deadline = best.arrival + self.max_wait(camera.period());
        let expected = camera.expected(self.config.tolerance_permille);
        let settled = self.finished || due >= deadline || expected.is_none_or(|expected| expected > end);
        if settled { Ok(at) } else { Err(Some(deadline)) }
    }

    /// Finds what each camera could give to the set anchored at `time`.
    fn look_around(&self, reference: usize, time: Utc, candidates: &mut Vec<Candidate>) {
        let spacing = self.spacing(reference);
        candidates.clear();
        candidates.extend(self.cameras.iter().enumerate().map(|(at, camera)| {
            if at == reference {
                return Candidate::default();
            }
            let reach = self.reach(reference, camera, spacing);
            candidate(camera.queue(), time, reach, spacing)
        }));
    }

    /// How near to an anchor a camera's frame must be to count.
    fn reach(&self, reference: usize, camera: &Camera<T>, spacing: Span) -> Span {
        let reference = self.cameras[reference].period_or_guess();
        let period = camera.period().unwrap_or(reference);
        if period > spacing + spacing / 8 {
            // A frame of a camera that is slower than the sets goes to the anchor that is nearest.
            // Anchors on a grid are up to one more period of the reference apart.
            let apart = if reference < spacing { spacing + reference } else { spacing };
            let tolerance = i64::from(self.config.tolerance_permille.min(1_000));
            (apart / 2).mul_div(1_000 + tolerance, 1_000)
        } else {
            reference.max(period).min(spacing)
        }
    }

    fn shortest(&mut self, choices: impl Iterator<Item = Choices>) -> Interval {
        shortest(choices, &mut self.anchoring.sorted)
    }

    /// Whether frames still to come could give more cameras or a smaller spread than `interval`.
    fn could_improve(
        &mut self,
        reference: usize,
        time: Utc,
        candidates: &[Candidate],
        interval: Interval,
    ) -> bool {
        let mut more = false;
        let mut sorted = std::mem::take(&mut self.anchoring.sorted);
        let hoped = self.cameras.iter().zip(candidates).enumerate().map(|(at, (camera, candidate))| {
            let mut choices = candidate.choices;
            if at == reference || !camera.is_awaited() {
                return choices;
            }
            let expected = camera.expected(self.config.tolerance_permille);
            let ahead = expected.map_or(Span::ZERO, |expected| (expected - time).max(Span::ZERO));
            if ahead < candidate.reach {
                more |= choices == Choices::default();
                let nearer = |other: Option<Span>| Some(other.map_or(ahead, |other| other.min(ahead)));
                match ahead {
                    Span::ZERO => choices.before = Some(ahead),
                    _ => choices.after = nearer(choices.after),
                }
            }
            choices
        });
        let best = shortest(hoped, &mut sorted);
        self.anchoring.sorted = sorted;
        more || best.length() < interval.length()
    }

    /// Cameras that have not even reached the anchor when its wait is over are not waited for any more.
    fn mark_overdue(&mut self, reference: usize, time: Utc) {
        for at in 0..self.cameras.len() {
            let camera = &self.cameras[at];
            let expected = camera.expected(self.config.tolerance_permille);
            if at != reference && camera.is_awaited() && expected.is_none_or(|expected| expected <= time) {
                self.mark_late(at);
            }
        }
    }

    /// Where cameras lost the frame that belongs to this anchor, their next one may belong to the next
    /// anchor: takes those cameras' frames out of `candidates` if that gives a set that is clearly tighter.
    /// Gives the interval of what is left.
    fn keep_for_next(
        &mut self,
        reference: usize,
        time: Utc,
        candidates: &mut [Candidate],
        interval: Interval,
    ) -> Interval {
        let spacing = self.spacing(reference);
        let jitter = self.cameras.iter().map(Camera::jitter).max().unwrap_or(Span::ZERO);
        let margin = (jitter * YIELD_JITTER).clamp(spacing / YIELD_MARGIN, spacing / 4);
        if interval.length() <= margin {
            return interval;
        }
        let mut sorted = std::mem::take(&mut self.anchoring.sorted);
        let wished = self
            .cameras
            .iter()
            .zip(candidates.iter())
            .map(|(camera, candidate)| with_lost_frame(candidate, camera.period(), time, spacing));
        let ideal = shortest(wished, &mut sorted);
        self.anchoring.sorted = sorted;
        if ideal.length() + margin >= interval.length() {
            return interval;
        }
        for candidate in candidates.iter_mut().filter(|candidate| ideal.pick(candidate.choices).is_none()) {
            candidate.choices = Choices::default();
        }
        self.shortest(candidates.iter().map(|candidate| candidate.choices))
    }

    /// Passes over frames that no later anchor can use.
    fn pass_over(&mut self, reference: usize, candidates: &[Candidate]) {
        let camera = &self.cameras[reference];
        let front = camera.queue().front().map(|front| front.time);
        let expected = camera.expected(self.config.tolerance_permille);
        let Some(next) = front.into_iter().chain(expected).min() else { return };
        for (at, candidate) in candidates.iter().enumerate() {
            if at != reference {
                self.cameras[at].skip_until(next - candidate.reach);
            }
        }
    }

    /// Whether a frame came early enough after its capture to have its part in a set.
    pub(super) fn in_time(&self, index: CameraIndex, time: Option<Utc>, now: HostTime) -> bool {
        let Some(time) = time else { return false };
        let Some((last, arrival)) = self.anchoring.last else { return true };
        let reference = self.anchoring.reference.and_then(|index| self.position(index));
        let (spacing, period) = match (self.config.policy, reference) {
            (Policy::Tightest, Some(at)) => (self.spacing(at), self.cameras[at].period()),
            _ => (Span::ZERO, self.camera(index).and_then(Camera::period)),
        };
        // How long after the anchor nearest to it the frame was captured.
        let half = spacing / 2;
        let after = match spacing {
            Span::ZERO => Span::ZERO,
            _ => Span::from_nanos((time - last + half).as_nanos().rem_euclid(spacing.as_nanos())) - half,
        };
        let later = Delay::of(time, now).longer_than(Delay::of(last, arrival));
        later + after <= self.max_wait(period)
    }
}

/// What the frames in `queue` can give to an anchor at `time`.
fn candidate<T>(queue: &VecDeque<Queued<T>>, time: Utc, reach: Span, spacing: Span) -> Candidate {
    let mut candidate = Candidate { reach, ..Candidate::default() };
    let split = queue.partition_point(|item| item.time <= time);
    for (at, item) in queue.iter().enumerate().take(split).rev() {
        let distance = time - item.time;
        if distance >= reach {
            break;
        }
        if item.payload.is_some() {
            (candidate.choices.before, candidate.before) = (Some(distance), at);
            break;
        }
        candidate.damaged = candidate.damaged.or(Some((at, item.time)));
    }
    for (at, item) in queue.iter().enumerate().skip(split) {
        let distance = item.time - time;
        if distance >= reach {
            break;
        }
        if item.payload.is_some() {
            (candidate.choices.after, candidate.after) = (Some(distance), at);
            break;
        }
        if distance <= spacing / 2 {
            candidate.damaged = candidate.damaged.or(Some((at, item.time)));
        }
    }
    candidate
}

/// The choices of a camera that has only a frame after the anchor, as if the one before had not been lost.
fn with_lost_frame(candidate: &Candidate, period: Option<Span>, time: Utc, spacing: Span) -> Choices {
    let choices = candidate.choices;
    let (None, Some(after)) = (choices.before, choices.after) else { return choices };
    let same_pace = |period: &Span| (*period - spacing).abs() <= spacing / 8;
    let ahead = match candidate.damaged {
        Some((_, damaged)) => damaged - time,
        // A camera that has only just come is taken for one like the reference.
        None => match period.or(Some(spacing)).filter(same_pace) {
            Some(period) => after - period,
            None => return choices,
        },
    };
    if ahead > Span::ZERO {
        Choices { before: None, after: Some(after.min(ahead)) }
    } else {
        Choices { before: Some(-ahead), after: Some(after) }
    }
}

/// The first frames in `queue` share the grid instant that is nearest to them: the nearest of them, its
/// place, and up to where a frame still to come would be at least as near.
fn nearest_to_grid<T>(queue: &VecDeque<Queued<T>>, hertz: Hertz) -> Option<(usize, &Queued<T>, Utc)> {
    let number = hertz.nearest(queue.front()?.time);
    let instant = hertz.instant(number);
    let same = queue.iter().enumerate().take_while(|(_, item)| hertz.nearest(item.time) == number);
    let (at, best) = same.min_by_key(|(_, item)| (item.time - instant).abs())?;
    Some((at, best, instant + (best.time - instant).abs()))
}
