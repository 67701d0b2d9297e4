//! The NTP client: whom to ask when, and which server's answers to use.
//!
//! Of several servers, those that the majority contradicts are not used; of the others, the one with the
//! smallest bound is, as long as the majority also vouches for its estimate. Its own bound holds then:
//! intervals are not intersected, for that would trust every server at once. Where two servers contradict
//! each other, the board's own clock, which knew UTC a moment ago, has a vote.

use std::hash::{DefaultHasher, Hasher};

use thiserror::Error;

use super::filter::{REFRESH, is_step};
use super::leap::LeapWatch;
use super::ntp::{KissCode, NtpPacketError, PACKET_LEN, Request, Response};
use super::select::{self, Standing};
use super::server::Server;
use super::{ClockMapping, ClockState, Sample};
use crate::time::{BoardTime, NtpTimestamp, Span, Utc};

/// At the start, how long a majority of the servers is waited for before those that have answered are
/// believed.
const SETTLING: Span = Span::from_secs(2);

/// What an [`NtpClient`] is told at its start.
#[derive(Clone, Copy, Debug)]
pub struct NtpConfig {
    /// How many servers there are; they are named by their index from 0.
    pub servers: usize,
    /// The interval between the first requests to a server; default 250 ms, so that the clock is usable
    /// within a second or two even where half of the answers are lost.
    pub min_poll: Span,
    /// The interval between requests to a server once the clock is settled; at least `min_poll`.
    pub max_poll: Span,
    /// Without a good answer for this long the clock is unsynchronized.
    pub max_age: Span,
    /// Least growth of the bound with age, in parts per 10^9; default 1 ppm. While the rate of the board's
    /// clock is not yet measured, or not well, or some time ago, the bound grows faster.
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
            min_poll: Span::from_millis(250),
            max_poll: Span::from_secs(16),
            max_age: Span::from_secs(300),
            drift_ppb: 1_000,
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
    /// Answers, but the majority of the servers contradicts it.
    Falseticker,
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
    /// The least round-trip delay among the samples in use.
    pub delay: Option<Span>,
    /// Measured rate of UTC against the board's clock in parts per 10^9, once known.
    pub skew_ppb: Option<i64>,
    /// Good answers since the start, of all servers.
    pub samples: u64,
}

/// A client of one or more NTP servers, sans-IO.
///
/// The board's system clock has no part in it: T1 and T4 of an exchange are on the board's monotonic
/// clock, T2 and T3 are UTC, and what comes out maps the one to the other.
///
/// ```text
/// loop {
///     while let Some(transmit) = client.poll_transmit(now) { send it; client.handle_sent(server, time of sending) }
///     wait until client.poll_timeout(), or a datagram: client.handle_response(server, datagram, time of arrival)
/// }
/// ```
///
/// A response is believed only if it returns the random transmit timestamp of a request that is still
/// unanswered (RFC 5905 section 8; the timestamp as a nonce after draft-ietf-ntp-data-minimization).
/// Whether the datagram came from the server's address is for the caller to check.
#[derive(Debug)]
pub struct NtpClient {
    config: NtpConfig,
    seed: u64,
    requests: u64,
    servers: Vec<Server>,
    /// The server in use.
    current: Option<usize>,
    /// The last mapping given out; kept while unsynchronized, to tell a step afterwards.
    mapping: Option<ClockMapping>,
    /// When the server in use last answered.
    heard: BoardTime,
    /// The mapping comes down from one that a majority of several servers agreed on.
    vouched: bool,
    state: ClockState,
    leap: LeapWatch,
    /// When the first request was due.
    started: Option<BoardTime>,
    updated: BoardTime,
}

impl NtpClient {
    /// A client that asks every server at once. `seed` makes the nonces and must be unpredictable to
    /// others.
    #[must_use]
    pub fn new(config: NtpConfig, seed: u64) -> Self {
        Self {
            config,
            seed,
            requests: 0,
            servers: (0..config.servers).map(|_| Server::new(&config)).collect(),
            current: None,
            mapping: None,
            heard: BoardTime::from_nanos(0),
            vouched: false,
            state: ClockState::Unsynchronized,
            leap: LeapWatch::default(),
            started: None,
            updated: BoardTime::from_nanos(0),
        }
    }

    /// A request that is due, if any; call until `None`. Also drops what has become too old.
    pub fn poll_transmit(&mut self, now: BoardTime) -> Option<Transmit> {
        self.started.get_or_insert(now);
        self.handle_leap(now);
        for server in &mut self.servers {
            server.expire(now - self.config.max_age);
        }
        self.update(now, None);
        let due = |s: &Server| s.next().is_some_and(|next| next <= now);
        let server = self.servers.iter().position(due)?;
        let transmit = self.nonce();
        self.servers[server].handle_transmit(transmit, now);
        Some(Transmit { server, datagram: Request { transmit }.build() })
    }

    /// The last request to `server` left at `at`: a kernel transmit timestamp, or a reading of the clock
    /// just *before* sending. Later than the truth would make the bound a lie. Without this call, the
    /// `now` of [`Self::poll_transmit`] counts.
    pub fn handle_sent(&mut self, server: usize, at: BoardTime) {
        if let Some(server) = self.servers.get_mut(server) {
            server.handle_sent(at);
        }
    }

    /// A datagram from the address of `server` arrived at `received`: a kernel receive timestamp, or a
    /// reading of the clock after it was received.
    ///
    /// # Errors
    /// Why it was not used. None of the errors ends anything; they are for the log.
    pub fn handle_response(
        &mut self,
        server: usize,
        datagram: &[u8],
        received: BoardTime,
    ) -> Result<Sample, NtpError> {
        self.handle_leap(received);
        let source = self.servers.get_mut(server).ok_or(NtpError::UnknownServer(server))?;
        let answer = Response::parse(datagram)
            .map_err(NtpError::from)
            .and_then(|response| source.handle_response(&response, received, &self.config));
        if answer.is_err() {
            source.count_rejected();
        }
        let stepped = answer.is_ok_and(|(_, stepped)| stepped);
        self.update(received, stepped.then_some(server));
        answer.map(|(sample, _)| sample)
    }

    /// When to call [`Self::poll_transmit`] next, whatever arrives before.
    #[must_use]
    pub fn poll_timeout(&self) -> BoardTime {
        let request = self.servers.iter().filter_map(Server::next);
        // Just after the oldest allowed age, for then it expires.
        let expiry = self.servers.iter().filter_map(|s| s.filter.newest());
        let expiry = expiry.map(|at| at + self.config.max_age + Span::from_nanos(1));
        // A mapping holds for so long.
        let refresh = self.mapping().map(|_| self.updated + REFRESH);
        let settled = self.started.filter(|_| self.mapping.is_none()).map(|at| at + SETTLING);
        let settled = settled.filter(|at| *at > self.updated);
        request
            .chain(expiry)
            .chain(refresh)
            .chain(settled)
            .chain(self.leap.at())
            .min()
            .unwrap_or(BoardTime::from_nanos(i64::MAX))
    }

    /// The mapping, while synchronized.
    #[must_use]
    pub fn mapping(&self) -> Option<ClockMapping> {
        self.mapping.filter(|_| self.state == ClockState::Synchronized)
    }

    /// The state, for people.
    #[must_use]
    pub fn status(&self) -> NtpStatus {
        let server = self.current.and_then(|i| self.servers.get(i));
        NtpStatus {
            state: self.state,
            server: self.current,
            stratum: server.map(Server::stratum),
            delay: server.and_then(|s| s.filter.delay()),
            skew_ppb: server.and_then(|s| s.filter.skew()),
            samples: self.servers.iter().map(Server::samples).sum(),
        }
    }

    /// The state of one server.
    #[must_use]
    pub fn server_status(&self, server: usize) -> Option<ServerStatus> {
        self.servers.get(server).map(Server::status)
    }

    /// Sets UTC as announced when a leap second's instant has come.
    fn handle_leap(&mut self, now: BoardTime) {
        let Some(by) = self.leap.take(now) else { return };
        for server in self.servers.iter_mut().filter(|s| s.leap() == Some(by)) {
            server.handle_leap(by);
        }
        self.mapping = self.mapping.map(|old| ClockMapping {
            utc0: old.utc0 + by,
            epoch: old.epoch.wrapping_add(1),
            ..old
        });
    }

    /// Takes the mapping of the server that is best at `now`. `stepped`: this server's clock was just seen
    /// to step.
    fn update(&mut self, now: BoardTime, stepped: Option<usize>) {
        self.updated = now;
        let Some((server, new)) = self.choose(now) else {
            self.state = ClockState::Unsynchronized;
            self.current = None;
            return;
        };
        let old = self.mapping;
        let stepped = stepped == Some(server) || old.is_some_and(|old| is_step(&old, &new, self.heard, now));
        let epoch = old.map_or(0, |old| old.epoch.wrapping_add(u32::from(stepped)));
        self.mapping = Some(ClockMapping { epoch, ..new });
        self.current = Some(server);
        self.heard = self.servers[server].filter.newest().unwrap_or(now);
        self.state = ClockState::Synchronized;
        self.leap.handle_announcement(self.servers[server].leap(), &new, now);
    }

    /// The server to use and its mapping; `None` if there is none, or if they contradict each other.
    fn choose(&mut self, now: BoardTime) -> Option<(usize, ClockMapping)> {
        for server in &mut self.servers {
            server.falseticker = false;
        }
        let mappings = self.servers.iter().enumerate().filter_map(|(i, s)| Some((i, s.filter.mapping(now)?)));
        let mappings: Vec<(usize, ClockMapping)> = mappings.collect();
        if mappings.is_empty() || self.is_settling(mappings.len(), now) {
            return None;
        }
        let mut voters: Vec<_> = mappings.iter().map(|(_, mapping)| mapping.utc_at(now)).collect();
        let standings = select::judge(&voters).or_else(|| {
            let own = self.mapping().filter(|_| self.vouched)?;
            voters.push(own.utc_at(now));
            select::judge(&voters)
        });
        let agreeing = standings.iter().flatten().filter(|s| **s != Standing::Falseticker).count();
        self.vouched = standings.is_some() && (self.vouched || agreeing > 1);
        let standings = standings?;
        for (&(server, _), standing) in mappings.iter().zip(&standings) {
            self.servers[server].falseticker = *standing == Standing::Falseticker;
        }
        let weight = |&(i, mapping): &(usize, ClockMapping)| {
            let bound = mapping.utc_at(now).uncertainty;
            // The server in use is left only for one that is clearly better: every change is a small jump.
            if self.current == Some(i) { bound.mul_div(2, 3) } else { bound }
        };
        let best = |wanted| {
            let of = mappings.iter().zip(&standings).filter(|(_, standing)| **standing == wanted);
            of.map(|(mapping, _)| *mapping).min_by_key(weight)
        };
        best(Standing::Truechimer).or_else(|| best(Standing::Outlying))
    }

    /// Whether to wait for more than `answered` servers before the very first mapping is given out.
    fn is_settling(&self, answered: usize, now: BoardTime) -> bool {
        let hoped_for = self.servers.iter().filter(|s| !s.is_silent()).count();
        self.mapping.is_none()
            && answered * 2 <= hoped_for
            && self.started.is_some_and(|started| now - started < SETTLING)
    }

    /// An unpredictable transmit timestamp. Keyed hashing, so that a server that sees its own nonces
    /// cannot tell those of the others.
    fn nonce(&mut self) -> NtpTimestamp {
        self.requests += 1;
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write_u64(self.requests);
        // Zero means "unknown" on the wire.
        NtpTimestamp::from_bits(hasher.finish().max(1))
    }
}
