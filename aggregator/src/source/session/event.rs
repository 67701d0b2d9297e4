//! What a session tells the engine, and the queue in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use framelock_common::rtcp::ClockInfo;
use framelock_common::time::{HostTime, MediaTime, NtpTimestamp};
use tokio::sync::mpsc::Sender;

use super::SessionError;
use crate::clock;
use crate::source::unit::UnitEvent;
use crate::timestamp::Playback;

/// An image as it came.
#[derive(Debug)]
pub(in crate::source) struct Image {
    pub(in crate::source) data: Vec<u8>,
    /// Its time on the clock of the stream, where it has one.
    pub(in crate::source) media: Option<MediaTime>,
    /// When its first byte arrived.
    pub(in crate::source) started: HostTime,
    /// When its last one did.
    pub(in crate::source) ended: HostTime,
}

/// Something that a session tells.
#[derive(Debug)]
pub struct SessionEvent {
    /// When it happened.
    pub(in crate::source) at: HostTime,
    pub(in crate::source) what: What,
}

#[derive(Debug)]
pub(in crate::source) enum What {
    /// Connected, to this address where there is one. What came before has nothing to do with what follows.
    Connected(Option<SocketAddr>),
    /// A file was opened, and how it is played. What came before has nothing to do with what follows.
    Opened(Playback),
    /// An access unit of H.264, or a hole between two.
    Unit(UnitEvent),
    /// An image.
    Image(Image),
    /// No access unit follows that is presented before this: what waits for its turn until then has it now.
    Reached(MediaTime),
    /// So many packets never came.
    Lost(u64),
    /// At this time on the clock of the stream, UTC was this.
    Report(MediaTime, NtpTimestamp),
    /// What the sender says of its clock.
    ClockInfo(ClockInfo),
    /// It failed, and whether that is the end of it; otherwise it will be tried again.
    Failed { error: SessionError, over: bool },
}

impl SessionEvent {
    /// When it happened.
    #[must_use]
    pub fn at(&self) -> HostTime {
        self.at
    }
}

/// Where a session puts what it has. There is room for little: whoever has more has to wait.
#[derive(Debug)]
pub struct Sink {
    port: usize,
    events: Sender<(usize, SessionEvent)>,
    progress: Arc<Progress>,
    /// The time, where that is not the host's.
    time: Option<HostTime>,
}

/// What the one who watches a session knows of it.
#[derive(Debug)]
pub(super) struct Progress {
    /// When it last got somewhere, in ns of the host's monotonic clock; `i64::MAX` while it waits for the
    /// other end to begin.
    last: AtomicI64,
    /// Whether it ever gave a picture.
    worked: AtomicBool,
}

impl Progress {
    pub(super) fn new(now: HostTime) -> Arc<Self> {
        Arc::new(Self { last: AtomicI64::new(now.as_nanos()), worked: AtomicBool::new(false) })
    }

    /// When the session last got somewhere; `None` while it only waits to be connected to.
    pub(super) fn last(&self) -> Option<HostTime> {
        Some(self.last.load(Ordering::Relaxed)).filter(|last| *last != i64::MAX).map(HostTime::from_nanos)
    }

    pub(super) fn worked(&self) -> bool {
        self.worked.load(Ordering::Relaxed)
    }
}

impl Sink {
    pub(super) fn new(port: usize, events: Sender<(usize, SessionEvent)>, progress: Arc<Progress>) -> Self {
        Self { port, events, progress, time: None }
    }

    /// It now waits for somebody to connect, for as long as that takes.
    pub(super) fn waiting(&self) {
        self.progress.last.store(i64::MAX, Ordering::Relaxed);
    }

    /// What is told from now on happens at `time`, and not when the host's clock says.
    pub(super) fn set_time(&mut self, time: Option<HostTime>) {
        self.time = time;
    }

    /// It is a file that was opened, and is played so.
    pub(super) async fn opened(&mut self, playback: Playback) {
        self.put(What::Opened(playback)).await;
    }

    /// It is connected.
    pub(super) async fn connected(&mut self, peer: Option<SocketAddr>) {
        self.progressed(clock::now());
        self.put(What::Connected(peer)).await;
    }

    /// An image came.
    pub(super) async fn image(&mut self, image: Image) {
        self.worked(image.ended);
        self.put(What::Image(image)).await;
    }

    /// An access unit of H.264 came, or a hole between two.
    pub(super) async fn unit(&mut self, unit: UnitEvent) {
        if let UnitEvent::Unit(unit) = &unit {
            self.worked(unit.ended);
        }
        self.put(What::Unit(unit)).await;
    }

    /// No access unit follows that is presented before this.
    pub(super) async fn reached(&mut self, presentation: MediaTime) {
        self.put(What::Reached(presentation)).await;
    }

    /// So many packets never came.
    pub(super) async fn lost(&mut self, packets: u64) {
        self.put(What::Lost(packets)).await;
    }

    /// A report came: at `media` on the clock of the stream, UTC was `ntp`.
    pub(super) async fn report(&mut self, media: MediaTime, ntp: NtpTimestamp) {
        self.put(What::Report(media, ntp)).await;
    }

    /// The sender said what its clock is worth.
    pub(super) async fn clock_info(&mut self, info: ClockInfo) {
        self.put(What::ClockInfo(info)).await;
    }

    /// It failed; whether that is the end of it.
    pub(super) async fn failed(&mut self, error: SessionError, over: bool) {
        self.put(What::Failed { error, over }).await;
    }

    fn worked(&self, now: HostTime) {
        self.progress.worked.store(true, Ordering::Relaxed);
        self.progressed(now);
    }

    fn progressed(&self, now: HostTime) {
        self.progress.last.store(now.as_nanos(), Ordering::Relaxed);
    }

    async fn put(&mut self, what: What) {
        let at = self.time.unwrap_or_else(clock::now);
        // The receive loop is gone only when everything ends.
        let _ended = self.events.send((self.port, SessionEvent { at, what })).await;
    }
}
