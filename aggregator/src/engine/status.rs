//! What is known of a camera, for logs, tables and status queries.

use framelock_common::time::{HostTime, Span, Utc};

use crate::deliver::{CameraName, Frame, TimeSource};
use crate::source::StreamStatus;
use crate::sync::{CameraStats, SourceState};
use crate::timestamp::HostClock;

/// A camera's state and counters at one instant.
#[derive(Clone, Debug)]
pub struct CameraStatus {
    /// Its name.
    pub name: CameraName,
    /// When the counters were read.
    pub at: HostTime,
    /// Whether its source is up.
    pub state: SourceState,
    /// Why it is down, while it is [`SourceState::Broken`]: one line for people, without any credentials.
    pub reason: Option<String>,
    /// Its stream as received.
    pub stream: StreamStatus,
    /// Its frames in the synchronizer.
    pub sync: CameraStats,
    /// Its last good frame.
    pub last: Option<LastFrame>,
}

/// What is remembered of a camera's last good frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastFrame {
    /// When it was captured.
    pub time: Utc,
    /// Bound on the error of `time`.
    pub uncertainty: Span,
    /// Where `time` comes from.
    pub source: TimeSource,
    /// From its capture to its arrival here, by the host's clock.
    pub transit: Span,
}

impl LastFrame {
    pub(super) fn of(frame: &Frame, host: &HostClock) -> Self {
        Self {
            time: frame.time.utc,
            uncertainty: frame.time.uncertainty,
            source: frame.time_source,
            transit: host.utc_at(frame.arrival).utc - frame.time.utc,
        }
    }
}
