//! Rust errors as the package's own exceptions, which `framelock/_errors.py` defines.

use framelock_aggregator::AggregatorError;
use pyo3::{PyErr, import_exception};

import_exception!(framelock._errors, ClosedError);
import_exception!(framelock._errors, ConfigError);
import_exception!(framelock._errors, FramelockError);
import_exception!(framelock._errors, NoFrameError);
import_exception!(framelock._errors, NotRequestedError);
import_exception!(framelock._errors, StartError);
import_exception!(framelock._errors, StreamEnded);

/// The exception for `error`.
pub(crate) fn raise(error: AggregatorError) -> PyErr {
    let text = error.to_string();
    match error {
        AggregatorError::Settings(_) => ConfigError::new_err(text),
        AggregatorError::Consumer(_) => FramelockError::new_err(text),
        _ => StartError::new_err(text),
    }
}
