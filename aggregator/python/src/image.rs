//! Decoded pictures and motion vectors as numpy arrays.

use framelock_aggregator::deliver::PictureError;
use framelock_aggregator::{MotionVector, Picture, PixelFormat};
use numpy::{PyArray2, PyArrayMethods, PyReadwriteArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::FramelockError;
use crate::pool::ImagePool;

/// The layout of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout(PixelFormat);

impl Layout {
    /// The layout called `name`.
    pub(crate) fn read(name: &str) -> PyResult<Self> {
        match name {
            "bgr" => Ok(Self(PixelFormat::Bgr)),
            "rgb" => Ok(Self(PixelFormat::Rgb)),
            "gray" => Ok(Self(PixelFormat::Gray)),
            _ => Err(PyValueError::new_err(format!(
                "pixels: \"{name}\" is no layout; use \"bgr\", \"rgb\", \"gray\" or None"
            ))),
        }
    }

    /// The shape of a picture's array.
    fn shape(self, picture: &Picture) -> ([usize; 3], usize) {
        let dimensions = match self.0 {
            PixelFormat::Gray => 2,
            PixelFormat::Bgr | PixelFormat::Rgb => 3,
        };
        ([picture.height(), picture.width(), self.0.bytes()], dimensions)
    }
}

/// `picture` in an array of numpy's own memory, written once, straight from the decoder's planes, while other
/// Python threads run.
pub(crate) fn array(
    py: Python<'_>,
    picture: &Picture,
    layout: Layout,
    pool: &ImagePool,
) -> PyResult<Py<PyAny>> {
    let (shape, dimensions) = layout.shape(picture);
    let array = pool.array(py, &shape[..dimensions])?;
    let mut writer = array.readwrite();
    fill(py, picture, layout, &mut writer)?;
    drop(writer);
    Ok(array.into_any().unbind())
}

fn fill(
    py: Python<'_>,
    picture: &Picture,
    layout: Layout,
    to: &mut PyReadwriteArrayDyn<'_, u8>,
) -> PyResult<()> {
    let out = to.as_slice_mut()?;
    let stride = picture.width() * layout.0.bytes();
    let refused = |error: PictureError| FramelockError::new_err(error.to_string());
    py.detach(|| picture.convert(layout.0, out, stride)).map_err(refused)
}

/// `vectors` as an int64 array of shape (N, 10).
pub(crate) fn vectors(py: Python<'_>, vectors: &[MotionVector]) -> PyResult<Py<PyAny>> {
    let values: Vec<i64> = vectors.iter().flat_map(|vector| vector.to_row()).collect();
    let array = numpy::PyArray1::from_vec(py, values).reshape([vectors.len(), 10])?;
    let array: Bound<'_, PyArray2<i64>> = array;
    Ok(array.into_any().unbind())
}
