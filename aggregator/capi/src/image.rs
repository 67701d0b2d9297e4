//! Pictures and motion vectors of frames.

use std::ptr::null;

use framelock_aggregator::deliver::{PictureError, PictureFormat, Plane};
use framelock_aggregator::{MotionVector, Picture};

use crate::{
    Failure, FramelockChroma, FramelockError, FramelockFrame, FramelockMatrix, FramelockPixels,
    FramelockRange, FramelockResult, PixelsValue, args, enums, run,
};

/// An image, in memory that is its packet's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FramelockImage {
    /// The first pixel of the first row; rows are `stride` bytes apart.
    pub data: *const u8,
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// What the bytes of a pixel are.
    pub pixels: FramelockPixels,
}

/// A decoded picture as it came out of the decoder, planar YUV, in memory that is its packet's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FramelockPlanes {
    /// The first sample of luma, blue-difference and red-difference; the last two NULL where there is no chroma.
    pub data: [*const u8; 3],
    /// Bytes from one row to the next.
    pub stride: [usize; 3],
    /// Luma pixels in a row.
    pub width: u32,
    /// Luma rows.
    pub height: u32,
    /// How much chroma there is.
    pub chroma: FramelockChroma,
    /// How colours are made of the samples.
    pub matrix: FramelockMatrix,
    /// What is black and what is white.
    pub range: FramelockRange,
    /// Bits of a sample; those with more than 8 take two bytes, the lower one first.
    pub depth: u32,
}

/// One motion vector of a block, with the fields of FFmpeg's AVMotionVector (libavutil/motion_vector.h) but for its
/// flags, which are unused.
///
/// The block at `dst` in this frame was predicted from `src` in a reference frame: `src_x = dst_x + motion_x /
/// motion_scale`, and so for y. Positions are those of the block's centre, in pixels from the upper left corner.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramelockMotionVector {
    /// Where the block comes from: negative for a past frame, positive for one to come.
    pub source: i32,
    /// The block's width in pixels: 4, 8 or 16.
    pub w: u8,
    /// The block's height in pixels: 4, 8 or 16.
    pub h: u8,
    /// Where the block comes from, x.
    pub src_x: i16,
    /// Where the block comes from, y.
    pub src_y: i16,
    /// Where the block is, x.
    pub dst_x: i16,
    /// Where the block is, y.
    pub dst_y: i16,
    /// Motion in units of `1 / motion_scale` pixels, x.
    pub motion_x: i32,
    /// Motion in units of `1 / motion_scale` pixels, y.
    pub motion_y: i32,
    /// Units of motion in a pixel: 4 for H.264.
    pub motion_scale: u16,
}

impl Default for FramelockImage {
    fn default() -> Self {
        Self { data: null(), stride: 0, width: 0, height: 0, pixels: FramelockPixels::None }
    }
}

impl Default for FramelockPlanes {
    fn default() -> Self {
        Self {
            data: [null(); 3],
            stride: [0; 3],
            width: 0,
            height: 0,
            chroma: FramelockChroma::Gray,
            matrix: FramelockMatrix::Bt601,
            range: FramelockRange::Limited,
            depth: 0,
        }
    }
}

impl FramelockPlanes {
    fn of(picture: &Picture) -> Self {
        let PictureFormat { chroma, depth, matrix, range, .. } = picture.format();
        let planes = [Some(picture.y()), picture.u(), picture.v()];
        Self {
            data: planes.map(|plane| plane.map_or(null(), |Plane { data, .. }| data.as_ptr())),
            stride: planes.map(|plane| plane.map_or(0, |Plane { stride, .. }| stride)),
            width: size(picture.width()),
            height: size(picture.height()),
            chroma: chroma.into(),
            matrix: matrix.into(),
            range: range.into(),
            depth: depth.into(),
        }
    }
}

impl From<&MotionVector> for FramelockMotionVector {
    fn from(vector: &MotionVector) -> Self {
        let &MotionVector { source, w, h, src_x, src_y, dst_x, dst_y, motion_x, motion_y, motion_scale } =
            vector;
        Self { source, w, h, src_x, src_y, dst_x, dst_y, motion_x, motion_y, motion_scale }
    }
}

impl FramelockFrame {
    /// The picture, where the consumer asked for pixels.
    fn picture(&self) -> Result<&Picture, Failure> {
        let (frame, wants) = self.get()?;
        if wants.format.is_none() {
            let message = "this subscription asked for no pixels; set FramelockSubscribeOptions.pixels";
            return Err(Failure::new(FramelockResult::NotRequested, message));
        }
        frame.picture().ok_or_else(|| self.missing())
    }

    /// The image in the consumer's layout, made when it is first asked for.
    fn image(&self) -> Result<FramelockImage, Failure> {
        let picture = self.picture()?;
        let (_, wants) = self.get()?;
        let Some(format) = wants.format else { return Err(self.missing()) };
        let stride = picture.width() * format.bytes();
        let make = || {
            let mut pixels = vec![0; stride * picture.height()].into_boxed_slice();
            picture.convert(format, &mut pixels, stride).map(|()| pixels).map_err(|error| error.to_string())
        };
        let pixels = self.pixels.get_or_init(make).as_ref();
        let pixels = pixels.map_err(|error| Failure::new(FramelockResult::Failed, error.as_str()))?;
        let (width, height) = (size(picture.width()), size(picture.height()));
        Ok(FramelockImage { data: pixels.as_ptr(), stride, width, height, pixels: enums::layout(format) })
    }

    fn motion_vectors(&self) -> Result<&[FramelockMotionVector], Failure> {
        let (frame, wants) = self.get()?;
        if !wants.motion_vectors {
            let message =
                "this subscription asked for no motion vectors; set FramelockSubscribeOptions.motion_vectors";
            return Err(Failure::new(FramelockResult::NotRequested, message));
        }
        let make = || frame.motion_vectors().unwrap_or_default().iter().map(Into::into).collect();
        Ok(self.vectors.get_or_init(make))
    }
}

impl From<PictureError> for Failure {
    fn from(error: PictureError) -> Self {
        let result = match error {
            PictureError::Buffer { .. } => FramelockResult::Argument,
            PictureError::Depth(_) | PictureError::Conversion(_) => FramelockResult::Failed,
        };
        Self::new(result, error.to_string())
    }
}

/// Pictures are far smaller.
fn size(pixels: usize) -> u32 {
    u32::try_from(pixels).unwrap_or(u32::MAX)
}

/// The frame's image in the layout that the subscription asked for, in `*image`. It is made when first asked for, and
/// the same memory from then on, which is the packet's and lives as long. Threads may ask at once.
///
/// Fails with #FRAMELOCK_RESULT_NO_FRAME, with #FRAMELOCK_RESULT_NOT_REQUESTED where the subscription asked for no pixels,
/// and with #FRAMELOCK_RESULT_FAILED for a picture with more than 8 bits a sample. `*image` is all 0 then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_frame_image(
    frame: *const FramelockFrame,
    image: *mut FramelockImage,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        run(error, || {
            let to = args::result(image, "image")?;
            *to = args::object(frame, "frame")?.image()?;
            Ok(())
        })
    }
}

/// Writes the frame's image to memory of the caller's, straight from the decoder's planes: to the `size` bytes at
/// `to`, in the layout `pixels`, whatever the subscription asked for, rows `stride` bytes apart. Bytes between rows
/// are left as they are.
///
/// Fails as framelock_frame_image(), and with #FRAMELOCK_RESULT_ARGUMENT where the image needs more than `size` bytes or
/// a row more than `stride`; the message says how many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_frame_convert(
    frame: *const FramelockFrame,
    pixels: PixelsValue,
    to: *mut u8,
    size: usize,
    stride: usize,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        run(error, || {
            let frame = args::object(frame, "frame")?;
            let format = enums::pixels(pixels, "pixels")?;
            let format = format.ok_or_else(|| args::wrong("pixels", "say in which layout"))?;
            let to = args::bytes(to, size, "to")?;
            Ok(frame.picture()?.convert(format, to, stride)?)
        })
    }
}

/// The decoded picture as it came out of the decoder, without a copy, in `*planes`.
///
/// Fails with #FRAMELOCK_RESULT_NO_FRAME, and with #FRAMELOCK_RESULT_NOT_REQUESTED where the subscription asked for no
/// pixels. `*planes` is all 0 then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_frame_planes(
    frame: *const FramelockFrame,
    planes: *mut FramelockPlanes,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        run(error, || {
            let to = args::result(planes, "planes")?;
            *to = FramelockPlanes::of(args::object(frame, "frame")?.picture()?);
            Ok(())
        })
    }
}

/// The frame's motion vectors, `*count` of them at `*vectors`, in the decoder's order; 0 and NULL for a frame without
/// any, such as an I frame or a JPEG. They are the packet's, and live as long.
///
/// Fails with #FRAMELOCK_RESULT_NO_FRAME, and with #FRAMELOCK_RESULT_NOT_REQUESTED where the subscription asked for none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_frame_motion_vectors(
    frame: *const FramelockFrame,
    vectors: *mut *const FramelockMotionVector,
    count: *mut usize,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        run(error, || {
            let count = args::result(count, "count")?;
            let to = args::pointer(vectors.cast::<*mut FramelockMotionVector>(), "vectors")?;
            let vectors = args::object(frame, "frame")?.motion_vectors()?;
            if !vectors.is_empty() {
                (*to, *count) = (vectors.as_ptr().cast_mut(), vectors.len());
            }
            Ok(())
        })
    }
}
