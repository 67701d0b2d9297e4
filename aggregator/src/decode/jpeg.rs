//! JPEG to planar YUV with libjpeg-turbo.

use turbojpeg::{Decompressor, Subsamp, YuvImage};

use super::{DecodeError, StillDecoder};
use crate::deliver::{Chroma, Matrix, OwnPlanes, Picture, PictureFormat, Range};
use crate::source::MAX_MACROBLOCKS;

/// Scans that a progressive picture may have: each costs a pass over the picture.
const SCAN_LIMIT: u32 = 64;
/// The largest picture taken, in pixels: as for H.264.
const MAX_PIXELS: usize = MAX_MACROBLOCKS as usize * 256;

/// See the module.
pub(super) struct JpegDecoder {
    decompressor: Decompressor,
}

impl JpegDecoder {
    pub(super) fn new() -> Result<Self, DecodeError> {
        Ok(Self { decompressor: decompressor()? })
    }

    fn try_decode(&mut self, data: &[u8]) -> Result<Picture, DecodeError> {
        let refused = |what: String| DecodeError::Data(what);
        let header = self.decompressor.read_header(data).map_err(|error| refused(error.to_string()))?;
        let (width, height) = (header.width, header.height);
        if width.saturating_mul(height) > MAX_PIXELS {
            return Err(refused(format!("{width}x{height} pixels are more than 4096x2304")));
        }
        let layout = Layout::of(header.subsamp, width, height)
            .ok_or_else(|| refused("unusual colour subsampling".to_owned()))?;
        let mut samples = vec![0; layout.length()];
        let image = YuvImage { pixels: &mut samples[..], width, align: 1, height, subsamp: header.subsamp };
        match self.decompressor.decompress_to_yuv(data, image) {
            // Padding before a marker, of which many cameras are fond: the picture is whole.
            Err(turbojpeg::Error::TurboJpegError(what))
                if what.contains("extraneous bytes before marker") => {}
            result => result.map_err(|error| refused(error.to_string()))?,
        }
        layout.picture(samples, width, height).ok_or_else(|| refused("an empty picture".to_owned()))
    }
}

impl StillDecoder for JpegDecoder {
    /// Frames without Huffman tables, as UVC cameras send them, get the standard ones (ISO/IEC 10918-1
    /// annex K.3).
    fn decode(&mut self, data: &[u8]) -> Result<Picture, DecodeError> {
        let result = self.try_decode(data);
        if result.is_err() {
            // The library keeps tables from picture to picture; those of a damaged one would spoil all that
            // come after it.
            self.decompressor = decompressor()?;
        }
        result
    }
}

fn decompressor() -> Result<Decompressor, DecodeError> {
    let open = |error: turbojpeg::Error| DecodeError::Open(error.to_string());
    let mut decompressor = Decompressor::new().map_err(open)?;
    decompressor.set_scan_limit(SCAN_LIMIT).map_err(open)?;
    Ok(decompressor)
}

/// How the library lays a picture out in memory: planes one after the other, luma padded to whole chroma
/// samples.
struct Layout {
    luma: (usize, usize),
    chroma: Option<(usize, usize)>,
    /// Luma samples in a row and in a column for each chroma sample.
    step: (usize, usize),
}

impl Layout {
    fn of(subsamp: Subsamp, width: usize, height: usize) -> Option<Self> {
        let step = match subsamp {
            Subsamp::None | Subsamp::Gray => (1, 1),
            Subsamp::Sub2x1 => (2, 1),
            Subsamp::Sub2x2 => (2, 2),
            Subsamp::Sub1x2 => (1, 2),
            Subsamp::Sub4x1 => (4, 1),
            _ => return None,
        };
        let luma = (width.next_multiple_of(step.0), height.next_multiple_of(step.1));
        let chroma = (subsamp != Subsamp::Gray).then_some((luma.0 / step.0, luma.1 / step.1));
        Some(Self { luma, chroma, step })
    }

    fn length(&self) -> usize {
        self.luma.0 * self.luma.1 + 2 * self.chroma.map_or(0, |(width, height)| width * height)
    }

    fn picture(self, mut samples: Vec<u8>, width: usize, height: usize) -> Option<Picture> {
        let (mut sizes, chroma) = (
            self.chroma,
            match (self.chroma, self.step) {
                (None, _) => Chroma::Gray,
                (Some(_), (2, 2)) => Chroma::Yuv420,
                (Some(_), (2, 1)) => Chroma::Yuv422,
                (Some(_), _) => Chroma::Yuv444,
            },
        );
        if let Some(size) = self.chroma
            && matches!(self.step, (1, 2) | (4, 1))
        {
            samples = self.with_whole_chroma(&samples, size);
            sizes = Some(self.luma);
        }
        // JPEG's colours are BT.601 in full range (JFIF, ITU-T T.871 section 7).
        let format =
            PictureFormat { width, height, chroma, depth: 8, matrix: Matrix::Bt601, range: Range::Full };
        Picture::new(format, Box::new(OwnPlanes::new(samples, self.luma, sizes)))
    }

    /// Chroma of the rare kinds repeated to luma's size.
    fn with_whole_chroma(&self, samples: &[u8], (width, height): (usize, usize)) -> Vec<u8> {
        let (luma, chroma) = samples.split_at(self.luma.0 * self.luma.1);
        let mut whole = Vec::with_capacity(3 * luma.len());
        whole.extend_from_slice(luma);
        for row in chroma.chunks(width).take(2 * height) {
            for _ in 0..self.step.1 {
                whole.extend(row.iter().flat_map(|sample| std::iter::repeat_n(*sample, self.step.0)));
            }
        }
        whole
    }
}
