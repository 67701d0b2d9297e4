//! A frame: the compressed picture of one camera at one instant, and, where a consumer wants pixels, what
//! came of decoding it.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

pub use framelock_common::h264::FrameType;
use framelock_common::time::{HostTime, UtcEstimate};

use super::{MotionVector, Picture, TimeSource};

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
#[derive(Clone)]
pub struct CodedFrame {
    /// When it was captured, with a bound on the error.
    pub time: UtcEstimate,
    /// Where that time comes from.
    pub time_source: TimeSource,
    /// What [`Self::data`] is.
    pub codec: Codec,
    /// How the frame is predicted, as its slice headers say; a JPEG image is an I frame.
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
}

impl fmt::Debug for CodedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodedFrame")
            .field("sequence", &self.sequence)
            .field("time", &self.time)
            .field("time_source", &self.time_source)
            .field("codec", &self.codec)
            .field("frame_type", &self.frame_type)
            .field("key", &self.key)
            .field("width", &self.width)
            .field("height", &self.height)
            .field("bytes", &self.data.len())
            .field("arrival", &self.arrival)
            .finish()
    }
}

/// A handle to a frame: cheap to clone, and it may be kept as long as one likes. What is known of every frame
/// are the fields of [`CodedFrame`], to which it dereferences: `frame.time.utc`, `frame.data`.
///
/// A consumer that asked for pixels also gets the [`Self::picture`]. The memory of a picture is held by
/// the handles of such consumers only.
#[derive(Clone)]
pub struct Frame {
    coded: Arc<CodedFrame>,
    slot: Option<Arc<OnceLock<Outcome>>>,
}

impl Frame {
    /// A frame as it arrived.
    #[must_use]
    pub fn new(coded: CodedFrame) -> Self {
        Self { coded: Arc::new(coded), slot: Some(Arc::default()) }
    }

    /// The decoded picture, where the consumer asked for pixels.
    ///
    /// It is held as it came out of the decoder; [`Picture::to_bgr`] and its sisters convert on request.
    #[must_use]
    pub fn picture(&self) -> Option<&Picture> {
        match self.outcome()? {
            Outcome::Picture(picture) => Some(picture),
            _ => None,
        }
    }

    /// The motion vectors, where the consumer asked for them and the frame is H.264: none for an I frame.
    ///
    /// They are those of libavcodec (`flags2=+export_mvs`), in its order.
    #[must_use]
    pub fn motion_vectors(&self) -> Option<&[MotionVector]> {
        self.picture()?.motion_vectors()
    }

    /// More is known of when it was captured. Only where a decoder still holds the frame is its data copied; the
    /// picture is shared all the same.
    pub(crate) fn set_time(&mut self, time: UtcEstimate, source: TimeSource) {
        let coded = Arc::make_mut(&mut self.coded);
        (coded.time, coded.time_source) = (time, source);
    }

    /// What came of decoding it; `None` as long as that is open.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.slot.as_deref()?.get()
    }

    /// Says what came of decoding it. Only the first word counts.
    pub(crate) fn settle(&self, outcome: Outcome) {
        if let Some(slot) = &self.slot {
            let _settled_before = slot.set(outcome);
        }
    }

    /// The frame for a consumer that wants no pixels: it does not hold the picture.
    pub(super) fn without_picture(&self) -> Self {
        Self { coded: self.coded.clone(), slot: None }
    }
}

impl Deref for Frame {
    type Target = CodedFrame;

    fn deref(&self) -> &CodedFrame {
        &self.coded
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("coded", &self.coded).field("outcome", &self.outcome()).finish()
    }
}

/// What came of decoding a frame.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The picture.
    Picture(Picture),
    /// It does not decode, or refers to one that did not.
    Failed,
    /// The decoder was too slow for it.
    Skipped,
    /// Nobody wanted pixels when it came, or no key frame has come since somebody does.
    NotYet,
}
