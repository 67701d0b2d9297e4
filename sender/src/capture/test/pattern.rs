//! The moving picture of the test source.
//!
//! A textured background that drifts, a ball that goes round once a second, and the grain of a real
//! sensor: without grain an encoder would have nothing to spend its bitrate on. Everything follows
//! from the frame number, so the same frame looks the same on every machine.

use std::ops::Range;

use crate::capture::I420;

/// Side of the square background tile; a power of two.
pub(super) const TILE: usize = 256;
/// Grain samples; a power of two.
const GRAIN: usize = 1 << 13;
/// Different grains; they take turns. A prime, so that no rate at which frames are left out meets one of them again
/// and again.
pub(super) const GRAINS: usize = 7;

/// What the pattern is drawn from.
///
/// Luma is a window that moves over an endless plane of texture and grain; there is one such plane for each grain. So
/// are Cb and Cr, over a plane without grain.
pub(crate) struct Pattern {
    /// Smooth texture, 48 to 208, periodic in both directions.
    tile: Vec<u8>,
    /// The same half-way to grey: full swings of chroma look like no camera.
    chroma: Vec<u8>,
    /// Sensor grain around [`GRAIN_MIDDLE`].
    grain: Vec<u8>,
}

/// The grain value that changes nothing.
const GRAIN_MIDDLE: u8 = 3;

/// Where the windows of a frame lie, as column and row.
pub(super) struct Place {
    pub(super) luma: (usize, usize),
    pub(super) cb: (usize, usize),
    pub(super) cr: (usize, usize),
    pub(super) grain: usize,
}

/// Columns and rows that the windows move over beside their own size.
pub(super) const LUMA_WAY: (usize, usize) = (TILE, TILE);
pub(super) const CHROMA_WAY: (usize, usize) = (TILE, 2 * TILE);

impl Place {
    /// The place of frame `number`.
    pub(super) fn of(number: u64) -> Self {
        // The remainders are small.
        let modulo = |of: usize| (number % of as u64) as usize;
        Self {
            luma: (2 * modulo(TILE / 2), modulo(TILE)),
            cb: (modulo(TILE), modulo(2 * TILE)),
            cr: ((modulo(TILE) + TILE / 3) % TILE, (modulo(2 * TILE) + TILE) % (2 * TILE)),
            grain: modulo(GRAINS),
        }
    }
}

impl Pattern {
    pub(crate) fn new() -> Self {
        let tile = texture();
        let chroma = tile.iter().map(|value| 64 + value / 2).collect();
        Self { tile, chroma, grain: (0..GRAIN).map(|i| triangular(hash(i as u32))).collect() }
    }

    /// Draws frame `number` into all of `picture`.
    pub(crate) fn draw(&self, picture: &mut I420, number: u64) {
        let (width, height) = (picture.width(), picture.height());
        let chroma_width = picture.chroma_width();
        let place = Place::of(number);
        let (luma, cb, cr) = picture.planes_mut();
        for (y, row) in luma.chunks_exact_mut(width).enumerate() {
            self.luma_row(place.grain, place.luma.0, place.luma.1 + y, row);
        }
        for (plane, (left, top)) in [(cb, place.cb), (cr, place.cr)] {
            for (y, row) in plane.chunks_exact_mut(chroma_width).enumerate() {
                self.chroma_row(left, top + y, row);
            }
        }
        draw_ball(luma, width, width, height, number);
    }

    /// Fills `pixels` with a part of a row of the plane with `grain`: texture and grain in one pass, as a picture is too
    /// large for the fastest cache.
    pub(super) fn luma_row(&self, grain: usize, column: usize, row: usize, pixels: &mut [u8]) {
        let tile = row_of(&self.tile, row);
        let seed = (grain as u32).wrapping_mul(0x9e37_79b9) ^ row as u32;
        let mut at = (hash(seed) as usize).wrapping_add(column) % GRAIN;
        let mut from = column % TILE;
        let mut rest = pixels;
        while !rest.is_empty() {
            let length = (TILE - from).min(GRAIN - at).min(rest.len());
            let (part, after) = rest.split_at_mut(length);
            let texture = &tile[from..from + length];
            for ((pixel, value), grain) in part.iter_mut().zip(texture).zip(&self.grain[at..at + length]) {
                // The texture keeps clear of both ends by more than the grain.
                *pixel = *value + *grain - GRAIN_MIDDLE;
            }
            (from, at) = ((from + length) % TILE, (at + length) % GRAIN);
            rest = after;
        }
    }

    /// Fills `samples` with a part of a row of the chroma plane.
    pub(super) fn chroma_row(&self, column: usize, row: usize, samples: &mut [u8]) {
        let tile = row_of(&self.chroma, row / 2);
        let (mut x, mut from) = (0, column % TILE);
        while x < samples.len() {
            let length = (TILE - from).min(samples.len() - x);
            samples[x..x + length].copy_from_slice(&tile[from..from + length]);
            x += length;
            from = 0;
        }
    }
}

fn row_of(tile: &[u8], row: usize) -> &[u8] {
    let start = (row % TILE) * TILE;
    &tile[start..start + TILE]
}

/// Draws the ball of frame `number`.
pub(super) fn draw_ball(luma: &mut [u8], stride: usize, width: usize, height: usize, number: u64) {
    for (y, columns) in ball(width, height, number) {
        luma[y * stride..][columns].fill(235);
    }
}

/// The rows and columns of a ball on a circle round the middle, once every 32 frames.
pub(super) fn ball(width: usize, height: usize, number: u64) -> impl Iterator<Item = (usize, Range<usize>)> {
    /// A quarter of a circle in units of 1/256.
    const QUARTER: [i64; 9] = [0, 50, 98, 142, 181, 213, 237, 251, 256];
    let sine = |step: usize| {
        let (quadrant, within) = (step / 8 % 4, step % 8);
        match quadrant {
            0 => QUARTER[within],
            1 => QUARTER[8 - within],
            2 => -QUARTER[within],
            _ => -QUARTER[8 - within],
        }
    };
    let step = (number % 32) as usize;
    let (w, h) = (width as i64, height as i64);
    let radius = (w.min(h) / 12).max(2);
    let orbit = w.min(h) / 4;
    let centre_x = w / 2 + orbit * sine(step + 8) / 256;
    let centre_y = h / 2 + orbit * sine(step) / 256;
    ((centre_y - radius).max(0)..(centre_y + radius).min(h)).map(move |y| {
        let dy = y - centre_y;
        let half = (radius * radius - dy * dy).isqrt();
        let from = (centre_x - half).clamp(0, w);
        let to = (centre_x + half).clamp(0, w);
        // Within the picture, so neither is negative.
        (y as usize, from as usize..to as usize)
    })
}

/// Periodic value noise in two octaves.
fn texture() -> Vec<u8> {
    let octave = |x: usize, y: usize, cell: usize, seed: u32| {
        let cells = TILE / cell;
        let corner = |cx: usize, cy: usize| {
            i64::from(hash((cx % cells) as u32 | ((cy % cells) as u32) << 8 | seed << 16) & 0xff)
        };
        let (cx, cy, fx, fy) = (x / cell, y / cell, (x % cell) as i64, (y % cell) as i64);
        let cell = cell as i64;
        let top = corner(cx, cy) * (cell - fx) + corner(cx + 1, cy) * fx;
        let bottom = corner(cx, cy + 1) * (cell - fx) + corner(cx + 1, cy + 1) * fx;
        (top * (cell - fy) + bottom * fy) / (cell * cell)
    };
    (0..TILE * TILE)
        .map(|i| {
            let (x, y) = (i % TILE, i / TILE);
            let value = 48 + (octave(x, y, 32, 1) * 3 + octave(x, y, 8, 2) * 2) * 160 / (5 * 256);
            u8::try_from(value).unwrap_or(u8::MAX)
        })
        .collect()
}

/// A triangular distribution from 0 to 6 out of a uniform one.
const fn triangular(bits: u32) -> u8 {
    ((bits & 0xffff) as u8 % 4) + ((bits >> 16) as u8 % 4)
}

/// A 32-bit integer hash (the finalizer of `MurmurHash3`).
const fn hash(mut value: u32) -> u32 {
    value ^= value >> 16;
    value = value.wrapping_mul(0x85eb_ca6b);
    value ^= value >> 13;
    value = value.wrapping_mul(0xc2b2_ae35);
    value ^ (value >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{PicturePool, Size};

    #[test]
    fn it_moves_stays_in_range_and_repeats_exactly() {
        let (pattern, pool) = (Pattern::new(), PicturePool::new());
        for size in [Size::new(640, 480), Size::new(64, 48), Size::new(322, 182), Size::new(3840, 32)] {
            let draw = |number| {
                let mut picture = pool.take(size);
                pattern.draw(&mut picture, number);
                assert!(picture.y().iter().all(|p| (16..=235).contains(p)));
                picture.y().to_vec()
            };
            assert_eq!(draw(7), draw(7));
            let (a, b) = (draw(7), draw(8));
            let changed = a.iter().zip(&b).filter(|(a, b)| a != b).count();
            assert!(changed > a.len() / 2, "{size}: {changed}");
        }
    }
}
