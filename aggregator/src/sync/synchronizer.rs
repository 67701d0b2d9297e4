//! The synchronizer: what goes in and out, and when. Which frames make a set is told by the policies,
//! in [`super::anchored`] and [`super::fronts`].

use framelock_common::time::{HostTime, Span, Utc};

use super::anchored::Candidate;
use super::camera::{Camera, UNKNOWN_PERIOD};
use super::{
    CameraIndex, CameraStats, FrameSet, PacketQueue, Policy, QueueCounters, SetEntry, SetStatus, SourceState,
    SyncCamera, SyncConfig, SyncEvent, SyncFrame,
};

/// Events nobody took give way to newer ones.
const EVENT_LIMIT: usize = 256;

/// Puts frames of the same instant together.
///
/// `T` is the frame; the synchronizer moves it and never looks into it.
///
/// Every `handle_*` takes `now`, which must not go back. After each, call [`Self::poll_set`] until it gives
/// `None`; call [`Self::handle_timeout`] at [`Self::poll_timeout`].
///
/// # When a set is finished
///
/// As soon as no frame still to come could improve it. A camera's next frame is expected no earlier than one
/// period after its last, less its jitter and at most [`SyncConfig::tolerance_permille`]. Otherwise when
/// [`SyncConfig::max_wait`] is over. A camera that kept a set waiting that long is not waited for any more
/// until a frame of it comes in time again, so a dead camera costs its peers one wait and not one for every
/// set. Its frames are used all the same where they are there in time.
///
/// A call of `handle_*` that comes later than a deadline first does what was due, so the sets are the same
/// however late the caller's timer is.
///
/// # `tightest`
///
/// The reference is the slowest camera alive, the first added among equals (periods within 2 %, or within what
/// their jitter leaves unsure). A camera is
/// alive while its source is not broken and it has sent within one period and `max_wait`. A camera whose
/// frames arrive later after their capture than those of the others by more than `max_wait` is not chosen
/// while there is another.
///
/// The first set waits until every camera has shown its period, at most `max_wait` (two of the longest
/// declared periods by default, 1 s if one is not known).
///
/// Each frame of the reference (also a damaged one, for a packet tells of read errors) anchors one set. From
/// every other camera it takes an unused frame, later than those used before and less than one period of the
/// reference from the anchor: first as many cameras as possible, then the smallest spread, then the set that
/// ends first, then for each camera the frame nearest to the anchor.
///
/// One exception keeps the spread from staying bad for ever: a camera that lost the frame which belonged to
/// an anchor would give its next one, which belongs to the next anchor, and so be one frame late from then
/// on. Where its frame of one period earlier would have made the set tighter by more than a sixteenth of the
/// period (and more than the jitter), the camera is `dropped` in this set, as it truly is, and keeps its
/// frame for the next.
///
/// With [`super::Rate::Fastest`] the fastest camera is the reference, with [`super::Rate::Hertz`] the slowest
/// of those that are fast enough; of its frames, those nearest to an instant of the grid are anchors. Of a
/// camera that is slower than the sets are, only frames within half their period of the anchor count, so that
/// a frame goes to the anchor that is nearest to it.
///
/// # `last-before`
///
/// The instant is the latest of the cameras' oldest unused frames; each camera gives its last frame at or
/// before it, and all of its frames up to there are used up. Cameras that are down or late are left out.
///
/// # `exact`
///
/// While the oldest unused frames of all cameras are further apart than the tolerance, the oldest of them is
/// passed over; otherwise they are a set. There is nothing to wait for, so `max_wait` plays no part.
#[derive(Debug)]
pub struct Synchronizer<T> {
    pub(super) config: SyncConfig,
    pub(super) cameras: Vec<Camera<T>>,
    pub(super) anchoring: Anchoring,
    /// When the first frame of all arrived.
    pub(super) first_arrival: Option<HostTime>,
    pub(super) finished: bool,
    next_index: usize,
    next_number: u64,
    timer: Option<HostTime>,
    ready: PacketQueue<FrameSet<T>>,
    events: PacketQueue<SyncEvent>,
}

/// What `tightest` remembers from one set to the next.
#[derive(Debug, Default)]
pub(super) struct Anchoring {
    pub(super) reference: Option<CameraIndex>,
    /// Capture and arrival of the last anchor.
    pub(super) last: Option<(Utc, HostTime)>,
    /// Number of the last grid instant that has its anchor.
    pub(super) last_grid: Option<i128>,
    /// Scratch space, kept to spare allocations.
    pub(super) candidates: Vec<Candidate>,
    pub(super) sorted: Vec<(Span, Span)>,
}

/// What a policy can do now.
pub(super) enum Step {
    /// A set was finished or a frame passed over: look again.
    Again,
    /// Nothing before a frame comes, or this instant.
    Wait(Option<HostTime>),
}

impl<T> Synchronizer<T> {
    /// A synchronizer of `cameras`; the n-th of them has [`CameraIndex::new`]`(n)`.
    #[must_use]
    pub fn new(config: &SyncConfig, cameras: Vec<SyncCamera>) -> Self {
        let mut synchronizer = Self {
            config: config.clone(),
            cameras: Vec::with_capacity(cameras.len()),
            anchoring: Anchoring::default(),
            first_arrival: None,
            finished: false,
            next_index: 0,
            next_number: 0,
            timer: None,
            ready: PacketQueue::new(config.ready_limit),
            events: PacketQueue::new(EVENT_LIMIT),
        };
        for camera in cameras {
            synchronizer.add_camera(camera);
        }
        synchronizer
    }

    /// Adds a camera after all others.
    pub fn add_camera(&mut self, camera: SyncCamera) -> CameraIndex {
        let index = CameraIndex::new(self.next_index);
        self.next_index += 1;
        self.cameras.push(Camera::new(index, camera, self.config.queue_limit));
        index
    }

    /// Forgets a camera and its frames. Its index is never used again.
    pub fn remove_camera(&mut self, camera: CameraIndex, now: HostTime) {
        self.catch_up(now);
        self.cameras.retain(|other| other.index != camera);
        if self.anchoring.reference == Some(camera) {
            self.anchoring.reference = None;
        }
        self.advance(now, now);
    }

    /// Takes a frame that arrived at `now`. A frame of a camera that was removed is ignored.
    pub fn handle_frame(&mut self, camera: CameraIndex, frame: SyncFrame<T>, now: HostTime) {
        let time = frame.time;
        self.handle_input(camera, now, |camera| camera.insert(frame, now));
        self.clear_late(camera, Some(time), now);
        self.advance(now, now);
    }

    /// Notes that a frame arrived damaged; `time` is its capture time where that is known.
    pub fn handle_read_error(&mut self, camera: CameraIndex, time: Option<Utc>, now: HostTime) {
        self.handle_input(camera, now, |camera| camera.insert_error(time, now));
        self.clear_late(camera, time, now);
        self.advance(now, now);
    }

    /// Notes that a camera's source came up or went down.
    pub fn handle_source_state(&mut self, camera: CameraIndex, state: SourceState, now: HostTime) {
        self.catch_up(now);
        if let Some(camera) = self.camera_mut(camera) {
            camera.state = state;
        }
        self.advance(now, now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: HostTime) {
        self.advance(now, now);
    }

    /// No frame will come any more: delivers everything that is left.
    pub fn finish(&mut self, now: HostTime) {
        self.catch_up(now);
        self.finished = true;
        self.advance(now, now);
    }

    /// When to call [`Self::handle_timeout`] if nothing else happens; `None` for never.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<HostTime> {
        self.timer
    }

    /// The next finished set. Call until `None` after every `handle_*`.
    pub fn poll_set(&mut self) -> Option<FrameSet<T>> {
        self.ready.pop()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<SyncEvent> {
        self.events.pop()
    }

    /// The camera whose frames anchor the sets at present; `None` before the first set and where the policy
    /// has no anchor.
    #[must_use]
    pub const fn reference(&self) -> Option<CameraIndex> {
        self.anchoring.reference
    }

    /// What became of a camera's frames so far.
    #[must_use]
    pub fn stats(&self, camera: CameraIndex) -> Option<CameraStats> {
        self.camera(camera).map(|camera| camera.stats)
    }

    /// How many frames and read errors of a camera wait to be used.
    #[must_use]
    pub fn queued(&self, camera: CameraIndex) -> usize {
        self.camera(camera).map_or(0, |camera| camera.queue().len())
    }

    /// How many sets were finished, taken, and dropped because nobody took them.
    #[must_use]
    pub const fn ready_counters(&self) -> QueueCounters {
        self.ready.counters()
    }

    /// Hands a frame or a read error to its camera, after all that was due before.
    fn handle_input(
        &mut self,
        index: CameraIndex,
        now: HostTime,
        input: impl FnOnce(&mut Camera<T>) -> Option<Span>,
    ) {
        self.catch_up(now);
        let Some(camera) = self.camera_mut(index) else { return };
        let step = input(camera);
        self.first_arrival.get_or_insert(now);
        if let Some(by) = step {
            self.event(SyncEvent::ClockStep { camera: index, by });
            if self.anchoring.reference == Some(index) {
                (self.anchoring.last, self.anchoring.last_grid) = (None, None);
            }
        }
    }

    /// Does what was due before `now`, so that an input at `now` has no part in it.
    fn catch_up(&mut self, now: HostTime) {
        if self.timer.is_some_and(|timer| timer < now) {
            self.advance(now - Span::from_nanos(1), now);
        }
    }

    /// Finishes every set that is due at `due`; it is `now`.
    fn advance(&mut self, due: HostTime, now: HostTime) {
        loop {
            let step = match self.config.policy {
                Policy::Tightest => self.step_anchored(due, now),
                Policy::LastBefore => self.step_last_before(due, now),
                Policy::Exact(tolerance) => self.step_exact(tolerance, now),
            };
            if let Step::Wait(timer) = step {
                self.timer = timer;
                return;
            }
        }
    }

    /// Puts a set together and hands it out. `picks` are indices into the queues of the cameras in order.
    pub(super) fn deliver(
        &mut self,
        picks: &[Option<usize>],
        anchor: Option<CameraIndex>,
        instant: Utc,
        now: HostTime,
    ) {
        let mut times = Vec::with_capacity(picks.len());
        let mut entries = Vec::with_capacity(picks.len());
        for (camera, pick) in self.cameras.iter_mut().zip(picks) {
            let (status, frame) = give(camera, *pick);
            times.extend(frame.as_ref().map(|frame| frame.time));
            entries.push(SetEntry { camera: camera.index, status, frame });
        }
        times.sort_unstable();
        let spread = match (times.first(), times.last()) {
            (Some(first), Some(last)) => *last - *first,
            _ => Span::ZERO,
        };
        let set = FrameSet {
            number: self.next_number,
            time: median(&times).unwrap_or(instant),
            spread,
            complete: times.len() == entries.len(),
            anchor,
            ready: now,
            entries,
        };
        self.next_number += 1;
        self.ready.push(set);
    }

    /// Does not wait any more for a camera that kept a set waiting for too long.
    pub(super) fn mark_late(&mut self, at: usize) {
        let Some(camera) = self.cameras.get_mut(at) else { return };
        if std::mem::replace(&mut camera.late, true) || !camera.seen() {
            return;
        }
        let camera = camera.index;
        self.event(SyncEvent::Late { camera });
    }

    /// Waits for a camera again if a frame of it came as early as it must to be waited for.
    fn clear_late(&mut self, index: CameraIndex, time: Option<Utc>, now: HostTime) {
        if !self.camera(index).is_some_and(|camera| camera.late) || !self.in_time(index, time, now) {
            return;
        }
        if let Some(camera) = self.camera_mut(index) {
            camera.late = false;
        }
        self.event(SyncEvent::InTime { camera: index });
    }

    /// The wait for a set with the frames of a camera of this period.
    pub(super) fn max_wait(&self, period: Option<Span>) -> Span {
        self.config.max_wait.unwrap_or_else(|| period.unwrap_or(UNKNOWN_PERIOD) * 2).max(Span::ZERO)
    }

    pub(super) fn camera(&self, index: CameraIndex) -> Option<&Camera<T>> {
        self.position(index).map(|at| &self.cameras[at])
    }

    fn camera_mut(&mut self, index: CameraIndex) -> Option<&mut Camera<T>> {
        self.position(index).map(|at| &mut self.cameras[at])
    }

    /// Where a camera is in the order of cameras: they are added with ascending indices.
    pub(super) fn position(&self, index: CameraIndex) -> Option<usize> {
        self.cameras.binary_search_by_key(&index, |camera| camera.index).ok()
    }

    pub(super) fn event(&mut self, event: SyncEvent) {
        self.events.push(event);
    }
}

/// Takes what a camera gives out of its queue.
fn give<T>(camera: &mut Camera<T>, pick: Option<usize>) -> (SetStatus, Option<SyncFrame<T>>) {
    if let Some(used) = pick.and_then(|index| camera.use_at(index)) {
        camera.untimed_error = false;
        let time = used.time;
        let frame = used.payload.map(|payload| SyncFrame { time, payload });
        return (if frame.is_some() { SetStatus::Okay } else { SetStatus::ReadError }, frame);
    }
    let status = if camera.state == SourceState::Broken {
        SetStatus::Broken
    } else if std::mem::take(&mut camera.untimed_error) {
        SetStatus::ReadError
    } else if camera.seen() {
        SetStatus::Dropped
    } else {
        SetStatus::Starting
    };
    (status, None)
}

/// The median of ascending times.
pub(crate) fn median(times: &[Utc]) -> Option<Utc> {
    let lower = *times.get(times.len().checked_sub(1)? / 2)?;
    let upper = *times.get(times.len() / 2)?;
    Some(lower + (upper - lower) / 2)
}
