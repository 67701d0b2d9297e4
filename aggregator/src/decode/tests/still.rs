//! JPEG pictures.

use turbojpeg::{Compressor, Subsamp, YuvImage};

use super::*;
use crate::deliver::Plane;

const WIDTH: usize = 50;
const HEIGHT: usize = 38;

/// A picture of smooth colours, not of whole macroblocks, with its planes at full size.
fn original() -> [Vec<u8>; 3] {
    let at = |f: fn(usize, usize) -> usize| {
        (0..WIDTH * HEIGHT).map(|n| u8::try_from(f(n % WIDTH, n / WIDTH)).unwrap()).collect()
    };
    [at(|x, y| 20 + 2 * x + 3 * y), at(|x, y| 60 + x + 2 * y), at(|x, y| 200 - 2 * x - y)]
}

/// The picture as JPEG, and how the samples must look at full size again.
fn encoded(subsamp: Subsamp, step: (usize, usize)) -> Vec<u8> {
    let [y, u, v] = original();
    let (width, height) = (WIDTH.next_multiple_of(step.0), HEIGHT.next_multiple_of(step.1));
    let sample = |plane: &[u8], x: usize, y: usize| plane[y.min(HEIGHT - 1) * WIDTH + x.min(WIDTH - 1)];
    let mut pixels = Vec::new();
    for row in 0..height {
        pixels.extend((0..width).map(|column| sample(&y, column, row)));
    }
    if subsamp != Subsamp::Gray {
        for plane in [&u, &v] {
            for row in (0..height).step_by(step.1) {
                pixels.extend((0..width).step_by(step.0).map(|column| sample(plane, column, row)));
            }
        }
    }
    let mut compressor = Compressor::new().unwrap();
    compressor.set_quality(98).unwrap();
    let image = YuvImage { pixels: &pixels[..], width: WIDTH, align: 1, height: HEIGHT, subsamp };
    compressor.compress_yuv_to_vec(image).unwrap()
}

fn decode(data: &[u8]) -> Result<Picture, DecodeError> {
    BuiltIn.open_still()?.decode(data)
}

/// The largest difference of a plane from the original's.
fn difference(plane: Plane<'_>, step: (usize, usize), original: &[u8]) -> u8 {
    let at = |x: usize, y: usize| plane.data[y / step.1 * plane.stride + x / step.0];
    let all = (0..WIDTH * HEIGHT).map(|n| (n % WIDTH, n / WIDTH));
    all.map(|(x, y)| at(x, y).abs_diff(original[y * WIDTH + x])).max().unwrap()
}

#[test]
fn every_subsampling_is_decoded() {
    let [y, u, v] = original();
    for (subsamp, step, chroma, seen) in [
        (Subsamp::Sub2x2, (2, 2), Chroma::Yuv420, (2, 2)),
        (Subsamp::Sub2x1, (2, 1), Chroma::Yuv422, (2, 1)),
        (Subsamp::None, (1, 1), Chroma::Yuv444, (1, 1)),
        (Subsamp::Sub1x2, (1, 2), Chroma::Yuv444, (1, 1)),
        (Subsamp::Sub4x1, (4, 1), Chroma::Yuv444, (1, 1)),
        (Subsamp::Gray, (1, 1), Chroma::Gray, (1, 1)),
    ] {
        let picture = decode(&encoded(subsamp, step)).unwrap();
        let format = picture.format();
        assert_eq!((format.width, format.height, format.chroma), (WIDTH, HEIGHT, chroma), "{subsamp:?}");
        assert_eq!((format.matrix, format.range), (Matrix::Bt601, Range::Full));
        assert!(difference(picture.y(), (1, 1), &y) <= 4, "{subsamp:?}");
        for (plane, original) in [(picture.u(), &u), (picture.v(), &v)] {
            assert_eq!(plane.is_some(), chroma != Chroma::Gray);
            // Up to three steps of the gradient lie between a sample and its neighbours.
            assert!(plane.is_none_or(|plane| difference(plane, seen, original) <= 10), "{subsamp:?}");
        }
        assert_eq!(picture.motion_vectors(), None);
    }
}

#[test]
fn what_is_no_jpeg_or_damaged_is_refused_and_the_next_is_whole() {
    let whole = encoded(Subsamp::Sub2x1, (2, 1));
    let mut decoder = BuiltIn.open_still().unwrap();
    for cut in [0, 1, 2, 20, 300, whole.len() / 2] {
        let error = decoder.decode(&whole[..cut]).unwrap_err();
        assert!(matches!(error, DecodeError::Data(_)), "{error}");
        assert!(decoder.decode(&whole).is_ok());
    }
    assert!(decoder.decode(b"<html>404</html>").is_err());
    // A frame header that declares 65500x65500 pixels.
    let mut huge = whole.clone();
    let at = huge.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a baseline picture");
    huge[at + 5..at + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
    let error = decoder.decode(&huge).unwrap_err().to_string();
    assert!(error.contains("more than 4096x2304"), "{error}");
}

#[test]
fn the_pool_decodes_stills_beside_streams() {
    let (notify, events) = mpsc::channel();
    let pool = DecodePool::new(2, Box::new(BuiltIn), to(notify));
    let data = encoded(Subsamp::Sub2x2, (2, 2));
    let frames: Vec<_> =
        (0..20).map(|n| frame(n, true, if n == 7 { b"no picture" } else { &data[..] })).collect();
    frames.iter().for_each(|frame| pool.submit_still(frame.clone()));
    // Twice, as by two consumers.
    frames.iter().for_each(|frame| pool.submit_still(frame.clone()));
    while frames.iter().any(|frame| frame.outcome().is_none()) {
        events.recv_timeout(PATIENCE).expect("it goes on");
    }
    assert_eq!(letters(&frames), format!("{}F{}", "P".repeat(7), "P".repeat(12)));
}
