//! What is known of one synchronization source: sequence, order, jitter, its last sender report.

use super::reorder::{Fate, Incoming, MAX_HELD, Packet, Released, ReorderBuffer};
use super::sequence::{SequenceTracker, Verdict};
use crate::rtcp::{ReportBlock, RtcpPacket, SenderReport};
use crate::time::{HostTime, NtpShort, RtpTimestamp, Span, Unwrapper};

/// Packets of a source that is not validated yet; the oldest goes first.
const MAX_PROBATION: usize = MAX_HELD;

/// What an unvalidated source sent longer ago than this counts no more.
pub(super) const PROBATION: Span = Span::from_secs(5);

/// What the caller of [`Source::handle`] must know.
#[derive(Debug)]
pub(super) enum Outcome<B> {
    Packet(Packet<B>),
    Gap(u64),
    Restarted,
    Duplicate,
    Late,
    /// Accepted, but older than one that came before.
    Reordered,
    /// Dropped: far off the stream's sequence numbers.
    Invalid,
    /// A place in the stream is settled: it left as a packet or in a gap.
    Settled(u64),
}

/// Where a source is in RFC 3550 appendix A.1.
#[derive(Debug)]
enum Phase<B> {
    /// Packets wait until two with consecutive numbers have come.
    Probation {
        held: Vec<Incoming<B>>,
    },
    Valid {
        tracker: SequenceTracker,
        buffer: ReorderBuffer<B>,
        suspect: Option<Incoming<B>>,
    },
}

/// One synchronization source.
#[derive(Debug)]
pub(super) struct Source<B> {
    pub(super) ssrc: u32,
    /// When anything last came from it.
    pub(super) last_heard: HostTime,
    /// When it said BYE.
    pub(super) goodbye: Option<HostTime>,
    /// Whether a sender report of it was accepted.
    pub(super) reported: bool,
    /// Its CNAME.
    pub(super) name: Option<String>,
    /// The last compound of a source that is not yet accepted.
    pub(super) stashed: Option<(Vec<RtcpPacket>, HostTime)>,
    phase: Phase<B>,
    timestamps: Unwrapper<32>,
    jitter: Jitter,
    last_sr: Option<(u32, HostTime)>,
}

impl<B> Source<B> {
    pub(super) fn new(ssrc: u32, now: HostTime) -> Self {
        Self {
            ssrc,
            last_heard: now,
            goodbye: None,
            reported: false,
            name: None,
            stashed: None,
            phase: Phase::Probation { held: Vec::new() },
            timestamps: Unwrapper::new(),
            jitter: Jitter::default(),
            last_sr: None,
        }
    }

    /// Whether RTP of it has passed validation.
    pub(super) fn is_valid(&self) -> bool {
        matches!(self.phase, Phase::Valid { .. })
    }

    /// Whether the packets that wait would pass validation.
    pub(super) fn passes_probation(&self) -> bool {
        let Phase::Probation { held } = &self.phase else { return true };
        held.windows(2).any(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1))
    }

    /// Keeps a packet without judging it; returns how many older ones had to go.
    pub(super) fn wait(&mut self, packet: Incoming<B>) -> usize {
        self.last_heard = packet.arrival;
        let Phase::Probation { held } = &mut self.phase else { return 0 };
        let before = held.len();
        held.retain(|old| packet.arrival - old.arrival <= PROBATION);
        if held.len() == MAX_PROBATION {
            held.remove(0);
        }
        let dropped = before - held.len();
        held.push(packet);
        dropped
    }

    /// Takes a packet of this source.
    pub(super) fn handle(&mut self, packet: Incoming<B>, rate: u32, out: &mut dyn FnMut(Outcome<B>)) {
        self.last_heard = packet.arrival;
        let Phase::Valid { tracker, buffer, suspect } = &mut self.phase else {
            for _ in 0..self.wait(packet) {
                out(Outcome::Invalid);
            }
            if self.passes_probation() {
                self.admit(rate, out);
            }
            return;
        };
        match tracker.judge(packet.sequence) {
            Verdict::Valid(sequence) => {
                if suspect.take().is_some() {
                    out(Outcome::Invalid);
                }
                let timestamp = self.timestamps.unwrap(u64::from(packet.timestamp.to_bits()));
                let arrival = packet.arrival;
                let behind = sequence < tracker.highest();
                let packet = packet.place(sequence, timestamp);
                let fate = settle(buffer, out, |buffer, out| buffer.insert(sequence, packet, out));
                match fate {
                    Fate::Accepted => self.jitter.update(arrival, timestamp, rate),
                    Fate::Duplicate => out(Outcome::Duplicate),
                    Fate::Late => out(Outcome::Late),
                }
                if behind && fate == Fate::Accepted {
                    out(Outcome::Reordered);
                }
            }
            Verdict::Suspect => {
                if suspect.replace(packet).is_some() {
                    out(Outcome::Invalid);
                }
            }
            Verdict::Restart => {
                let first = suspect.take();
                self.flush(out);
                out(Outcome::Restarted);
                *self = Self::new(self.ssrc, packet.arrival);
                for packet in first.into_iter().chain([packet]) {
                    self.handle(packet, rate, out);
                }
            }
        }
    }

    /// Leaves probation: the packets that waited enter the stream in sequence order.
    pub(super) fn admit(&mut self, rate: u32, out: &mut dyn FnMut(Outcome<B>)) {
        let Phase::Probation { held } = &mut self.phase else { return };
        let Some(last) = held.last().map(|packet| packet.sequence) else { return };
        let mut held = std::mem::take(held);
        let distance = |packet: &Incoming<B>| packet.sequence.wrapping_sub(last).cast_signed();
        held.retain(|packet| {
            let near = usize::from(distance(packet).unsigned_abs()) <= MAX_PROBATION;
            if !near {
                out(Outcome::Invalid);
            }
            near
        });
        held.sort_by_key(distance);
        let tracker = SequenceTracker::new(held[0].sequence);
        let buffer = ReorderBuffer::new(tracker.base());
        self.phase = Phase::Valid { tracker, buffer, suspect: None };
        for packet in held {
            self.handle(packet, rate, out);
        }
    }

    /// When a hole is to be given up.
    pub(super) fn deadline(&self, window: Span) -> Option<HostTime> {
        let Phase::Valid { buffer, .. } = &self.phase else { return None };
        buffer.deadline(window)
    }

    /// Gives up the holes whose time has come.
    pub(super) fn expire(&mut self, now: HostTime, window: Span, out: &mut dyn FnMut(Outcome<B>)) {
        let Phase::Valid { buffer, .. } = &mut self.phase else { return };
        settle(buffer, out, |buffer, out| buffer.expire(now, window, out));
    }

    /// Gives up all holes, and packets that never became valid: nothing more will come.
    pub(super) fn flush(&mut self, out: &mut dyn FnMut(Outcome<B>)) {
        match &mut self.phase {
            Phase::Probation { held } => held.drain(..).for_each(|_| out(Outcome::Invalid)),
            Phase::Valid { buffer, suspect, .. } => {
                suspect.take().into_iter().for_each(|_| out(Outcome::Invalid));
                settle(buffer, out, |buffer, out| buffer.flush(out));
            }
        }
    }

    /// Packets waiting behind a hole or for validation.
    pub(super) fn held(&self) -> usize {
        match &self.phase {
            Phase::Probation { held } => held.len(),
            Phase::Valid { buffer, suspect, .. } => buffer.held() + usize::from(suspect.is_some()),
        }
    }

    /// Remembers a sender report for the reception report, and unwraps its RTP timestamp.
    pub(super) fn handle_report(&mut self, report: &SenderReport, arrival: HostTime) -> i64 {
        self.reported = true;
        self.last_sr = Some((report.ntp.middle(), arrival)).filter(|_| !report.ntp.is_unknown());
        self.unwrap_report(report.rtp)
    }

    /// Before the first packet a report sets the scale, later it must not move it.
    fn unwrap_report(&mut self, rtp: RtpTimestamp) -> i64 {
        let bits = u64::from(rtp.to_bits());
        if self.is_valid() { self.timestamps.peek(bits) } else { self.timestamps.unwrap(bits) }
    }

    /// Interarrival jitter in ticks.
    pub(super) fn jitter(&self) -> i64 {
        self.jitter.ticks()
    }

    /// The reception report on this source, if packets came since the last one.
    pub(super) fn report_block(&mut self, now: HostTime) -> Option<ReportBlock> {
        let Phase::Valid { tracker, .. } = &mut self.phase else { return None };
        if !tracker.has_news() {
            return None;
        }
        let clamp = |value: i64| i32::try_from(value.clamp(-0x80_0000, 0x7f_ffff)).unwrap_or_default();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "modulo 2^32 on the wire"
        )]
        let highest_sequence = tracker.highest() as u32;
        Some(ReportBlock {
            ssrc: self.ssrc,
            cumulative_lost: clamp(tracker.cumulative_lost()),
            fraction_lost: tracker.fraction_lost(),
            highest_sequence,
            jitter: u32::try_from(self.jitter.ticks()).unwrap_or(u32::MAX),
            last_sr: self.last_sr.map_or(0, |(middle, _)| middle),
            delay_since_last_sr: self
                .last_sr
                .map_or_else(NtpShort::default, |(_, arrival)| NtpShort::from_span(now - arrival)),
        })
    }
}

/// Runs `step` on the buffer, passes on what it releases, and tells how many places it settled.
fn settle<B, T>(
    buffer: &mut ReorderBuffer<B>,
    out: &mut dyn FnMut(Outcome<B>),
    step: impl FnOnce(&mut ReorderBuffer<B>, &mut dyn FnMut(Released<B>)) -> T,
) -> T {
    let before = buffer.next();
    let result = step(buffer, &mut |released| match released {
        Released::Packet(packet) => out(Outcome::Packet(packet)),
        Released::Gap(lost) => out(Outcome::Gap(lost)),
    });
    out(Outcome::Settled((buffer.next() - before).unsigned_abs()));
    result
}

/// Interarrival jitter (RFC 3550 appendix A.8), in sixteenths of a tick.
#[derive(Debug, Default)]
struct Jitter {
    last_transit: Option<i64>,
    sixteenths: i64,
}

impl Jitter {
    fn update(&mut self, arrival: HostTime, timestamp: i64, rate: u32) {
        let arrival = Span::from_nanos(arrival.as_nanos()).mul_div(i64::from(rate), 1_000_000_000).as_nanos();
        let transit = arrival.saturating_sub(timestamp);
        if let Some(last) = self.last_transit.replace(transit) {
            // One wild timestamp must not be able to overflow the sum below.
            let change = transit.saturating_sub(last).saturating_abs().min(i64::from(u32::MAX));
            self.sixteenths += change - ((self.sixteenths + 8) >> 4);
        }
    }

    fn ticks(&self) -> i64 {
        self.sixteenths >> 4
    }
}
