//! What a consumer asks for.

/// What a consumer wants of the packets: see [`Aggregator::subscribe`](crate::Aggregator::subscribe).
///
/// ```
/// use framelock_aggregator::{Pixels, Queue, Subscription};
///
/// // Times and compressed frames only; a slow consumer gets the newest packet.
/// let times = Subscription::default();
/// // Pictures of every packet, for as long as fewer than 30 wait.
/// let all = Subscription { pixels: Pixels::Decoded, queue: Queue::All { limit: 30 }, ..Subscription::default() };
/// # assert_ne!(times, all);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Whether to decode.
    pub pixels: Pixels,
    /// What becomes of packets that the consumer is too slow for.
    pub queue: Queue,
    /// Whether to export the motion vectors of H.264 frames, for
    /// [`Frame::motion_vectors`](super::Frame::motion_vectors). Frames are decoded for it.
    pub motion_vectors: bool,
}

impl Subscription {
    /// The newest decoded packet.
    #[must_use]
    pub fn decoded() -> Self {
        Self { pixels: Pixels::Decoded, ..Self::default() }
    }

    /// Whether frames must be decoded for it.
    pub(super) fn decodes(&self) -> bool {
        self.motion_vectors || self.pixels == Pixels::Decoded
    }
}

/// Whether a consumer wants pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pixels {
    /// No: compressed frames and their times.
    #[default]
    None,
    /// Yes: packets come when their frames are decoded, and [`Frame::picture`](super::Frame::picture) has the
    /// picture of every frame that is okay.
    ///
    /// A camera is [`Starting`](super::FrameStatus::Starting) until its first key frame after somebody began to
    /// want pixels (its sender is asked for one), has a [`ReadError`](super::FrameStatus::ReadError) where a
    /// frame does not decode or refers to one that did not, and is
    /// [`Dropped`](super::FrameStatus::Dropped) where this machine is too slow to decode them all.
    Decoded,
}

/// What becomes of packets that a consumer is too slow for. Delay never grows without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// The newest so many packets are kept, at least 1; older ones give way and are counted as skipped.
    Newest(usize),
    /// The consumer wants every packet. Sources that can wait (files read as fast as possible) wait while
    /// `limit` packets are ready for it. Live cameras cannot wait: once [`Queue::UNDER_WAY`] packets more than
    /// `limit` are there, the oldest gives way and is counted as skipped.
    All {
        /// So many packets may wait before sources do, at least 1.
        limit: usize,
    },
}

impl Queue {
    /// Packets that are already on their way when a source begins to wait.
    pub const UNDER_WAY: usize = 256;

    /// The most packets that are ever kept.
    pub(super) fn capacity(self) -> usize {
        match self {
            Self::Newest(packets) => packets.max(1),
            Self::All { limit } => limit.max(1).saturating_add(Self::UNDER_WAY),
        }
    }

    /// How many packets may wait before sources do.
    pub(super) fn limit(self) -> Option<usize> {
        match self {
            Self::Newest(_) => None,
            Self::All { limit } => Some(limit.max(1)),
        }
    }
}

impl Default for Queue {
    /// The newest packet only.
    fn default() -> Self {
        Self::Newest(1)
    }
}

/// What became of the packets for a consumer. `offered` is always `delivered + skipped +` what still waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerCounters {
    /// Packets since it subscribed.
    pub offered: u64,
    /// Packets that it got.
    pub delivered: u64,
    /// Packets that gave way to newer ones because it was slow.
    pub skipped: u64,
}
