//! Pixels of cameras to [`I420`].
//!
//! Every function checks its input's length first: a driver may fill less than it promised.

use crate::capture::I420;

/// A frame that is shorter than its format and size need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got} bytes where the format needs {needed}")]
pub(crate) struct TooShort {
    pub(crate) got: usize,
    pub(crate) needed: usize,
}

/// Bytes that `rows` rows of `row` bytes take at `stride`, the last row without its padding.
fn check(data: &[u8], stride: usize, row: usize, rows: usize) -> Result<(), TooShort> {
    let needed = stride.max(row) * rows.saturating_sub(1) + row;
    if data.len() < needed { Err(TooShort { got: data.len(), needed }) } else { Ok(()) }
}

/// Packed 4:2:2 (`YUYV`), rows `stride` bytes apart. Each chroma sample is the mean of two rows: to
/// drop every other row would move colour edges.
pub(crate) fn yuyv(data: &[u8], stride: usize, picture: &mut I420) -> Result<(), TooShort> {
    let (width, height, chroma_width) = (picture.width(), picture.height(), picture.chroma_width());
    let row = 4 * chroma_width;
    let stride = stride.max(row);
    check(data, stride, row, height)?;
    let (luma, cb, cr) = picture.planes_mut();
    for (pair, (cb, cr)) in
        cb.chunks_exact_mut(chroma_width).zip(cr.chunks_exact_mut(chroma_width)).enumerate()
    {
        let top = &data[2 * pair * stride..][..row];
        // The last row of an odd height has no partner but itself.
        let bottom_row = (2 * pair + 1).min(height - 1);
        let bottom = &data[bottom_row * stride..][..row];
        unpack_luma(top, &mut luma[2 * pair * width..][..width]);
        unpack_luma(bottom, &mut luma[bottom_row * width..][..width]);
        unpack_chroma(top, bottom, cb, cr);
    }
    Ok(())
}

fn unpack_luma(packed: &[u8], luma: &mut [u8]) {
    /// Pixels at a time: blocks of a fixed size become a few vector instructions.
    const BLOCK: usize = 32;
    let done = luma.len() / BLOCK * BLOCK;
    let (blocks, rest) = luma.as_chunks_mut::<BLOCK>();
    for (luma, packed) in blocks.iter_mut().zip(packed.as_chunks::<{ 2 * BLOCK }>().0) {
        for (luma, packed) in luma.iter_mut().zip(packed.as_chunks::<2>().0) {
            *luma = packed[0];
        }
    }
    for (luma, packed) in rest.iter_mut().zip(packed[2 * done..].as_chunks::<2>().0) {
        *luma = packed[0];
    }
}

fn unpack_chroma(top: &[u8], bottom: &[u8], cb: &mut [u8], cr: &mut [u8]) {
    let rows = top.as_chunks::<4>().0.iter().zip(bottom.as_chunks::<4>().0);
    for ((top, bottom), (cb, cr)) in rows.zip(cb.iter_mut().zip(cr)) {
        let (top, bottom) = (u32::from_le_bytes(*top), u32::from_le_bytes(*bottom));
        // The means of all four bytes at once, rounded up at a half: no bit leaves its byte.
        let means = (top | bottom) - (((top ^ bottom) & 0xfefe_fefe) >> 1);
        let [_, mean_cb, _, mean_cr] = means.to_le_bytes();
        (*cb, *cr) = (mean_cb, mean_cr);
    }
}

/// A luma plane and after it interleaved chroma (`NV12`), rows of both `stride` bytes apart.
pub(crate) fn nv12(data: &[u8], stride: usize, picture: &mut I420) -> Result<(), TooShort> {
    let (width, height) = (picture.width(), picture.height());
    let (chroma_width, chroma_height) = (picture.chroma_width(), picture.chroma_height());
    let stride = stride.max(2 * chroma_width);
    check(data, stride, 2 * chroma_width, height + chroma_height)?;
    let (luma, cb, cr) = picture.planes_mut();
    copy_rows(data, stride, luma, width);
    let rows = data[height * stride..].chunks(stride);
    for (row, (cb, cr)) in rows.zip(cb.chunks_exact_mut(chroma_width).zip(cr.chunks_exact_mut(chroma_width)))
    {
        for (pair, (cb, cr)) in row.chunks_exact(2).zip(cb.iter_mut().zip(cr)) {
            (*cb, *cr) = (pair[0], pair[1]);
        }
    }
    Ok(())
}

/// Three planes (`YU12`), luma rows `stride` bytes apart and chroma rows half as much.
pub(crate) fn i420(data: &[u8], stride: usize, picture: &mut I420) -> Result<(), TooShort> {
    let (width, height) = (picture.width(), picture.height());
    let (chroma_width, chroma_height) = (picture.chroma_width(), picture.chroma_height());
    let stride = stride.max(width);
    let chroma_stride = stride.div_ceil(2);
    let (cb_start, cr_start) = (stride * height, stride * height + chroma_stride * chroma_height);
    let cr_data = data.get(cr_start..).unwrap_or_default();
    check(cr_data, chroma_stride, chroma_width, chroma_height)
        .map_err(|short| TooShort { got: data.len(), needed: cr_start + short.needed })?;
    let (luma, cb, cr) = picture.planes_mut();
    copy_rows(data, stride, luma, width);
    copy_rows(&data[cb_start..], chroma_stride, cb, chroma_width);
    copy_rows(cr_data, chroma_stride, cr, chroma_width);
    Ok(())
}

fn copy_rows(from: &[u8], stride: usize, to: &mut [u8], width: usize) {
    for (from, to) in from.chunks(stride).zip(to.chunks_exact_mut(width)) {
        to.copy_from_slice(&from[..width]);
    }
}

/// A plane of `from_width` x `from_height` to one of `width` x `height`, each side of which is the
/// same, half or twice as long (rounded up): means where it shrinks, repeats where it grows.
pub(crate) fn resample(
    from: &[u8],
    (from_width, from_height): (usize, usize),
    to: &mut [u8],
    (width, height): (usize, usize),
) {
    let sources = |position: usize, from_length: usize, length: usize| {
        let last = from_length - 1;
        match from_length.cmp(&length) {
            std::cmp::Ordering::Equal => (position, position),
            std::cmp::Ordering::Greater => ((2 * position).min(last), (2 * position + 1).min(last)),
            std::cmp::Ordering::Less => ((position / 2).min(last), (position / 2).min(last)),
        }
    };
    for (y, row) in to.chunks_exact_mut(width).take(height).enumerate() {
        let (top, bottom) = sources(y, from_height, height);
        let top = &from[top * from_width..][..from_width];
        let bottom = &from[bottom * from_width..][..from_width];
        for (x, sample) in row.iter_mut().enumerate() {
            let (left, right) = sources(x, from_width, width);
            let sum = u16::from(top[left])
                + u16::from(top[right])
                + u16::from(bottom[left])
                + u16::from(bottom[right]);
            *sample = ((sum + 2) / 4) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{PicturePool, Size};

    /// Luma, Cb and Cr of the pixel at (x, y) of a picture that exists only as a formula.
    fn pixel(x: usize, y: usize) -> (u8, u8, u8) {
        ((x * 7 + y * 13) as u8, (x / 2 * 5 + y * 3) as u8, (x / 2 * 11 + y * 9 + 50) as u8)
    }

    fn picture(width: usize, height: usize) -> I420 {
        PicturePool::new().take(Size::new(width as u32, height as u32))
    }

    /// Checks luma exactly, and chroma against the mean of the rows that it stands for.
    fn check_planes(picture: &I420, rows_of: impl Fn(usize) -> (usize, usize)) {
        for y in 0..picture.height() {
            for x in 0..picture.width() {
                assert_eq!(picture.y()[y * picture.width() + x], pixel(x, y).0, "luma {x},{y}");
            }
        }
        for y in 0..picture.chroma_height() {
            let (top, bottom) = rows_of(y);
            for x in 0..picture.chroma_width() {
                let (a, b) = (pixel(2 * x, top), pixel(2 * x, bottom));
                assert_eq!(picture.u()[y * picture.chroma_width() + x], mean(a.1, b.1), "cb {x},{y}");
                assert_eq!(picture.v()[y * picture.chroma_width() + x], mean(a.2, b.2), "cr {x},{y}");
            }
        }
    }

    /// The mean, rounded up at a half.
    const fn mean(a: u8, b: u8) -> u8 {
        (a as u16 + b as u16).div_ceil(2) as u8
    }

    #[test]
    fn yuyv_keeps_luma_and_averages_chroma_rows() {
        for (width, height, padding) in
            [(16, 8, 0), (6, 4, 10), (640, 480, 64), (7, 5, 0), (2, 1, 0), (34, 3, 2), (98, 2, 0)]
        {
            let packed = usize::div_ceil(width, 2) * 4;
            let mut data = vec![0; (packed + padding) * height];
            for (y, row) in data.chunks_mut(packed + padding).enumerate() {
                for (x, sample) in row[..packed].chunks_mut(2).enumerate() {
                    let (luma, cb, cr) = pixel(x, y);
                    sample.copy_from_slice(&[luma, if x % 2 == 0 { cb } else { cr }]);
                }
            }
            let mut picture = picture(width, height);
            yuyv(&data, packed + padding, &mut picture).unwrap();
            check_planes(&picture, |y| (2 * y, (2 * y + 1).min(height - 1)));
        }
    }

    /// The formula as 4:2:0 planes: luma, then both chroma planes sampled at even rows.
    fn planes(width: usize, height: usize) -> (Vec<u8>, Vec<(u8, u8)>) {
        let luma = (0..height * width).map(|i| pixel(i % width, i / width).0).collect();
        let (chroma_width, chroma_height) = (width.div_ceil(2), height.div_ceil(2));
        let chroma = (0..chroma_width * chroma_height).map(|i| {
            let (_, cb, cr) = pixel(i % chroma_width * 2, i / chroma_width * 2);
            (cb, cr)
        });
        (luma, chroma.collect())
    }

    fn padded(rows: &[u8], width: usize, stride: usize) -> Vec<u8> {
        rows.chunks(width)
            .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0xee, stride - width)))
            .collect()
    }

    #[test]
    fn nv12_and_i420_with_and_without_padding() {
        for (width, height, padding) in [(16, 8, 0), (6, 4, 10), (640, 480, 64)] {
            let stride = width + padding;
            let (luma, chroma) = planes(width, height);
            let interleaved: Vec<u8> = chroma.iter().flat_map(|&(cb, cr)| [cb, cr]).collect();
            let mut data = padded(&luma, width, stride);
            data.extend(padded(&interleaved, width, stride));
            let mut out = picture(width, height);
            nv12(&data, stride, &mut out).unwrap();
            check_planes(&out, |y| (2 * y, 2 * y));

            let mut data = padded(&luma, width, stride);
            for plane in
                [chroma.iter().map(|c| c.0).collect::<Vec<_>>(), chroma.iter().map(|c| c.1).collect()]
            {
                data.extend(padded(&plane, width / 2, stride / 2));
            }
            let mut out = picture(width, height);
            i420(&data, stride, &mut out).unwrap();
            check_planes(&out, |y| (2 * y, 2 * y));
        }
    }

    #[test]
    fn a_frame_cut_short_is_an_error_at_every_length() {
        let mut out = picture(16, 8);
        type Convert = fn(&[u8], usize, &mut I420) -> Result<(), TooShort>;
        for (convert, stride, needed) in
            [(yuyv as Convert, 32, 256), (nv12 as Convert, 16, 192), (i420 as Convert, 16, 192)]
        {
            for length in 0..needed {
                let short = convert(&vec![0; length], stride, &mut out).unwrap_err();
                assert_eq!(short, TooShort { got: length, needed });
            }
            assert!(convert(&vec![0; needed], stride, &mut out).is_ok());
            // A driver that tells no stride means rows without padding.
            assert!(convert(&vec![0; needed], 0, &mut out).is_ok());
        }
    }

    #[test]
    fn planes_are_resampled_to_half_same_and_double() {
        let from = [10, 20, 30, 40, 50, 60, 70, 80];
        let mut to = [0; 2];
        resample(&from, (4, 2), &mut to, (2, 1));
        assert_eq!(to, [35, 55]);
        let mut to = [0; 8];
        resample(&from, (4, 2), &mut to, (4, 2));
        assert_eq!(to, from);
        let mut to = [0; 8];
        resample(&[1, 2], (2, 1), &mut to, (4, 2));
        assert_eq!(to, [1, 1, 2, 2, 1, 1, 2, 2]);
        let mut to = [0; 4];
        resample(&[9, 9, 3, 9, 9, 3, 6, 6, 6], (3, 3), &mut to, (2, 2));
        assert_eq!(to, [9, 3, 6, 6]);
    }
}
