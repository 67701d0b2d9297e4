//! One session source: what the session tells becomes a camera's frames. Sans-IO.

use std::collections::VecDeque;
use std::net::SocketAddr;

use framelock_common::time::{HostTime, Span};

use super::event::What;
use super::{SessionError, SessionEvent};
use crate::source::pipeline::{FramePipeline, Sink, StreamOutput};
use crate::source::unit::UnitEvent;
use crate::source::{BROKEN_AFTER, DownReason, PortEvent, StreamStatus};
use crate::timestamp::{ClockEvent, HostClock};

/// A source that gives a picture a minute is not down between two of them.
const SLOWEST: Span = Span::from_secs(60);

/// From one line in the log about the sender's clock to the next.
const LOG_INTERVAL: Span = Span::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub struct SessionPort {
    pipeline: FramePipeline,
    number: u64,
    up: bool,
    /// Nothing will come any more.
    over: bool,
    address: Option<SocketAddr>,
    since: Option<HostTime>,
    /// When the last picture came, and how long after the one before.
    last: Option<(HostTime, Span)>,
    packets: u64,
    bytes: u64,
    connects: u64,
    failures: u64,
    lost: u64,
    said: Option<HostTime>,
    events: VecDeque<PortEvent>,
    outputs: Vec<StreamOutput>,
}

impl SessionPort {
    /// What is known of the stream.
    #[must_use]
    pub fn status(&mut self) -> StreamStatus {
        StreamStatus {
            address: self.address,
            since: self.since,
            packets: self.packets,
            bytes: self.bytes,
            connects: self.connects,
            failures: self.failures,
            lost: self.lost,
            frames: self.pipeline.stats(),
            clock_outliers: self.pipeline.mapper().outliers(),
            ..StreamStatus::default()
        }
    }

    /// The session told something. Drain [`Self::poll_event`] after.
    pub fn handle(&mut self, event: SessionEvent, host: &HostClock) {
        let SessionEvent { at, what } = event;
        match what {
            What::Opened(playback) => {
                self.begin(None, at);
                self.pipeline.mapper().play(playback);
            }
            What::Connected(address) => {
                self.begin(address, at);
                if let Some(address) = address {
                    self.events.push_back(PortEvent::Taken(0, address));
                }
            }
            What::Image(image) => {
                self.packets += 1;
                self.bytes += image.data.len() as u64;
                let mut sink = Sink { host, number: &mut self.number, out: &mut self.outputs };
                self.pipeline.handle_image(image, &mut sink);
                self.heard(at);
            }
            What::Unit(unit) => {
                if let UnitEvent::Unit(unit) = &unit {
                    self.packets += 1;
                    self.bytes += unit.data.len() as u64;
                    self.heard(at);
                }
                let mut sink = Sink { host, number: &mut self.number, out: &mut self.outputs };
                self.pipeline.handle(unit, &mut sink);
            }
            What::Reached(presentation) => self.pipeline.release(presentation, &mut self.outputs),
            What::Lost(packets) => self.lost += packets,
            What::Report(media, ntp) => {
                let event = self.pipeline.mapper().handle_sender_report(media, ntp, host.utc_at(at).utc);
                self.note(event, at);
            }
            What::ClockInfo(info) => {
                let event = self.pipeline.mapper().handle_clock_info(info);
                self.note(event, at);
            }
            What::Failed { error, over } => {
                self.pipeline.restart(&mut self.outputs);
                self.emit();
                (self.up, self.over) = (false, over);
                let reason = match error {
                    SessionError::Ended => DownReason::Ended,
                    error if over => DownReason::Over(error.to_string()),
                    error => DownReason::Failed(error.to_string()),
                };
                self.failures += u64::from(reason != DownReason::Ended);
                self.events.push_back(PortEvent::Down(0, reason));
            }
        }
        self.emit();
    }

    /// Whether nothing will come any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: HostTime) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.up = false;
            self.events.push_back(PortEvent::Down(0, DownReason::Silent));
        }
    }

    /// When to call [`Self::handle_timeout`] if nothing comes.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<HostTime> {
        let (last, period) = self.last.filter(|_| self.up)?;
        Some(last + BROKEN_AFTER.max(period.min(SLOWEST) * 3))
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<PortEvent> {
        self.events.pop_front()
    }

    /// Says what happened to the sender's clock, at most once a second.
    fn note(&mut self, event: Option<ClockEvent>, now: HostTime) {
        let Some(event) = event else { return };
        if self.said.is_none_or(|said| now - said >= LOG_INTERVAL) {
            self.said = Some(now);
            event.log(&self.address.map(|address| address.to_string()).unwrap_or_default());
        }
    }

    /// It is connected to `address` or was opened: what came before has nothing to do with what follows.
    fn begin(&mut self, address: Option<SocketAddr>, at: HostTime) {
        self.pipeline.restart(&mut self.outputs);
        self.emit();
        self.connects += 1;
        (self.address, self.since, self.last) = (address, Some(at), None);
    }

    fn heard(&mut self, at: HostTime) {
        let period = self.last.map_or(Span::ZERO, |(last, _)| at - last);
        self.last = Some((at, period));
    }

    fn emit(&mut self) {
        self.up |= !self.outputs.is_empty();
        self.events.extend(self.outputs.drain(..).map(|output| PortEvent::Output(0, output)));
    }
}
