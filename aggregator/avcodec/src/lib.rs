//! The one field of a decoded frame that `ffmpeg-the-third` offers only through its unsafe raw interface.

use ffmpeg_the_third::frame::Video;

/// Whether the decoder met errors in the frame and filled the holes with what it guessed
/// (`AVFrame.decode_error_flags`).
#[must_use]
pub fn is_concealed(frame: &Video) -> bool {
    // SAFETY: a `Video` owns an allocated `AVFrame` for as long as it lives, and the field is a plain integer
    // that nobody writes while the frame is borrowed.
    unsafe { (*frame.as_ptr()).decode_error_flags != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_was_never_decoded_has_no_errors() {
        assert!(!is_concealed(&Video::empty()));
    }
}
