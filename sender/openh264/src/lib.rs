//! The few encoder options that the `openh264` crate offers only through its unsafe raw interface:
//! silence, and changes of rate while encoding.
//!
//! Nothing but these calls lives here; encoding itself is the safe part of the `openh264` crate.

use std::ffi::{c_int, c_void};

use openh264::encoder::Encoder;
use openh264_sys2::{
    ENCODER_OPTION, ENCODER_OPTION_BITRATE, ENCODER_OPTION_FRAME_RATE, ENCODER_OPTION_MAX_BITRATE,
    ENCODER_OPTION_TRACE_LEVEL, SBitrateInfo, SPATIAL_LAYER_0, WELS_LOG_QUIET,
};

/// The library refused an option: the option's number and the library's error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `ENCODER_OPTION`.
    pub option: i64,
    /// `CM_RETURN`, see `codec_app_def.h`.
    pub code: i64,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "openh264 refused option {} with code {}", self.option, self.code)
    }
}

impl std::error::Error for Refused {}

/// Stops the library from writing to standard error; best before the first frame, when it warns
/// about settings. A program's log is not the library's to write to.
///
/// # Errors
/// When the library refuses.
pub fn silence(encoder: &mut Encoder) -> Result<(), Refused> {
    let mut level: c_int = WELS_LOG_QUIET;
    set(encoder, ENCODER_OPTION_TRACE_LEVEL, &mut level)
}

/// Changes the wanted bitrate from the next frame on; only after the first frame.
///
/// # Errors
/// When nothing was encoded yet, or the library refuses.
pub fn set_bitrate(encoder: &mut Encoder, bits_per_second: i32) -> Result<(), Refused> {
    let mut info = SBitrateInfo { iLayer: SPATIAL_LAYER_0, iBitrate: bits_per_second };
    // The maximum may not lie below the rate, whichever way both move.
    let raised = set(encoder, ENCODER_OPTION_MAX_BITRATE, &mut info);
    set(encoder, ENCODER_OPTION_BITRATE, &mut info)?;
    raised.or_else(|_| set(encoder, ENCODER_OPTION_MAX_BITRATE, &mut info))
}

/// Tells the library how many frames a second really come; only after the first frame.
///
/// # Errors
/// When nothing was encoded yet, or the library refuses.
pub fn set_frame_rate(encoder: &mut Encoder, hz: f32) -> Result<(), Refused> {
    let mut hz = hz;
    set(encoder, ENCODER_OPTION_FRAME_RATE, &mut hz)
}

/// Sets one option; `value` is of the type that `codec_app_def.h` names for it, which each caller
/// above sees to.
fn set<T>(encoder: &mut Encoder, option: ENCODER_OPTION, value: &mut T) -> Result<(), Refused> {
    // SAFETY: the options above are not among those that the `openh264` crate relies on, `value` is of
    // the type that the option takes and lives through the call, and the library copies it.
    let code = unsafe { encoder.raw_api().set_option(option, std::ptr::from_mut(value).cast::<c_void>()) };
    if code == 0 { Ok(()) } else { Err(Refused { option: i64::from(option), code: i64::from(code) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_once_encoding_has_begun() {
        let mut encoder = Encoder::new().expect("an encoder");
        silence(&mut encoder).expect("silence before the first frame");
        assert!(set_bitrate(&mut encoder, 500_000).is_err(), "nothing encoded yet");
        let picture = openh264::formats::YUVBuffer::new(64, 64);
        encoder.encode(&picture).expect("a frame");
        for bitrate in [500_000, 100_000, 2_000_000] {
            set_bitrate(&mut encoder, bitrate).expect("a bitrate");
        }
        set_frame_rate(&mut encoder, 12.5).expect("a frame rate");
        assert!(set_frame_rate(&mut encoder, -1.0).is_err());
        encoder.encode(&picture).expect("another frame");
    }
}
