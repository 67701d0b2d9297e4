//! What the aggregator hands out: a [`Packet`] holds one [`Entry`] for every configured camera, and an
//! entry that is [`FrameStatus::Okay`] holds the camera's [`Frame`] of that instant.
//!
//! | module | what |
//! |---|---|
//! | `frame`, `picture`, `motion` | a [`Frame`], its [`Picture`] and its [`MotionVector`]s |
//! | `subscription` | what a consumer asks for: [`Subscription`] |
//! | `outlet` | what waits for one consumer (sans-IO) |
//! | `hub`, `consumer` | from the receive loop to every [`Consumer`] |
//! | `json` | the JSON form of a packet |
//!
//! How frames are decoded does not live here: see [`crate::decode`].

mod consumer;
mod frame;
mod hub;
mod json;
mod motion;
mod outlet;
mod picture;
mod subscription;

use std::fmt;
use std::sync::Arc;

use framelock_common::time::{HostTime, Span, Utc, UtcEstimate};

pub use consumer::{Consumer, ConsumerError};
pub(crate) use frame::Outcome;
pub use frame::{Codec, CodedFrame, Frame, FrameType};
pub(crate) use hub::{Demand, Hub};
pub use json::{FrameInfo, PacketInfo, write_packet};
pub use motion::MotionVector;
pub(crate) use picture::OwnPlanes;
#[cfg(any(feature = "ffmpeg", test))]
pub(crate) use picture::Planes;
pub use picture::{Chroma, Matrix, Picture, PictureError, PictureFormat, PixelFormat, Plane, Range};
pub use subscription::{ConsumerCounters, Pixels, Queue, Subscription};

use crate::sync::{CameraIndex, FrameSet, SetStatus, median};

/// The name of a camera. Names are data: they are shown and compared, never used as paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CameraName(Arc<str>);

impl CameraName {
    /// A camera called `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for CameraName {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for CameraName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a camera has a frame in a packet, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameStatus {
    /// It has one.
    Okay,
    /// The camera runs but has no frame for this instant.
    Dropped,
    /// The camera's frame of this instant arrived damaged.
    ReadError,
    /// The source is down; it keeps reconnecting.
    Broken,
    /// The camera has not been seen yet.
    Starting,
}

impl FrameStatus {
    /// The word for it in JSON, logs and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Okay => "okay",
            Self::Dropped => "dropped",
            Self::ReadError => "read-error",
            Self::Broken => "broken",
            Self::Starting => "starting",
        }
    }
}

impl fmt::Display for FrameStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<SetStatus> for FrameStatus {
    fn from(status: SetStatus) -> Self {
        match status {
            SetStatus::Okay => Self::Okay,
            SetStatus::Dropped => Self::Dropped,
            SetStatus::ReadError => Self::ReadError,
            SetStatus::Broken => Self::Broken,
            SetStatus::Starting => Self::Starting,
        }
    }
}

/// Where a frame's capture time comes from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeSource {
    /// RTCP sender reports (RFC 3550 section 6.4.1).
    SenderReport,
    /// The NTP-64 header extension (RFC 6051).
    InBand,
    /// The capture time in the H.264 SEI (MISB ST 0604).
    Sei,
    /// Arrival minus an estimate of the smallest delay: no capture time was sent at all.
    Arrival,
}

impl TimeSource {
    /// The word for it in JSON, logs and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SenderReport => "sender-report",
            Self::InBand => "in-band",
            Self::Sei => "sei",
            Self::Arrival => "arrival",
        }
    }
}

impl fmt::Display for TimeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One camera's part of a packet.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The camera.
    pub camera: CameraName,
    /// Whether it has a frame, and why not.
    pub status: FrameStatus,
    /// The frame; `Some` exactly where the status is [`FrameStatus::Okay`].
    pub frame: Option<Frame>,
}

/// One frame of every camera that has one for an instant.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Counts packets, from 0.
    pub number: u64,
    /// The instant the set stands for: the median of its frames' times.
    pub time: Utc,
    /// Latest minus earliest capture time.
    pub spread: Span,
    /// What `spread` is at most, however wrong the capture times are within their bounds: the largest, over
    /// any two frames, of their distance and both their uncertainties. Where no frame between the first and
    /// the last is known less well than they are, that is `spread` and the uncertainties of both ends. Zero
    /// with fewer than two frames.
    pub spread_bound: Span,
    /// Whether every entry is [`FrameStatus::Okay`].
    pub complete: bool,
    /// When the set was put together here.
    pub ready: HostTime,
    /// One for every configured camera, in configured order.
    pub entries: Vec<Entry>,
}

impl Packet {
    /// The packet of a synchronized set; `name` tells what a camera is called.
    #[must_use]
    pub fn from_set(set: FrameSet<Frame>, mut name: impl FnMut(CameraIndex) -> CameraName) -> Self {
        let FrameSet { number, time, spread, complete, ready, entries, .. } = set;
        let entries: Vec<_> = entries
            .into_iter()
            .map(|entry| Entry {
                camera: name(entry.camera),
                status: entry.status.into(),
                frame: entry.frame.map(|frame| frame.payload),
            })
            .collect();
        let spread_bound = spread_bound(&times(&entries));
        Self { number, time, spread, spread_bound, complete, ready, entries }
    }

    /// Memory that the compressed frames take.
    pub(crate) fn bytes(&self) -> usize {
        self.frames().map(|frame| frame.data.len()).sum()
    }

    /// As [`Self::bytes`], with the pictures that the frames are or will be decoded to.
    pub(crate) fn bytes_with_pictures(&self) -> usize {
        let pixels = |frame: &Frame| frame.width.unwrap_or(0) as usize * frame.height.unwrap_or(0) as usize;
        self.bytes() + self.frames().map(|frame| pixels(frame) * 3 / 2).sum::<usize>()
    }

    fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.entries.iter().filter_map(|entry| entry.frame.as_ref())
    }

    /// Tells anew what follows from the frames that there are: some are no longer.
    fn renew(&mut self) {
        self.complete = self.entries.iter().all(|entry| entry.status == FrameStatus::Okay);
        let times = times(&self.entries);
        let mut instants: Vec<Utc> = times.iter().map(|time| time.utc).collect();
        instants.sort_unstable();
        self.time = median(&instants).unwrap_or(self.time);
        self.spread = match instants[..] {
            [first, .., last] => last - first,
            _ => Span::ZERO,
        };
        self.spread_bound = spread_bound(&times);
    }

    /// The packet for a consumer that wants no pixels.
    fn without_pictures(&self) -> Self {
        let mut packet = self.clone();
        for entry in &mut packet.entries {
            entry.frame = entry.frame.as_ref().map(Frame::without_picture);
        }
        packet
    }

    /// Writes the packet as one line of JSON, newline included, as delivered at `delivered`.
    ///
    /// # Errors
    /// Whatever `out` fails with.
    pub fn write_json(&self, delivered: Utc, out: &mut impl std::io::Write) -> std::io::Result<()> {
        let info = PacketInfo {
            number: self.number,
            time: self.time,
            spread: self.spread,
            spread_bound: Some(self.spread_bound),
            complete: self.complete,
        };
        let entries = self.entries.iter().map(|entry| {
            let frame = entry.frame.as_ref().map(|frame| FrameInfo::of(frame, delivered));
            (entry.camera.as_str(), entry.status, frame)
        });
        write_packet(&info, entries, out)
    }
}

/// The capture times of the frames that there are.
fn times(entries: &[Entry]) -> Vec<UtcEstimate> {
    entries.iter().filter_map(|entry| Some(entry.frame.as_ref()?.time)).collect()
}

/// See [`Packet::spread_bound`].
fn spread_bound(times: &[UtcEstimate]) -> Span {
    let earliest = |(n, time): (usize, &UtcEstimate)| (time.utc - time.uncertainty, n);
    let mut starts: Vec<_> = times.iter().enumerate().map(earliest).collect();
    starts.sort_unstable();
    let [(first, its), (second, _), ..] = starts[..] else { return Span::ZERO };
    // A frame is not apart from itself, however little is known of its time.
    let others = |n: usize| if n == its { second } else { first };
    let apart = |(n, time): (usize, &UtcEstimate)| time.utc + time.uncertainty - others(n);
    times.iter().enumerate().map(apart).max().unwrap_or(Span::ZERO)
}

#[cfg(test)]
mod tests;
