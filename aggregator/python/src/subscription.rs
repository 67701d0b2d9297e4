//! A consumer's end in Python: waiting that lets other Python threads run and minds Ctrl-C.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use framelock_aggregator::{self as core, Consumer, ConsumerError, Pixels, Queue};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustix::event::{EventfdFlags, eventfd};

use crate::errors::{ClosedError, FramelockError, StreamEnded, raise};
use crate::image::Layout;
use crate::packet::Packet;
use crate::pool::ImagePool;

/// The longest that Python's signal handlers wait for their turn.
const SLICE: Duration = Duration::from_millis(50);

/// What a consumer asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    /// The layout of its images; `None` for no images.
    pub(crate) layout: Option<Layout>,
    /// Motion vectors.
    pub(crate) motion_vectors: bool,
    /// What becomes of packets that it is too slow for.
    pub(crate) queue: Queue,
}

/// One consumer.
#[pyclass(frozen, module = "framelock._native")]
pub(crate) struct Subscription {
    /// `None` once closed.
    consumer: Mutex<Option<Consumer>>,
    /// Set before `consumer` is taken away, so that who waits in slices lets go of it.
    closed: AtomicBool,
    wants: Wants,
    pool: Arc<ImagePool>,
    /// An eventfd for event loops: readable when there may be something to take.
    word: OnceLock<Arc<OwnedFd>>,
}

impl Subscription {
    /// A consumer of the packets of `aggregator` from now on.
    pub(crate) fn new(aggregator: &core::Aggregator, wants: Wants) -> PyResult<Self> {
        let pixels = if wants.layout.is_some() { Pixels::Decoded } else { Pixels::None };
        let asked = core::Subscription { pixels, queue: wants.queue, motion_vectors: wants.motion_vectors };
        let consumer = aggregator.subscribe(asked).map_err(raise)?;
        Ok(Self {
            consumer: Mutex::new(Some(consumer)),
            closed: AtomicBool::new(false),
            wants,
            pool: Arc::default(),
            word: OnceLock::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Consumer>> {
        self.consumer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next packet if it comes within `wait`.
    fn take(&self, wait: Duration) -> PyResult<Option<core::Packet>> {
        if self.is_closed() {
            return Err(closed());
        }
        match self.lock().as_mut().ok_or_else(closed)?.next(wait) {
            Ok(packet) => Ok(packet),
            Err(error @ ConsumerError::Closed) => Err(ClosedError::new_err(error.to_string())),
            Err(error @ ConsumerError::Ended) => Err(StreamEnded::new_err(error.to_string())),
            Err(error @ ConsumerError::Stopped) => Err(FramelockError::new_err(error.to_string())),
        }
    }
}

#[pymethods]
impl Subscription {
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Packet>> {
        let deadline = timeout.map(deadline).transpose()?.flatten();
        loop {
            let left = deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(now()));
            if let Some(packet) = py.detach(|| self.take(left.min(SLICE)))? {
                return Packet::new(py, packet, self.wants, &self.pool).map(Some);
            }
            py.check_signals()?;
            if deadline.is_some_and(|deadline| now() >= deadline) {
                return Ok(None);
            }
        }
    }

    fn try_next(&self, py: Python<'_>) -> PyResult<Option<Packet>> {
        if let Some(word) = self.word.get() {
            // Words that come from here on are for the next time.
            let _nothing_to_read = rustix::io::read(word, &mut [0; 8]);
        }
        let packet = py.detach(|| self.take(Duration::ZERO))?;
        packet.map(|packet| Packet::new(py, packet, self.wants, &self.pool)).transpose()
    }

    /// A file that can be read when there may be something for `try_next`.
    fn fileno(&self, py: Python<'_>) -> PyResult<RawFd> {
        if let Some(word) = self.word.get() {
            return Ok(word.as_raw_fd());
        }
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let word = Arc::new(eventfd(0, flags).map_err(io::Error::from)?);
        let word = self.word.get_or_init(|| word);
        let waked = word.clone();
        py.detach(|| {
            if let Some(consumer) = self.lock().as_ref() {
                consumer.wake_with(move || tell(&waked));
            }
        });
        // What came before nobody was told of.
        tell(word);
        Ok(word.as_raw_fd())
    }

    fn counters(&self, py: Python<'_>) -> PyResult<(u64, u64, u64)> {
        let counters = py.detach(|| self.lock().as_ref().map(Consumer::counters)).ok_or_else(closed)?;
        Ok((counters.offered, counters.delivered, counters.skipped))
    }

    fn close(&self, py: Python<'_>) {
        self.closed.store(true, Ordering::Relaxed);
        py.detach(|| drop(self.lock().take()));
        if let Some(word) = self.word.get() {
            tell(word);
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// Makes `word` readable.
fn tell(word: &OwnedFd) {
    let _readable_already = rustix::io::write(word, &1_u64.to_ne_bytes());
}

fn closed() -> PyErr {
    ClosedError::new_err("the subscription is closed")
}

/// When `timeout` seconds are over; `None` for never.
fn deadline(timeout: f64) -> PyResult<Option<Instant>> {
    if timeout.is_nan() {
        return Err(PyValueError::new_err("timeout: give seconds, or None to wait for ever"));
    }
    // What is longer than the clock can say is for ever.
    let timeout = Duration::try_from_secs_f64(timeout.max(0.0)).ok();
    Ok(timeout.and_then(|timeout| now().checked_add(timeout)))
}

#[expect(clippy::disallowed_methods, reason = "waiting for packets takes real time")]
fn now() -> Instant {
    Instant::now()
}
