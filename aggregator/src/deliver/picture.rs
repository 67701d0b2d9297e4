//! Decoded pictures: held as they came out of the decoder, converted on request straight into the caller's
//! buffer.

use std::fmt;
use std::sync::OnceLock;

use yuv::{YuvError, YuvGrayImage, YuvPlanarImage, YuvRange, YuvStandardMatrix};

use super::MotionVector;

/// How much chroma a picture has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chroma {
    /// None: luma only.
    Gray,
    /// Half of luma's size both ways, rounded up.
    Yuv420,
    /// Half of luma's width, rounded up.
    Yuv422,
    /// As much as luma.
    Yuv444,
}

impl Chroma {
    /// The size of a chroma plane of a picture of `width` by `height`; `None` where there is none.
    #[must_use]
    pub const fn plane_size(self, width: usize, height: usize) -> Option<(usize, usize)> {
        match self {
            Self::Gray => None,
            Self::Yuv420 => Some((width.div_ceil(2), height.div_ceil(2))),
            Self::Yuv422 => Some((width.div_ceil(2), height)),
            Self::Yuv444 => Some((width, height)),
        }
    }
}

/// How colours are made of luma and chroma (ITU-T H.264 table E-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// ITU-R BT.601: also taken where the stream does not say, as OpenCV and FFmpeg do, and for JPEG.
    Bt601,
    /// ITU-R BT.709.
    Bt709,
    /// ITU-R BT.2020, non-constant luminance.
    Bt2020,
    /// SMPTE 240M.
    Smpte240m,
    /// FCC Title 47.
    Fcc,
}

/// Which sample values mean black and white.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Range {
    /// Luma from 16 to 235, chroma from 16 to 240.
    Limited,
    /// 0 to 255, as in JPEG.
    Full,
}

/// What the samples of a decoded picture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PictureFormat {
    /// Luma pixels in a row, at least 1.
    pub width: usize,
    /// Luma rows, at least 1.
    pub height: usize,
    /// How much chroma there is.
    pub chroma: Chroma,
    /// Bits of a sample; those with more than 8 take two bytes, the lower one first.
    pub depth: u8,
    /// How colours are made of them.
    pub matrix: Matrix,
    /// What is black and what is white.
    pub range: Range,
}

/// The pixel formats that a picture can be converted to; 8 bits a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Blue, green, red: what OpenCV works with.
    Bgr,
    /// Red, green, blue.
    Rgb,
    /// Brightness, full range.
    Gray,
}

impl PixelFormat {
    /// Bytes of a pixel.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bgr | Self::Rgb => 3,
            Self::Gray => 1,
        }
    }
}

/// Why a picture is not converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// Samples have more than 8 bits.
    #[error(
        "pictures with {0} bits a sample are not converted; have the camera send 8 bits (H.264 High profile, not High 10)"
    )]
    Depth(u8),
    /// The caller's buffer does not hold the picture.
    #[error("a {width}x{height} picture needs {needed} bytes in rows of {stride}; the buffer has {given}")]
    Buffer {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes from one row to the next, as given.
        stride: usize,
        /// Bytes needed.
        needed: usize,
        /// Bytes given.
        given: usize,
    },
    /// The conversion refuses the planes.
    #[error("the picture is not converted: {0}")]
    Conversion(String),
}

impl From<YuvError> for PictureError {
    fn from(error: YuvError) -> Self {
        Self::Conversion(error.to_string())
    }
}

/// One plane of a picture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Plane<'a> {
    /// Its samples: rows `stride` bytes apart, of which the last may end with the picture.
    pub data: &'a [u8],
    /// Bytes from one row to the next; may be more than a row has.
    pub stride: usize,
}

/// What holds the samples of a picture.
pub(crate) trait Planes: Send + Sync {
    /// The `index`-th plane; only asked for those that there are.
    fn plane(&self, index: usize) -> Plane<'_>;

    /// The motion vectors, where the decoder was asked for them.
    fn motion_vectors(&self) -> Option<Vec<MotionVector>> {
        None
    }
}

/// A decoded picture: planar YUV as it came out of the decoder, without a copy.
pub struct Picture {
    format: PictureFormat,
    planes: Box<dyn Planes>,
    vectors: OnceLock<Option<Vec<MotionVector>>>,
}

impl Picture {
    /// A picture of those planes; `None` if they are too short for it.
    pub(crate) fn new(format: PictureFormat, planes: Box<dyn Planes>) -> Option<Self> {
        let PictureFormat { width, height, chroma, depth, .. } = format;
        let bytes = usize::from(depth.div_ceil(8));
        let long_enough = |index, (width, height): (usize, usize)| {
            let Plane { data, stride } = planes.plane(index);
            let row = width * bytes;
            width > 0 && height > 0 && stride >= row && data.len() >= stride * (height - 1) + row
        };
        let chroma = chroma.plane_size(width, height);
        let whole = long_enough(0, (width, height))
            && chroma.is_none_or(|size| long_enough(1, size) && long_enough(2, size));
        whole.then(|| Self { format, planes, vectors: OnceLock::new() })
    }

    /// Pixels in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.format.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.format.height
    }

    /// What its samples are.
    #[must_use]
    pub fn format(&self) -> PictureFormat {
        self.format
    }

    /// Luma.
    #[must_use]
    pub fn y(&self) -> Plane<'_> {
        self.planes.plane(0)
    }

    /// Blue-difference samples; `None` for [`Chroma::Gray`].
    #[must_use]
    pub fn u(&self) -> Option<Plane<'_>> {
        (self.format.chroma != Chroma::Gray).then(|| self.planes.plane(1))
    }

    /// Red-difference samples; `None` for [`Chroma::Gray`].
    #[must_use]
    pub fn v(&self) -> Option<Plane<'_>> {
        (self.format.chroma != Chroma::Gray).then(|| self.planes.plane(2))
    }

    /// The motion vectors, where they were asked for. See [`Frame::motion_vectors`](super::Frame::motion_vectors).
    #[must_use]
    pub fn motion_vectors(&self) -> Option<&[MotionVector]> {
        self.vectors.get_or_init(|| self.planes.motion_vectors()).as_deref()
    }

    /// Writes the picture as blue, green and red bytes, rows without padding: the layout of an OpenCV image.
    /// `out` needs `width * height * 3` bytes.
    ///
    /// # Errors
    /// When `out` is too short, or the picture has more than 8 bits a sample.
    pub fn to_bgr(&self, out: &mut [u8]) -> Result<(), PictureError> {
        self.convert(PixelFormat::Bgr, out, self.width() * 3)
    }

    /// Writes the picture as red, green and blue bytes, rows without padding. `out` needs
    /// `width * height * 3` bytes.
    ///
    /// # Errors
    /// As [`Self::to_bgr`].
    pub fn to_rgb(&self, out: &mut [u8]) -> Result<(), PictureError> {
        self.convert(PixelFormat::Rgb, out, self.width() * 3)
    }

    /// Writes the picture's brightness, 0 for black and 255 for white, rows without padding. `out` needs
    /// `width * height` bytes.
    ///
    /// # Errors
    /// As [`Self::to_bgr`].
    pub fn to_gray(&self, out: &mut [u8]) -> Result<(), PictureError> {
        self.convert(PixelFormat::Gray, out, self.width())
    }

    /// Writes the picture to `out` in `format`, rows `stride` bytes apart.
    ///
    /// # Errors
    /// As [`Self::to_bgr`], and when `stride` is less than a row.
    pub fn convert(&self, format: PixelFormat, out: &mut [u8], stride: usize) -> Result<(), PictureError> {
        let PictureFormat { width, height, depth, .. } = self.format;
        if depth != 8 {
            return Err(PictureError::Depth(depth));
        }
        let row = width * format.bytes();
        let needed = stride.saturating_mul(height - 1).saturating_add(row);
        if stride < row || out.len() < needed {
            return Err(PictureError::Buffer { width, height, stride, needed, given: out.len() });
        }
        match format {
            PixelFormat::Gray => self.write_gray(out, stride),
            PixelFormat::Bgr | PixelFormat::Rgb => self.write_colour(format, out, stride)?,
        }
        Ok(())
    }

    fn write_gray(&self, out: &mut [u8], stride: usize) {
        let PictureFormat { width, height, range, .. } = self.format;
        let luma = self.y();
        for (to, from) in out.chunks_mut(stride).zip(luma.data.chunks(luma.stride)).take(height) {
            let (to, from) = (&mut to[..width], &from[..width]);
            match range {
                Range::Full => to.copy_from_slice(from),
                Range::Limited => to.iter_mut().zip(from).for_each(|(to, from)| *to = stretched(*from)),
            }
        }
    }

    fn write_colour(&self, format: PixelFormat, out: &mut [u8], stride: usize) -> Result<(), PictureError> {
        let size = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let (width, height, stride) = (size(self.width()), size(self.height()), size(stride));
        let (range, matrix) = (self.format.range.into(), self.format.matrix.into());
        let y = self.y();
        let (Some(u), Some(v)) = (self.u(), self.v()) else {
            let image = YuvGrayImage { y_plane: y.data, y_stride: size(y.stride), width, height };
            let convert = match format {
                PixelFormat::Rgb => yuv::yuv400_to_rgb,
                _ => yuv::yuv400_to_bgr,
            };
            return Ok(convert(&image, out, stride, range, matrix)?);
        };
        let image = YuvPlanarImage {
            y_plane: y.data,
            y_stride: size(y.stride),
            u_plane: u.data,
            u_stride: size(u.stride),
            v_plane: v.data,
            v_stride: size(v.stride),
            width,
            height,
        };
        let convert = match (self.format.chroma, format) {
            (Chroma::Yuv444, PixelFormat::Rgb) => yuv::yuv444_to_rgb,
            (Chroma::Yuv444, _) => yuv::yuv444_to_bgr,
            (Chroma::Yuv422, PixelFormat::Rgb) => yuv::yuv422_to_rgb,
            (Chroma::Yuv422, _) => yuv::yuv422_to_bgr,
            (_, PixelFormat::Rgb) => yuv::yuv420_to_rgb,
            (_, _) => yuv::yuv420_to_bgr,
        };
        Ok(convert(&image, out, stride, range, matrix)?)
    }
}

/// Limited-range luma to full range, rounded.
const fn stretched(luma: u8) -> u8 {
    let above = luma.saturating_sub(16) as u32;
    let value = (above * 255 + 109) / 219;
    if value > 255 { 255 } else { value as u8 }
}

impl From<Range> for YuvRange {
    fn from(range: Range) -> Self {
        match range {
            Range::Limited => Self::Limited,
            Range::Full => Self::Full,
        }
    }
}

impl From<Matrix> for YuvStandardMatrix {
    fn from(matrix: Matrix) -> Self {
        match matrix {
            Matrix::Bt601 => Self::Bt601,
            Matrix::Bt709 => Self::Bt709,
            Matrix::Bt2020 => Self::Bt2020,
            // The library's own coefficients for SMPTE 240M are not those of its weights.
            Matrix::Smpte240m => Self::Custom(0.212, 0.087),
            Matrix::Fcc => Self::Fcc,
        }
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}x{} {:?})", self.format.width, self.format.height, self.format.chroma)
    }
}

/// Samples in memory of our own, plane after plane without padding.
pub(crate) struct OwnPlanes {
    samples: Vec<u8>,
    /// Where each plane begins, and its row length.
    at: [(usize, usize); 3],
}

impl OwnPlanes {
    /// Planes of 8-bit samples, one after the other in `samples`, each of its own size.
    pub(crate) fn new(samples: Vec<u8>, luma: (usize, usize), chroma: Option<(usize, usize)>) -> Self {
        let first = luma.0 * luma.1;
        let (width, length) = chroma.map_or((0, 0), |(width, height)| (width, width * height));
        Self { samples, at: [(0, luma.0), (first, width), (first + length, width)] }
    }
}

impl Planes for OwnPlanes {
    fn plane(&self, index: usize) -> Plane<'_> {
        let (start, stride) = self.at[index];
        Plane { data: self.samples.get(start..).unwrap_or_default(), stride }
    }
}
