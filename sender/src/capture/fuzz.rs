//! What the fuzz targets in `tests/fuzz` call: the parsers of files and pictures, without a camera, a
//! clock or a thread. Nothing else uses them.

use std::path::Path;

use super::jpeg::JpegDecoder;
use super::{CaptureError, I420, PicturePool, Size, file};

/// Reads the file at `path` as the file source does, from its first frame to its last but without waiting
/// for any; returns how many frames it has, counting no further than `limit`.
///
/// # Errors
/// As of [`super::open`].
pub fn read_file(path: &Path, limit: usize) -> Result<usize, CaptureError> {
    file::count_frames(path, limit)
}

/// Decodes two pictures as the frames of an MJPEG camera that was set to `size`; `None` of one that is
/// damaged.
#[must_use]
pub fn decode_jpegs(pictures: [&[u8]; 2], size: Size) -> [Option<I420>; 2] {
    let Ok(mut decoder) = JpegDecoder::new() else { return [None, None] };
    let pool = PicturePool::new();
    pictures.map(|data| {
        let mut picture = pool.take(size);
        decoder.decode(data, &mut picture).is_ok().then_some(picture)
    })
}
