//! Motion JPEG, as cameras send it, to [`I420`] without a detour through RGB.

use turbojpeg::{Decompressor, Subsamp, YuvImage};

use super::convert::resample;
use super::{I420, Size};

/// Scans that a progressive picture may have: each costs a pass over the picture.
const SCAN_LIMIT: u32 = 64;

/// Why a picture was not decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JpegError {
    /// The library does not take it.
    #[error("{0}")]
    Library(#[from] turbojpeg::Error),
    /// It is not of the size that the camera was set to.
    #[error("a picture of {got} where {expected} was set")]
    WrongSize { expected: Size, got: String },
    /// A kind of colour subsampling that cameras do not use.
    #[error("unusual colour subsampling")]
    Subsampling,
}

/// A decoder and the memory that it keeps between pictures.
pub(crate) struct JpegDecoder {
    decompressor: Decompressor,
    /// Planes of pictures that are not 4:2:0; empty until the first of them.
    planes: Vec<u8>,
}

impl JpegDecoder {
    pub(crate) fn new() -> Result<Self, JpegError> {
        Ok(Self { decompressor: decompressor()?, planes: Vec::new() })
    }

    /// Decodes `data`, which must be of `picture`'s size. Frames without Huffman tables, as UVC
    /// cameras send them, get the standard ones (ISO/IEC 10918-1 annex K.3).
    pub(crate) fn decode(&mut self, data: &[u8], picture: &mut I420) -> Result<(), JpegError> {
        let result = self.try_decode(data, picture);
        if result.is_err() {
            // The library keeps tables from picture to picture; those of a damaged one would spoil
            // all that come after it.
            self.decompressor = decompressor()?;
        }
        result
    }

    fn try_decode(&mut self, data: &[u8], picture: &mut I420) -> Result<(), JpegError> {
        let header = self.decompressor.read_header(data)?;
        let (width, height) = (picture.width(), picture.height());
        if (header.width, header.height) != (width, height) {
            let got = format!("{}x{}", header.width, header.height);
            return Err(JpegError::WrongSize { expected: picture.size(), got });
        }
        if header.subsamp == Subsamp::Sub2x2 && width.is_multiple_of(2) && height.is_multiple_of(2) {
            let pixels = picture.data_mut();
            return self
                .decode_planes(data, YuvImage { pixels, width, align: 1, height, subsamp: header.subsamp });
        }
        let chroma = chroma_size(header.subsamp, width, height)?;
        let (padded_width, padded_height) = luma_size(header.subsamp, width, height);
        let luma_length = padded_width * padded_height;
        let chroma_length = chroma.map_or(0, |(width, height)| width * height);
        let mut planes = std::mem::take(&mut self.planes);
        planes.resize(luma_length + 2 * chroma_length, 0);
        let image = YuvImage { pixels: &mut planes[..], width, align: 1, height, subsamp: header.subsamp };
        let decoded = self.decode_planes(data, image);
        if decoded.is_ok() {
            let chroma_size = (picture.chroma_width(), picture.chroma_height());
            let (luma, cb, cr) = picture.planes_mut();
            for (to, from) in luma.chunks_exact_mut(width).zip(planes.chunks(padded_width)) {
                to.copy_from_slice(&from[..width]);
            }
            match chroma {
                Some(size) => {
                    let (from_cb, from_cr) = planes[luma_length..].split_at(chroma_length);
                    resample(from_cb, size, cb, chroma_size);
                    resample(from_cr, size, cr, chroma_size);
                }
                None => {
                    cb.fill(128);
                    cr.fill(128);
                }
            }
        }
        self.planes = planes;
        decoded
    }

    fn decode_planes(&mut self, data: &[u8], image: YuvImage<&mut [u8]>) -> Result<(), JpegError> {
        match self.decompressor.decompress_to_yuv(data, image) {
            // Padding before a marker, of which many cameras are fond: the picture is whole.
            Err(turbojpeg::Error::TurboJpegError(what))
                if what.contains("extraneous bytes before marker") =>
            {
                Ok(())
            }
            result => Ok(result?),
        }
    }
}

fn decompressor() -> Result<Decompressor, JpegError> {
    let mut decompressor = Decompressor::new()?;
    decompressor.set_scan_limit(SCAN_LIMIT)?;
    Ok(decompressor)
}

/// The size of the luma plane that the library writes: padded to whole chroma samples.
const fn luma_size(subsamp: Subsamp, width: usize, height: usize) -> (usize, usize) {
    let (x, y) = match subsamp {
        Subsamp::Sub2x1 => (2, 1),
        Subsamp::Sub2x2 => (2, 2),
        Subsamp::Sub1x2 => (1, 2),
        Subsamp::Sub4x1 => (4, 1),
        _ => (1, 1),
    };
    (width.next_multiple_of(x), height.next_multiple_of(y))
}

/// The size of the chroma planes that the library writes; `None` for grey pictures.
const fn chroma_size(
    subsamp: Subsamp,
    width: usize,
    height: usize,
) -> Result<Option<(usize, usize)>, JpegError> {
    Ok(Some(match subsamp {
        Subsamp::None => (width, height),
        Subsamp::Sub2x1 => (width.div_ceil(2), height),
        Subsamp::Sub2x2 => (width.div_ceil(2), height.div_ceil(2)),
        Subsamp::Sub1x2 => (width, height.div_ceil(2)),
        Subsamp::Sub4x1 => (width.div_ceil(4), height),
        Subsamp::Gray => return Ok(None),
        _ => return Err(JpegError::Subsampling),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{PicturePool, TestPattern};

    const SIZE: Size = Size::new(320, 240);

    fn original() -> I420 {
        let mut picture = PicturePool::new().take(SIZE);
        TestPattern::new().draw(&mut picture, 3);
        picture
    }

    /// The picture as JPEG; chroma is repeated to what `subsamp` needs.
    fn encoded(subsamp: Subsamp) -> Vec<u8> {
        let picture = original();
        let mut pixels = picture.y().to_vec();
        if let Some(size) = chroma_size(subsamp, 320, 240).unwrap() {
            for plane in [picture.u(), picture.v()] {
                let mut resampled = vec![0; size.0 * size.1];
                resample(plane, (160, 120), &mut resampled, size);
                pixels.extend(resampled);
            }
        }
        let mut compressor = turbojpeg::Compressor::new().unwrap();
        compressor.set_quality(95).unwrap();
        let image = YuvImage { pixels: &pixels[..], width: 320, align: 1, height: 240, subsamp };
        compressor.compress_yuv_to_vec(image).unwrap()
    }

    fn difference(a: &[u8], b: &[u8]) -> f64 {
        let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / a.len() as f64
    }

    fn decode(data: &[u8]) -> Result<I420, JpegError> {
        let mut picture = PicturePool::new().take(SIZE);
        JpegDecoder::new()?.decode(data, &mut picture).map(|()| picture)
    }

    /// Takes the Huffman tables out, as cameras do to save bandwidth.
    fn without_tables(jpeg: &[u8]) -> Vec<u8> {
        let (mut out, mut at) = (jpeg[..2].to_vec(), 2);
        loop {
            let (marker, length) =
                (jpeg[at + 1], usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]])));
            if marker == 0xda {
                out.extend(&jpeg[at..]);
                return out;
            }
            if marker != 0xc4 {
                out.extend(&jpeg[at..at + 2 + length]);
            }
            at += 2 + length;
        }
    }

    #[test]
    fn every_subsampling_becomes_4_2_0() {
        let original = original();
        for subsamp in
            [Subsamp::Sub2x2, Subsamp::Sub2x1, Subsamp::None, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray]
        {
            let picture = decode(&encoded(subsamp)).unwrap();
            assert!(difference(picture.y(), original.y()) < 2.0, "{subsamp:?}");
            if subsamp == Subsamp::Gray {
                assert!(picture.u().iter().chain(picture.v()).all(|&sample| sample == 128));
            } else {
                assert!(difference(picture.u(), original.u()) < 3.0, "{subsamp:?}");
                assert!(difference(picture.v(), original.v()) < 3.0, "{subsamp:?}");
            }
        }
    }

    #[test]
    fn frames_without_huffman_tables_decode_the_same() {
        for subsamp in [Subsamp::Sub2x2, Subsamp::Sub2x1] {
            let whole = encoded(subsamp);
            let bare = without_tables(&whole);
            assert!(bare.len() < whole.len());
            assert_eq!(decode(&bare).unwrap().y(), decode(&whole).unwrap().y());
        }
    }

    #[test]
    fn padding_before_the_end_is_no_error() {
        let whole = encoded(Subsamp::Sub2x1);
        let mut padded = whole[..whole.len() - 2].to_vec();
        padded.extend([0x12; 7]);
        padded.extend([0xff, 0xd9, 0, 0, 0]);
        assert_eq!(decode(&padded).unwrap().y(), decode(&whole).unwrap().y());
    }

    #[test]
    fn damaged_and_wrong_pictures_are_errors() {
        let whole = encoded(Subsamp::Sub2x1);
        for cut in [0, 1, 2, 20, 300, whole.len() / 2] {
            assert!(decode(&whole[..cut]).is_err(), "{cut} bytes");
        }
        let mut other = PicturePool::new().take(Size::new(640, 480));
        let error = JpegDecoder::new().unwrap().decode(&whole, &mut other).unwrap_err();
        assert!(matches!(error, JpegError::WrongSize { .. }), "{error}");
        // Whatever a byte is changed to: a picture or an error, and the next picture is whole again.
        let mut decoder = JpegDecoder::new().unwrap();
        let mut picture = PicturePool::new().take(SIZE);
        for position in (0..whole.len()).step_by(97) {
            let mut damaged = whole.clone();
            damaged[position] ^= 0xff;
            if decoder.decode(&damaged, &mut picture).is_err() {
                decoder.decode(&whole, &mut picture).unwrap();
            }
        }
    }
}
