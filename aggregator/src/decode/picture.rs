//! Decoder output to the pictures that frames carry.

use crate::deliver::Picture;

/// One plane of a decoder's output: rows `stride` bytes apart.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a> {
    pub(super) data: &'a [u8],
    pub(super) stride: usize,
}

impl Plane<'_> {
    /// Its samples without padding; `None` if it is too short for the size.
    fn packed(self, width: usize, height: usize) -> Option<Vec<u8>> {
        let Self { data, stride } = self;
        if width == 0 || height == 0 || stride < width || data.len() < stride * (height - 1) + width {
            return None;
        }
        let mut samples = Vec::with_capacity(width * height);
        for row in data.chunks(stride).take(height) {
            samples.extend_from_slice(&row[..width]);
        }
        Some(samples)
    }
}

/// A picture of `width` by `height` from its planes; `None` if they are too short for it.
pub(super) fn picture(width: usize, height: usize, [y, u, v]: [Plane<'_>; 3]) -> Option<Picture> {
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    Some(Picture {
        width,
        height,
        y: y.packed(width, height)?,
        u: u.packed(half_width, half_height)?,
        v: v.packed(half_width, half_height)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_lose_their_padding_and_short_ones_are_refused() {
        let y = Plane { data: &[1, 2, 0, 3, 4], stride: 3 };
        let half = Plane { data: &[9], stride: 1 };
        let made = picture(2, 2, [y, half, half]).unwrap();
        assert_eq!((made.y, made.u), (vec![1, 2, 3, 4], vec![9]));
        let short = Plane { data: &[1, 2, 0, 3], stride: 3 };
        assert!(picture(2, 2, [short, half, half]).is_none());
        assert!(picture(2, 2, [y, half, Plane { data: &[], stride: 1 }]).is_none());
    }
}
