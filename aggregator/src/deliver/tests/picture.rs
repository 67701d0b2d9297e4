//! Conversion against a plain implementation of the standards' formulas.

use proptest::prelude::*;

use super::*;

/// A plane of noise from `floor` up that only the seed knows, with padding after each row.
fn plane((width, height): (usize, usize), padding: usize, floor: u8, seed: u64) -> (Vec<u8>, usize) {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 56) as u8).max(floor)
    };
    ((0..(width + padding) * height).map(|_| next()).collect(), width + padding)
}

struct Padded(Vec<(Vec<u8>, usize)>);

impl Planes for Padded {
    fn plane(&self, index: usize) -> Plane<'_> {
        let (data, stride) = &self.0[index];
        Plane { data, stride: *stride }
    }
}

fn noise(format: PictureFormat, padding: usize, seed: u64) -> Picture {
    let size = (format.width, format.height);
    // What is blacker than black is black, whatever the formulas say.
    let black = if format.range == Range::Limited { 16 } else { 0 };
    let mut planes = vec![plane(size, padding, black, seed)];
    if let Some(chroma) = format.chroma.plane_size(size.0, size.1) {
        planes.extend([plane(chroma, padding, 0, seed ^ 0x55), plane(chroma, padding, 0, seed ^ 0xaaaa)]);
    }
    Picture::new(format, Box::new(Padded(planes))).expect("whole planes")
}

/// ITU-R BT.601, BT.709 and so on: R'G'B' of a pixel, by its definition in floating point.
fn by_definition(picture: &Picture, x: usize, y: usize) -> [f64; 3] {
    let PictureFormat { width, height, chroma, matrix, range, .. } = picture.format();
    let at = |plane: Option<Plane<'_>>, (w, h): (usize, usize)| {
        plane.map_or(128.0, |plane| {
            let (step_x, step_y) = (width.div_ceil(w), height.div_ceil(h));
            f64::from(plane.data[y / step_y * plane.stride + x / step_x])
        })
    };
    let size = chroma.plane_size(width, height).unwrap_or((width, height));
    let (luma, cb, cr) =
        (at(Some(picture.y()), (width, height)), at(picture.u(), size), at(picture.v(), size));
    let (luma, cb, cr) = match range {
        Range::Full => (luma / 255.0, (cb - 128.0) / 255.0, (cr - 128.0) / 255.0),
        Range::Limited => ((luma - 16.0) / 219.0, (cb - 128.0) / 224.0, (cr - 128.0) / 224.0),
    };
    let (kr, kb) = match matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
        Matrix::Bt2020 => (0.2627, 0.0593),
        Matrix::Smpte240m => (0.212, 0.087),
        Matrix::Fcc => (0.30, 0.11),
    };
    let red = luma + 2.0 * (1.0 - kr) * cr;
    let blue = luma + 2.0 * (1.0 - kb) * cb;
    let green = (luma - kr * red - kb * blue) / (1.0 - kr - kb);
    [red, green, blue].map(|value| (value * 255.0).clamp(0.0, 255.0))
}

fn formats() -> impl Strategy<Value = PictureFormat> {
    let chroma = prop::sample::select(vec![Chroma::Gray, Chroma::Yuv420, Chroma::Yuv422, Chroma::Yuv444]);
    let all = vec![Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020, Matrix::Smpte240m, Matrix::Fcc];
    let range = prop::sample::select(vec![Range::Limited, Range::Full]);
    (1_usize..70, 1_usize..20, chroma, prop::sample::select(all), range).prop_map(
        |(width, height, chroma, matrix, range)| PictureFormat {
            width,
            height,
            chroma,
            depth: 8,
            matrix,
            range,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn colours_are_those_of_the_standards(
        format in formats(), padding in 0_usize..40, more in 0_usize..9, seed in any::<u64>(),
    ) {
        let picture = noise(format, padding, seed);
        let PictureFormat { width, height, .. } = format;
        for (pixels, order) in [(PixelFormat::Rgb, [0, 1, 2]), (PixelFormat::Bgr, [2, 1, 0])] {
            let stride = width * 3 + more;
            let mut out = vec![7; stride * height];
            picture.convert(pixels, &mut out, stride).unwrap();
            for (n, row) in out.chunks(stride).enumerate() {
                for x in 0..width {
                    let expected = by_definition(&picture, x, n);
                    for (channel, colour) in order.into_iter().enumerate() {
                        let got = f64::from(row[3 * x + channel]);
                        // Integer arithmetic of 13 bits rounds three terms.
                        prop_assert!((got - expected[colour]).abs() <= 2.0,
                            "{:?} at {x},{n}: {got} for {:?}", format, expected);
                    }
                }
                prop_assert!(row[width * 3..].iter().all(|byte| *byte == 7), "what is beyond a row is not ours");
            }
        }
    }

    #[test]
    fn brightness_is_luma_in_full_range(format in formats(), padding in 0_usize..40, seed in any::<u64>()) {
        let picture = noise(format, padding, seed);
        let mut out = vec![0; format.width * format.height];
        picture.to_gray(&mut out).unwrap();
        for (n, got) in out.iter().enumerate() {
            let luma = f64::from(picture.y().data[n / format.width * picture.y().stride + n % format.width]);
            let expected = match format.range {
                Range::Full => luma,
                Range::Limited => ((luma - 16.0) * 255.0 / 219.0).clamp(0.0, 255.0),
            };
            prop_assert!((f64::from(*got) - expected).abs() <= 0.51, "{luma} became {got}");
        }
    }
}

const SMALL: PictureFormat = PictureFormat {
    width: 6,
    height: 4,
    chroma: Chroma::Yuv420,
    depth: 8,
    matrix: Matrix::Bt709,
    range: Range::Limited,
};

#[test]
fn a_buffer_that_is_too_small_is_refused_with_what_is_needed() {
    let picture = noise(SMALL, 0, 1);
    let error = picture.to_bgr(&mut [0; 71]).unwrap_err();
    assert_eq!(error.to_string(), "a 6x4 picture needs 72 bytes in rows of 18; the buffer has 71");
    assert!(picture.to_bgr(&mut [0; 72]).is_ok());
    assert!(picture.to_gray(&mut [0; 23]).is_err());
    assert!(picture.convert(PixelFormat::Bgr, &mut [0; 1_000], 17).is_err(), "rows must not overlap");
    // The last row needs no padding.
    assert!(picture.convert(PixelFormat::Bgr, &mut [0; 3 * 20 + 18], 20).is_ok());
}

#[test]
fn ten_bits_are_refused_with_what_to_do() {
    let format = PictureFormat { depth: 10, width: 3, ..SMALL };
    let error = noise(format, 20, 1).to_bgr(&mut [0; 72]).unwrap_err();
    assert_eq!(error, PictureError::Depth(10));
    assert!(error.to_string().contains("8 bits"), "{error}");
}

#[test]
fn planes_that_are_too_short_are_no_picture() {
    let planes =
        |y: usize, c: usize| Box::new(Padded(vec![(vec![0; y], 6), (vec![0; c], 3), (vec![0; c], 3)]));
    assert!(Picture::new(SMALL, planes(24, 6)).is_some());
    assert!(Picture::new(SMALL, planes(23, 6)).is_none());
    assert!(Picture::new(SMALL, planes(24, 5)).is_none());
    let empty = PictureFormat { width: 0, ..SMALL };
    assert!(Picture::new(empty, planes(24, 6)).is_none());
    let deep = PictureFormat { depth: 10, ..SMALL };
    assert!(Picture::new(deep, planes(24, 6)).is_none(), "two bytes a sample");
    let gray = PictureFormat { chroma: Chroma::Gray, ..SMALL };
    assert!(Picture::new(gray, planes(24, 0)).is_some_and(|picture| picture.u().is_none()));
}
