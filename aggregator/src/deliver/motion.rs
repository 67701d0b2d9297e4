//! Motion vectors, as the decoder exports them.

/// One motion vector of a block, with the fields of FFmpeg's `AVMotionVector` (`libavutil/motion_vector.h`)
/// but for its `flags`, which are unused.
///
/// The block at `dst` in this frame was predicted from `src` in a reference frame:
/// `src_x = dst_x + motion_x / motion_scale`, and so for `y`. Positions are those of the block's centre, in
/// pixels from the upper left corner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MotionVector {
    /// Where the block comes from: negative for a past frame, positive for one to come.
    pub source: i32,
    /// The block's width in pixels: 4, 8 or 16.
    pub w: u8,
    /// The block's height in pixels: 4, 8 or 16.
    pub h: u8,
    /// Where the block comes from, x.
    pub src_x: i16,
    /// Where the block comes from, y.
    pub src_y: i16,
    /// Where the block is, x.
    pub dst_x: i16,
    /// Where the block is, y.
    pub dst_y: i16,
    /// Motion in units of `1 / motion_scale` pixels, x.
    pub motion_x: i32,
    /// Motion in units of `1 / motion_scale` pixels, y.
    pub motion_y: i32,
    /// Units of motion in a pixel: 4 for H.264.
    pub motion_scale: u16,
}

impl MotionVector {
    /// The fields in FFmpeg's order: `source`, `w`, `h`, `src_x`, `src_y`, `dst_x`, `dst_y`, `motion_x`,
    /// `motion_y`, `motion_scale`.
    #[must_use]
    pub fn to_row(self) -> [i64; 10] {
        [
            self.source.into(),
            self.w.into(),
            self.h.into(),
            self.src_x.into(),
            self.src_y.into(),
            self.dst_x.into(),
            self.dst_y.into(),
            self.motion_x.into(),
            self.motion_y.into(),
            self.motion_scale.into(),
        ]
    }
}
