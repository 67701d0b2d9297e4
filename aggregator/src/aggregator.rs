//! The aggregator as a library: a builder, a running aggregator, and its packets.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use framelock_common::time::{HostTime, Span};
use tokio::sync::Notify;
use tokio::sync::mpsc;

use crate::clock;
use crate::config::{Settings, SettingsError};
use crate::decode::{self, DecodeError};
use crate::deliver::{Frame, FrameStatus, Packet};
use crate::engine::live::{Command, Sockets};
use crate::engine::{CameraStatus, Engine, live};
use crate::ntp::{NtpService, NtpServiceError, NtpSettings};
use crate::source::PortCounters;
use crate::source::socket::SocketError;
use crate::sync::{PacketQueue, Policy, QueueCounters, Rate};

/// How long a packet waits for its pictures before the missing ones count as failed.
const DECODE_WAIT: Span = Span::from_secs(1);
/// Commands that may wait for the receive loop; more are dropped, and asked for again if still needed.
const MAX_COMMANDS: usize = 64;

/// Why an aggregator does not start or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum AggregatorError {
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A port cannot be listened on.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Decoding was asked for and cannot be had.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The NTP service was asked for and cannot be had.
    #[error(transparent)]
    Ntp(#[from] NtpServiceError),
    /// The system gives no thread or runtime.
    #[error("cannot start the receive thread: {0}")]
    Thread(std::io::Error),
    /// The receive thread is gone.
    #[error("the receive thread ended unexpectedly; the log says why")]
    Stopped,
}

/// Sets an [`Aggregator`] up.
#[derive(Clone, Debug, Default)]
pub struct AggregatorBuilder {
    settings: Settings,
}

impl AggregatorBuilder {
    /// Adds a camera: its name and its source, such as `rtp://:5000`. The name `*` makes every sender
    /// that arrives a camera, named by its SDES CNAME.
    ///
    /// # Errors
    /// When the name or the source cannot be.
    pub fn camera(mut self, name: &str, source: &str) -> Result<Self, AggregatorError> {
        self.settings.add_camera(name, source)?;
        Ok(self)
    }

    /// Which frames make a packet.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.settings.sync.policy = policy;
        self
    }

    /// How many packets a second.
    #[must_use]
    pub fn rate(mut self, rate: Rate) -> Self {
        self.settings.sync.rate = rate;
        self
    }

    /// How long after its anchor a packet waits for frames; two periods if not set.
    #[must_use]
    pub fn max_wait(mut self, max_wait: Span) -> Self {
        self.settings.sync.max_wait = Some(max_wait);
        self
    }

    /// How many packets are kept for a slow consumer; the oldest gives way and is counted.
    #[must_use]
    pub fn queue(mut self, packets: usize) -> Self {
        self.settings.queue = packets;
        self
    }

    /// Decode every frame: packets then wait for their pictures, and a frame that does not decode is
    /// a [`FrameStatus::ReadError`].
    #[must_use]
    pub fn decode(mut self, decode: bool) -> Self {
        self.settings.decode = decode;
        self
    }

    /// Serve this host's clock to the boards by NTP.
    #[must_use]
    pub fn ntp(mut self, ntp: NtpSettings) -> Self {
        self.settings.ntp = Some(ntp);
        self
    }

    /// Binds the ports and starts receiving, on a thread of its own.
    ///
    /// # Errors
    /// When the settings are wrong or a port cannot be had.
    pub fn start(self) -> Result<Aggregator, AggregatorError> {
        Aggregator::start(&self.settings)
    }
}

/// A running aggregator. Dropping it stops the receive thread and frees the ports.
///
/// ```no_run
/// use std::time::Duration;
/// use framelock_aggregator::Aggregator;
///
/// let mut aggregator =
///     Aggregator::builder().camera("left", "rtp://:5000")?.camera("right", "rtp://:5002")?.start()?;
/// while let Some(packet) = aggregator.next(Duration::from_secs(5))? {
///     println!("packet {} spreads {}", packet.number, packet.spread);
/// }
/// # Ok::<(), framelock_aggregator::AggregatorError>(())
/// ```
#[derive(Debug)]
pub struct Aggregator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    ntp: Option<NtpService>,
}

impl Aggregator {
    /// A builder without cameras.
    #[must_use]
    pub fn builder() -> AggregatorBuilder {
        AggregatorBuilder::default()
    }

    /// Starts with `settings`, such as read from a file.
    ///
    /// # Errors
    /// When the settings are wrong or a port cannot be had.
    pub fn start(settings: &Settings) -> Result<Self, AggregatorError> {
        settings.check()?;
        if settings.decode {
            // Fail now and not with the first frame.
            drop(decode::open()?);
        }
        let ntp = NtpService::start_if_wanted(settings.ntp.as_ref())?;
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let shared = Arc::new(Shared::new(settings, commands));
        let engine = Engine::new(settings, clock::random());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(AggregatorError::Thread)?;
        let (bound, result) = std::sync::mpsc::channel();
        let for_thread = shared.clone();
        let body = move || {
            let _end = EndGuard(for_thread.clone());
            runtime.block_on(async {
                let sources: Vec<_> = engine.sources().collect();
                match Sockets::bind(&sources) {
                    Err(error) => drop(bound.send(Err(error))),
                    Ok(sockets) => {
                        drop(bound.send(Ok(())));
                        live::run(engine, sockets, for_thread, receiver).await;
                    }
                }
            });
            // A name that is just being looked up may take longer than anybody wants to wait.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new()
            .name("receive".to_owned())
            .spawn(body)
            .map_err(AggregatorError::Thread)?;
        let aggregator = Self { shared, thread: Some(thread), ntp };
        match result.recv() {
            Ok(Ok(())) => Ok(aggregator),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(AggregatorError::Stopped),
        }
    }

    /// The next packet; `None` if there is none within `timeout`.
    ///
    /// # Errors
    /// When the receive thread is gone.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Packet>, AggregatorError> {
        let deadline = clock::now() + Span::from(timeout);
        let mut state = self.shared.lock();
        loop {
            let now = clock::now();
            if let Some(packet) = state.take(now) {
                return Ok(Some(packet));
            }
            if state.stopped {
                return Err(AggregatorError::Stopped);
            }
            if now >= deadline {
                return Ok(None);
            }
            let wait = (deadline - now).min(DECODE_WAIT).to_duration();
            state = self.shared.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next packet, without blocking the executor. Needs a tokio runtime with timers. Can be
    /// cancelled: no packet is lost.
    ///
    /// # Errors
    /// When the receive thread is gone.
    pub async fn next_async(&mut self) -> Result<Packet, AggregatorError> {
        loop {
            let changed = self.shared.notify.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.shared.lock();
                if let Some(packet) = state.take(clock::now()) {
                    return Ok(packet);
                }
                if state.stopped {
                    return Err(AggregatorError::Stopped);
                }
            }
            // The timeout only serves pictures that never come.
            let _ = tokio::time::timeout(DECODE_WAIT.to_duration(), changed).await;
        }
    }

    /// What is known of every camera, in configured order; renewed four times a second.
    #[must_use]
    pub fn status(&self) -> Vec<CameraStatus> {
        self.shared.lock().status.clone()
    }

    /// What arrived and was thrown away because it belongs to no camera; renewed with [`Self::status`].
    #[must_use]
    pub fn strangers(&self) -> PortCounters {
        self.shared.lock().strangers
    }

    /// The NTP service, if there is one.
    #[must_use]
    pub const fn ntp(&self) -> Option<&NtpService> {
        self.ntp.as_ref()
    }

    /// What went through the packet queue: `dropped` counts packets that a slow consumer missed.
    #[must_use]
    pub fn queue(&self) -> QueueCounters {
        self.shared.lock().queue.counters()
    }
}

impl Drop for Aggregator {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the receive thread panicked");
        }
    }
}

/// What the receive thread and the consumer share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    notify: Notify,
    commands: mpsc::Sender<Command>,
    stopping: Notify,
}

#[derive(Debug)]
struct State {
    queue: PacketQueue<Packet>,
    /// The packet that waits for its pictures.
    decoding: Option<Packet>,
    decode: bool,
    status: Vec<CameraStatus>,
    strangers: PortCounters,
    stopped: bool,
}

impl Shared {
    fn new(settings: &Settings, commands: mpsc::Sender<Command>) -> Self {
        let state = State {
            queue: PacketQueue::new(settings.queue),
            decoding: None,
            decode: settings.decode,
            status: Vec::new(),
            strangers: PortCounters::default(),
            stopped: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            notify: Notify::new(),
            commands,
            stopping: Notify::new(),
        }
    }

    /// A packet is ready.
    pub(crate) fn push(&self, packet: Packet) {
        let dropped = self.lock().queue.push(packet);
        if let Some(packet) = dropped {
            tracing::debug!(packet = packet.number, "dropped: the consumer is slow");
        }
        self.wake();
    }

    /// A picture is ready, or failed.
    pub(crate) fn decoded(&self) {
        self.wake();
    }

    /// Tells the receive loop something, if it has room for it.
    pub(crate) fn command(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            tracing::trace!(?command, "not taken");
        }
    }

    pub(crate) fn set_status(&self, status: Vec<CameraStatus>, strangers: PortCounters) {
        let mut state = self.lock();
        (state.status, state.strangers) = (status, strangers);
    }

    /// Waits until the receive loop has to come to its end.
    pub(crate) async fn stopping(&self) {
        self.stopping.notified().await;
    }

    fn stop(&self) {
        self.stopping.notify_one();
    }

    fn wake(&self) {
        self.changed.notify_all();
        self.notify.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next packet that is ready to be handed out.
    fn take(&mut self, now: HostTime) -> Option<Packet> {
        if !self.decode {
            return self.queue.pop();
        }
        if self.decoding.is_none() {
            self.decoding = self.queue.pop();
        }
        let packet = self.decoding.as_ref()?;
        let overdue = now - packet.ready >= DECODE_WAIT;
        let frames = || packet.entries.iter().filter_map(|entry| entry.frame.as_deref());
        if overdue || frames().all(|frame| frame.picture.get().is_some()) {
            return self.decoding.take().map(without_failed);
        }
        None
    }
}

/// A frame that does not decode is not okay.
fn without_failed(mut packet: Packet) -> Packet {
    for entry in &mut packet.entries {
        if entry.frame.as_deref().is_some_and(|frame: &Frame| frame.decoded().is_none()) {
            entry.frame = None;
            entry.status = FrameStatus::ReadError;
            packet.complete = false;
        }
    }
    let times = || packet.entries.iter().filter_map(|entry| Some(entry.frame.as_ref()?.time.utc));
    packet.spread = times().max().zip(times().min()).map_or(Span::ZERO, |(last, first)| last - first);
    packet
}

/// Tells the consumer when the thread ends, for whatever reason.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.wake();
    }
}
