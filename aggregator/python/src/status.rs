//! What is known of a camera, for `framelock/_status.py`.

use framelock_aggregator::CameraStatus;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::enums;

/// The keyword arguments of `CameraStatus`.
pub(crate) fn dict<'py>(py: Python<'py>, camera: &CameraStatus) -> PyResult<Bound<'py, PyDict>> {
    let CameraStatus { name, state, reason, stream, sync, last, .. } = camera;
    let dict = PyDict::new(py);
    dict.set_item("name", name.as_str())?;
    dict.set_item("state", enums::camera_state(py, *state)?)?;
    dict.set_item("reason", reason.as_deref())?;
    dict.set_item("address", stream.address.map(|address| address.to_string()))?;
    dict.set_item("packets", stream.packets)?;
    dict.set_item("bytes", stream.bytes)?;
    dict.set_item("lost", stream.lost)?;
    dict.set_item("frames", stream.frames.good)?;
    dict.set_item("damaged", stream.frames.damaged)?;
    dict.set_item("used", sync.used)?;
    dict.set_item("skipped", sync.skipped)?;
    dict.set_item("late", sync.late)?;
    dict.set_item("time_ns", last.map(|last| last.time.as_unix_nanos()))?;
    dict.set_item("uncertainty_ns", last.map(|last| last.uncertainty.as_nanos()))?;
    dict.set_item("time_source", last.map(|last| enums::time_source(py, last.source)).transpose()?)?;
    dict.set_item("transit_ns", last.map(|last| last.transit.as_nanos()))?;
    Ok(dict)
}
