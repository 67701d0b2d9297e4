//! The NTP client.

use thiserror::Error;

use super::ntp::{KissCode, NtpPacketError, PACKET_LEN};
use super::{ClockMapping, ClockState, RFC5905_PHI_PPB, Sample};
use crate::time::{BoardTime, Span, Utc};

/// What an [`NtpClient`] is told at its start.
#[derive(Clone, Copy, Debug)]
pub struct NtpConfig {
    /// How many servers there are; they are named by their index from 0.
    pub servers: usize,
    /// The interval between requests to a server once the clock is settled.
    pub max_poll: Span,
    /// Without a good answer for this long the clock is unsynchronized.
    pub max_age: Span,
    /// Growth of the bound with age, in parts per 10^9.
    pub drift_ppb: i64,
    /// An instant within 68 years of now, to tell the NTP era.
    pub era_pivot: Utc,
}

impl NtpConfig {
    /// The defaults for `servers` servers.
    #[must_use]
    pub const fn new(servers: usize) -> Self {
        Self {
            servers,
            max_poll: Span::from_secs(16),
            max_age: Span::from_secs(300),
            drift_ppb: RFC5905_PHI_PPB,
            era_pivot: Utc::from_unix_nanos(1_790_000_000_000_000_000),
        }
    }
}

/// A request to send.
#[derive(Clone, Copy, Debug)]
pub struct Transmit {
    /// The index of the server to send it to.
    pub server: usize,
    /// The UDP payload.
    pub datagram: [u8; PACKET_LEN],
}

/// Why a response was not used.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NtpError {
    /// It is not an NTP response.
    #[error(transparent)]
    Packet(#[from] NtpPacketError),
    /// No server has this index.
    #[error("there is no NTP server number {0}")]
    UnknownServer(usize),
    /// It answers no request of ours: late, replayed or forged.
    #[error("the NTP response answers no outstanding request: late, replayed or forged")]
    Origin,
    /// The server asks to be left alone or to be asked less often.
    #[error("the NTP server sent the kiss code {0}")]
    Kiss(KissCode),
    /// The server itself is not synchronized.
    #[error("the NTP server is not synchronized (stratum {stratum})")]
    Unsynchronized {
        /// Its stratum.
        stratum: u8,
    },
    /// The timestamps contradict each other.
    #[error("the NTP response has impossible timestamps")]
    Timestamps,
    /// The server's own error bound is useless.
    #[error("the NTP server is too far from its reference ({0})")]
    Distance(Span),
    /// It contradicts the samples before it; believed if the next ones confirm it.
    #[error("the NTP server's time is {0} away from what its earlier answers say")]
    Outlier(Span),
}

/// What a server is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerState {
    /// No usable answer yet, or none for too long.
    #[default]
    Unreachable,
    /// Answers, and its time is usable.
    Usable,
    /// Answers that its own clock is not synchronized.
    Unsynchronized,
    /// Refused service (kiss code DENY or RSTR); it is not asked again.
    Denied,
}

/// One server, for logs and `--json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStatus {
    /// What it is good for.
    pub state: ServerState,
    /// Its stratum in its last good answer.
    pub stratum: u8,
    /// Requests sent.
    pub sent: u64,
    /// Good answers.
    pub samples: u64,
    /// Answers that were refused, for whatever reason.
    pub rejected: u64,
    /// The current interval between requests.
    pub poll: Span,
}

/// The client's state, for logs and `--json`.
///
/// The offset of the system clock is not known here: it is `mapping.utc_at(mono).utc` minus the
/// system clock read together with `mono`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtpStatus {
    /// Whether [`NtpClient::mapping`] gives a mapping.
    pub state: ClockState,
    /// The server in use.
    pub server: Option<usize>,
    /// Its stratum.
    pub stratum: Option<u8>,
    /// Round-trip delay of the sample in use.
    pub delay: Option<Span>,
    /// Measured rate of UTC against the board's clock in parts per 10^9, once known.
    pub skew_ppb: Option<i64>,
    /// Good answers since the start, of all servers.
    pub samples: u64,
}

/// A client of one or more NTP servers, sans-IO.
#[derive(Debug)]
pub struct NtpClient {
    config: NtpConfig,
}

impl NtpClient {
    /// A client that asks every server at once. `seed` must be unpredictable to others.
    #[must_use]
    pub const fn new(config: NtpConfig, seed: u64) -> Self {
        let _ = seed;
        Self { config }
    }

    /// A request that is due, if any; call until `None`. Also expires what is too old.
    pub fn poll_transmit(&mut self, now: BoardTime) -> Option<Transmit> {
        let _ = now;
        None
    }

    /// The last request to `server` left at `at`.
    pub fn handle_sent(&mut self, server: usize, at: BoardTime) {
        let _ = (server, at);
    }

    /// A datagram came from `server`'s address.
    ///
    /// # Errors
    /// Why it was not used.
    pub fn handle_response(
        &mut self,
        server: usize,
        datagram: &[u8],
        received: BoardTime,
    ) -> Result<Sample, NtpError> {
        let _ = (server, datagram, received);
        Err(NtpError::Origin)
    }

    /// When to call [`Self::poll_transmit`] next.
    #[must_use]
    pub const fn poll_timeout(&self) -> BoardTime {
        BoardTime::from_nanos(i64::MAX)
    }

    /// The mapping, while synchronized.
    #[must_use]
    pub const fn mapping(&self) -> Option<ClockMapping> {
        None
    }

    /// The state, for people.
    #[must_use]
    pub const fn status(&self) -> NtpStatus {
        NtpStatus {
            state: ClockState::Unsynchronized,
            server: None,
            stratum: None,
            delay: None,
            skew_ppb: None,
            samples: self.config.servers as u64,
        }
    }

    /// The state of one server.
    #[must_use]
    pub const fn server_status(&self, server: usize) -> Option<ServerStatus> {
        let _ = server;
        None
    }
}
