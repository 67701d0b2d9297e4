//! The pictures of the emulated camera: a grey scale that moves, under the timecode strip.

use framelock_common::time::Utc;
use framelock_common::timecode::{self, Timecode};
use turbojpeg::{Subsamp, YuvImage};

use super::uvc::{HEIGHT, WIDTH};

const W: usize = WIDTH as usize;
const H: usize = HEIGHT as usize;

/// Picture `frame` of `camera`, taken at `capture`: its luma.
fn luma(camera: u16, frame: u32, capture: Utc) -> Vec<u8> {
    let moved = frame as usize * 3;
    let mut luma: Vec<u8> = (0..W * H).map(|at| ((at % W + at / W + moved) % 192 + 32) as u8).collect();
    timecode::draw(&Timecode { camera, frame, capture }, &mut luma, W, W, H)
        .expect("the strip fits into 320x240");
    luma
}

/// It as a camera sends Motion JPEG: 4:2:2, and without the Huffman tables, which are the standard ones.
pub(super) fn jpeg(camera: u16, frame: u32, capture: Utc) -> Vec<u8> {
    let mut pixels = luma(camera, frame, capture);
    pixels.resize(W * H * 2, 128);
    let image = YuvImage { pixels: &pixels[..], width: W, align: 1, height: H, subsamp: Subsamp::Sub2x1 };
    let jpeg = turbojpeg::compress_yuv(image, 80).expect("a JPEG of a picture in memory");
    without_huffman_tables(&jpeg)
}

/// It as YUY2.
pub(super) fn yuy2(camera: u16, frame: u32, capture: Utc) -> Vec<u8> {
    luma(camera, frame, capture).into_iter().flat_map(|y| [y, 128]).collect()
}

/// Takes the DHT segments out of a JPEG's header (ISO/IEC 10918-1, annex B).
fn without_huffman_tables(jpeg: &[u8]) -> Vec<u8> {
    const DHT: u8 = 0xc4;
    const SOS: u8 = 0xda;
    let mut out = jpeg[..2].to_vec();
    let mut at = 2;
    while jpeg[at + 1] != SOS {
        let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if jpeg[at + 1] != DHT {
            out.extend(&jpeg[at..end]);
        }
        at = end;
    }
    out.extend(&jpeg[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_without_tables_decodes_to_its_timecode() {
        let capture = Utc::from_unix_nanos(1_790_000_000_123_456_789);
        let jpeg = jpeg(7, 42, capture);
        assert!(!jpeg.windows(2).any(|pair| pair == [0xff, 0xc4]), "a Huffman table is left");
        assert!(jpeg.len() < super::super::uvc::MAX_PAYLOAD, "{} bytes", jpeg.len());
        let image = turbojpeg::decompress_to_yuv(&jpeg).expect("it decodes with the standard tables");
        let code = timecode::read(&image.pixels[..W * H], W, W, H).expect("a strip");
        assert_eq!(code, Timecode { camera: 7, frame: 42, capture });
    }
}
