//! The sending end.

use std::collections::VecDeque;

use super::KEYFRAME_INTERVAL;
use crate::clock::{ClockMapping, ClockState};
use crate::rtcp::{self, ClockInfo, Cname, ReportBlock, RtcpError, RtcpPacket, SenderReport};
use crate::rtp::{RtpHeader, write_packet};
use crate::time::{BoardTime, MediaClock, NtpTimestamp, RtpTimestamp, Span};

/// Sender reports remembered for the round trip; at one a second, a receiver's answer refers to one of
/// the last two.
const REMEMBERED_REPORTS: usize = 8;

/// Receivers remembered, so that a new one is known as such; the one heard first is forgotten first.
const REMEMBERED_RECEIVERS: usize = 16;

/// The least time between two reports where new receivers make them due: whoever makes up receivers must
/// not have us flood the network.
const NEW_RECEIVER_INTERVAL: Span = Span::from_millis(100);

/// Events kept for a caller that does not poll; the oldest goes first and is counted.
const MAX_EVENTS: usize = 32;

/// What a [`SendSession`] is.
#[derive(Clone, Debug)]
pub struct SendConfig {
    /// The synchronization source; chosen at random (RFC 3550 section 8.1).
    pub ssrc: u32,
    /// The first sequence number; chosen at random (RFC 3550 section 5.1).
    pub first_sequence: u16,
    /// The payload type of every packet.
    pub payload_type: u8,
    /// The canonical name: the camera's name, 1 to 255 bytes.
    pub cname: String,
    /// From one sender report to the next.
    pub rtcp_interval: Span,
    /// The media clock that RTP timestamps are taken from.
    pub media: MediaClock,
}

/// What a [`SendSession`] tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendEvent {
    /// A receiver needs a key frame. Given at most once every [`KEYFRAME_INTERVAL`]; requests in between are
    /// kept and given then.
    KeyframeRequested,
    /// A receiver reported on our stream.
    Report {
        /// The share of packets lost since its last report, in 1/256.
        fraction_lost: u8,
        /// Packets lost since it began to listen; negative where duplicates outweigh losses.
        cumulative_lost: i32,
        /// Interarrival jitter.
        jitter: Span,
        /// The network's round trip (RFC 3550 section 6.4.1), if the report refers to a recent one of ours.
        round_trip: Option<Span>,
    },
}

/// Counters of a [`SendSession`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendStats {
    /// RTP packets written.
    pub packets: u64,
    /// RTP payload octets written.
    pub octets: u64,
    /// Sender reports made.
    pub reports: u64,
    /// Valid RTCP datagrams received.
    pub rtcp_received: u64,
    /// RTCP datagrams refused.
    pub rtcp_malformed: u64,
    /// Requests for a key frame received, repeated FIRs not counted.
    pub keyframe_requests: u64,
    /// Requests that were merged into another to keep [`KEYFRAME_INTERVAL`].
    pub keyframe_requests_merged: u64,
    /// Events dropped because nobody polled.
    pub events_dropped: u64,
}

/// The board's end of a stream.
#[derive(Debug)]
pub struct SendSession {
    config: SendConfig,
    sequence: u16,
    clock: Option<ClockMapping>,
    /// The clock of the last report.
    reported: Option<ClockMapping>,
    info: ClockInfo,
    /// `info.uncertainty` of the last report.
    reported_uncertainty: Span,
    next_report: BoardTime,
    /// The middle bits of the NTP timestamps of our last reports, and when they were made.
    sent_reports: VecDeque<(u32, BoardTime)>,
    last_report: Option<BoardTime>,
    receivers: VecDeque<u32>,
    keyframe_given: Option<BoardTime>,
    keyframe_wanted: bool,
    last_fir: Option<(u32, u8)>,
    events: VecDeque<SendEvent>,
    stats: SendStats,
}

impl SendSession {
    /// A session whose first report is due at `now`. Until [`Self::set_clock`] it says that its clock is
    /// unsynchronized.
    #[must_use]
    pub fn new(config: SendConfig, now: BoardTime) -> Self {
        Self {
            sequence: config.first_sequence,
            clock: None,
            reported: None,
            info: ClockInfo {
                pts_on_rtp_clock: false,
                state: ClockState::Unsynchronized,
                uncertainty: Span::MAX,
                capture_kind: rtcp::CaptureKind::Unknown,
            },
            reported_uncertainty: Span::ZERO,
            next_report: now,
            sent_reports: VecDeque::with_capacity(REMEMBERED_REPORTS),
            last_report: None,
            receivers: VecDeque::new(),
            keyframe_given: None,
            keyframe_wanted: false,
            last_fir: None,
            events: VecDeque::new(),
            stats: SendStats::default(),
            config,
        }
    }

    /// Tells what the board knows of UTC now. A change that a receiver must not interpolate across (gained
    /// or lost synchronization, a step) or that moves its frames ([`ClockMapping::is_news`]) makes a report
    /// due at once, and so does a bound that grew: frames must not go by the smaller one.
    ///
    /// `info.uncertainty` is the part that does not come from the clock: the jitter of capture timestamps.
    /// Each report adds the mapping's uncertainty at its own instant. Without a mapping, the state sent is
    /// unsynchronized, whatever `info` says.
    pub fn set_clock(&mut self, mapping: Option<ClockMapping>, info: ClockInfo) {
        let mapping = mapping.filter(|_| info.state == ClockState::Synchronized);
        let grew = mapping.is_some() && info.uncertainty > self.reported_uncertainty;
        if grew || ClockMapping::is_news(self.reported.as_ref(), mapping.as_ref()) {
            self.next_report = BoardTime::from_nanos(i64::MIN);
        }
        self.clock = mapping;
        self.info = info;
    }

    /// Appends the next RTP packet to `out`. `ntp64` is UTC at `timestamp`, for the first packet of the
    /// stream, of each key frame, and after a change of the mapping.
    pub fn write_rtp(
        &mut self,
        timestamp: RtpTimestamp,
        marker: bool,
        ntp64: Option<NtpTimestamp>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        let header = RtpHeader {
            payload_type: self.config.payload_type,
            marker,
            sequence: self.sequence,
            timestamp,
            ssrc: self.config.ssrc,
            ntp64,
        };
        write_packet(&header, payload, out);
        self.sequence = self.sequence.wrapping_add(1);
        self.stats.packets += 1;
        self.stats.octets += payload.len() as u64;
    }

    /// The compound that is due, if any: SR, SDES with the CNAME, APP `FLCK`.
    pub fn poll_rtcp(&mut self, now: BoardTime) -> Option<Vec<u8>> {
        self.give_keyframe_request(now);
        if now < self.next_report {
            return None;
        }
        let regular = self.next_report + self.config.rtcp_interval;
        self.next_report = if regular > now { regular } else { now + self.config.rtcp_interval };
        self.last_report = Some(now);
        Some(rtcp::write(&self.report(now)))
    }

    /// The last compound of the stream: as [`Self::poll_rtcp`], with BYE.
    pub fn goodbye(&mut self, now: BoardTime) -> Vec<u8> {
        let mut packets = self.report(now);
        packets.push(RtcpPacket::Goodbye { sources: vec![self.config.ssrc] });
        rtcp::write(&packets)
    }

    /// When to call [`Self::poll_rtcp`] next; in the past if at once.
    #[must_use]
    pub fn poll_timeout(&self) -> BoardTime {
        match self.keyframe_given {
            Some(given) if self.keyframe_wanted => self.next_report.min(given + KEYFRAME_INTERVAL),
            _ => self.next_report,
        }
    }

    /// Takes an RTCP datagram from a receiver. The first one of a receiver makes a report due at once: it
    /// joined late, and without a report it has neither UTC nor our name.
    ///
    /// # Errors
    /// It is not valid RTCP; nothing of it was used, and it was counted.
    pub fn handle_rtcp(&mut self, datagram: &[u8], now: BoardTime) -> Result<(), RtcpError> {
        let packets = rtcp::parse(datagram).inspect_err(|_| self.stats.rtcp_malformed += 1)?;
        self.stats.rtcp_received += 1;
        let ssrc = self.config.ssrc;
        for packet in packets {
            if let RtcpPacket::ReceiverReport { ssrc, .. } | RtcpPacket::PictureLoss { sender: ssrc, .. } =
                packet
            {
                self.meet(ssrc);
            }
            match packet {
                RtcpPacket::SenderReport { blocks, .. } | RtcpPacket::ReceiverReport { blocks, .. } => {
                    for block in blocks.iter().filter(|block| block.ssrc == ssrc) {
                        self.handle_block(block, now);
                    }
                }
                RtcpPacket::PictureLoss { media, .. } if media == ssrc => self.request_keyframe(now),
                RtcpPacket::FullIntraRequest { sender, entries } => {
                    for (_, number) in entries.into_iter().filter(|(media, _)| *media == ssrc) {
                        // A repetition has the number of the original (RFC 5104 section 4.3.1.2).
                        if self.last_fir.replace((sender, number)) != Some((sender, number)) {
                            self.request_keyframe(now);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<SendEvent> {
        self.events.pop_front()
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> SendStats {
        self.stats
    }

    /// The synchronization source.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.config.ssrc
    }

    fn report(&mut self, now: BoardTime) -> Vec<RtcpPacket> {
        let ssrc = self.config.ssrc;
        // Both timestamps stand for the same instant, so `now` is taken back to the start of its tick.
        let media = self.config.media.at(now);
        let utc = self.clock.map(|clock| clock.utc_at(self.config.media.to_mono(media)));
        let ntp = utc.map_or_else(NtpTimestamp::default, |utc| NtpTimestamp::from_utc(utc.utc));
        let info = ClockInfo {
            state: if utc.is_some() { ClockState::Synchronized } else { ClockState::Unsynchronized },
            uncertainty: utc.map_or(Span::MAX, |utc| utc.uncertainty + self.info.uncertainty),
            ..self.info
        };
        if !ntp.is_unknown() {
            if self.sent_reports.len() == REMEMBERED_REPORTS {
                self.sent_reports.pop_front();
            }
            self.sent_reports.push_back((ntp.middle(), now));
        }
        self.stats.reports += 1;
        self.reported = self.clock;
        self.reported_uncertainty = self.info.uncertainty;
        #[expect(clippy::cast_possible_truncation, reason = "both counters are modulo 2^32 on the wire")]
        let report = SenderReport {
            ssrc,
            ntp,
            rtp: media.to_rtp(),
            packets: self.stats.packets as u32,
            octets: self.stats.octets as u32,
        };
        vec![
            RtcpPacket::SenderReport { report, blocks: Vec::new() },
            RtcpPacket::SourceDescription(vec![Cname { ssrc, name: self.config.cname.clone() }]),
            RtcpPacket::ClockInfo { ssrc, info },
        ]
    }

    /// Makes a report due if `receiver` was not heard before.
    fn meet(&mut self, receiver: u32) {
        if self.receivers.contains(&receiver) {
            return;
        }
        if self.receivers.len() == REMEMBERED_RECEIVERS {
            self.receivers.pop_front();
        }
        self.receivers.push_back(receiver);
        let earliest = self.last_report.map(|last| last + NEW_RECEIVER_INTERVAL);
        self.next_report = self.next_report.min(earliest.unwrap_or(self.next_report));
    }

    fn handle_block(&mut self, block: &ReportBlock, now: BoardTime) {
        let round_trip = self
            .sent_reports
            .iter()
            .rev()
            .find(|(middle, _)| block.last_sr != 0 && *middle == block.last_sr)
            .map(|(_, sent)| now - *sent - block.delay_since_last_sr.to_span())
            // The delay is rounded to 2^-16 s, 15.3 us; a longer one than the whole is a lie.
            .filter(|span| *span > -Span::from_micros(16))
            .map(|span| span.max(Span::ZERO));
        let jitter = Span::from_secs(1).mul_div(i64::from(block.jitter), crate::time::MEDIA_CLOCK_HZ);
        self.push_event(SendEvent::Report {
            fraction_lost: block.fraction_lost,
            cumulative_lost: block.cumulative_lost,
            jitter,
            round_trip,
        });
    }

    fn request_keyframe(&mut self, now: BoardTime) {
        self.stats.keyframe_requests += 1;
        if std::mem::replace(&mut self.keyframe_wanted, true) {
            self.stats.keyframe_requests_merged += 1;
        }
        self.give_keyframe_request(now);
    }

    fn give_keyframe_request(&mut self, now: BoardTime) {
        let allowed = self.keyframe_given.is_none_or(|given| now >= given + KEYFRAME_INTERVAL);
        if self.keyframe_wanted && allowed {
            self.keyframe_wanted = false;
            self.keyframe_given = Some(now);
            self.push_event(SendEvent::KeyframeRequested);
        }
    }

    fn push_event(&mut self, event: SendEvent) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
            self.stats.events_dropped += 1;
        }
        self.events.push_back(event);
    }
}
