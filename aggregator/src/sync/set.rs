//! What goes into the synchronizer and what comes out.

use framelock_common::time::{HostTime, Span, Utc};

/// Tells a camera of one synchronizer from the others. Never used again after the camera is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CameraIndex(usize);

impl CameraIndex {
    /// The index of the `index`-th camera that was added, from 0.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// How many cameras were added before this one.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

/// A camera, as the synchronizer needs to know it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyncCamera {
    /// The time between two frames where something declares it; used only until enough frames have come to
    /// measure it.
    pub declared_period: Option<Span>,
}

/// A frame on its way through the synchronizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncFrame<T> {
    /// When it was captured.
    pub time: Utc,
    /// The frame itself; the synchronizer does not look into it.
    pub payload: T,
}

/// What is known of a camera's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// Connecting for the first time.
    Starting,
    /// Connected.
    Live,
    /// Down; it keeps reconnecting.
    Broken,
}

impl SourceState {
    /// The word for it in logs and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Live => "live",
            Self::Broken => "broken",
        }
    }
}

/// Why a camera has a frame in a set, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetStatus {
    /// It has one.
    Okay,
    /// It runs but has no frame for this instant.
    Dropped,
    /// Its frame of this instant was damaged.
    ReadError,
    /// Its source is down.
    Broken,
    /// It has not been seen yet.
    Starting,
}

/// One camera's part of a set.
#[derive(Clone, Debug)]
pub struct SetEntry<T> {
    /// The camera.
    pub camera: CameraIndex,
    /// Whether it has a frame.
    pub status: SetStatus,
    /// The frame; `Some` exactly where the status is [`SetStatus::Okay`].
    pub frame: Option<SyncFrame<T>>,
}

/// One frame of every camera that has one for an instant.
#[derive(Clone, Debug)]
pub struct FrameSet<T> {
    /// Counts sets, from 0.
    pub number: u64,
    /// The instant the set stands for: the median of its frames' times (of an even number, the middle
    /// between the two in the middle, rounded down). Without any frame, the instant it is anchored on.
    pub time: Utc,
    /// Latest minus earliest capture time; zero with fewer than two frames.
    pub spread: Span,
    /// Whether every camera has a frame in it.
    pub complete: bool,
    /// The camera whose frame it is anchored on; `None` where the policy has no anchor.
    pub anchor: Option<CameraIndex>,
    /// When it was put together.
    pub ready: HostTime,
    /// One for every camera, in the order in which they were added.
    pub entries: Vec<SetEntry<T>>,
}

/// Something that happened in the synchronizer and that a person may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncEvent {
    /// A camera's capture times jumped by this much against their arrival; its frames from before a jump
    /// back are gone.
    ClockStep {
        /// The camera.
        camera: CameraIndex,
        /// How far its time jumped: positive is ahead.
        by: Span,
    },
    /// Sets are now anchored on the frames of this camera.
    Reference {
        /// The camera.
        camera: CameraIndex,
    },
    /// The camera stopped sending in time: it is no longer waited for, until it is in time again.
    Late {
        /// The camera.
        camera: CameraIndex,
    },
    /// The camera sends in time again.
    InTime {
        /// The camera.
        camera: CameraIndex,
    },
}

/// What became of a camera's frames. `received` is the sum of the others and of what is still queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CameraStats {
    /// Frames and read errors that were handed in.
    pub received: u64,
    /// Frames and read errors that came out in a set.
    pub used: u64,
    /// Passed over: another frame was better, or none of them was for an instant that got a set.
    pub skipped: u64,
    /// Came after what they belong to had been delivered.
    pub late: u64,
    /// Same capture time as another frame of the same camera.
    pub duplicates: u64,
    /// Gave way to newer ones in a full queue.
    pub overflowed: u64,
    /// Thrown away when the camera's clock stepped back.
    pub stepped: u64,
    /// Clock steps seen.
    pub clock_steps: u64,
}
