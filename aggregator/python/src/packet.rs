//! Packets and their frames, as Python sees them.

use std::sync::Arc;

use framelock_aggregator as deliver;
use framelock_aggregator::{CameraName, FrameStatus};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::enums;
use crate::errors::{NoFrameError, NotRequestedError};
use crate::image;
use crate::pool::ImagePool;
use crate::subscription::Wants;

/// One frame of every camera that has one for an instant.
///
/// Indexed by camera name or position: ``packet["left"]``, ``packet[0]``. Iterates over its frames, one
/// for every configured camera, in configured order, whether or not the camera has one for this instant.
#[pyclass(frozen, module = "framelock")]
pub(crate) struct Packet {
    packet: deliver::Packet,
    frames: Py<PyTuple>,
}

impl Packet {
    /// `packet`, whose frames give what its consumer asked for.
    pub(crate) fn new(
        py: Python<'_>,
        packet: deliver::Packet,
        wants: Wants,
        pool: &Arc<ImagePool>,
    ) -> PyResult<Self> {
        let frames = packet.entries.iter().map(|entry| {
            let frame = Frame {
                camera: entry.camera.clone(),
                status: entry.status,
                number: packet.number,
                frame: entry.frame.clone(),
                wants,
                pool: pool.clone(),
                image: PyOnceLock::new(),
                vectors: PyOnceLock::new(),
            };
            Py::new(py, frame)
        });
        let frames = PyTuple::new(py, frames.collect::<PyResult<Vec<_>>>()?)?.unbind();
        Ok(Self { packet, frames })
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.packet.entries.iter().position(|entry| entry.camera.as_str() == name)
    }
}

#[pymethods]
impl Packet {
    /// Counts packets, from 0. A gap: packets that this consumer was too slow for.
    #[getter]
    fn number(&self) -> u64 {
        self.packet.number
    }

    /// The instant the set stands for, the median of its frames' times: seconds since the Unix epoch, UTC.
    /// A float is exact to about 0.2 us; `time_ns` is exact.
    #[getter]
    fn time(&self) -> f64 {
        seconds(self.packet.time.as_unix_nanos())
    }

    /// The instant the set stands for, the median of its frames' times: ns since the Unix epoch, UTC.
    #[getter]
    fn time_ns(&self) -> i64 {
        self.packet.time.as_unix_nanos()
    }

    /// Latest minus earliest capture time of its frames, in seconds.
    #[getter]
    fn spread(&self) -> f64 {
        self.packet.spread.as_secs_f64()
    }

    /// Latest minus earliest capture time of its frames, in ns.
    #[getter]
    fn spread_ns(&self) -> i64 {
        self.packet.spread.as_nanos()
    }

    /// The most that the true spread can be, in seconds: that of any two frames with both their uncertainties; 0 with one frame.
    #[getter]
    fn spread_bound(&self) -> f64 {
        self.packet.spread_bound.as_secs_f64()
    }

    /// The most that the true spread can be, in ns: that of any two frames with both their uncertainties; 0 with one frame.
    #[getter]
    fn spread_bound_ns(&self) -> i64 {
        self.packet.spread_bound.as_nanos()
    }

    /// Whether every camera has a frame.
    #[getter]
    fn complete(&self) -> bool {
        self.packet.complete
    }

    /// Its frames, one for every configured camera, in configured order.
    #[getter]
    fn frames(&self, py: Python<'_>) -> Py<PyTuple> {
        self.frames.clone_ref(py)
    }

    /// The names of the cameras, in configured order.
    #[getter]
    fn cameras<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.packet.entries.iter().map(|entry| entry.camera.as_str()))
    }

    fn __len__(&self) -> usize {
        self.packet.entries.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.frames.bind(py).as_any().try_iter().map(Bound::into_any)
    }

    fn __contains__(&self, camera: &str) -> bool {
        self.find(camera).is_some()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let frames = self.frames.bind(py);
        if let Ok(name) = key.cast::<PyString>() {
            let place = self.find(&name.to_cow()?);
            return frames.get_item(place.ok_or_else(|| PyKeyError::new_err(name.clone().unbind()))?);
        }
        // Whatever a tuple takes as an index, and its exceptions.
        frames.as_any().get_item(key)
    }

    fn __repr__(&self) -> String {
        let okay = self.packet.entries.iter().filter(|entry| entry.status == FrameStatus::Okay).count();
        let count = self.packet.entries.len();
        format!(
            "<framelock.Packet {} at {}, {okay} of {count} cameras, spread {}>",
            self.packet.number, self.packet.time, self.packet.spread
        )
    }
}

/// One camera's part of a packet.
///
/// True where the camera has a frame (`status` is `FrameStatus.OKAY`); everything but `camera` and
/// `status` raises `NoFrameError` where it has none.
#[pyclass(frozen, module = "framelock")]
pub(crate) struct Frame {
    camera: CameraName,
    status: FrameStatus,
    /// Of the packet.
    number: u64,
    frame: Option<deliver::Frame>,
    wants: Wants,
    pool: Arc<ImagePool>,
    image: PyOnceLock<Py<PyAny>>,
    vectors: PyOnceLock<Py<PyAny>>,
}

impl Frame {
    fn get(&self) -> PyResult<&deliver::Frame> {
        self.frame.as_ref().ok_or_else(|| self.missing())
    }

    fn missing(&self) -> PyErr {
        let Self { camera, status, number, .. } = self;
        NoFrameError::new_err(format!("camera \"{camera}\" has no frame in packet {number}: {status}"))
    }
}

#[pymethods]
impl Frame {
    /// The camera's name.
    #[getter]
    fn camera(&self) -> &str {
        self.camera.as_str()
    }

    /// Whether it has a frame, and why not.
    #[getter]
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        enums::frame_status(py, self.status)
    }

    /// When it was captured: seconds since the Unix epoch, UTC. A float is exact to about 0.2 us; `time_ns`
    /// is exact.
    #[getter]
    fn time(&self) -> PyResult<f64> {
        Ok(seconds(self.get()?.time.utc.as_unix_nanos()))
    }

    /// When it was captured: ns since the Unix epoch, UTC.
    #[getter]
    fn time_ns(&self) -> PyResult<i64> {
        Ok(self.get()?.time.utc.as_unix_nanos())
    }

    /// The true capture instant lies within this many seconds of `time`, before or after.
    #[getter]
    fn uncertainty(&self) -> PyResult<f64> {
        Ok(self.get()?.time.uncertainty.as_secs_f64())
    }

    /// The true capture instant lies within this many ns of `time_ns`, before or after.
    #[getter]
    fn uncertainty_ns(&self) -> PyResult<i64> {
        Ok(self.get()?.time.uncertainty.as_nanos())
    }

    /// Where the time comes from.
    #[getter]
    fn time_source<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        enums::time_source(py, self.get()?.time_source)
    }

    /// How the frame is coded; `None` where the stream does not say so.
    #[getter]
    fn frame_type<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.get()?.frame_type.map(|kind| enums::frame_type(py, kind)).transpose()
    }

    /// Whether decoding can begin here.
    #[getter]
    fn key(&self) -> PyResult<bool> {
        Ok(self.get()?.key)
    }

    /// Pixels in a row; `None` while the stream has not said so.
    #[getter]
    fn width(&self) -> PyResult<Option<u32>> {
        Ok(self.get()?.width)
    }

    /// Rows; `None` while the stream has not said so.
    #[getter]
    fn height(&self) -> PyResult<Option<u32>> {
        Ok(self.get()?.height)
    }

    /// Counts the camera's frames as received, from 0.
    #[getter]
    fn sequence(&self) -> PyResult<u64> {
        Ok(self.get()?.sequence)
    }

    /// The compressed picture as received: an H.264 access unit (Annex B) or a JPEG. A new copy every time.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.get()?.data))
    }

    /// The picture as a numpy array of dtype uint8, in the layout that the consumer asked for: shape
    /// (height, width, 3) for ``"bgr"`` and ``"rgb"``, (height, width) for ``"gray"``.
    ///
    /// It is made when first asked for, and the same array from then on; it is yours to write to and to keep. Its memory
    /// is used again once neither it nor a view of it is left. Raises `NotRequestedError` where the consumer asked for no pixels.
    #[getter]
    fn image<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let frame = self.get()?;
        let layout = self.wants.layout.ok_or_else(|| {
            NotRequestedError::new_err(
                "this consumer asked for no pixels; subscribe with pixels=\"bgr\", \"rgb\" or \"gray\"",
            )
        })?;
        let picture = frame.picture().ok_or_else(|| self.missing())?;
        let image = self.image.get_or_try_init(py, || image::array(py, picture, layout, &self.pool))?;
        Ok(image.bind(py).clone())
    }

    /// The motion vectors as a numpy array of dtype int64 and shape (N, 10), in the decoder's order; (0, 10) for
    /// a frame without any, such as an I frame.
    ///
    /// The columns are the fields of FFmpeg's AVMotionVector: 0 ``source`` (negative: from a past frame,
    /// positive: from one to come), 1 ``w``, 2 ``h`` (of the block, in pixels), 3 ``src_x``, 4 ``src_y``, 5
    /// ``dst_x``, 6 ``dst_y`` (of the block's centre, in pixels), 7 ``motion_x``, 8 ``motion_y``, 9
    /// ``motion_scale``, where ``src_x = dst_x + motion_x / motion_scale``.
    ///
    /// It is made when first asked for, and the same array from then on. Raises `NotRequestedError` where
    /// the consumer asked for no motion vectors.
    #[getter]
    fn motion_vectors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let frame = self.get()?;
        if !self.wants.motion_vectors {
            return Err(NotRequestedError::new_err(
                "this consumer asked for no motion vectors; subscribe with motion_vectors=True",
            ));
        }
        let vectors = self
            .vectors
            .get_or_try_init(py, || image::vectors(py, frame.motion_vectors().unwrap_or_default()))?;
        Ok(vectors.bind(py).clone())
    }

    fn __bool__(&self) -> bool {
        self.frame.is_some()
    }

    fn __repr__(&self) -> String {
        let Self { camera, status, frame, .. } = self;
        match frame {
            None => format!("<framelock.Frame of \"{camera}\": {status}>"),
            Some(frame) => {
                let (time, source) = (frame.time, frame.time_source);
                let (utc, bound) = (time.utc, time.uncertainty);
                format!("<framelock.Frame of \"{camera}\" at {utc} +-{bound} by {source}>")
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "documented where it is handed out")]
fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}
