//! One UDP port with MPEG-TS straight in its datagrams: one camera, one sender at a time.

use std::collections::VecDeque;
use std::net::SocketAddr;

use framelock_common::mpegts::PacketMeta;
use framelock_common::time::HostTime;

use super::owner::{Owner, Ruling, rule};
use super::pipeline::{FramePipeline, Sink, StreamOutput};
use super::unit::{UnitAssembler, UnitEvent};
use super::{BROKEN_AFTER, Datagram, DownReason, PortCounters, PortEvent, StreamStatus};
use crate::timestamp::HostClock;

/// See the module.
#[derive(Debug, Default)]
pub struct TsPort {
    sender: Option<Sender>,
    number: u64,
    up: bool,
    /// What the log says of the stream is said in here.
    span: Option<tracing::Span>,
    counters: PortCounters,
    events: VecDeque<PortEvent>,
    units: Vec<UnitEvent>,
    outputs: Vec<StreamOutput>,
}

#[derive(Debug)]
struct Sender {
    address: SocketAddr,
    first: HostTime,
    last: HostTime,
    /// When it last gave a good frame, or was first heard.
    productive: HostTime,
    packets: u64,
    bytes: u64,
    units: UnitAssembler,
    pipeline: FramePipeline,
}

impl TsPort {
    /// What is known of the stream.
    #[must_use]
    pub fn status(&mut self) -> StreamStatus {
        let Some(sender) = &mut self.sender else { return StreamStatus::default() };
        StreamStatus {
            address: Some(sender.address),
            since: Some(sender.first),
            packets: sender.packets,
            bytes: sender.bytes,
            frames: sender.pipeline.stats(),
            clock_outliers: sender.pipeline.mapper().outliers(),
            ..StreamStatus::default()
        }
    }

    /// What the log says of the stream from now on is said in `span`.
    pub fn set_span(&mut self, span: tracing::Span) {
        self.span = Some(span);
    }

    /// Counters of what belongs to no camera.
    #[must_use]
    pub fn counters(&self) -> PortCounters {
        self.counters
    }

    /// A datagram arrived. Drain [`Self::poll_event`] after.
    pub fn handle_datagram(&mut self, datagram: &Datagram<'_>, host: &HostClock) {
        let &Datagram { from, data, arrival, .. } = datagram;
        if !self.admit(from, arrival) {
            self.counters.unclaimed += 1;
            return;
        }
        let Some(sender) = &mut self.sender else { return };
        let in_stream = self.span.as_ref().map(tracing::Span::enter);
        sender.last = sender.last.max(arrival);
        sender.packets += 1;
        sender.bytes += data.len() as u64;
        let meta = PacketMeta { rtp_timestamp: None, arrival };
        sender.units.handle_ts(data, meta, &mut self.units);
        let before = sender.pipeline.stats().good;
        for event in self.units.drain(..) {
            let mut sink = Sink { host, number: &mut self.number, out: &mut self.outputs };
            sender.pipeline.handle(event, &mut sink);
        }
        if sender.pipeline.stats().good != before {
            sender.productive = sender.last;
        }
        drop(in_stream);
        self.emit();
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: HostTime) {
        if self.up && self.sender.as_ref().is_some_and(|sender| now - sender.last >= BROKEN_AFTER) {
            self.up = false;
            self.events.push_back(PortEvent::Down(0, DownReason::Silent));
        }
    }

    /// When to call [`Self::handle_timeout`] if nothing arrives.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<HostTime> {
        self.sender.as_ref().filter(|_| self.up).map(|sender| sender.last + BROKEN_AFTER)
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<PortEvent> {
        self.events.pop_front()
    }

    /// Whether `from` is, or now becomes, the camera's sender.
    fn admit(&mut self, from: SocketAddr, now: HostTime) -> bool {
        if let Some(owner) = self.sender.as_ref() {
            if owner.address == from {
                return true;
            }
            let owner = Owner { heard: owner.last, productive: owner.productive };
            if rule(owner, now, now) != Ruling::Take {
                return false;
            }
        }
        if let Some(mut old) = self.sender.take() {
            old.pipeline.flush(&mut self.outputs);
            self.emit();
        }
        self.sender = Some(Sender {
            address: from,
            first: now,
            last: now,
            productive: now,
            packets: 0,
            bytes: 0,
            units: UnitAssembler::default(),
            pipeline: FramePipeline::default(),
        });
        self.events.push_back(PortEvent::Taken(0, from));
        true
    }

    fn emit(&mut self) {
        self.up |= !self.outputs.is_empty();
        self.events.extend(self.outputs.drain(..).map(|output| PortEvent::Output(0, output)));
    }
}
