//! The moving picture of the test source.
//!
//! A textured background that drifts, a ball that goes round once a second, and the grain of a real
//! sensor: without grain an encoder would have nothing to spend its bitrate on. Everything follows
//! from the frame number, so the same frame looks the same on every machine.

use crate::capture::I420;

/// Side of the square background tile; a power of two.
const TILE: usize = 256;
/// Grain samples; a power of two.
const GRAIN: usize = 1 << 13;

/// What the pattern is drawn from.
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

impl Pattern {
    pub(crate) fn new() -> Self {
        let tile = texture();
        let chroma = tile.iter().map(|value| 64 + value / 2).collect();
        Self { tile, chroma, grain: (0..GRAIN).map(|i| triangular(hash(i as u32))).collect() }
    }

    /// Draws frame `number` into all of `picture`.
    pub(crate) fn draw(&self, picture: &mut I420, number: u64) {
        let (width, height) = (picture.width(), picture.height());
        let (chroma_width, chroma_height) = (picture.chroma_width(), picture.chroma_height());
        // The low bits are enough: everything is periodic.
        let frame = (number & 0xffff_ffff) as usize;
        let (luma, cb, cr) = picture.planes_mut();
        for (y, row) in luma.chunks_exact_mut(width).take(height).enumerate() {
            let start = hash((frame as u32).wrapping_mul(0x9e37_79b9) ^ y as u32) as usize % GRAIN;
            self.draw_with_grain(row, y + frame, 2 * frame, start);
        }
        for y in 0..chroma_height {
            let row = y * chroma_width..(y + 1) * chroma_width;
            draw_row(&self.chroma, &mut cb[row.clone()], (y + frame) / 2, frame);
            draw_row(&self.chroma, &mut cr[row], (y + frame) / 2 + TILE / 2, frame + TILE / 3);
        }
        draw_ball(luma, width, height, frame);
    }

    /// Texture and grain in one pass: a picture is too large for the fastest cache.
    fn draw_with_grain(&self, row: &mut [u8], tile_row: usize, offset: usize, mut grain: usize) {
        let tile = row_of(&self.tile, tile_row);
        let mut from = offset % TILE;
        let mut rest = row;
        while !rest.is_empty() {
            let (part, after) = rest.split_at_mut((TILE - from).min(rest.len()));
            let length = part.len();
            grain = if grain + length > GRAIN { 0 } else { grain };
            let texture = &tile[from..from + length];
            for ((pixel, value), grain) in
                part.iter_mut().zip(texture).zip(&self.grain[grain..grain + length])
            {
                // The texture keeps clear of both ends by more than the grain.
                *pixel = *value + *grain - GRAIN_MIDDLE;
            }
            grain += length;
            from = 0;
            rest = after;
        }
    }
}

fn row_of(tile: &[u8], row: usize) -> &[u8] {
    let start = (row % TILE) * TILE;
    &tile[start..start + TILE]
}

/// Fills `row` with a row of `tile`, from `offset` on and round again.
fn draw_row(tile: &[u8], row: &mut [u8], tile_row: usize, offset: usize) {
    let tile = row_of(tile, tile_row);
    let (mut x, mut from) = (0, offset % TILE);
    while x < row.len() {
        let length = (TILE - from).min(row.len() - x);
        row[x..x + length].copy_from_slice(&tile[from..from + length]);
        x += length;
        from = 0;
    }
}

/// A white ball on a circle round the middle, once every 32 frames.
fn draw_ball(luma: &mut [u8], width: usize, height: usize, frame: usize) {
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
    let (w, h) = (width as i64, height as i64);
    let radius = (w.min(h) / 12).max(2);
    let orbit = w.min(h) / 4;
    let centre_x = w / 2 + orbit * sine(frame + 8) / 256;
    let centre_y = h / 2 + orbit * sine(frame) / 256;
    for y in (centre_y - radius).max(0)..(centre_y + radius).min(h) {
        let dy = y - centre_y;
        let half = (radius * radius - dy * dy).isqrt();
        let from = (centre_x - half).clamp(0, w);
        let to = (centre_x + half).clamp(0, w);
        let row = (y * w) as usize;
        luma[row + from as usize..row + to as usize].fill(235);
    }
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
