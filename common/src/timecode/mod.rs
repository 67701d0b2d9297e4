//! The machine-readable timecode strip.

use thiserror::Error;

use crate::time::Utc;

/// What a strip says about its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timecode {
    /// Number of the camera.
    pub camera: u16,
    /// Number of the frame, wrapping.
    pub frame: u32,
    /// The true instant of capture; from 1970 to 2262.
    pub capture: Utc,
}

/// Why a strip could not be drawn or read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TimecodeError {
    /// The picture has no room for the strip.
    #[error("a picture of {width}x{height} is too small for a timecode strip")]
    TooSmall {
        /// Picture width in pixels.
        width: usize,
        /// Picture height in pixels.
        height: usize,
    },
    /// The buffer does not hold the picture it is said to hold.
    #[error("a luma plane of {len} bytes is too short for its picture")]
    ShortBuffer {
        /// Bytes in the buffer.
        len: usize,
    },
    /// The capture time is before 1970.
    #[error("capture time {0} is before 1970")]
    TimeRange(Utc),
    /// There is no strip where it must be.
    #[error("no timecode strip at the top of the picture")]
    NotFound,
    /// There is a strip, but it is damaged.
    #[error("the timecode strip is damaged (checksum)")]
    Checksum,
}

/// Draws the strip of `timecode` over the top of a luma plane.
///
/// # Errors
/// A picture too small for it, a buffer too short for the picture, a time before 1970.
pub fn draw(
    timecode: &Timecode,
    luma: &mut [u8],
    stride: usize,
    width: usize,
    height: usize,
) -> Result<(), TimecodeError> {
    let _ = (timecode, luma, stride);
    Err(TimecodeError::TooSmall { width, height })
}

/// Reads the strip at the top of a luma plane.
///
/// # Errors
/// No strip, a damaged one, or a picture in which none fits.
pub fn read(luma: &[u8], stride: usize, width: usize, height: usize) -> Result<Timecode, TimecodeError> {
    let _ = (luma, stride);
    Err(TimecodeError::TooSmall { width, height })
}

/// Height in rows of the strip in a picture `width` pixels wide.
#[must_use]
pub const fn strip_height(width: usize) -> usize {
    width.div_ceil(10)
}
