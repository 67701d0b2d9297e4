//! What the aggregator hands out: a [`Packet`] holds one [`Entry`] for every configured camera, and an
//! entry that is [`FrameStatus::Okay`] holds the camera's [`Frame`] of that instant.
//!
//! Here live the types, how a packet is made of a synchronized set, and its JSON form. How packets get
//! to their consumers does not: see [`crate::sync::PacketQueue`] for the queue in between.

mod json;

use std::fmt;
use std::sync::{Arc, OnceLock};

pub use framelock_common::h264::FrameType;
use framelock_common::time::{HostTime, Span, Utc, UtcEstimate};

pub use json::{FrameInfo, PacketInfo, write_packet};

use crate::sync::{CameraIndex, FrameSet, SetStatus};

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

/// How a frame's data is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// One access unit of H.264, as an Annex B byte stream.
    H264,
    /// One JPEG image, from SOI to EOI. Every one of them can be decoded by itself.
    Jpeg,
}

impl Codec {
    /// The word for it in logs and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Jpeg => "jpeg",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One compressed frame with the instant of its capture.
#[derive(Debug)]
pub struct Frame {
    /// When it was captured, with a bound on the error.
    pub time: UtcEstimate,
    /// Where that time comes from.
    pub time_source: TimeSource,
    /// What [`Self::data`] is.
    pub codec: Codec,
    /// How the frame is predicted, where the stream says so; a JPEG image is an I frame.
    pub frame_type: Option<FrameType>,
    /// Whether decoding can begin here (an IDR picture, or any JPEG image).
    pub key: bool,
    /// Pixels in a row, once the stream has said so.
    pub width: Option<u32>,
    /// Rows, once the stream has said so.
    pub height: Option<u32>,
    /// The compressed frame, as [`Self::codec`] says.
    pub data: Vec<u8>,
    /// When its last packet arrived here.
    pub arrival: HostTime,
    /// Counts the camera's frames as received, from 0.
    pub sequence: u64,
    /// The decoded picture; empty unless a decoder has filled it.
    pub picture: OnceLock<Decoded>,
}

impl Frame {
    /// The decoded picture, if a decoder made one.
    #[must_use]
    pub fn decoded(&self) -> Option<&Picture> {
        match self.picture.get()? {
            Decoded::Picture(picture) => Some(picture),
            Decoded::Failed => None,
        }
    }
}

/// What came of decoding a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The picture.
    Picture(Picture),
    /// It does not decode, or the decoder was too slow for it.
    Failed,
}

/// A decoded picture: planar YUV 4:2:0, without padding between rows.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Luma pixels in a row.
    pub width: usize,
    /// Luma rows.
    pub height: usize,
    /// `width * height` luma samples.
    pub y: Vec<u8>,
    /// Blue-difference samples, half the size both ways, rounded up.
    pub u: Vec<u8>,
    /// Red-difference samples, half the size both ways, rounded up.
    pub v: Vec<u8>,
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
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
    pub frame: Option<Arc<Frame>>,
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
    pub fn from_set(set: FrameSet<Arc<Frame>>, mut name: impl FnMut(CameraIndex) -> CameraName) -> Self {
        let FrameSet { number, time, spread, complete, ready, entries, .. } = set;
        let entries = entries
            .into_iter()
            .map(|entry| Entry {
                camera: name(entry.camera),
                status: entry.status.into(),
                frame: entry.frame.map(|frame| frame.payload),
            })
            .collect();
        Self { number, time, spread, complete, ready, entries }
    }

    /// Writes the packet as one line of JSON, newline included, as delivered at `delivered`.
    ///
    /// # Errors
    /// Whatever `out` fails with.
    pub fn write_json(&self, delivered: Utc, out: &mut impl std::io::Write) -> std::io::Result<()> {
        let info =
            PacketInfo { number: self.number, time: self.time, spread: self.spread, complete: self.complete };
        let entries = self.entries.iter().map(|entry| {
            let frame = entry.frame.as_deref().map(|frame| FrameInfo::of(frame, delivered));
            (entry.camera.as_str(), entry.status, frame)
        });
        write_packet(&info, entries, out)
    }
}

#[cfg(test)]
mod tests;
