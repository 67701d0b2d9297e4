//! The aggregator's own clock pair: its monotonic clock against its UTC.

use framelock_common::time::{HostTime, Span, Utc, UtcEstimate};

/// One fresh reading of the host's monotonic clock together with its UTC.
///
/// The I/O shell takes a new one with every batch of datagrams, so a host clock that is being
/// disciplined (or stepped) is followed and never frozen at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostClock {
    host: HostTime,
    utc: Utc,
    uncertainty: Span,
}

impl HostClock {
    /// The host's UTC was `utc`, give or take `uncertainty`, at `host`.
    #[must_use]
    pub const fn new(host: HostTime, utc: Utc, uncertainty: Span) -> Self {
        Self { host, utc, uncertainty }
    }

    /// The host's UTC at `host`.
    #[must_use]
    pub fn utc_at(&self, host: HostTime) -> UtcEstimate {
        UtcEstimate { utc: self.utc + (host - self.host), uncertainty: self.uncertainty }
    }

    /// The monotonic instant at which the host's UTC reads `utc`.
    #[must_use]
    pub fn host_at(&self, utc: Utc) -> HostTime {
        self.host + (utc - self.utc)
    }
}
