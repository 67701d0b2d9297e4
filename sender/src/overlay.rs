//! Text burned into a picture's luma plane.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::LazyLock;

use chrono::{Datelike, Timelike};
use embedded_graphics::mono_font::ascii::{FONT_6X10, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyleBuilder};
use embedded_graphics::pixelcolor::Gray8;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};
use framelock_common::time::Utc;

/// Luma of black and white in video range.
const BLACK: Gray8 = Gray8::new(16);
const WHITE: Gray8 = Gray8::new(235);
/// Space around the text, in pixels; even, so that it lies on whole chroma samples.
const MARGIN: usize = 8;
/// All that a time is written with.
const ALPHABET: &str = "0123456789-:. UTC";
/// Characters in a time.
const LENGTH: usize = "2026-11-20 12:34:56.123 UTC".len();

/// Drawn once, copied in every frame.
static LARGE: LazyLock<Glyphs> = LazyLock::new(|| Glyphs::new(&FONT_10X20));
static SMALL: LazyLock<Glyphs> = LazyLock::new(|| Glyphs::new(&FONT_6X10));

/// Draws `utc` as `2026-11-20 12:34:56.123 UTC`, white on black, into the lower left corner.
/// Pictures too small for it get what fits.
pub fn draw_time(luma: &mut [u8], stride: usize, width: usize, height: usize, utc: Utc) {
    let Some(mut plane) = Plane::new(luma, stride, width, height) else { return };
    let glyphs = Glyphs::for_width(width);
    let top = glyphs.top(height);
    let mut left = MARGIN;
    for character in text_of(utc).chars() {
        if let Some(glyph) = glyphs.of(character) {
            plane.copy(glyph, glyphs.width, left, top);
        }
        left += glyphs.width;
    }
}

/// The columns and rows of a picture that [`draw_time`] draws on, whatever the time is.
#[must_use]
pub fn area(width: usize, height: usize) -> (Range<usize>, Range<usize>) {
    let glyphs = Glyphs::for_width(width);
    let (top, right) = (glyphs.top(height), MARGIN + LENGTH * glyphs.width);
    (MARGIN.min(width)..right.min(width), top..(top + glyphs.height).min(height))
}

/// Put together by hand: in every frame, reading a format string costs more than the drawing.
fn text_of(utc: Utc) -> String {
    let t = chrono::DateTime::from_timestamp_nanos(utc.as_unix_nanos());
    let (year, month, day) = (t.year(), t.month(), t.day());
    let (hour, minute, second, millis) = (t.hour(), t.minute(), t.second(), t.timestamp_subsec_millis());
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03} UTC")
}

/// The characters of a time as pixels.
struct Glyphs {
    width: usize,
    height: usize,
    /// One character of [`ALPHABET`] after the other, each row by row.
    pixels: Vec<u8>,
}

impl Glyphs {
    fn new(font: &MonoFont<'_>) -> Self {
        let (width, height) = (font.character_size.width as usize, font.character_size.height as usize);
        let mut pixels = vec![BLACK.luma(); ALPHABET.len() * width * height];
        for (glyph, character) in pixels.chunks_exact_mut(width * height).zip(ALPHABET.chars()) {
            let mut target = Plane { luma: glyph, stride: width, width, height };
            draw_text(&mut target, font, Point::zero(), character.encode_utf8(&mut [0; 4]));
        }
        Self { width, height, pixels }
    }

    /// The larger ones where a time fits in them.
    fn for_width(width: usize) -> &'static Self {
        if LARGE.width * LENGTH + 2 * MARGIN <= width { &LARGE } else { &SMALL }
    }

    /// The first row of the text in a picture of this height.
    const fn top(&self, height: usize) -> usize {
        height.saturating_sub(MARGIN + self.height)
    }

    /// The rows of `character`; `None` if no time has it.
    fn of(&self, character: char) -> Option<&[u8]> {
        let start = ALPHABET.find(character)? * self.width * self.height;
        self.pixels.get(start..start + self.width * self.height)
    }
}

fn draw_text(target: &mut Plane<'_>, font: &MonoFont<'_>, at: Point, text: &str) {
    let style = MonoTextStyleBuilder::new().font(font).text_color(WHITE).background_color(BLACK).build();
    let Ok(_) = Text::with_baseline(text, at, style, Baseline::Top).draw(target);
}

/// A luma plane to draw on; what lies outside is not drawn.
struct Plane<'a> {
    luma: &'a mut [u8],
    stride: usize,
    width: usize,
    height: usize,
}

impl<'a> Plane<'a> {
    /// `None` where the buffer is smaller than the plane.
    fn new(luma: &'a mut [u8], stride: usize, width: usize, height: usize) -> Option<Self> {
        let rows = stride.checked_mul(height.saturating_sub(1));
        let needed = rows.and_then(|rows| rows.checked_add(width));
        let fits = width <= stride && height > 0 && needed.is_some_and(|needed| needed <= luma.len());
        fits.then_some(Self { luma, stride, width, height })
    }

    fn set(&mut self, x: i32, y: i32, color: Gray8) {
        if let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y))
            && x < self.width
            && y < self.height
        {
            self.luma[y * self.stride + x] = color.luma();
        }
    }

    /// Copies the rows of `glyph`, each `width` pixels, to where their upper left corner is at `left`, `top`.
    fn copy(&mut self, glyph: &[u8], width: usize, left: usize, top: usize) {
        let visible = width.min(self.width.saturating_sub(left));
        for (y, row) in (top..self.height).zip(glyph.chunks_exact(width)) {
            let whole = &mut self.luma[y * self.stride..][..self.width];
            if let Some(pixels) = whole.get_mut(left..left + visible) {
                pixels.copy_from_slice(&row[..visible]);
            }
        }
    }
}

impl OriginDimensions for Plane<'_> {
    fn size(&self) -> Size {
        let pixels = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Size::new(pixels(self.width), pixels(self.height))
    }
}

impl DrawTarget for Plane<'_> {
    type Color = Gray8;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Gray8>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, color) in pixels {
            self.set(point.x, point.y, color);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Utc = Utc::from_unix_nanos(1_790_000_000_123_456_789);

    fn drawn(width: usize, height: usize, stride: usize) -> Vec<u8> {
        let mut luma = vec![99; stride * height];
        draw_time(&mut luma, stride, width, height, TIME);
        luma
    }

    #[test]
    fn the_text_is_utc_to_the_millisecond() {
        assert_eq!(text_of(TIME), "2026-09-21 14:13:20.123 UTC");
        assert_eq!(text_of(Utc::from_unix_nanos(999_999)), "1970-01-01 00:00:00.000 UTC");
    }

    #[test]
    fn text_is_white_on_black_in_the_lower_left_corner_only() {
        let (width, height, stride) = (640, 480, 704);
        let luma = drawn(width, height, stride);
        let touched = |x: usize, y: usize| luma[y * stride + x] != 99;
        let whites = luma.iter().filter(|&&p| p == 235).count();
        assert!(whites > 300, "{whites}");
        for y in 0..height {
            for x in 0..stride {
                let inside = (8..8 + 27 * 10).contains(&x) && (452..472).contains(&y);
                assert!(inside || !touched(x, y), "{x},{y}");
            }
        }
        assert_ne!(luma, {
            let mut other = vec![99; stride * height];
            draw_time(&mut other, stride, width, height, TIME + framelock_common::time::Span::from_millis(1));
            other
        });
    }

    #[test]
    fn the_area_holds_exactly_what_is_drawn() {
        for (width, height) in [(640, 480), (320, 180), (100, 40), (60, 20), (286, 9), (12, 3), (5, 50)] {
            let luma = drawn(width, height, width);
            let (columns, rows) = area(width, height);
            for (i, pixel) in luma.iter().enumerate() {
                let inside = columns.contains(&(i % width)) && rows.contains(&(i / width));
                assert_eq!(*pixel != 99, inside, "{width}x{height}: pixel {i}");
            }
        }
    }

    #[test]
    fn copied_characters_are_what_the_font_draws() {
        for (width, height) in [(640, 480), (320, 180), (100, 40), (60, 20), (285, 9), (286, 9), (12, 3)] {
            let mut expected = vec![99; width * height];
            let mut plane = Plane::new(&mut expected, width, width, height).unwrap();
            let font = if width >= 286 { &FONT_10X20 } else { &FONT_6X10 };
            let top = height.saturating_sub(8 + font.character_size.height as usize);
            draw_text(&mut plane, font, Point::new(8, top as i32), &text_of(TIME));
            assert_eq!(drawn(width, height, width), expected, "{width}x{height}");
        }
    }

    #[test]
    fn small_and_lying_sizes_are_harmless() {
        for (width, height) in [(1, 1), (16, 8), (60, 20), (160, 96), (0, 0)] {
            drawn(width, height, width);
        }
        draw_time(&mut [0; 10], 640, 640, 480, TIME);
        draw_time(&mut [0; 10], 1, 5, 2, TIME);
    }
}
