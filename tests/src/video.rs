//! Decoded pictures of the test pattern, and the timecodes in them.

use framelock_common::timecode::{self, Timecode};

/// The timecodes of a run of raw I420 pictures; `None` for a picture whose strip cannot be read.
///
/// # Panics
/// When `raw` is not whole pictures.
#[must_use]
pub fn timecodes(raw: &[u8], width: usize, height: usize) -> Vec<Option<Timecode>> {
    let picture = width * height * 3 / 2;
    assert_eq!(raw.len() % picture, 0, "{} bytes are not whole {width}x{height} pictures", raw.len());
    raw.chunks_exact(picture).map(|luma| timecode::read(luma, width, width, height).ok()).collect()
}
