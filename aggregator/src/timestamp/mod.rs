//! Media time to UTC, per stream: which of the four sources of time a frame gets, and what it is
//! worth. Sans-IO.
//!
//! Priority: RTCP sender reports, the RFC 6051 extension (in-band), the H.264 SEI, and the arrival
//! time where the sender says nothing. A board that says (by RTCP APP `FLCK` or in the SEI) that its
//! clock is unsynchronized never passes as UTC: its frames go by arrival.
//!
//! All arithmetic is signed on unwrapped 64-bit times; the wrapping counters were unwrapped by the
//! RTP session (RTP timestamps) and the demultiplexer (PTS). Time zero and RTP timestamp zero are
//! values like any other.

mod arrival;
mod history;
mod host;
mod trace;

use framelock_common::clock::ClockState;
use framelock_common::h264::SeiTime;
use framelock_common::rtcp::ClockInfo;
use framelock_common::time::{HostTime, MediaTime, NtpTimestamp, Span, Utc, UtcEstimate};

pub use arrival::ArrivalEstimator;
pub use history::{Pair, PairHistory, Verdict};
pub use host::HostClock;
use trace::Life;
pub use trace::Trace;

use crate::deliver::TimeSource;
use crate::sync::TimeBasis;

/// What a sender's UTC is worth at least when it does not say (no `FLCK`, SEI without a bound).
/// To this comes the time between the claimed capture and the arrival.
const FOREIGN_BOUND: Span = Span::from_millis(10);
/// What a capture time is worth more where the RTP timestamp is one of transmission (RFC 2250).
const TRANSMISSION_BOUND: Span = Span::from_millis(100);
/// The constant part of the delay, which arrival times cannot tell: an encoder with look-ahead holds
/// a frame for up to about a second.
const ARRIVAL_BOUND: Span = Span::from_secs(1);
/// A "UTC" further than this from the host's is none, whatever its sender says of it (RFC 3550 section
/// 6.4.1 lets one without report its uptime).
const PLAUSIBLE: Span = Span::from_secs(3_600);
/// No frame is on its way for longer. A capture time that says so, or that is after the frame's arrival,
/// contradicts the host's clock: one of the two is wrong, and the bound has to cover both.
const LONGEST_WAY: Span = Span::from_secs(10);

/// A capture this long after the frame's arrival means that a clock is wrong, and not just a little ahead.
const CLOCKS_APART: Span = Span::from_secs(1);

/// The times at which an access unit appeared, each on its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTiming {
    /// The presentation time that paces the stream: the PTS, or the RTP timestamp for raw H.264.
    pub media: MediaTime,
    /// The RTP timestamp of the packet in which the access unit starts, unwrapped; `None` without RTP.
    pub rtp: Option<MediaTime>,
    /// Whether [`Self::media`] is a PTS of MPEG-TS and [`Self::rtp`] a transmission time (RFC 2250).
    pub mpegts: bool,
    /// The capture time in the access unit's SEI, if any.
    pub sei: Option<SeiTime>,
    /// When the packet in which the access unit starts arrived. In a file, where it would have if the file were
    /// live.
    pub arrival: HostTime,
    /// How much later it was all here; before that if negative, as a file may be that is read fast.
    pub apart: Span,
}

/// How a file is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Playback {
    /// Once: capture times in it are those of the recording, however long ago that was.
    Recording,
    /// Again and again: no capture time in it is true for what is played.
    Repeated,
}

/// A frame's capture time and where it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamped {
    /// The capture instant with its bound.
    pub time: UtcEstimate,
    /// The source that was used.
    pub source: TimeSource,
}

/// Something worth a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockEvent {
    /// The board's UTC stepped by this much against its media clock.
    Step(Span),
    /// A report disagrees with those before; used only if the next agrees with it.
    Suspect,
    /// The board says that its clock is not synchronized (any more).
    Unsynchronized,
    /// The board says that its clock is synchronized (again).
    Synchronized,
    /// The sender's UTC is this far ahead of the host's: no UTC at all, and not used.
    Implausible(Span),
}

impl ClockEvent {
    /// Says so in the log, of the stream that `of` names.
    pub(crate) fn log(self, of: &dyn std::fmt::Display) {
        match self {
            Self::Step(by) => tracing::info!(%of, %by, "the board's clock stepped"),
            Self::Suspect => tracing::debug!(%of, "a clock report disagrees with those before"),
            Self::Unsynchronized => {
                tracing::warn!(%of, "the board's clock is not synchronized: its frames go by arrival time");
            }
            Self::Implausible(ahead) => {
                tracing::warn!(%of, %ahead, "the board's clock is far off this machine's: its frames go by arrival time; set both clocks");
            }
            Self::Synchronized => tracing::info!(%of, "the board's clock is synchronized"),
        }
    }
}

/// Maps the media time of one stream to UTC.
#[derive(Clone, Debug, Default)]
pub struct Mapper {
    reports: PairHistory,
    in_band: PairHistory,
    sei: PairHistory,
    arrivals: ArrivalEstimator,
    info: Option<ClockInfo>,
    life: Life,
    /// The stream is a file.
    playback: Option<Playback>,
    /// Something was learnt that frames stamped before may gain from.
    news: bool,
    /// The last report was further from the host's clock than can be.
    implausible: bool,
    refused: u64,
}

impl Mapper {
    /// A mapper that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The stream started anew (another SSRC, a sequence restart): nothing said before holds.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// The stream is a file that begins now.
    pub fn play(&mut self, playback: Playback) {
        self.playback = Some(playback);
    }

    /// Whether something was learnt since the last call that frames stamped before may gain from.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// What the sender last said about its clock; `None` for a sender that does not know `FLCK`.
    #[must_use]
    pub fn clock_info(&self) -> Option<&ClockInfo> {
        self.info.as_ref()
    }

    /// Reports that neither their predecessors nor their successors agree with, or that are no UTC.
    #[must_use]
    pub fn outliers(&self) -> u64 {
        self.reports.outliers() + self.in_band.outliers() + self.sei.outliers() + self.refused
    }

    /// An RTCP APP `FLCK` arrived.
    pub fn handle_clock_info(&mut self, info: ClockInfo) -> Option<ClockEvent> {
        let before = self.info.replace(info).map(|info| info.state);
        self.news = true;
        let now = self.info.as_ref().map(|info| info.state);
        if now == Some(ClockState::Unsynchronized) {
            self.reports.clear();
            self.in_band.clear();
            self.sei.clear();
        }
        match (before, now) {
            (Some(ClockState::Unsynchronized), Some(ClockState::Synchronized)) => {
                Some(ClockEvent::Synchronized)
            }
            (None | Some(ClockState::Synchronized), Some(ClockState::Unsynchronized)) => {
                Some(ClockEvent::Unsynchronized)
            }
            _ => None,
        }
    }

    /// A sender report arrived (RFC 3550 section 6.4.1): at `media`, UTC was `ntp`. `host` is the
    /// host's UTC at its arrival, which settles the NTP era.
    pub fn handle_sender_report(
        &mut self,
        media: MediaTime,
        ntp: NtpTimestamp,
        host: Utc,
    ) -> Option<ClockEvent> {
        // All zero means "no wallclock" (RFC 3550 section 6.4.1). An RTP timestamp of zero is a time.
        // The session tells the clock's state before the report of the same compound.
        if ntp.is_unknown() || self.unsynchronized() {
            return None;
        }
        let utc = ntp.to_utc(host);
        if let Some(refused) = self.refuse(utc, host) {
            return refused;
        }
        let verdict = self.reports.push(Pair { media, utc });
        self.news |= verdict.is_news();
        event(verdict)
    }

    /// A packet carried the RFC 6051 NTP-64 extension: at its RTP timestamp, UTC was `ntp`.
    pub fn handle_in_band(&mut self, media: MediaTime, ntp: NtpTimestamp, host: Utc) -> Option<ClockEvent> {
        if ntp.is_unknown() || self.unsynchronized() {
            return None;
        }
        let utc = ntp.to_utc(host);
        if let Some(refused) = self.refuse(utc, host) {
            return refused;
        }
        let pair = Pair { media, utc };
        let confirmed = self.reports.confirm(pair);
        let verdict = self.in_band.push(pair);
        self.news |= confirmed.is_some() || verdict.is_news();
        confirmed.map(ClockEvent::Step).or(if self.reports.is_empty() { event(verdict) } else { None })
    }

    /// The capture time of a frame. `host` is the host's clock now.
    pub fn map(&mut self, frame: &FrameTiming, host: &HostClock) -> Timestamped {
        let earliest = self.arrivals.handle(frame.media, frame.arrival);
        let arrived = host.utc_at(frame.arrival);
        self.learn_sei(frame, arrived.utc);
        self.told(frame, arrived.utc).unwrap_or_else(|| {
            let estimate = host.utc_at(earliest);
            let jitter = frame.arrival - earliest;
            // What a file's place is off from when it was read is no secret.
            let apart = if self.playback.is_some() { frame.apart.abs() } else { Span::ZERO };
            let uncertainty = ARRIVAL_BOUND + jitter + apart + estimate.uncertainty;
            Timestamped { time: UtcEstimate { utc: estimate.utc, uncertainty }, source: TimeSource::Arrival }
        })
    }

    /// What the sender told of the capture time of a frame, as far as it is known now.
    fn told(&self, frame: &FrameTiming, arrived: Utc) -> Option<Timestamped> {
        let sei = self.sei_time(frame, arrived);
        let by = |history: &PairHistory| self.by_rtp_clock(history, frame, arrived);
        let known = by(&self.reports)
            .map(|time| (time, TimeSource::SenderReport))
            .or_else(|| by(&self.in_band).map(|time| (time, TimeSource::InBand)));
        let (time, source) = match (known, sei) {
            // Before a board's first `FLCK` the RTP clock tells only when a frame was sent. A capture time
            // with a smaller bound is better.
            (Some((time, _)), Some(sei))
                if self.knows_only_transmission(frame) && sei.uncertainty < time.uncertainty =>
            {
                (sei, TimeSource::Sei)
            }
            (Some(known), _) => known,
            (None, sei) => (sei?, TimeSource::Sei),
        };
        Some(Timestamped { time, source })
    }

    /// Refuses a report that cannot be UTC; the first of several is an event.
    fn refuse(&mut self, utc: Utc, host: Utc) -> Option<Option<ClockEvent>> {
        let ahead = utc - host;
        let before = std::mem::replace(&mut self.implausible, ahead.abs() > PLAUSIBLE);
        self.refused += u64::from(self.implausible);
        self.implausible.then_some((!before).then_some(ClockEvent::Implausible(ahead)))
    }

    fn unsynchronized(&self) -> bool {
        self.info.as_ref().is_some_and(|info| info.state == ClockState::Unsynchronized)
    }

    /// Whether the RTP timestamp is the only thing on the RTP clock, and one of transmission.
    fn knows_only_transmission(&self, frame: &FrameTiming) -> bool {
        frame.mpegts && !self.info.as_ref().is_some_and(|info| info.pts_on_rtp_clock)
    }

    /// The capture instant on the RTP clock and what taking it for that may cost.
    fn capture_on_rtp_clock(&self, frame: &FrameTiming) -> Option<(MediaTime, Span)> {
        let rtp = frame.rtp?;
        if !frame.mpegts {
            return Some((rtp, Span::ZERO));
        }
        if self.knows_only_transmission(frame) {
            return Some((rtp, TRANSMISSION_BOUND));
        }
        // The PTS is the capture time on the RTP clock; its low 32 bits against the RTP timestamp,
        // the shorter way round, say by how much it is earlier.
        let ahead = frame.media.to_rtp().ticks_since(rtp.to_rtp());
        Some((MediaTime::from_ticks(rtp.as_ticks().saturating_add(i64::from(ahead))), Span::ZERO))
    }

    fn by_rtp_clock(&self, history: &PairHistory, frame: &FrameTiming, arrived: Utc) -> Option<UtcEstimate> {
        if history.is_empty() || self.unsynchronized() {
            return None;
        }
        let (media, cost) = self.capture_on_rtp_clock(frame)?;
        let (utc, bound) = history.utc_at(media)?;
        let sender = match &self.info {
            Some(info) if info.uncertainty < Span::MAX => believed(info.uncertainty, utc, arrived)?,
            _ => foreign(utc, arrived)?,
        };
        Some(UtcEstimate { utc, uncertainty: sender + bound + cost })
    }

    /// The SEI's time of this frame, or where only some frames carry one, what the last ones say.
    fn sei_time(&self, frame: &FrameTiming, arrived: Utc) -> Option<UtcEstimate> {
        if self.unsynchronized() || self.playback == Some(Playback::Repeated) {
            return None;
        }
        let Some(sei) = &frame.sei else {
            let (utc, bound) = self.sei.utc_at(frame.media)?;
            return Some(UtcEstimate { utc, uncertainty: self.worth(None, utc, arrived)? + bound });
        };
        if sei.state == ClockState::Unsynchronized {
            return None;
        }
        Some(UtcEstimate { utc: sei.utc, uncertainty: self.worth(sei.uncertainty, sei.utc, arrived)? })
    }

    /// What a capture time is worth that was told with this bound or none; `None` if it cannot be UTC at all.
    fn worth(&self, bound: Option<Span>, claimed: Utc, arrived: Utc) -> Option<Span> {
        match (self.playback, bound) {
            // When a recording is played says nothing of when it was made.
            (Some(_), bound) => Some(bound.unwrap_or(FOREIGN_BOUND)),
            (None, Some(bound)) => believed(bound, claimed, arrived),
            (None, None) => foreign(claimed, arrived),
        }
    }

    /// Keeps what this frame's SEI says for the frames without one.
    fn learn_sei(&mut self, frame: &FrameTiming, arrived: Utc) {
        let Some(sei) = &frame.sei else { return };
        if sei.state == ClockState::Unsynchronized || self.unsynchronized() {
            self.sei.clear();
        } else if self.sei_time(frame, arrived).is_some() {
            let first = self.sei.is_empty();
            let verdict = self.sei.push(Pair { media: frame.media, utc: sei.utc });
            // Each frame that carries one has its own; those without gain from the first and from a step.
            self.news |= first || matches!(verdict, Verdict::Step(_));
        }
    }
}

/// How the time of a frame that arrived at `arrived` is known, for comparing cameras.
#[must_use]
pub fn basis(stamped: &Timestamped, arrived: Utc) -> TimeBasis {
    let lag = arrived - stamped.time.utc;
    match stamped.source {
        TimeSource::Arrival => TimeBasis::Arrival,
        _ if lag < -CLOCKS_APART || lag > LONGEST_WAY => TimeBasis::Contradicted,
        _ => TimeBasis::Told,
    }
}

/// What the claim of a sender is worth that gives a bound itself; `None` if it cannot be UTC at all.
fn believed(bound: Span, claimed: Utc, arrived: Utc) -> Option<Span> {
    let lag = arrived - claimed;
    let contradiction = if lag < Span::ZERO {
        // If the host is right, the frame was captured some time before it arrived.
        bound - lag + (-lag).min(ARRIVAL_BOUND)
    } else if lag > LONGEST_WAY {
        lag
    } else {
        Span::ZERO
    };
    (lag.abs() <= PLAUSIBLE).then(|| bound.max(contradiction))
}

/// What the claim of a sender that gives no bound is worth; `None` if it cannot be UTC at all.
fn foreign(claimed: Utc, arrived: Utc) -> Option<Span> {
    let lag = (arrived - claimed).abs();
    (lag <= PLAUSIBLE).then(|| FOREIGN_BOUND + lag)
}

fn event(verdict: Verdict) -> Option<ClockEvent> {
    match verdict {
        Verdict::Accepted | Verdict::Duplicate => None,
        Verdict::Suspect => Some(ClockEvent::Suspect),
        Verdict::Step(by) => Some(ClockEvent::Step(by)),
    }
}

#[cfg(test)]
mod tests;
