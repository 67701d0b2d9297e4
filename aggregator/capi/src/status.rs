//! What is known of the cameras.

use std::ffi::{CStr, c_char};
use std::ptr::null;
use std::sync::Arc;

use framelock_aggregator::CameraStatus;

use crate::{FramelockCameraState, FramelockTimeSource, args};

/// What was known of every camera at one moment. It does not change.
#[derive(Debug)]
pub struct FramelockStatus {
    cameras: Box<[FramelockCameraStatus]>,
    /// What the pointers of `cameras` point to.
    _texts: Box<[Arc<CStr>]>,
}

/// A camera's state and counters.
#[repr(C)]
#[derive(Debug)]
pub struct FramelockCameraStatus {
    /// Its name.
    pub name: *const c_char,
    /// Whether its source is up.
    pub state: FramelockCameraState,
    /// Why it is broken, or why it has not started yet, in one line for people; NULL where there is nothing to say.
    pub reason: *const c_char,
    /// The sender's address, host and port; NULL while it is not known.
    pub address: *const c_char,
    /// Datagrams or messages that arrived.
    pub packets: u64,
    /// Bytes that arrived, without headers below RTP.
    pub bytes: u64,
    /// RTP packets that never came.
    pub lost: u64,
    /// Good frames that arrived.
    pub frames: u64,
    /// Frames with a hole, or that refer to one that had.
    pub damaged: u64,
    /// Frames and read errors that came out in a packet.
    pub used: u64,
    /// Frames passed over: another one was better, or no packet was made for their instant.
    pub skipped: u64,
    /// Frames that came after the packet that they belong to had been delivered.
    pub late: u64,
    /// Where the time of its last good frame comes from; #FRAMELOCK_TIME_SOURCE_NONE before the first, and then the
    /// times below are 0.
    pub time_source: FramelockTimeSource,
    /// When its last good frame was captured: ns since the Unix epoch, UTC.
    pub time_ns: i64,
    /// The bound on the error of `time_ns`, in ns.
    pub uncertainty_ns: i64,
    /// From the capture of its last good frame to its arrival here, in ns, by this machine's clock.
    pub transit_ns: i64,
}

// SAFETY: the strings that it points to are its `FramelockStatus`'s, and nobody changes them.
unsafe impl Send for FramelockCameraStatus {}
// SAFETY: as for `Send`.
unsafe impl Sync for FramelockCameraStatus {}

impl FramelockStatus {
    pub(crate) fn new(cameras: &[CameraStatus]) -> Self {
        let mut texts = Vec::new();
        let cameras = cameras.iter().map(|camera| FramelockCameraStatus::of(camera, &mut texts)).collect();
        Self { cameras, _texts: texts.into() }
    }
}

impl FramelockCameraStatus {
    /// The status of `camera`, whose strings go to `texts`.
    fn of(camera: &CameraStatus, texts: &mut Vec<Arc<CStr>>) -> Self {
        let CameraStatus { name, state, reason, stream, sync, last, .. } = camera;
        let mut keep = |text: &str| {
            let text = args::owned(text);
            let pointer = text.as_ptr();
            texts.push(text);
            pointer
        };
        Self {
            name: keep(name.as_str()),
            state: (*state).into(),
            reason: reason.as_deref().map_or(null(), &mut keep),
            address: stream.address.map_or(null(), |address| keep(&address.to_string())),
            packets: stream.packets,
            bytes: stream.bytes,
            lost: stream.lost,
            frames: stream.frames.good,
            damaged: stream.frames.damaged,
            used: sync.used,
            skipped: sync.skipped,
            late: sync.late,
            time_source: last.map_or(FramelockTimeSource::None, |last| last.source.into()),
            time_ns: last.map_or(0, |last| last.time.as_unix_nanos()),
            uncertainty_ns: last.map_or(0, |last| last.uncertainty.as_nanos()),
            transit_ns: last.map_or(0, |last| last.transit.as_nanos()),
        }
    }
}

/// How many cameras there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_status_count(status: *const FramelockStatus) -> usize {
    // SAFETY: the argument is as the preface of the header wants it.
    unsafe { args::object(status, "status") }.map_or(0, |status| status.cameras.len())
}

/// The camera at `index`, in configured order; NULL where there is none. It and its strings live as long as the
/// status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_status_camera(
    status: *const FramelockStatus,
    index: usize,
) -> *const FramelockCameraStatus {
    // SAFETY: the argument is as the preface of the header wants it.
    let status = unsafe { args::object(status, "status") };
    status.ok().and_then(|status| status.cameras.get(index)).map_or(null(), std::ptr::from_ref)
}

/// Frees a status; nothing happens for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_status_free(status: *mut FramelockStatus) {
    // SAFETY: the preface of the header: a status of ours, which nobody uses any more.
    unsafe { args::take_back(status) }
}
