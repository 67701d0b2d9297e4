//! Decoding H.264 to pictures: behind the trait [`Decoder`], with libavcodec (feature `ffmpeg`) or
//! openh264 (feature `openh264`), one worker per camera.
//!
//! A worker gets every good access unit of its camera in decoding order; what comes out is matched to
//! its input by the frame's number carried as PTS, never by order of arrival. A frame that does not
//! decode cleanly is marked failed and never shown.

#[cfg(feature = "ffmpeg")]
mod ffmpeg;
#[cfg(feature = "openh264")]
mod openh264;
#[cfg(any(feature = "ffmpeg", feature = "openh264"))]
mod picture;
#[cfg(test)]
mod tests;
mod worker;

pub use worker::{DecodeStats, DecodeWorker, Notify};

use crate::deliver::Picture;

/// Why a decoder cannot be had or an access unit not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Built without any decoder.
    #[error("this build has no decoder; build with --features ffmpeg or --features openh264")]
    NoDecoder,
    /// The decoder library does not start.
    #[error("the H.264 decoder does not start: {0}")]
    Open(String),
    /// The decoder refused the access unit.
    #[error("access unit does not decode: {0}")]
    Data(String),
}

/// Decoded pictures, each with the number of its access unit.
pub type Pictures = Vec<(i64, Picture)>;

/// An H.264 decoder of one stream.
pub trait Decoder: Send {
    /// Decodes one access unit (Annex B) numbered `number`, and appends the pictures that come out
    /// now, each with the number of *its* access unit: with B-frames that is an earlier one.
    ///
    /// # Errors
    /// When the access unit is refused. The decoder can be used on, from the next key frame.
    fn decode(&mut self, access_unit: &[u8], number: i64, out: &mut Pictures) -> Result<(), DecodeError>;

    /// Appends what is still held back; the stream ended or starts anew with a key frame.
    fn flush(&mut self, out: &mut Pictures);
}

/// A decoder of the best kind this build has.
///
/// # Errors
/// When there is none or the library fails.
pub fn open() -> Result<Box<dyn Decoder>, DecodeError> {
    #[cfg(feature = "ffmpeg")]
    return Ok(Box::new(ffmpeg::FfmpegDecoder::new()?));
    #[cfg(all(feature = "openh264", not(feature = "ffmpeg")))]
    return Ok(Box::new(openh264::OpenH264Decoder::new()?));
    #[cfg(not(any(feature = "ffmpeg", feature = "openh264")))]
    return Err(DecodeError::NoDecoder);
}

/// Which decoder [`open`] gives: `"libavcodec"`, `"openh264"` or `"none"`.
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
