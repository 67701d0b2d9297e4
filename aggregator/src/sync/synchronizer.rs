//! The synchronizer itself.

use framelock_common::time::{HostTime, Utc};

use super::{
    CameraIndex, CameraStats, FrameSet, PacketQueue, QueueCounters, SourceState, SyncCamera, SyncConfig,
    SyncEvent, SyncFrame,
};

/// Puts frames of the same instant together.
///
/// `T` is the frame; the synchronizer moves it and never looks into it.
#[derive(Debug)]
pub struct Synchronizer<T> {
    ready: PacketQueue<FrameSet<T>>,
    cameras: usize,
}

impl<T> Synchronizer<T> {
    /// A synchronizer of `cameras`; the n-th of them has [`CameraIndex::new`]`(n)`.
    #[must_use]
    pub fn new(config: &SyncConfig, cameras: Vec<SyncCamera>) -> Self {
        Self { ready: PacketQueue::new(config.ready_limit), cameras: cameras.len() }
    }

    /// Adds a camera after all others.
    pub fn add_camera(&mut self, _camera: SyncCamera) -> CameraIndex {
        self.cameras += 1;
        CameraIndex::new(self.cameras - 1)
    }

    /// Forgets a camera and its frames. Its index is never used again.
    pub fn remove_camera(&mut self, _camera: CameraIndex, _now: HostTime) {}

    /// Takes a frame that arrived at `now`.
    pub fn handle_frame(&mut self, _camera: CameraIndex, _frame: SyncFrame<T>, _now: HostTime) {}

    /// Notes that a frame arrived damaged; `time` is its capture time where that is known.
    pub fn handle_read_error(&mut self, _camera: CameraIndex, _time: Option<Utc>, _now: HostTime) {}

    /// Notes that a camera's source came up or went down.
    pub fn handle_source_state(&mut self, _camera: CameraIndex, _state: SourceState, _now: HostTime) {}

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, _now: HostTime) {}

    /// No frame will come any more: delivers everything that is left.
    pub fn finish(&mut self, _now: HostTime) {}

    /// When to call [`Self::handle_timeout`] if nothing else happens; `None` for never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<HostTime> {
        None
    }

    /// The next finished set. Call until `None` after every `handle_*`.
    pub fn poll_set(&mut self) -> Option<FrameSet<T>> {
        self.ready.pop()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<SyncEvent> {
        None
    }

    /// The camera whose frames anchor the sets at present.
    #[must_use]
    pub fn reference(&self) -> Option<CameraIndex> {
        None
    }

    /// What became of a camera's frames so far.
    #[must_use]
    pub fn stats(&self, _camera: CameraIndex) -> Option<CameraStats> {
        None
    }

    /// How many sets were finished, taken, and dropped because nobody took them.
    #[must_use]
    pub fn ready_counters(&self) -> QueueCounters {
        self.ready.counters()
    }
}
