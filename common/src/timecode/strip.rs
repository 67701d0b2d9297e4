//! The strip's content: markers, bits and checksum.

use thiserror::Error;

pub use super::grid::strip_height;
use super::grid::{COLUMNS, Grid, ROWS};
use crate::time::Utc;

/// Levels of black and white cells: far apart, and clear of the ends of the video range, where
/// ringing would be clipped and shift the mean.
const BLACK: u8 = 32;
const WHITE: u8 = 220;
/// Markers closer together than this are not a strip.
const MIN_CONTRAST: u8 = 48;
/// Marker cells at either end of a row.
const MARGIN: usize = 2;
const BITS_PER_ROW: usize = COLUMNS - 2 * MARGIN;
const PAYLOAD: usize = BITS_PER_ROW * ROWS / 8;
const _: () = assert!(PAYLOAD == 2 + 4 + 8 + 4);

/// What a strip says about its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timecode {
    /// Number of the camera.
    pub camera: u16,
    /// Number of the frame, wrapping.
    pub frame: u32,
    /// The true instant of capture; from 1970 to 2262.
    pub capture: Utc,
}

/// Why a strip could not be drawn or read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TimecodeError {
    /// The picture has no room for the strip, or is absurdly large.
    #[error(
        "a picture of {width}x{height} cannot hold a timecode strip: it needs a width of 80 to 65536 and a tenth of that in height"
    )]
    PictureSize {
        /// Picture width in pixels.
        width: usize,
        /// Picture height in pixels.
        height: usize,
    },
    /// The buffer does not hold the picture it is said to hold.
    #[error("a luma plane of {len} bytes with a stride of {stride} is too small for its picture")]
    ShortBuffer {
        /// Bytes in the buffer.
        len: usize,
        /// Bytes from row to row.
        stride: usize,
    },
    /// The capture time is before 1970.
    #[error("capture time {0} is before 1970")]
    TimeRange(Utc),
    /// There is no strip where it must be.
    #[error("no timecode strip at the top of the picture")]
    NotFound,
    /// There is a strip, but it is damaged.
    #[error("the timecode strip is damaged (checksum)")]
    Checksum,
}

/// Draws the strip of `timecode` over the top of a luma plane.
///
/// # Errors
/// A picture too small for it, a buffer too short for the picture, a time before 1970.
pub fn draw(
    timecode: &Timecode,
    luma: &mut [u8],
    stride: usize,
    width: usize,
    height: usize,
) -> Result<(), TimecodeError> {
    let grid = Grid::new(luma.len(), stride, width, height)?;
    let payload = timecode.payload()?;
    for row in 0..ROWS {
        grid.paint_row(luma, row, |column| {
            let white = marker(column, row).unwrap_or_else(|| {
                let bit = row * BITS_PER_ROW + column - MARGIN;
                payload[bit / 8] >> (7 - bit % 8) & 1 == 1
            });
            if white { WHITE } else { BLACK }
        });
    }
    Ok(())
}

/// Reads the strip at the top of a luma plane.
///
/// # Errors
/// No strip, a damaged one, or a picture in which none fits.
pub fn read(luma: &[u8], stride: usize, width: usize, height: usize) -> Result<Timecode, TimecodeError> {
    let grid = Grid::new(luma.len(), stride, width, height)?;
    let threshold = threshold(&grid, luma)?;
    let mut payload = [0; PAYLOAD];
    for bit in 0..PAYLOAD * 8 {
        let white = grid.level(luma, bit % BITS_PER_ROW + MARGIN, bit / BITS_PER_ROW) > threshold;
        payload[bit / 8] |= u8::from(white) << (7 - bit % 8);
    }
    Timecode::from_payload(&payload)
}

/// Whether the marker cell in `column` and `row` is white; `None` for a cell that carries a bit.
const fn marker(column: usize, row: usize) -> Option<bool> {
    if column < MARGIN {
        Some((column + row).is_multiple_of(2))
    } else if column >= COLUMNS - MARGIN {
        Some(!(column + row).is_multiple_of(2))
    } else {
        None
    }
}

/// The level between black and white, from the markers, which must be there.
fn threshold(grid: &Grid, luma: &[u8]) -> Result<u8, TimecodeError> {
    // Brightest black, darkest white: the whole picture could be of one level, or anything.
    let (mut black, mut white) = (u8::MIN, u8::MAX);
    for (row, column) in (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| (row, column))) {
        match marker(column, row) {
            Some(true) => white = white.min(grid.level(luma, column, row)),
            Some(false) => black = black.max(grid.level(luma, column, row)),
            None => {}
        }
    }
    if white.saturating_sub(black) < MIN_CONTRAST {
        return Err(TimecodeError::NotFound);
    }
    Ok(black.midpoint(white))
}

impl Timecode {
    fn payload(&self) -> Result<[u8; PAYLOAD], TimecodeError> {
        let capture = u64::try_from(self.capture.as_unix_nanos())
            .map_err(|_| TimecodeError::TimeRange(self.capture))?;
        let mut out = [0; PAYLOAD];
        out[0..2].copy_from_slice(&self.camera.to_be_bytes());
        out[2..6].copy_from_slice(&self.frame.to_be_bytes());
        out[6..14].copy_from_slice(&capture.to_be_bytes());
        let crc = crc32(&out[..14]);
        out[14..].copy_from_slice(&crc.to_be_bytes());
        Ok(out)
    }

    fn from_payload(payload: &[u8; PAYLOAD]) -> Result<Self, TimecodeError> {
        let [c0, c1, f0, f1, f2, f3, t0, t1, t2, t3, t4, t5, t6, t7, k0, k1, k2, k3] = *payload;
        if crc32(&payload[..14]) != u32::from_be_bytes([k0, k1, k2, k3]) {
            return Err(TimecodeError::Checksum);
        }
        // A strip of ours never has the sign bit; with a right checksum it is somebody else's.
        let capture = i64::try_from(u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]))
            .map_err(|_| TimecodeError::Checksum)?;
        Ok(Self {
            camera: u16::from_be_bytes([c0, c1]),
            frame: u32::from_be_bytes([f0, f1, f2, f3]),
            capture: Utc::from_unix_nanos(capture),
        })
    }
}

/// CRC-32 of IEEE 802.3: polynomial 0x04c11db7 reflected, inverted at both ends.
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMECODE: Timecode = Timecode {
        camera: 0xbeef,
        frame: 0x0123_4567,
        capture: Utc::from_unix_nanos(1_790_000_000_123_456_789),
    };

    fn drawn(width: usize, height: usize) -> Vec<u8> {
        let mut luma = vec![128; width * height];
        draw(&TIMECODE, &mut luma, width, width, height).unwrap();
        luma
    }

    #[test]
    fn checksum_is_the_standard_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn reads_what_it_drew_at_every_width() {
        for width in (80..700).chain([1280, 1920, 3840]) {
            let luma = drawn(width, strip_height(width));
            assert_eq!(read(&luma, width, width, strip_height(width)), Ok(TIMECODE), "width {width}");
        }
    }

    #[test]
    fn keeps_to_its_rows_and_width() {
        let (width, height, stride) = (320, 180, 333);
        let mut luma = vec![77; stride * height];
        draw(&TIMECODE, &mut luma, stride, width, height).unwrap();
        assert_eq!(read(&luma, stride, width, height), Ok(TIMECODE));
        for (i, &level) in luma.iter().enumerate() {
            let inside = i / stride < strip_height(width) && i % stride < width;
            assert_eq!(level != 77, inside, "pixel {}, {}", i % stride, i / stride);
        }
    }

    #[test]
    fn any_wrong_bit_is_an_error() {
        let (width, height) = (640, 64);
        for cell in 0..COLUMNS * ROWS {
            let (column, row) = (cell % COLUMNS, cell / COLUMNS);
            let mut luma = drawn(width, height);
            let grid = Grid::new(luma.len(), width, width, height).unwrap();
            let level = grid.level(&luma, column, row);
            grid.paint(&mut luma, column, row, if level > 128 { BLACK } else { WHITE });
            let expected = marker(column, row).map_or(TimecodeError::Checksum, |_| TimecodeError::NotFound);
            assert_eq!(read(&luma, width, width, height), Err(expected), "cell {column}, {row}");
        }
    }

    #[test]
    fn refuses_impossible_pictures_and_times() {
        let mut luma = vec![0; 640 * 480];
        let mut draw_in = |stride, width, height| draw(&TIMECODE, &mut luma, stride, width, height);
        assert!(matches!(draw_in(640, 79, 480), Err(TimecodeError::PictureSize { .. })));
        assert!(matches!(draw_in(640, 640, 63), Err(TimecodeError::PictureSize { .. })));
        assert!(matches!(draw_in(639, 640, 480), Err(TimecodeError::ShortBuffer { .. })));
        assert!(matches!(draw_in(usize::MAX, 640, 480), Err(TimecodeError::ShortBuffer { .. })));
        assert!(matches!(draw_in(0, usize::MAX, usize::MAX), Err(TimecodeError::PictureSize { .. })));
        let early = Timecode { capture: Utc::from_unix_nanos(-1), ..TIMECODE };
        assert_eq!(
            draw(&early, &mut luma, 640, 640, 480),
            Err(TimecodeError::TimeRange(Utc::from_unix_nanos(-1)))
        );
    }

    #[test]
    fn a_picture_without_a_strip_has_none() {
        for level in [0, 16, 128, 255] {
            assert_eq!(read(&vec![level; 640 * 480], 640, 640, 480), Err(TimecodeError::NotFound));
        }
    }

    proptest! {
        #[test]
        fn every_value_survives(camera: u16, frame: u32, ns in 0..=i64::MAX, width in 80_usize..400) {
            let timecode = Timecode { camera, frame, capture: Utc::from_unix_nanos(ns) };
            let mut luma = vec![0; width * strip_height(width)];
            draw(&timecode, &mut luma, width, width, strip_height(width)).unwrap();
            prop_assert_eq!(read(&luma, width, width, strip_height(width)), Ok(timecode));
        }

        #[test]
        fn arbitrary_pictures_never_panic_nor_give_a_value(
            luma in proptest::collection::vec(any::<u8>(), 0..6000),
            stride in 0_usize..200, width in 0_usize..200, height in 0_usize..100,
        ) {
            prop_assert!(read(&luma, stride, width, height).is_err());
        }

        #[test]
        fn noise_behind_good_markers_never_gives_a_value(noise in proptest::collection::vec(any::<u8>(), PAYLOAD * 8)) {
            let mut luma = drawn(160, 16);
            let grid = Grid::new(luma.len(), 160, 160, 16).unwrap();
            for (bit, &level) in noise.iter().enumerate() {
                grid.paint(&mut luma, bit % BITS_PER_ROW + MARGIN, bit / BITS_PER_ROW, level);
            }
            prop_assert_eq!(read(&luma, 160, 160, 16), Err(TimecodeError::Checksum));
        }
    }
}
