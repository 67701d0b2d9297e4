//! Decoded pictures and motion vectors as numpy arrays.

use framelock_aggregator::deliver::PictureError;
use framelock_aggregator::{MotionVector, Picture, PixelFormat};
use numpy::{PyArray2, PyArrayDyn, PyArrayMethods, PyReadwriteArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::errors::FramelockError;

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
    fn shape<'py>(self, py: Python<'py>, picture: &Picture) -> PyResult<Bound<'py, PyTuple>> {
        let (height, width) = (picture.height(), picture.width());
        match self.0 {
            PixelFormat::Gray => PyTuple::new(py, [height, width]),
            PixelFormat::Bgr | PixelFormat::Rgb => PyTuple::new(py, [height, width, 3]),
        }
    }
}

/// `picture` in an array of numpy's own memory, written once, straight from the decoder's planes, while other
/// Python threads run.
pub(crate) fn array(py: Python<'_>, picture: &Picture, layout: Layout) -> PyResult<Py<PyAny>> {
    let array = empty(py, &layout.shape(py, picture)?)?;
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

/// `numpy.empty(shape, "uint8")`.
fn empty<'py>(py: Python<'py>, shape: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyArrayDyn<u8>>> {
    static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let import = || PyResult::Ok(numpy::get_array_module(py)?.getattr("empty")?.unbind());
    let empty = EMPTY.get_or_try_init(py, import)?.bind(py);
    Ok(empty.call1((shape, numpy::dtype::<u8>(py)))?.cast_into()?)
}

/// `vectors` as an int64 array of shape (N, 10).
pub(crate) fn vectors(py: Python<'_>, vectors: &[MotionVector]) -> PyResult<Py<PyAny>> {
    let values: Vec<i64> = vectors.iter().flat_map(|vector| vector.to_row()).collect();
    let array = numpy::PyArray1::from_vec(py, values).reshape([vectors.len(), 10])?;
    let array: Bound<'_, PyArray2<i64>> = array;
    Ok(array.into_any().unbind())
}
