//! The policies that look at the cameras' oldest unused frames: `last-before` and `exact`.

use framelock_common::time::{HostTime, Span, Utc};

use super::Synchronizer;
use super::camera::{Camera, Queued};
use super::synchronizer::Step;

impl<T> Synchronizer<T> {
    /// The set at the latest of the fronts, each camera with its last frame at or before it.
    pub(super) fn step_last_before(&mut self, due: HostTime, now: HostTime) -> Step {
        let first = self.cameras.iter().filter_map(Camera::front).map(|front| front.arrival).min();
        let Some(first) = first else { return Step::Wait(None) };
        let slowest = self.cameras.iter().filter_map(Camera::period).max();
        let max_wait = self.max_wait(slowest);
        // An instant needs the front of every camera that takes part.
        let missing = |camera: &Camera<T>| camera.queue().is_empty() && camera.is_awaited();
        if self.finished && self.cameras.iter().any(|camera| missing(camera) && camera.seen()) {
            return Step::Wait(None);
        }
        if !self.finished && self.cameras.iter().any(missing) {
            return self.wait_or_mark(first + max_wait, due, missing);
        }
        let fronts = self.cameras.iter().filter_map(Camera::front);
        let Some((time, arrival)) = fronts.map(|front| (front.time, front.arrival)).max() else {
            return Step::Wait(None);
        };
        // A camera's frame is its last before the instant only once nothing can come in between.
        let open = |camera: &Camera<T>| {
            let settled = camera.settled().is_some_and(|settled| settled > time);
            camera.is_awaited() && !settled && camera.last_until(time).is_none_or(|last| last < time)
        };
        if !self.finished && self.cameras.iter().any(open) {
            return self.wait_or_mark(arrival + max_wait, due, open);
        }
        let picks: Vec<_> =
            self.cameras.iter().map(|camera| camera.count_until(time).checked_sub(1)).collect();
        self.deliver(&picks, None, time, now);
        self.anchoring.last = Some((time, arrival));
        Step::Again
    }

    /// A complete set of the fronts, if they are near enough.
    pub(super) fn step_exact(&mut self, tolerance: Span, now: HostTime) -> Step {
        let mut earliest: Option<(Utc, usize)> = None;
        let mut latest: Option<Utc> = None;
        for (at, camera) in self.cameras.iter_mut().enumerate() {
            // A damaged frame cannot be in a complete set.
            let damaged = camera.queue().iter().take_while(|item| item.payload.is_none()).count();
            camera.skip(damaged);
            let settled = |front: &&Queued<T>| self.finished || camera.settled() >= Some(front.time);
            let Some(front) = camera.front().filter(settled) else { return Step::Wait(None) };
            if earliest.is_none_or(|(time, _)| front.time < time) {
                earliest = Some((front.time, at));
            }
            latest = latest.max(Some(front.time));
        }
        let (Some((first, at)), Some(last)) = (earliest, latest) else { return Step::Wait(None) };
        if last - first > tolerance {
            self.cameras[at].skip(1);
        } else {
            let picks = vec![Some(0); self.cameras.len()];
            self.deliver(&picks, None, first, now);
        }
        Step::Again
    }

    /// Waits until `deadline`; then the cameras that keep the others waiting are left out.
    fn wait_or_mark(
        &mut self,
        deadline: HostTime,
        due: HostTime,
        waits_for: impl Fn(&Camera<T>) -> bool,
    ) -> Step {
        if due < deadline {
            return Step::Wait(Some(deadline));
        }
        for at in 0..self.cameras.len() {
            if waits_for(&self.cameras[at]) {
                self.mark_late(at);
            }
        }
        Step::Again
    }
}
