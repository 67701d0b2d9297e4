//! Text burned into a picture's luma plane.

use std::convert::Infallible;

use chrono::{Datelike, Timelike};
use embedded_graphics::mono_font::ascii::{FONT_6X10, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyleBuilder};
use embedded_graphics::pixelcolor::Gray8;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use embedded_graphics::text::{Baseline, Text};
use framelock_common::time::Utc;

/// Luma of black and white in video range.
const BLACK: Gray8 = Gray8::new(16);
const WHITE: Gray8 = Gray8::new(235);
/// Space around the text, in pixels; even, so that it lies on whole chroma samples.
const MARGIN: usize = 8;

/// Draws `utc` as `2026-11-20 12:34:56.123 UTC`, white on black, into the lower left corner.
/// Pictures too small for it get what fits.
pub fn draw_time(luma: &mut [u8], stride: usize, width: usize, height: usize, utc: Utc) {
    draw_text(luma, stride, width, height, &text_of(utc));
}

/// Put together by hand: in every frame, reading a format string costs more than the drawing.
fn text_of(utc: Utc) -> String {
    let t = chrono::DateTime::from_timestamp_nanos(utc.as_unix_nanos());
    let (year, month, day) = (t.year(), t.month(), t.day());
    let (hour, minute, second, millis) = (t.hour(), t.minute(), t.second(), t.timestamp_subsec_millis());
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03} UTC")
}

fn draw_text(luma: &mut [u8], stride: usize, width: usize, height: usize, text: &str) {
    let font = font_for(width, text.len());
    let Some(mut plane) = Plane::new(luma, stride, width, height) else { return };
    let top = height.saturating_sub(MARGIN + font.character_size.height as usize);
    let style = MonoTextStyleBuilder::new().font(font).text_color(WHITE).background_color(BLACK).build();
    let at = Point::new(MARGIN as i32, i32::try_from(top).unwrap_or(i32::MAX));
    let Ok(_) = Text::with_baseline(text, at, style, Baseline::Top).draw(&mut plane);
}

/// The larger font where the text fits in it.
fn font_for(width: usize, characters: usize) -> &'static MonoFont<'static> {
    let large = &FONT_10X20;
    let needed = characters * large.character_size.width as usize + 2 * MARGIN;
    if needed <= width { large } else { &FONT_6X10 }
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
        let fits = width <= stride && stride.checked_mul(height).is_some_and(|needed| needed <= luma.len());
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

    /// A row at a time where the area lies inside, as every character of a text that fits does.
    fn fill_contiguous<I: IntoIterator<Item = Gray8>>(
        &mut self,
        area: &Rectangle,
        colors: I,
    ) -> Result<(), Infallible> {
        if area.intersection(&self.bounding_box()) != *area {
            return self.draw_iter(area.points().zip(colors).map(|(point, color)| Pixel(point, color)));
        }
        // Inside the plane, so neither is negative.
        let (left, top) = (area.top_left.x.unsigned_abs() as usize, area.top_left.y.unsigned_abs() as usize);
        let (columns, rows) = (area.size.width as usize, area.size.height as usize);
        let mut colors = colors.into_iter();
        for y in top..top + rows {
            let start = y * self.stride + left;
            for (pixel, color) in self.luma[start..start + columns].iter_mut().zip(&mut colors) {
                *pixel = color.luma();
            }
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
    fn small_and_lying_sizes_are_harmless() {
        for (width, height) in [(1, 1), (16, 8), (60, 20), (160, 96), (0, 0)] {
            drawn(width, height, width);
        }
        draw_time(&mut [0; 10], 640, 640, 480, TIME);
        draw_time(&mut [0; 10], 1, 5, 2, TIME);
    }
}
