//! The running aggregator.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use framelock_aggregator::config::{Settings, SettingsError};
use framelock_aggregator::ntp::NtpSettings;
use framelock_aggregator::{self as core, Queue};
use framelock_common::logging::{self, LogFormat};
use framelock_common::time::Span;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{ClosedError, ConfigError, FramelockError, raise};
use crate::image::Layout;
use crate::status;
use crate::subscription::{Subscription, Wants};

/// A running aggregator.
#[pyclass(frozen, module = "framelock._native")]
pub(crate) struct Aggregator {
    core: Mutex<Option<core::Aggregator>>,
}

/// What can be set by name; `None` where it is as the configuration file or the default says.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Options {
    config: Option<PathBuf>,
    cameras: Option<Vec<(String, String)>>,
    policy: Option<String>,
    rate: Option<String>,
    max_wait_ns: Option<i64>,
    max_cameras: Option<usize>,
    ntp: Option<String>,
    ntp_local_stratum: Option<u8>,
}

impl Options {
    fn settings(self) -> PyResult<Settings> {
        let settings = self.read().map_err(|error| raise(error.into()))?;
        let settings = with_ntp(settings, self.ntp.as_deref(), self.ntp_local_stratum)?;
        settings.check().map_err(|error| raise(error.into()))?;
        Ok(settings)
    }

    fn read(&self) -> Result<Settings, SettingsError> {
        let mut settings = self.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        if let Some(cameras) = &self.cameras {
            settings.cameras.clear();
            for (name, source) in cameras {
                settings.add_camera(name, source)?;
            }
        }
        if let Some(policy) = &self.policy {
            settings.sync.policy = policy.parse()?;
        }
        if let Some(rate) = &self.rate {
            settings.sync.rate = rate.parse()?;
        }
        settings.sync.max_wait = self.max_wait_ns.map(Span::from_nanos).or(settings.sync.max_wait);
        settings.max_cameras = self.max_cameras.unwrap_or(settings.max_cameras);
        Ok(settings)
    }
}

fn with_ntp(mut settings: Settings, listen: Option<&str>, stratum: Option<u8>) -> PyResult<Settings> {
    if let Some(listen) = listen {
        let listen = read_listen(listen).ok_or_else(|| {
            ConfigError::new_err(format!("ntp: \"{listen}\" is neither a port nor ADDRESS:PORT"))
        })?;
        settings.ntp = Some(NtpSettings { listen, ..settings.ntp.unwrap_or_default() });
    }
    if let Some(ntp) = &mut settings.ntp {
        ntp.local_stratum = stratum.or(ntp.local_stratum);
    } else if stratum.is_some() {
        return Err(ConfigError::new_err("ntp_local_stratum needs ntp: the port to serve time on"));
    }
    Ok(settings)
}

fn read_listen(text: &str) -> Option<SocketAddr> {
    let default = NtpSettings::default().listen;
    text.parse().ok().or_else(|| Some(SocketAddr::new(default.ip(), text.parse().ok()?)))
}

#[pymethods]
impl Aggregator {
    #[new]
    fn new(py: Python<'_>, options: Options) -> PyResult<Self> {
        let settings = options.settings()?;
        let core = py.detach(|| core::Aggregator::start(&settings)).map_err(raise)?;
        Ok(Self { core: Mutex::new(Some(core)) })
    }

    /// `newest`: `queue` packets are kept, of which the oldest gives way; else every packet is wanted, and
    /// sources that can wait do so while `queue` packets are there.
    fn subscribe(
        &self,
        pixels: Option<&str>,
        motion_vectors: bool,
        queue: usize,
        newest: bool,
    ) -> PyResult<Subscription> {
        let layout = pixels.map(Layout::read).transpose()?;
        let queue = if newest { Queue::Newest(queue) } else { Queue::All { limit: queue } };
        let core = self.lock();
        let core = core.as_ref().ok_or_else(closed)?;
        Subscription::new(core, Wants { layout, motion_vectors, queue })
    }

    fn status<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let cameras = self.lock().as_ref().ok_or_else(closed)?.status();
        cameras.iter().map(|camera| status::dict(py, camera)).collect()
    }

    fn ntp_address(&self) -> PyResult<Option<String>> {
        let core = self.lock();
        Ok(core.as_ref().ok_or_else(closed)?.ntp().map(|ntp| ntp.address().to_string()))
    }

    fn close(&self, py: Python<'_>) {
        let core = self.lock().take();
        // Waits for threads, none of which waits for Python.
        py.detach(|| drop(core));
    }

    fn is_closed(&self) -> bool {
        self.lock().is_none()
    }
}

impl Aggregator {
    fn lock(&self) -> MutexGuard<'_, Option<core::Aggregator>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> PyErr {
    ClosedError::new_err("the aggregator is closed")
}

#[pyfunction]
pub(crate) fn log_to_stderr(json: bool) -> PyResult<()> {
    let format = if json { LogFormat::Json } else { LogFormat::Text };
    logging::init(format).map_err(|error| FramelockError::new_err(error.to_string()))
}
