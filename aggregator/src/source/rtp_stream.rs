//! One RTP stream: one SSRC from one address, from datagrams to frames and back to RTCP.

use std::net::SocketAddr;

use framelock_common::rtp::session::{Packet, ReceiveConfig, ReceiveEvent, ReceiveSession};
use framelock_common::time::{HostTime, MediaTime, Span, Utc};

use super::pipeline::{FramePipeline, Sink, StreamOutput};
use super::unit::{Payload, UnitAssembler, UnitEvent};
use super::{Channel, Datagram, StreamStatus, Transmit};
use crate::timestamp::ClockEvent;

/// How long a packet waits for those missing before it.
const REORDER_WINDOW: Span = Span::from_millis(20);
/// From one receiver report to the next.
const RTCP_INTERVAL: Span = Span::from_secs(1);
/// Ticks a second of the RTP clock, for video always.
const CLOCK_RATE: u32 = 90_000;
/// Our own name in RTCP.
const CNAME: &str = "framelock-aggregator";

/// From one line in the log about a stream's clock to the next.
const LOG_INTERVAL: Span = Span::from_secs(1);
/// RTCP that stayed away this long may come from another port of the sender's host from now on.
const REPORTS_MOVED: Span = Span::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(super) struct RtpStream {
    pub(super) ssrc: u32,
    /// Where RTP comes from; of a stream known by its RTCP only, where that comes from.
    pub(super) address: SocketAddr,
    pub(super) seen_rtp: bool,
    /// Where to send RTCP, and from which of our ports.
    feedback: (Channel, SocketAddr),
    /// Where its RTCP comes from and when it last did.
    reports: Option<(SocketAddr, HostTime)>,
    /// When it last gave a good frame, or was given a camera.
    pub(super) productive: HostTime,
    session: ReceiveSession,
    units: UnitAssembler,
    pipeline: FramePipeline,
    pub(super) cname: Option<String>,
    pub(super) goodbye: bool,
    pub(super) first: HostTime,
    pub(super) last: HostTime,
    pub(super) packets: u64,
    bytes: u64,
    /// What happened to its clock and is not in the log yet: while it has no camera, or too soon after the
    /// last time, which is when `said` is.
    unsaid: Option<ClockEvent>,
    said: Option<HostTime>,
    has_camera: bool,
    /// Bytes that were sent to it.
    answered: u64,
    units_out: Vec<UnitEvent>,
}

impl RtpStream {
    pub(super) fn new(ssrc: u32, address: SocketAddr, local_ssrc: u32, now: HostTime) -> Self {
        let config = ReceiveConfig {
            local_ssrc,
            cname: CNAME.to_owned(),
            reorder_window: REORDER_WINDOW,
            rtcp_interval: RTCP_INTERVAL,
            clock_rate: CLOCK_RATE,
        };
        Self {
            ssrc,
            address,
            seen_rtp: false,
            feedback: (Channel::Main, address),
            reports: None,
            productive: now,
            session: ReceiveSession::new(config),
            units: UnitAssembler::default(),
            pipeline: FramePipeline::default(),
            cname: None,
            goodbye: false,
            first: now,
            last: now,
            packets: 0,
            bytes: 0,
            unsaid: None,
            said: None,
            has_camera: false,
            answered: 0,
            units_out: Vec::new(),
        }
    }

    /// An RTP packet of this stream arrived.
    pub(super) fn handle_rtp(&mut self, datagram: &Datagram<'_>, sink: &mut Sink<'_>) {
        self.heard_rtp(datagram);
        if let Err(error) = self.session.handle_rtp(datagram.data.to_vec(), datagram.arrival) {
            tracing::trace!(%error, ssrc = self.ssrc, "RTP datagram dropped");
        }
        self.handle_events(datagram.arrival, sink);
    }

    /// An RTP packet arrived that nothing is to be done with.
    pub(super) fn heard_rtp(&mut self, datagram: &Datagram<'_>) {
        self.heard(datagram);
        self.goodbye = false;
        if !self.seen_rtp || self.address != datagram.from {
            self.seen_rtp = true;
            self.address = datagram.from;
            if self.feedback.0 == Channel::Main {
                self.feedback.1 = datagram.from;
            }
        }
    }

    /// Whether RTCP with this stream's SSRC from `from` is of its sender: from where its RTP comes, or from
    /// another port of the same host (RFC 3550 section 11), which is then the only one.
    pub(super) fn reports_from(&self, from: SocketAddr, now: HostTime) -> bool {
        self.address == from
            || self.address.ip() == from.ip()
                && self.reports.is_none_or(|(known, last)| known == from || now - last >= REPORTS_MOVED)
    }

    /// An RTCP compound of this stream's sender arrived.
    pub(super) fn handle_rtcp(&mut self, datagram: &Datagram<'_>, sink: &mut Sink<'_>) {
        self.heard(datagram);
        self.feedback = (datagram.channel, datagram.from);
        self.reports = Some((datagram.from, datagram.arrival));
        if let Err(error) = self.session.handle_rtcp(datagram.data, datagram.arrival) {
            tracing::trace!(%error, ssrc = self.ssrc, "RTCP datagram dropped");
        }
        self.handle_events(datagram.arrival, sink);
    }

    /// Time passed.
    pub(super) fn handle_timeout(&mut self, now: HostTime, sink: &mut Sink<'_>) {
        self.session.handle_timeout(now);
        self.handle_events(now, sink);
    }

    pub(super) fn poll_timeout(&self) -> Option<HostTime> {
        self.session.poll_timeout()
    }

    /// The next RTCP to send. It is dropped where more would have gone there than came from there: the
    /// address may be made up, and whoever has it must not be flooded by us.
    pub(super) fn poll_transmit(&mut self, now: HostTime) -> Option<Transmit> {
        let datagram = self.session.poll_rtcp(now)?;
        let answered = self.answered + datagram.len() as u64;
        if answered > self.bytes {
            return None;
        }
        self.answered = answered;
        Some(Transmit { channel: self.feedback.0, to: self.feedback.1, datagram })
    }

    /// The stream becomes (again) that of a camera. If frames of it went unseen, begin with a key frame.
    pub(super) fn adopt(&mut self, unseen: bool, now: HostTime) {
        self.productive = now;
        if unseen {
            self.pipeline.rejoin();
            self.request_key_frame(now);
        }
    }

    /// It has a camera from now on, or none.
    pub(super) fn set_has_camera(&mut self, has_camera: bool) {
        self.has_camera = has_camera;
    }

    /// Asks the sender for a key frame, at most as often as the session allows.
    pub(super) fn request_key_frame(&mut self, now: HostTime) {
        self.session.request_keyframe(now);
    }

    /// Hands on what waits for its turn.
    pub(super) fn flush(&mut self, out: &mut Vec<StreamOutput>) {
        self.pipeline.flush(out);
    }

    /// Nothing more will come: hands on what waits for missing packets and for its turn.
    pub(super) fn finish(&mut self, now: HostTime, sink: &mut Sink<'_>) {
        self.session.finish();
        self.handle_events(now, sink);
        self.pipeline.flush(sink.out);
    }

    pub(super) fn status(&mut self) -> StreamStatus {
        let stats = self.session.stats();
        StreamStatus {
            address: Some(self.address),
            since: Some(self.first),
            packets: self.packets,
            bytes: self.bytes,
            lost: stats.lost,
            duplicates: stats.duplicates,
            reordered: stats.reordered,
            malformed: stats.malformed + stats.rtcp_malformed,
            jitter: stats.jitter,
            frames: self.pipeline.stats(),
            clock_outliers: self.pipeline.mapper().outliers(),
            ..StreamStatus::default()
        }
    }

    fn heard(&mut self, datagram: &Datagram<'_>) {
        self.last = self.last.max(datagram.arrival);
        self.packets += 1;
        self.bytes += datagram.data.len() as u64;
    }

    fn handle_events(&mut self, now: HostTime, sink: &mut Sink<'_>) {
        let host_now = sink.host.utc_at(now).utc;
        while let Some(event) = self.session.poll_event() {
            match event {
                ReceiveEvent::Packet(packet) => {
                    self.handle_packet(&packet, host_now);
                    self.handle_units(now, sink);
                }
                ReceiveEvent::Gap { lost } => {
                    tracing::trace!(lost, ssrc = self.ssrc, "RTP packets lost");
                    self.units.gap(&mut self.units_out);
                    self.handle_units(now, sink);
                }
                ReceiveEvent::SenderReport { ntp, rtp, .. } => {
                    let rtp = MediaTime::from_ticks(rtp);
                    let event = self.pipeline.mapper().handle_sender_report(rtp, ntp, host_now);
                    self.unsaid = event.or(self.unsaid);
                }
                ReceiveEvent::ClockInfo(info) => {
                    let event = self.pipeline.mapper().handle_clock_info(info);
                    self.unsaid = event.or(self.unsaid);
                }
                ReceiveEvent::Cname(cname) => self.cname = Some(cname),
                ReceiveEvent::Bye => self.goodbye = true,
                ReceiveEvent::Restarted { .. } => {
                    self.pipeline.flush(sink.out);
                    self.units = UnitAssembler::default();
                    self.pipeline.mapper().reset();
                    self.pipeline.rejoin();
                }
            }
        }
        self.pipeline.tell_clock(sink);
        self.log_clock(now);
    }

    fn handle_packet(&mut self, packet: &Packet, host_now: Utc) {
        let timestamp = MediaTime::from_ticks(packet.timestamp);
        if let Some(ntp) = packet.ntp64 {
            let event = self.pipeline.mapper().handle_in_band(timestamp, ntp, host_now);
            self.unsaid = event.or(self.unsaid);
        }
        let payload = Payload {
            payload_type: packet.payload_type,
            timestamp,
            marker: packet.marker,
            data: &packet.payload,
            arrival: packet.arrival,
        };
        if let Err(error) = self.units.handle_rtp(&payload, &mut self.units_out) {
            tracing::trace!(%error, ssrc = self.ssrc, "payload dropped");
        }
    }

    fn handle_units(&mut self, now: HostTime, sink: &mut Sink<'_>) {
        let any = !self.units_out.is_empty();
        let before = self.pipeline.stats().good;
        for event in self.units_out.drain(..) {
            self.pipeline.handle(event, sink);
        }
        if self.pipeline.stats().good != before {
            self.productive = self.productive.max(now);
        }
        if any && self.pipeline.wants_key_frame() {
            self.request_key_frame(now);
        }
    }

    /// Says what happened to the clock last: made-up streams and reports are no way to fill a disk.
    fn log_clock(&mut self, now: HostTime) {
        if !self.has_camera || self.said.is_some_and(|said| now - said < LOG_INTERVAL) {
            return;
        }
        let Some(event) = self.unsaid.take() else { return };
        self.said = Some(now);
        event.log(&format_args!("SSRC {:08x}", self.ssrc));
    }
}

/// How long a sender without a camera is remembered.
pub(super) const FORGET_AFTER: Span = Span::from_secs(10);
