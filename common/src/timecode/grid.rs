//! Where the cells of the strip are, and painting and measuring one of them.

use std::ops::Range;

use super::TimecodeError;

/// Cells in a row.
pub(super) const COLUMNS: usize = 40;
/// Rows of cells.
pub(super) const ROWS: usize = 4;
/// Below this width a cell has fewer than two pixels.
const MIN_WIDTH: usize = 2 * COLUMNS;
/// Beyond this no picture is meant; keeps all arithmetic far from overflow.
const MAX_SIDE: usize = 1 << 16;

/// Height in rows of pixels of the strip in a picture `width` pixels wide: a tenth of the width.
#[must_use]
pub const fn strip_height(width: usize) -> usize {
    edge(if width < MAX_SIDE { width } else { MAX_SIDE }, 4 * ROWS)
}

/// The first pixel whose centre is not before `quarters` quarter cells from the edge.
const fn edge(width: usize, quarters: usize) -> usize {
    (2 * width * quarters + 4 * COLUMNS - 1) / (8 * COLUMNS)
}

/// The strip's cells in a picture of a certain width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    width: usize,
    stride: usize,
}

impl Grid {
    /// The grid of a `width` x `height` picture in a plane of `len` bytes.
    pub(super) fn new(len: usize, stride: usize, width: usize, height: usize) -> Result<Self, TimecodeError> {
        let fits =
            (MIN_WIDTH..=MAX_SIDE).contains(&width) && (strip_height(width)..=MAX_SIDE).contains(&height);
        if !fits {
            return Err(TimecodeError::PictureSize { width, height });
        }
        let needed = stride.checked_mul(strip_height(width) - 1).and_then(|n| n.checked_add(width));
        if stride < width || needed.is_none_or(|needed| len < needed) {
            return Err(TimecodeError::ShortBuffer { len, stride });
        }
        Ok(Self { width, stride })
    }

    /// Fills the cells of `row`, each with the level that `level` gives for its column.
    pub(super) fn paint_row(&self, luma: &mut [u8], row: usize, level: impl Fn(usize) -> u8) {
        let ys = self.pixels(4 * row, 4);
        let first = ys.start * self.stride;
        for column in 0..COLUMNS {
            luma[first..][self.pixels(4 * column, 4)].fill(level(column));
        }
        for y in ys.skip(1) {
            luma.copy_within(first..first + self.width, y * self.stride);
        }
    }

    /// Fills the cell in `column` and `row`.
    #[cfg(test)]
    pub(super) fn paint(&self, luma: &mut [u8], column: usize, row: usize, level: u8) {
        let (xs, ys) = (self.pixels(4 * column, 4), self.pixels(4 * row, 4));
        for y in ys {
            luma[y * self.stride..][xs.clone()].fill(level);
        }
    }

    /// The mean level of the middle of the cell in `column` and `row`.
    pub(super) fn level(&self, luma: &[u8], column: usize, row: usize) -> u8 {
        let (xs, ys) = (self.pixels(4 * column + 1, 2), self.pixels(4 * row + 1, 2));
        let count = xs.len() * ys.len();
        let sum: usize = ys
            .map(|y| luma[y * self.stride..][xs.clone()].iter().map(|&v| usize::from(v)).sum::<usize>())
            .sum();
        u8::try_from(sum / count).unwrap_or(u8::MAX)
    }

    /// The pixels, along either axis, of `length` quarter cells from the quarter cell `from`. A cell has
    /// at least two pixels, so half a cell has at least one.
    const fn pixels(&self, from: usize, length: usize) -> Range<usize> {
        edge(self.width, from)..edge(self.width, from + length)
    }
}
