//! One server as the client sees it: outstanding requests, when to ask again, and what its answers
//! are worth.

use std::collections::VecDeque;

use super::NtpError;
use super::filter::{Filter, UNKNOWN_SKEW_PPB, Verdict};
use super::ntp::{KissCode, Leap, Response};
use super::{NtpConfig, Sample, ServerState, ServerStatus};
use crate::time::{BoardTime, NtpTimestamp, Span};

/// Good answers at the shortest interval before the interval begins to grow; a burst of eight is what
/// rate limits commonly forgive.
const FAST_SAMPLES: u32 = 8;
/// Unanswered requests at the shortest interval before the interval grows.
const FAST_FAILURES: u32 = 12;
/// While there is no clock at all, the longest interval: a server that comes up is found this soon.
const SEARCH_POLL: Span = Span::from_secs(4);
/// Least and greatest interval once a server has sent the kiss code RATE.
const RATE_POLL: (Span, Span) = (Span::from_secs(4), Span::from_secs(1024));
/// The shortest interval to a server near by, once settled.
const NEAR_POLL: Span = Span::from_secs(1);
/// A server farther away than this, there and back, is likely somebody else's: it is not asked more often
/// than need be.
const FAR: Span = Span::from_millis(10);
/// Requests whose answers are still awaited; a long path has more than one under way.
const OUTSTANDING: usize = 4;
/// An answer later than this is useless.
const PATIENCE: Span = Span::from_secs(5);
/// Answers in a row without a synchronized clock after which the server's earlier answers are dropped.
const UNSYNCHRONIZED_ANSWERS: u32 = 3;
/// The largest usable root distance: MAXDIST of RFC 5905 section 7.2 is 1 s; ntpd takes 1.5 s, and so do we.
const MAX_DISTANCE: Span = Span::from_millis(1_500);
/// RFC 5905 section 7.2, MAXSTRAT: this and above is unsynchronized.
const MAX_STRATUM: u8 = 16;

/// A request whose answer is awaited.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    nonce: NtpTimestamp,
    sent: BoardTime,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) filter: Filter,
    state: ServerState,
    /// The majority of the servers says otherwise.
    pub(super) falseticker: bool,
    stratum: u8,
    leap: Leap,
    sent: u64,
    samples: u64,
    rejected: u64,
    outstanding: VecDeque<Exchange>,
    /// When the last request left.
    last: BoardTime,
    /// When the next one is due; `None` if the server must not be asked.
    next: Option<BoardTime>,
    min_poll: Span,
    max_poll: Span,
    /// The least interval that the server tolerates.
    floor: Span,
    /// Good answers since the clock was last in doubt.
    settled: u32,
    /// Requests in a row without a good answer.
    failures: u32,
    unsynchronized: u32,
}

impl Server {
    pub(super) fn new(config: &NtpConfig) -> Self {
        Self {
            filter: Filter::new(config.drift_ppb),
            state: ServerState::Unreachable,
            falseticker: false,
            stratum: 0,
            leap: Leap::None,
            sent: 0,
            samples: 0,
            rejected: 0,
            outstanding: VecDeque::with_capacity(OUTSTANDING),
            last: BoardTime::from_nanos(i64::MIN),
            // At once.
            next: Some(BoardTime::from_nanos(i64::MIN)),
            min_poll: config.min_poll,
            max_poll: config.max_poll.max(config.min_poll),
            floor: Span::ZERO,
            settled: 0,
            failures: 0,
            unsynchronized: 0,
        }
    }

    /// When the next request is due; `None` if the server must not be asked.
    pub(super) const fn next(&self) -> Option<BoardTime> {
        self.next
    }

    pub(super) fn status(&self) -> ServerStatus {
        let outvoted = self.falseticker && self.state == ServerState::Usable;
        ServerStatus {
            state: if outvoted { ServerState::Falseticker } else { self.state },
            stratum: self.stratum,
            sent: self.sent,
            samples: self.samples,
            rejected: self.rejected,
            poll: self.interval(),
        }
    }

    pub(super) const fn stratum(&self) -> u8 {
        self.stratum
    }

    /// How far its clock will be set at the end of the month, if it announces that.
    pub(super) const fn leap(&self) -> Option<Span> {
        match self.leap {
            Leap::Insert => Some(Span::from_secs(-1)),
            Leap::Delete => Some(Span::from_secs(1)),
            Leap::None | Leap::Unsynchronized => None,
        }
    }

    /// The leap second that it announced is over.
    pub(super) fn handle_leap(&mut self, by: Span) {
        self.filter.shift(by);
        self.leap = Leap::None;
    }

    /// Whether an answer may still come that was not asked for in vain.
    pub(super) fn is_silent(&self) -> bool {
        self.state == ServerState::Denied || self.failures >= FAST_FAILURES
    }

    pub(super) const fn samples(&self) -> u64 {
        self.samples
    }

    /// A request with `nonce` goes out at `now`.
    pub(super) fn handle_transmit(&mut self, nonce: NtpTimestamp, now: BoardTime) {
        self.outstanding.retain(|e| now - e.sent <= PATIENCE);
        if self.outstanding.len() == OUTSTANDING {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back(Exchange { nonce, sent: now });
        self.sent += 1;
        // Every request is a failure until its answer takes it back.
        self.failures = self.failures.saturating_add(1);
        self.last = now;
        self.next = Some(now + self.interval());
    }

    /// The last request really left at `at`.
    pub(super) fn handle_sent(&mut self, at: BoardTime) {
        if let Some(last) = self.outstanding.back_mut() {
            last.sent = last.sent.max(at);
        }
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self, oldest: BoardTime) {
        self.filter.expire(oldest);
        if self.filter.newest().is_none() && self.state == ServerState::Usable {
            self.state = ServerState::Unreachable;
            self.settled = 0;
        }
    }

    /// Takes a response; also says whether it proves a step of the clock.
    pub(super) fn handle_response(
        &mut self,
        response: &Response,
        received: BoardTime,
        config: &NtpConfig,
    ) -> Result<(Sample, bool), NtpError> {
        // Before anything in it is believed: a forged kiss must not silence us.
        let at = self.outstanding.iter().position(|e| e.nonce == response.origin);
        let exchange = at.and_then(|at| self.outstanding.remove(at)).ok_or(NtpError::Origin)?;
        let answer = self.judge(response, exchange, received, config);
        // A change of interval takes effect at once.
        self.next = self.next.map(|_| self.last + self.interval());
        answer
    }

    fn judge(
        &mut self,
        response: &Response,
        exchange: Exchange,
        received: BoardTime,
        config: &NtpConfig,
    ) -> Result<(Sample, bool), NtpError> {
        if let Some(kiss) = response.kiss() {
            self.handle_kiss(kiss);
            return Err(NtpError::Kiss(kiss));
        }
        if response.stratum >= MAX_STRATUM || response.leap == Leap::Unsynchronized {
            self.handle_unsynchronized();
            return Err(NtpError::Unsynchronized { stratum: response.stratum });
        }
        let sample = sample(response, exchange.sent, received, config)?;
        self.unsynchronized = 0;
        let stepped = match self.filter.handle_sample(sample) {
            Verdict::Accepted => false,
            Verdict::Step => true,
            Verdict::Outlier(away) => {
                // Ask again soon: either it was one bad answer, or the clock was stepped.
                self.settled = 0;
                self.failures = 0;
                return Err(NtpError::Outlier(away));
            }
        };
        self.state = ServerState::Usable;
        self.stratum = response.stratum;
        self.leap = response.leap;
        self.samples += 1;
        self.settled = if stepped { 0 } else { self.settled.saturating_add(1) };
        self.failures = 0;
        Ok((sample, stepped))
    }

    pub(super) const fn count_rejected(&mut self) {
        self.rejected += 1;
    }

    /// RFC 5905 section 7.4.
    fn handle_kiss(&mut self, kiss: KissCode) {
        match kiss {
            KissCode::DENY | KissCode::RSTR => {
                self.state = ServerState::Denied;
                self.next = None;
                self.outstanding.clear();
            }
            KissCode::RATE => self.floor = (self.interval() * 2).clamp(RATE_POLL.0, RATE_POLL.1),
            // The others only say why the server is not synchronized (INIT, STEP, ...).
            _ => self.handle_unsynchronized(),
        }
    }

    fn handle_unsynchronized(&mut self) {
        self.settled = 0;
        self.unsynchronized = self.unsynchronized.saturating_add(1);
        if self.unsynchronized >= UNSYNCHRONIZED_ANSWERS || self.filter.newest().is_none() {
            self.filter.clear();
            self.state = ServerState::Unsynchronized;
        }
    }

    /// Time from one request to the next.
    fn interval(&self) -> Span {
        let wanted = if self.settled < FAST_SAMPLES {
            let doublings = self.failures.saturating_sub(FAST_FAILURES).min(8);
            (self.min_poll * (1 << doublings)).min(SEARCH_POLL)
        } else {
            // Doubled after every second good answer.
            let doublings = ((self.settled - FAST_SAMPLES) / 2 + 1).min(16);
            (self.min_poll * (1 << doublings)).min(self.longest_poll())
        };
        wanted.min(self.max_poll).max(self.floor)
    }

    /// The interval may grow until the bound's growth meanwhile matters beside the path's own bound: a
    /// near server is asked more often than a far one, and more often while the skew is unknown.
    fn longest_poll(&self) -> Span {
        let is_near = self.filter.delay().is_some_and(|delay| delay < FAR);
        self.filter.patience().filter(|_| is_near).map_or(self.max_poll, |patience| patience.max(NEAR_POLL))
    }
}

/// The on-wire calculation of RFC 5905 section 8, with T1 and T4 on the board's monotonic clock.
fn sample(
    response: &Response,
    sent: BoardTime,
    received: BoardTime,
    config: &NtpConfig,
) -> Result<Sample, NtpError> {
    let elapsed = received - sent;
    if response.receive.is_unknown() || response.transmit.is_unknown() || elapsed < Span::ZERO {
        return Err(NtpError::Timestamps);
    }
    let receive = response.receive.to_utc(config.era_pivot);
    let held = response.transmit.to_utc(receive) - receive;
    let residual = response.precision()
        // Our clock measured the round trip, at whatever rate it runs.
        + elapsed.mul_div(config.drift_ppb.max(UNKNOWN_SKEW_PPB), 1_000_000_000)
        // Rounding of the timestamps and of the halves below.
        + Span::from_nanos(2);
    let delay = elapsed - held;
    if held < Span::ZERO || delay < -residual {
        return Err(NtpError::Timestamps);
    }
    let sample = Sample {
        mono: sent + elapsed / 2,
        utc: receive + held / 2,
        delay: delay.max(Span::ZERO),
        residual,
        root: response.root_dispersion.to_span() + response.root_delay.to_span() / 2,
    };
    if sample.bound() > MAX_DISTANCE {
        return Err(NtpError::Distance(sample.bound()));
    }
    Ok(sample)
}
