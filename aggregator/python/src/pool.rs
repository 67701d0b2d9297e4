//! Memory of images that nobody has any more, kept for the next ones. New memory comes from the kernel page by page, and
//! that takes longer than the conversion that fills it.
//!
//! What is written into an image does not live here.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use numpy::{PyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

/// The most memory that is kept, in bytes, and the most images.
const MAX_BYTES: usize = 64 << 20;
const MAX_IMAGES: usize = 64;

/// The images of one consumer. Those in use are in it as well: what nobody but the pool refers to is free.
#[derive(Debug, Default)]
pub(crate) struct ImagePool(Mutex<VecDeque<Pooled>>);

/// The array that owns an image's memory; what is handed out are views of it. numpy has all views of a view refer
/// to the owner, so that as long as any is left, the owner has a second reference.
#[derive(Debug)]
struct Pooled {
    array: Py<PyArrayDyn<u8>>,
    bytes: usize,
}

impl ImagePool {
    /// An array of `shape`, rows without padding, with whatever was last in its memory.
    pub(crate) fn array<'py>(
        &self,
        py: Python<'py>,
        shape: &[usize],
    ) -> PyResult<Bound<'py, PyArrayDyn<u8>>> {
        let owner = match self.free(py, shape) {
            Some(array) => array.into_bound(py),
            None => self.add(py, shape)?,
        };
        Ok(owner.call_method0("view")?.cast_into()?)
    }

    /// An array of `shape` that nobody else refers to; the newest, which is likely to be in the processor's caches.
    fn free(&self, py: Python<'_>, shape: &[usize]) -> Option<Py<PyArrayDyn<u8>>> {
        // Nothing here runs Python code: that might wait for the lock.
        let pool = self.lock();
        let fits = |pooled: &&Pooled| is_free(&pooled.array, py) && pooled.array.bind(py).shape() == shape;
        pool.iter().rev().find(fits).map(|pooled| pooled.array.clone_ref(py))
    }

    /// A new array. Where there are too many the oldest are forgotten: who has one still keeps it.
    fn add<'py>(&self, py: Python<'py>, shape: &[usize]) -> PyResult<Bound<'py, PyArrayDyn<u8>>> {
        let array = empty(py, shape)?;
        let new = Pooled { array: array.clone().unbind(), bytes: shape.iter().product() };
        let mut forgotten = Vec::new();
        let mut pool = self.lock();
        pool.push_back(new);
        while pool.len() > MAX_IMAGES || pool.iter().map(|pooled| pooled.bytes).sum::<usize>() > MAX_BYTES {
            forgotten.extend(pool.pop_front());
        }
        drop(pool);
        Ok(array)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Pooled>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether only the pool refers to `array`.
#[expect(deprecated, reason = "what replaces it is unsafe")]
fn is_free(array: &Py<PyArrayDyn<u8>>, py: Python<'_>) -> bool {
    array.get_refcnt(py) == 1
}

/// `numpy.empty(shape, "uint8")`.
fn empty<'py>(py: Python<'py>, shape: &[usize]) -> PyResult<Bound<'py, PyArrayDyn<u8>>> {
    static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let import = || PyResult::Ok(numpy::get_array_module(py)?.getattr("empty")?.unbind());
    let empty = EMPTY.get_or_try_init(py, import)?.bind(py);
    Ok(empty.call1((PyTuple::new(py, shape)?, numpy::dtype::<u8>(py)))?.cast_into()?)
}
