//! The receiving end.

use std::collections::VecDeque;

use super::KEYFRAME_INTERVAL;
use super::reorder::{Incoming, Packet};
use super::source::{Outcome, PROBATION, Source};
use crate::rtcp::{self, ClockInfo, Cname, RtcpError, RtcpPacket};
use crate::rtp::RtpError;
use crate::time::{HostTime, NtpTimestamp, Span};

/// A source that is silent this long gives way to another one on its port.
const SILENCE: Span = Span::from_millis(500);

/// A source that is silent for this many report intervals is not reported on any more.
const IDLE_INTERVALS: i64 = 5;

/// Events kept for a caller that does not poll; the oldest goes first and is counted.
const MAX_EVENTS: usize = 1024;

/// What a [`ReceiveSession`] is.
#[derive(Clone, Debug)]
pub struct ReceiveConfig {
    /// Our own synchronization source, for the reports we send; chosen at random.
    pub local_ssrc: u32,
    /// Our own canonical name.
    pub cname: String,
    /// How long a packet waits for the ones missing before it. What is in order never waits.
    pub reorder_window: Span,
    /// From one receiver report to the next.
    pub rtcp_interval: Span,
    /// Ticks of the RTP clock per second.
    pub clock_rate: u32,
}

/// What a [`ReceiveSession`] tells its owner, in stream order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveEvent<B = Vec<u8>> {
    /// The next packet in sequence order.
    Packet(Packet<B>),
    /// Packets between the last and the next one will not come.
    Gap {
        /// How many.
        lost: u64,
    },
    /// A sender report with a wall clock; one without (NTP timestamp zero) is counted only. The [`ClockInfo`]
    /// of the same compound is given before it.
    SenderReport {
        /// UTC at the report's instant.
        ntp: NtpTimestamp,
        /// The unwrapped RTP timestamp of the same instant, in ticks, on the scale of [`Packet::timestamp`].
        rtp: i64,
        /// When the report arrived.
        arrival: HostTime,
    },
    /// What the sender knows of its clock.
    ClockInfo(ClockInfo),
    /// The source's name: data from the network, never a path. Given when it is new or changes.
    Cname(String),
    /// The source said that it leaves.
    Bye,
    /// Another source took over, or this one began anew: sequence numbers, timestamps, clock and name start
    /// afresh.
    Restarted {
        /// The source from now on.
        ssrc: u32,
    },
}

/// Counters of a [`ReceiveSession`].
///
/// Always `received + lost == expected`; and every RTP datagram is counted exactly once among `received`,
/// `held`, `duplicates`, `late`, `invalid`, `malformed` and `foreign`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveStats {
    /// Packets given out, each once.
    pub received: u64,
    /// Packets given up: the sum of all gaps.
    pub lost: u64,
    /// Sequence numbers from the first packet of each run to the last one given out or up.
    pub expected: u64,
    /// Packets waiting now behind a hole, or for validation.
    pub held: u64,
    /// Copies of packets that were there already.
    pub duplicates: u64,
    /// Packets that came after a later one, but in time.
    pub reordered: u64,
    /// Packets that came after they had been given up (they stay counted as lost), or before the first.
    pub late: u64,
    /// Packets far off the stream's sequence numbers, or of a stream that never became valid.
    pub invalid: u64,
    /// Datagrams refused by the RTP parser.
    pub malformed: u64,
    /// Packets of other sources while this one was alive.
    pub foreign: u64,
    /// Changes of the source and restarts of its sequence.
    pub restarts: u64,
    /// Valid RTCP datagrams of the source.
    pub rtcp_received: u64,
    /// Valid RTCP datagrams of other sources, and of receivers.
    pub rtcp_foreign: u64,
    /// RTCP datagrams refused.
    pub rtcp_malformed: u64,
    /// Sender reports without a wall clock.
    pub reports_without_time: u64,
    /// Events dropped because nobody polled.
    pub events_dropped: u64,
    /// Key frames asked for.
    pub keyframe_requests: u64,
    /// Interarrival jitter (RFC 3550 section 6.4.1).
    pub jitter: Span,
}

/// The aggregator's end of a stream. `B` holds a received datagram and is handed on with the packet.
///
/// It follows one source at a time. Another one takes over when the first has said BYE or is silent for
/// half a second, and only after two consecutive packets or a sender report of it; what the newcomer sent
/// until then is kept, so its first key frame is not lost.
#[derive(Debug)]
pub struct ReceiveSession<B = Vec<u8>> {
    config: ReceiveConfig,
    source: Option<Source<B>>,
    candidate: Option<Source<B>>,
    next_report: Option<HostTime>,
    last_report: Option<HostTime>,
    keyframe_wanted: Option<HostTime>,
    keyframe_asked: Option<HostTime>,
    output: Output<B>,
}

/// Events and counters, apart so that a source can be worked on while they are written.
#[derive(Debug)]
struct Output<B> {
    events: VecDeque<ReceiveEvent<B>>,
    stats: ReceiveStats,
}

impl<B> Output<B> {
    fn push(&mut self, event: ReceiveEvent<B>) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
            self.stats.events_dropped += 1;
        }
        self.events.push_back(event);
    }

    fn restarted(&mut self, ssrc: u32) {
        self.stats.restarts += 1;
        self.push(ReceiveEvent::Restarted { ssrc });
    }

    fn note(&mut self, ssrc: u32, outcome: Outcome<B>) {
        match outcome {
            Outcome::Packet(packet) => {
                self.stats.received += 1;
                self.push(ReceiveEvent::Packet(packet));
            }
            Outcome::Gap(lost) => {
                self.stats.lost += lost;
                self.push(ReceiveEvent::Gap { lost });
            }
            Outcome::Restarted => self.restarted(ssrc),
            Outcome::Settled(places) => self.stats.expected += places,
            Outcome::Duplicate => self.stats.duplicates += 1,
            Outcome::Late => self.stats.late += 1,
            Outcome::Reordered => self.stats.reordered += 1,
            Outcome::Invalid => self.stats.invalid += 1,
        }
    }
}

impl<B: AsRef<[u8]>> ReceiveSession<B> {
    /// A session that follows the first source it hears.
    #[must_use]
    pub fn new(config: ReceiveConfig) -> Self {
        Self {
            config,
            source: None,
            candidate: None,
            next_report: None,
            last_report: None,
            keyframe_wanted: None,
            keyframe_asked: None,
            output: Output { events: VecDeque::new(), stats: ReceiveStats::default() },
        }
    }

    /// Takes an RTP datagram.
    ///
    /// # Errors
    /// It is not RTP; it was counted and dropped.
    pub fn handle_rtp(&mut self, datagram: B, arrival: HostTime) -> Result<(), RtpError> {
        let (ssrc, packet) =
            Incoming::parse(datagram, arrival).inspect_err(|_| self.output.stats.malformed += 1)?;
        if self.source.as_ref().is_none_or(|source| source.ssrc == ssrc) {
            let source = self.source.get_or_insert_with(|| Source::new(ssrc, arrival));
            let output = &mut self.output;
            source.handle(packet, self.config.clock_rate, &mut |outcome| output.note(ssrc, outcome));
            if source.is_valid() {
                self.heard(arrival);
            }
        } else {
            let candidate = self.candidate(ssrc, arrival);
            let dropped = candidate.wait(packet);
            let credible = candidate.passes_probation();
            self.output.stats.foreign += dropped as u64;
            if credible && self.gives_way(arrival) {
                self.take_over(arrival);
            }
        }
        self.expire(arrival);
        Ok(())
    }

    /// Takes an RTCP datagram from the sender.
    ///
    /// # Errors
    /// It is not valid RTCP; it was counted and nothing of it was used.
    pub fn handle_rtcp(&mut self, datagram: &[u8], arrival: HostTime) -> Result<(), RtcpError> {
        let packets = rtcp::parse(datagram).inspect_err(|_| self.output.stats.rtcp_malformed += 1)?;
        let (ssrc, sends) = match packets.first() {
            Some(RtcpPacket::SenderReport { report, .. }) => (report.ssrc, true),
            Some(RtcpPacket::ReceiverReport { ssrc, .. }) => (*ssrc, false),
            _ => return Ok(()),
        };
        if self.source.is_none() && sends {
            self.source = Some(Source::new(ssrc, arrival));
        }
        if self.source.as_ref().is_some_and(|source| source.ssrc == ssrc) {
            self.apply(&packets, arrival);
        } else if sends {
            let candidate = self.candidate(ssrc, arrival);
            candidate.last_heard = arrival;
            if candidate.stashed.replace((packets, arrival)).is_some() {
                self.output.stats.rtcp_foreign += 1;
            }
            if self.gives_way(arrival) {
                self.take_over(arrival);
            }
        } else {
            self.output.stats.rtcp_foreign += 1;
        }
        self.expire(arrival);
        Ok(())
    }

    /// Does what is due at `now`: gives up on missing packets.
    pub fn handle_timeout(&mut self, now: HostTime) {
        self.expire(now);
    }

    /// Nothing more will come, as at the end of a recording: gives up on missing packets and gives out those that wait
    /// behind them.
    pub fn finish(&mut self) {
        if let Some(source) = &mut self.source {
            let (ssrc, output) = (source.ssrc, &mut self.output);
            source.flush(&mut |outcome| output.note(ssrc, outcome));
        }
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_rtcp`] next, if ever; in the past if at once.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<HostTime> {
        let hole = self.source.as_ref().and_then(|source| source.deadline(self.config.reorder_window));
        [hole, self.next_report, self.keyframe_due()].into_iter().flatten().min()
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<ReceiveEvent<B>> {
        self.output.events.pop_front()
    }

    /// The compound that is due, if any: RR and SDES, with a PLI where a key frame is needed. Send it to where
    /// the source's RTCP comes from.
    pub fn poll_rtcp(&mut self, now: HostTime) -> Option<Vec<u8>> {
        let keyframe = self.keyframe_due().is_some_and(|due| now >= due);
        let regular = self.next_report.is_some_and(|due| now >= due);
        if !keyframe && !regular {
            return None;
        }
        let source = self.source.as_mut()?;
        let ssrc = self.config.local_ssrc;
        let mut packets = vec![
            RtcpPacket::ReceiverReport { ssrc, blocks: source.report_block(now).into_iter().collect() },
            RtcpPacket::SourceDescription(vec![Cname { ssrc, name: self.config.cname.clone() }]),
        ];
        if keyframe {
            packets.push(RtcpPacket::PictureLoss { sender: ssrc, media: source.ssrc });
            self.keyframe_wanted = None;
            self.keyframe_asked = Some(now);
            self.output.stats.keyframe_requests += 1;
        }
        let idle = now - source.last_heard > self.config.rtcp_interval * IDLE_INTERVALS;
        let gone = idle || source.goodbye.is_some();
        self.last_report = Some(now);
        self.next_report = (!gone).then(|| now + self.config.rtcp_interval);
        Some(rtcp::write(&packets))
    }

    /// Asks the source for a key frame: at once, or [`KEYFRAME_INTERVAL`] after the last time.
    pub fn request_keyframe(&mut self, now: HostTime) {
        self.keyframe_wanted.get_or_insert(now);
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> ReceiveStats {
        let waiting = [&self.source, &self.candidate].into_iter().flatten().map(Source::held).sum::<usize>();
        let jitter = self.source.as_ref().map_or(0, Source::jitter);
        ReceiveStats {
            held: waiting as u64,
            jitter: Span::from_secs(1).mul_div(jitter, i64::from(self.config.clock_rate)),
            ..self.output.stats
        }
    }

    /// The source that is followed.
    #[must_use]
    pub fn ssrc(&self) -> Option<u32> {
        self.source.as_ref().map(|source| source.ssrc)
    }

    fn keyframe_due(&self) -> Option<HostTime> {
        self.source.as_ref().filter(|source| source.is_valid() && source.goodbye.is_none())?;
        let wanted = self.keyframe_wanted?;
        Some(self.keyframe_asked.map_or(wanted, |asked| wanted.max(asked + KEYFRAME_INTERVAL)))
    }

    /// The source is alive: reports on it are due.
    fn heard(&mut self, now: HostTime) {
        if let Some(source) = &mut self.source
            && source.goodbye.is_some_and(|bye| now - bye > SILENCE)
        {
            source.goodbye = None; // it came back, or the BYE was not its own
        }
        if self.next_report.is_none() && self.source.as_ref().is_some_and(|source| source.goodbye.is_none()) {
            let due = self.last_report.map(|last| last + self.config.rtcp_interval);
            self.next_report = Some(due.map_or(now, |due| due.max(now)));
        }
    }

    fn expire(&mut self, now: HostTime) {
        if let Some(source) = &mut self.source {
            let (ssrc, output) = (source.ssrc, &mut self.output);
            source.expire(now, self.config.reorder_window, &mut |outcome| output.note(ssrc, outcome));
        }
    }

    /// The other source on this port; a third one replaces it.
    fn candidate(&mut self, ssrc: u32, now: HostTime) -> &mut Source<B> {
        if let Some(other) = self.candidate.take_if(|candidate| candidate.ssrc != ssrc) {
            self.output.stats.foreign += other.held() as u64;
            self.output.stats.rtcp_foreign += u64::from(other.stashed.is_some());
        }
        self.candidate.get_or_insert_with(|| Source::new(ssrc, now))
    }

    /// Whether the present source may be replaced.
    fn gives_way(&self, now: HostTime) -> bool {
        self.source.as_ref().is_none_or(|source| {
            let known = source.is_valid() || source.reported;
            !known || source.goodbye.is_some() || now - source.last_heard >= SILENCE
        })
    }

    fn take_over(&mut self, now: HostTime) {
        let Some(mut source) = self.candidate.take() else { return };
        let (ssrc, output) = (source.ssrc, &mut self.output);
        if let Some(mut old) = self.source.take() {
            let old_ssrc = old.ssrc;
            old.flush(&mut |outcome| output.note(old_ssrc, outcome));
            if old.is_valid() || old.reported {
                output.restarted(ssrc);
            }
        }
        let stashed = source.stashed.take();
        self.source = Some(source);
        if let Some((packets, arrival)) = stashed {
            if now - arrival <= PROBATION {
                self.apply(&packets, arrival);
            } else {
                self.output.stats.rtcp_foreign += 1;
            }
        }
        if let Some(source) = self.source.as_mut().filter(|source| source.passes_probation()) {
            let output = &mut self.output;
            source.admit(self.config.clock_rate, &mut |outcome| output.note(ssrc, outcome));
        }
        self.heard(now);
    }

    /// Uses a compound of the present source: what it says of itself before what it reports.
    fn apply(&mut self, packets: &[RtcpPacket], arrival: HostTime) {
        let Some(source) = &mut self.source else { return };
        let ours = source.ssrc;
        source.last_heard = arrival;
        self.output.stats.rtcp_received += 1;
        for packet in packets {
            match packet {
                RtcpPacket::ClockInfo { ssrc, info } if *ssrc == ours => {
                    self.output.push(ReceiveEvent::ClockInfo(*info));
                }
                RtcpPacket::SourceDescription(names) => {
                    for Cname { name, .. } in names.iter().filter(|name| name.ssrc == ours) {
                        if source.name.as_ref() != Some(name) {
                            source.name = Some(name.clone());
                            self.output.push(ReceiveEvent::Cname(name.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        for packet in packets {
            match packet {
                RtcpPacket::SenderReport { report, .. } if report.ssrc == ours => {
                    let rtp = source.handle_report(report, arrival);
                    if report.ntp.is_unknown() {
                        self.output.stats.reports_without_time += 1;
                    } else {
                        self.output.push(ReceiveEvent::SenderReport { ntp: report.ntp, rtp, arrival });
                    }
                }
                RtcpPacket::Goodbye { sources } if sources.contains(&ours) => {
                    let output = &mut self.output;
                    source.flush(&mut |outcome| output.note(ours, outcome));
                    source.goodbye = Some(arrival);
                    self.next_report = None;
                    self.output.push(ReceiveEvent::Bye);
                    return;
                }
                _ => {}
            }
        }
        self.heard(arrival);
    }
}
