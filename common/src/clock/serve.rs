//! The NTP server, sans-IO: what to answer to a datagram, and what to say of the host's clock.
//!
//! It serves the host's own clock and says of it what the kernel says: no more is known here. Only plain
//! client requests are answered, each by one datagram of the same size, so nothing can be amplified; the rate
//! to one address is limited, so little can be reflected. Extension fields, authentication, control and
//! monitoring queries are not supported, and datagrams that carry them are dropped.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use super::ntp::{KissCode, Leap, NtpPacketError, PACKET_LEN, PORT, Request, Response};
use super::rate_limit::{RateLimit, Verdict};
use super::{ClockState, KernelClock, RFC5905_PHI_PPB, UNKNOWN_ERROR};
use crate::time::{HostTime, NtpShort, NtpTimestamp, Span, Utc};

/// The stratum of a synchronized host. The kernel does not tell its own; this is more than that of a usual
/// host (2 to 4), so that nobody prefers us to the servers that we ourselves may depend on.
const HOST_STRATUM: u8 = 6;
/// RFC 5905 section 7.2, MAXSTRAT.
const UNSYNCHRONIZED_STRATUM: u8 = 16;
/// Reference identifier of the host's own clock, disciplined by what we do not know.
const HOST_REFERENCE: [u8; 4] = *b"KERN";
/// Reference identifier of a local reference: 127.127.1.1, as chronyd's `local` and ntpd's LOCL have it.
const LOCAL_REFERENCE: [u8; 4] = [127, 127, 1, 1];
/// 2^-23 s: what reading a clock takes.
const PRECISION: i8 = -23;
/// An older reading says nothing any more: the shell has stopped to read the clock.
const MAX_READING_AGE: Span = Span::from_secs(60);

/// What an [`NtpServer`] is told at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServeConfig {
    /// On a network without any other time: the stratum at which the host's clock is the reference while
    /// nothing synchronizes it, 1 to 15. `None`: an unsynchronized host says so.
    pub local_stratum: Option<u8>,
}

/// One sandwich reading of the host's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostReading {
    /// `CLOCK_MONOTONIC`, in the middle.
    pub mono: HostTime,
    /// `CLOCK_REALTIME` then.
    pub utc: Utc,
    /// Half-width of the sandwich.
    pub error: Span,
}

/// Why a datagram gets no ordinary answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// No client can be there.
    #[error("no NTP client can be at {0}")]
    Source(SocketAddr),
    /// Extension fields or a MAC follow the header, or it is cut off.
    #[error("{0} bytes are no plain NTP request, which has 48")]
    Size(usize),
    /// Not a client's request.
    #[error(transparent)]
    Packet(#[from] NtpPacketError),
    /// The host's clock has not been read, or not for long.
    #[error("the host's clock is not known")]
    NoClock,
    /// The host's clock was stepped between the request's arrival and now.
    #[error("the host's clock was stepped while the request waited")]
    Stepped,
    /// Asked too often; nothing is said.
    #[error("asked too often")]
    Rate,
}

/// What a server has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServeCounters {
    /// Requests answered.
    pub answered: u64,
    /// Kisses sent.
    pub kissed: u64,
    /// Requests dropped because their address asked too often.
    pub limited: u64,
    /// Datagrams that are no request, or from where no client can be.
    pub refused: u64,
    /// Requests dropped because the clock was not known, or stepped meanwhile.
    pub no_clock: u64,
    /// Steps of the host's clock.
    pub steps: u64,
    /// Addresses whose rate was forgotten for want of room.
    pub evicted: u64,
}

/// The host's clock as last seen.
#[derive(Clone, Copy, Debug)]
struct Host {
    reading: HostReading,
    kernel: KernelClock,
    /// When the daemon last corrected the clock, as far as can be seen.
    reference: Utc,
}

/// See the module.
#[derive(Debug)]
pub struct NtpServer {
    config: ServeConfig,
    limit: RateLimit,
    host: Option<Host>,
    /// Requests that came before are of another timescale.
    not_before: HostTime,
    counters: ServeCounters,
}

impl NtpServer {
    /// A server that does not know its clock yet; `seed` should be unpredictable.
    #[must_use]
    pub fn new(config: ServeConfig, seed: u64) -> Self {
        Self {
            config,
            limit: RateLimit::new(seed),
            host: None,
            not_before: HostTime::from_nanos(i64::MIN),
            counters: ServeCounters::default(),
        }
    }

    /// Takes a fresh reading of the host's clocks and what the kernel says of them. Due with every batch of
    /// requests, so that a request never meets an old reading.
    ///
    /// Returns whether the clock was stepped since the last call.
    pub fn handle_reading(&mut self, reading: HostReading, kernel: KernelClock) -> bool {
        let before = self.host.replace(Host { reading, kernel, reference: reading.utc });
        let Some(before) = before else { return false };
        // The kernel slews both clocks together: their difference changes only when the time is set.
        let moved = (reading.utc - before.reading.utc) - (reading.mono - before.reading.mono);
        if moved.abs() > reading.error + before.reading.error {
            self.not_before = reading.mono;
            self.counters.steps += 1;
            return true;
        }
        // The kernel only ever lets the error grow; the daemon makes it less when it has set the clock.
        if kernel.synchronized && kernel.max_error >= before.kernel.max_error && before.kernel.synchronized {
            self.host = Some(Host { reading, kernel, reference: before.reference });
        }
        false
    }

    /// What to answer to a `datagram` from `from`, that came at `received`; `now` is just before the answer
    /// is sent. The answer has the datagram's length.
    ///
    /// # Errors
    /// When there is to be no answer.
    pub fn handle_request(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        received: HostTime,
        now: HostTime,
    ) -> Result<[u8; PACKET_LEN], Refusal> {
        let answer = self.answer(datagram, from, received, now);
        self.counters.evicted = self.limit.evicted();
        let counter = match answer {
            Ok(answer) if answer[1] == 0 => &mut self.counters.kissed,
            Ok(_) => &mut self.counters.answered,
            Err(Refusal::Rate) => &mut self.counters.limited,
            Err(Refusal::NoClock | Refusal::Stepped) => &mut self.counters.no_clock,
            Err(_) => &mut self.counters.refused,
        };
        *counter += 1;
        answer
    }

    /// What was done so far.
    #[must_use]
    pub const fn counters(&self) -> ServeCounters {
        self.counters
    }

    /// Whether clients are told a usable time now, and at which stratum; `None` before the first reading.
    #[must_use]
    pub fn stratum(&self) -> Option<u8> {
        self.host.map(|host| self.claim(&host, host.reading.mono).stratum)
    }

    fn answer(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        received: HostTime,
        now: HostTime,
    ) -> Result<[u8; PACKET_LEN], Refusal> {
        if !can_be_client(from) {
            return Err(Refusal::Source(from));
        }
        if datagram.len() != PACKET_LEN {
            return Err(Refusal::Size(datagram.len()));
        }
        let (request, version) = Request::parse(datagram)?;
        let host = self.host.filter(|host| (now - host.reading.mono).abs() <= MAX_READING_AGE);
        let host = host.ok_or(Refusal::NoClock)?;
        if received < self.not_before {
            return Err(Refusal::Stepped);
        }
        let utc = |at: HostTime| NtpTimestamp::from_utc(host.reading.utc + (at - host.reading.mono));
        let ordinary = Response {
            // The client's own (RFC 5905 figure 31), at byte 2 of the header.
            poll: datagram[2].cast_signed(),
            origin: request.transmit,
            receive: utc(received.min(now)),
            transmit: utc(now),
            ..self.claim(&host, now)
        };
        let response = match self.limit.handle(from.ip(), now) {
            Verdict::Answer => ordinary,
            Verdict::Kiss => kiss(&ordinary),
            Verdict::Silence => return Err(Refusal::Rate),
        };
        let mut answer = response.build();
        answer[0] = answer[0] & !(7 << 3) | version << 3;
        Ok(answer)
    }

    /// What is said of the clock, whoever asks.
    fn claim(&self, host: &Host, now: HostTime) -> Response {
        let age = (now - host.reading.mono).abs();
        let growth = age.mul_div(RFC5905_PHI_PPB, 1_000_000_000);
        let reading = host.reading.error + growth;
        let local = self.config.local_stratum;
        // Who defines the time is not wrong about it.
        let (leap, stratum, dispersion, reference_id, reference) = match (host.kernel.state(), local) {
            (ClockState::Synchronized, _) => {
                let bound = host.kernel.bound() + reading;
                (host.kernel.leap, HOST_STRATUM, bound, HOST_REFERENCE, host.reference)
            }
            (ClockState::Unsynchronized, Some(stratum)) => {
                (Leap::None, stratum, reading, LOCAL_REFERENCE, host.reading.utc)
            }
            (ClockState::Unsynchronized, None) => {
                (Leap::Unsynchronized, UNSYNCHRONIZED_STRATUM, UNKNOWN_ERROR, [0; 4], host.reference)
            }
        };
        Response {
            leap,
            stratum,
            poll: 0,
            precision: PRECISION,
            // The kernel's bound holds half the root delay already.
            root_delay: NtpShort::from_span(Span::ZERO),
            root_dispersion: NtpShort::from_span(dispersion),
            reference_id,
            reference: NtpTimestamp::from_utc(reference),
            origin: NtpTimestamp::default(),
            receive: NtpTimestamp::default(),
            transmit: NtpTimestamp::default(),
        }
    }
}

/// A kiss-o'-death (RFC 5905 section 7.4): no time is told, and the origin shows whom it is for.
fn kiss(ordinary: &Response) -> Response {
    Response {
        leap: Leap::Unsynchronized,
        stratum: 0,
        reference_id: KissCode::RATE.0,
        root_dispersion: NtpShort::from_span(Span::ZERO),
        reference: NtpTimestamp::default(),
        ..*ordinary
    }
}

/// Clients have an address of their own and a port that no other service has: an answer to a forged request
/// must not wake something else.
fn can_be_client(from: SocketAddr) -> bool {
    let address = from.ip().to_canonical();
    let own = match address {
        IpAddr::V4(v4) => !v4.is_broadcast() && v4.octets()[0] != 0 && v4.octets()[0] < 224,
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    };
    own && (from.port() >= 1_024 || from.port() == PORT)
}
