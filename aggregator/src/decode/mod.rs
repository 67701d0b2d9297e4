//! Decoding frames to pictures, where a consumer wants pixels.
//!
//! | module | what |
//! |---|---|
//! | `pool` | a few threads for all cameras: [`DecodePool`] |
//! | `lane` | one camera's H.264 frames: which picture belongs to which frame, which is not to be shown |
//! | `ffmpeg`, `openh264` | decoders of H.264, behind the trait [`Decoder`] |
//! | `jpeg` | pictures that are whole in themselves, behind the trait [`StillDecoder`] |
//!
//! H.264 frames are decoded as they arrive and in decoding order, since each refers to earlier ones; JPEG
//! pictures only once they are taken. What comes out of a decoder is matched to its frame by the frame's
//! number carried as PTS, never by order of arrival. A frame that does not decode cleanly, or refers to one
//! that did not, is never shown.

#[cfg(feature = "ffmpeg")]
mod ffmpeg;
mod jpeg;
mod lane;
#[cfg(feature = "openh264")]
mod openh264;
mod pool;
#[cfg(test)]
mod tests;

pub use pool::{DecodePool, DecodeStats, Decoders, OnEvent, PoolEvent};

use crate::deliver::Picture;

/// Why a decoder cannot be had or a frame not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Built without any H.264 decoder.
    #[error("this build has no decoder; build with --features ffmpeg or --features openh264")]
    NoDecoder,
    /// The decoder that was built in does not export motion vectors.
    #[error("this build's decoder ({0}) has no motion vectors; build with --features ffmpeg")]
    NoMotionVectors(&'static str),
    /// The decoder library does not start.
    #[error("the decoder does not start: {0}")]
    Open(String),
    /// The decoder refused the frame.
    #[error("frame does not decode: {0}")]
    Data(String),
}

/// How a decoder is to work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DecoderOptions {
    /// Export the motion vectors of every picture.
    pub motion_vectors: bool,
}

/// An H.264 decoder of one stream.
pub trait Decoder: Send {
    /// Decodes one access unit (Annex B) numbered `number`, and appends what comes out now.
    ///
    /// # Errors
    /// When the access unit is refused. The decoder can be used on, from the next key frame.
    fn decode(&mut self, access_unit: &[u8], number: i64, out: &mut Vec<Output>) -> Result<(), DecodeError>;

    /// Appends what is still held back; the stream ended or starts anew with a key frame.
    fn flush(&mut self, out: &mut Vec<Output>);
}

/// Something that came out of a decoder.
#[derive(Debug)]
pub struct Output {
    /// The number of *its* access unit: with B-frames that is an earlier one than the last put in.
    pub number: i64,
    /// The picture; `None` where it is not fit to be shown.
    pub picture: Option<Picture>,
}

/// A decoder of pictures that are whole in themselves.
pub trait StillDecoder {
    /// Decodes one picture.
    ///
    /// # Errors
    /// When it is damaged, too large or of a kind that is not taken. The decoder can be used on.
    fn decode(&mut self, data: &[u8]) -> Result<Picture, DecodeError>;
}

/// The decoders of the best kind that this build has.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltIn;

impl Decoders for BuiltIn {
    #[cfg(feature = "ffmpeg")]
    fn open(&self, options: DecoderOptions) -> Result<Box<dyn Decoder>, DecodeError> {
        Ok(Box::new(ffmpeg::FfmpegDecoder::new(options)?))
    }

    #[cfg(all(feature = "openh264", not(feature = "ffmpeg")))]
    fn open(&self, options: DecoderOptions) -> Result<Box<dyn Decoder>, DecodeError> {
        if options.motion_vectors {
            return Err(DecodeError::NoMotionVectors(decoder_name()));
        }
        Ok(Box::new(openh264::OpenH264Decoder::new()?))
    }

    #[cfg(not(any(feature = "ffmpeg", feature = "openh264")))]
    fn open(&self, _options: DecoderOptions) -> Result<Box<dyn Decoder>, DecodeError> {
        Err(DecodeError::NoDecoder)
    }

    fn open_still(&self) -> Result<Box<dyn StillDecoder>, DecodeError> {
        Ok(Box::new(jpeg::JpegDecoder::new()?))
    }
}

/// Decodes pictures one after the other as the images of a camera; how many of them are whole. For the fuzz
/// target in `tests/fuzz`: nothing else uses it.
#[must_use]
pub fn decode_stills(pictures: &[&[u8]]) -> usize {
    let Ok(mut decoder) = BuiltIn.open_still() else { return 0 };
    pictures.iter().filter(|data| decoder.decode(data).is_ok()).count()
}

/// Which decoder of H.264 this build has: `"libavcodec"`, `"openh264"` or `"none"`.
#[must_use]
pub const fn decoder_name() -> &'static str {
    if cfg!(feature = "ffmpeg") {
        "libavcodec"
    } else if cfg!(feature = "openh264") {
        "openh264"
    } else {
        "none"
    }
}
