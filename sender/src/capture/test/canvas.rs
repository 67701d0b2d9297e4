//! Pictures of the pattern that are not drawn anew for each frame.
//!
//! The pattern is windows that move over planes which never change. So the planes are drawn once, and a picture is
//! a place in them: only what lies on top (ball, text, timecode strip) is wiped off and drawn where it is now.
//! What it all looks like is decided in `pattern`.

use std::sync::Arc;

use framelock_common::timecode::strip_height;

use super::pattern::{self, CHROMA_WAY, GRAINS, LUMA_WAY, Pattern, Place};
use crate::capture::picture::{Lent, Shelf, Window};
use crate::capture::{I420, Size};
use crate::overlay;

/// Planes for pictures of one size.
pub(super) struct Canvases {
    size: Size,
    /// One for each grain.
    luma: Shelf,
    /// The frame whose ball, text and strip are on the canvas.
    drawn: [Option<u64>; GRAINS],
    chroma: Arc<[u8]>,
}

impl Canvases {
    pub(super) fn new(pattern: &Pattern, size: Size) -> Self {
        let (width, height) =
            ((size.width / 2) as usize + CHROMA_WAY.0, (size.height / 2) as usize + CHROMA_WAY.1);
        let mut chroma = vec![0; width * height];
        for (y, row) in chroma.chunks_exact_mut(width).enumerate() {
            pattern.chroma_row(0, y, row);
        }
        let empty = (0..GRAINS).map(|_| Vec::new()).collect();
        Self { size, luma: Shelf::new(empty), drawn: [None; GRAINS], chroma: chroma.into() }
    }

    /// Frame `number` without text and strip; `None` while the canvas that it lies on is in use.
    ///
    /// Whoever gets it may draw the strip, and text where [`overlay::area`] is, and nothing else.
    pub(super) fn take(&mut self, pattern: &Pattern, number: u64) -> Option<I420> {
        let place = Place::of(number);
        let mut lent = self.luma.take(place.grain)?;
        let stride = self.size.width as usize + LUMA_WAY.0;
        match self.drawn[place.grain].replace(number) {
            Some(before) => self.wipe(pattern, &mut lent, before),
            None => {
                lent.data.resize(stride * (self.size.height as usize + LUMA_WAY.1), 0);
                for (y, row) in lent.data.chunks_exact_mut(stride).enumerate() {
                    pattern.luma_row(place.grain, 0, y, row);
                }
            }
        }
        let chroma_stride = (self.size.width / 2) as usize + CHROMA_WAY.0;
        let window = |(x, y): (usize, usize), stride| Window { start: y * stride + x, stride };
        let chroma = [window(place.cb, chroma_stride), window(place.cr, chroma_stride)];
        let luma = (lent, window(place.luma, stride));
        let mut picture = I420::of_windows(self.size, luma, Arc::clone(&self.chroma), chroma);
        let (width, height) = (picture.width(), picture.height());
        pattern::draw_ball(picture.y_mut(), stride, width, height, number);
        Some(picture)
    }

    /// Restores what was under ball, text and strip of frame `before`.
    fn wipe(&self, pattern: &Pattern, canvas: &mut Lent, before: u64) {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let stride = width + LUMA_WAY.0;
        let Place { luma: (left, top), grain, .. } = Place::of(before);
        let strip = (0..strip_height(width)).map(|y| (y, 0..width));
        let (columns, rows) = overlay::area(width, height);
        let text = rows.map(|y| (y, columns.clone()));
        for (y, columns) in pattern::ball(width, height, before).chain(text).chain(strip) {
            let pixels = &mut canvas.data[(top + y) * stride + left..][columns.clone()];
            pattern.luma_row(grain, left + columns.start, top + y, pixels);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use framelock_common::time::{Span, Utc};
    use framelock_common::timecode::{self, Timecode};

    use super::*;
    use crate::capture::PicturePool;

    const UTC: Utc = Utc::from_unix_nanos(1_790_000_000_123_456_789);

    /// Draws on frame `number` what the source draws, and over it what `--overlay-time` does.
    fn decorate(picture: &mut I420, number: u64, overlay: bool) {
        let (stride, width, height) = (picture.stride(), picture.width(), picture.height());
        let capture = UTC + Span::from_millis(33) * number as i64;
        overlay::draw_time(picture.y_mut(), stride, width, height, capture);
        let code = Timecode { camera: 7, frame: number as u32, capture };
        timecode::draw(&code, picture.y_mut(), stride, width, height).unwrap();
        if overlay {
            overlay::draw_time(picture.y_mut(), stride, width, height, capture + Span::from_secs(5_000));
        }
    }

    #[test]
    fn a_canvas_used_again_shows_what_a_picture_drawn_anew_shows() {
        let (pattern, pool) = (Pattern::new(), PicturePool::new());
        for size in ["640x480", "160x96", "322x182", "720x96", "1922x194"] {
            let size: Size = size.parse().unwrap();
            for overlay in [false, true] {
                let mut canvases = Canvases::new(&pattern, size);
                // Frames are left out, and kept, as an encoder does that is slow at times.
                let (mut kept, mut reused, mut number) = (VecDeque::new(), 0, u64::from(u32::MAX) - 300);
                for step in 0..700 {
                    number += [1, 1, 1, 2, 1, 7, 1, 5, 1, 1, 31][step % 11];
                    kept.truncate([0, 1, 2, 1, 3, 0, 6][step / 9 % 7]);
                    let Some(mut picture) = canvases.take(&pattern, number) else { continue };
                    decorate(&mut picture, number, overlay);
                    let mut anew = pool.take(size);
                    pattern.draw(&mut anew, number);
                    decorate(&mut anew, number, overlay);
                    assert!(picture.packed() == anew.packed(), "{size}, overlay {overlay}: frame {number}");
                    kept.push_front(picture);
                    reused += 1;
                }
                assert!(reused > 400, "{size}: {reused}");
            }
        }
    }

    #[test]
    fn a_canvas_in_use_is_nobody_elses() {
        let pattern = Pattern::new();
        let mut canvases = Canvases::new(&pattern, Size::new(160, 96));
        let pictures: Vec<_> = (0..GRAINS as u64).map(|n| canvases.take(&pattern, n).unwrap()).collect();
        for number in 0..20 {
            assert!(canvases.take(&pattern, number).is_none());
        }
        drop(pictures);
        assert!(canvases.take(&pattern, 20).is_some());
    }
}
