//! Members of the package's enumerations, which `framelock/_enums.py` defines.

use framelock_aggregator::sync::SourceState;
use framelock_aggregator::{FrameStatus, TimeSource};
use framelock_common::h264::FrameType;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

const MODULE: &str = "framelock._enums";

/// `FrameStatus` as its Python member.
pub(crate) fn frame_status(py: Python<'_>, status: FrameStatus) -> PyResult<Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, MODULE, "FrameStatus")?.call1((status.as_str(),))
}

/// `TimeSource` as its Python member.
pub(crate) fn time_source(py: Python<'_>, source: TimeSource) -> PyResult<Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, MODULE, "TimeSource")?.call1((source.as_str(),))
}

/// `FrameType` as its Python member.
pub(crate) fn frame_type(py: Python<'_>, kind: FrameType) -> PyResult<Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, MODULE, "FrameType")?.call1((kind.as_str(),))
}

/// `SourceState` as its Python member of `CameraState`.
pub(crate) fn camera_state(py: Python<'_>, state: SourceState) -> PyResult<Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let state = match state {
        SourceState::Starting => "starting",
        SourceState::Live => "live",
        SourceState::Broken => "broken",
    };
    CLASS.import(py, MODULE, "CameraState")?.call1((state,))
}
