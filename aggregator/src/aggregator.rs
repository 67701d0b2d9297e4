//! The aggregator as a library: a builder, a running aggregator, and its packets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use framelock_common::time::{HostTime, Span};
use tokio::sync::{Notify, mpsc, watch};

use crate::clock;
use crate::config::{CameraConfig, Settings, SettingsError};
use crate::decode::{
    self, BuiltIn, DecodeError, DecodePool, DecodeStats, DecoderOptions, Decoders, PoolEvent,
};
use crate::deliver::{
    Consumer, ConsumerCounters, ConsumerError, Frame, Hub, Outcome, Packet, Pixels, Queue, Subscription,
};
use crate::engine::live::{Answer, Command, Request};
use crate::engine::{CameraStatus, Engine, RemoveError, Sockets, live};
use crate::ntp::{NtpService, NtpServiceError, NtpSettings};
use crate::source::PortCounters;
use crate::source::socket::SocketError;
use crate::sync::{Policy, Rate};

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
    /// A camera cannot be removed.
    #[error(transparent)]
    Remove(#[from] RemoveError),
    /// The system gives no thread or runtime.
    #[error("cannot start the receive thread: {0}")]
    Thread(std::io::Error),
    /// No packet will come any more.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
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

    /// How many packets [`Aggregator::next`] keeps for a slow caller; the oldest gives way and is counted. So it
    /// does where they take more than 256 MiB, decoded pictures included. Where all sources are files that are
    /// read as fast as possible, these wait instead, and none gives way.
    #[must_use]
    pub fn queue(mut self, packets: usize) -> Self {
        self.settings.queue = packets;
        self
    }

    /// Whether [`Aggregator::next`] hands out packets with pictures: see [`Pixels::Decoded`].
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

/// A running aggregator. Dropping it stops the receive thread, frees the ports and tells every consumer.
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
    requests: mpsc::UnboundedSender<Request>,
    thread: Option<JoinHandle<()>>,
    ntp: Option<NtpService>,
    /// What [`Self::next`] subscribes to, and its consumer once it is called.
    own: Subscription,
    consumer: Option<Consumer>,
}

impl Aggregator {
    /// A builder without cameras.
    #[must_use]
    pub fn builder() -> AggregatorBuilder {
        AggregatorBuilder::default()
    }

    /// Starts with `settings`, such as read from a file. There may be no camera yet: see [`Self::add_camera`].
    ///
    /// # Errors
    /// When the settings are wrong or a port cannot be had.
    pub fn start(settings: &Settings) -> Result<Self, AggregatorError> {
        settings.check_values()?;
        let own = Subscription {
            pixels: if settings.decode { Pixels::Decoded } else { Pixels::None },
            // Files that wait lose nothing.
            queue: if settings.waits() {
                Queue::All { limit: settings.queue }
            } else {
                Queue::Newest(settings.queue)
            },
            motion_vectors: false,
        };
        // Fail now and not with the first frame.
        try_decoder(own)?;
        if settings.decode {
            tracing::info!(decoder = decode::decoder_name(), "decoding");
        }
        let ntp = NtpService::start_if_wanted(settings.ntp.as_ref())?;
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        // Whoever asks waits for the answer: there are never more than callers.
        let (requests, requested) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(commands));
        let mut engine = Engine::new(settings, clock::random());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(AggregatorError::Thread)?;
        let (bound, result) = std::sync::mpsc::channel();
        let for_thread = shared.clone();
        let body = move || {
            let _end = EndGuard(for_thread.clone());
            for_thread.set_status(engine.status(clock::now()), engine.strangers());
            runtime.block_on(async {
                let sources: Vec<_> = engine.sources().collect();
                match Sockets::bind(&sources) {
                    Err(error) => drop(bound.send(Err(error))),
                    Ok(sockets) => {
                        drop(bound.send(Ok(())));
                        live::run(engine, sockets, for_thread, receiver, requested).await;
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
        let aggregator = Self { shared, requests, thread: Some(thread), ntp, own, consumer: None };
        match result.recv() {
            Ok(Ok(())) => Ok(aggregator),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ConsumerError::Stopped.into()),
        }
    }

    /// A new consumer, which gets the packets from now on, at its own pace and with its own choice of pixels.
    /// There may be several; none holds up another.
    ///
    /// Nothing is decoded unless some living consumer wants pixels. When the first one does, the senders are
    /// asked for key frames: see [`Pixels::Decoded`].
    ///
    /// # Errors
    /// When it wants something decoded that this build has no decoder for.
    pub fn subscribe(&self, subscription: Subscription) -> Result<Consumer, AggregatorError> {
        try_decoder(subscription)?;
        Ok(self.shared.hub.subscribe(subscription))
    }

    /// Adds a camera while packets go on: as [`AggregatorBuilder::camera`]. From now on it is in every packet,
    /// after those that there were.
    ///
    /// # Errors
    /// When the name or the source cannot be or is another's, or its port cannot be had.
    pub fn add_camera(&self, name: &str, source: &str) -> Result<(), AggregatorError> {
        let camera = CameraConfig::new(name, source)?;
        self.request(|answer| Request::Add(camera, answer))
    }

    /// Removes a camera while packets go on, and frees its port or ends its connection. From now on it is in
    /// no packet. `*` removes every `*` source, and the cameras that came to it; one of these by its own
    /// name is removed once its sender is silent, and comes again with it.
    ///
    /// # Errors
    /// When there is none of that name, or it would come again at once.
    pub fn remove_camera(&self, name: &str) -> Result<(), AggregatorError> {
        self.request(|answer| Request::Remove(name.to_owned(), answer))
    }

    fn request(&self, request: impl FnOnce(Answer) -> Request) -> Result<(), AggregatorError> {
        let (answer, result) = std::sync::mpsc::channel();
        let stopped = || AggregatorError::from(ConsumerError::Stopped);
        self.requests.send(request(answer)).map_err(|_| stopped())?;
        result.recv().map_err(|_| stopped())?
    }

    /// The next packet; `None` if there is none within `timeout`. The first call subscribes, as the settings
    /// say: the newest [`Settings::queue`] packets, decoded if [`Settings::decode`].
    ///
    /// # Errors
    /// When no packet will come any more.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Packet>, AggregatorError> {
        Ok(self.own_consumer().next(timeout)?)
    }

    /// The next packet, without blocking the executor: as [`Self::next`]. Needs a tokio runtime with timers.
    /// Can be cancelled: no packet is lost.
    ///
    /// # Errors
    /// When no packet will come any more.
    pub async fn next_async(&mut self) -> Result<Packet, AggregatorError> {
        Ok(self.own_consumer().next_async().await?)
    }

    /// What became of the packets for [`Self::next`].
    #[must_use]
    pub fn counters(&self) -> ConsumerCounters {
        self.consumer.as_ref().map(Consumer::counters).unwrap_or_default()
    }

    /// What is known of every camera, in configured order; renewed four times a second.
    #[must_use]
    pub fn status(&self) -> Vec<CameraStatus> {
        self.shared.status().cameras.clone()
    }

    /// What arrived and was thrown away because it belongs to no camera; renewed with [`Self::status`].
    #[must_use]
    pub fn strangers(&self) -> PortCounters {
        self.shared.status().strangers
    }

    /// What became of the frames that were to be decoded, for all consumers together.
    #[must_use]
    pub fn decoding(&self) -> DecodeStats {
        self.shared.pool.stats()
    }

    /// The NTP service, if there is one.
    #[must_use]
    pub const fn ntp(&self) -> Option<&NtpService> {
        self.ntp.as_ref()
    }

    fn own_consumer(&mut self) -> &mut Consumer {
        self.consumer.get_or_insert_with(|| self.shared.hub.subscribe(self.own))
    }
}

impl Drop for Aggregator {
    fn drop(&mut self) {
        self.shared.hub.end(ConsumerError::Closed);
        self.shared.stopping.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the receive thread panicked");
        }
    }
}

/// Whether what `subscription` wants decoded can be.
fn try_decoder(subscription: Subscription) -> Result<(), DecodeError> {
    let Subscription { pixels, motion_vectors, .. } = subscription;
    if pixels == Pixels::Decoded || motion_vectors {
        drop(BuiltIn.open(DecoderOptions { motion_vectors })?);
    }
    Ok(())
}

/// What the receive thread, the decoding threads and the consumers share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The way to the consumers.
    pub(crate) hub: Arc<Hub>,
    /// The decoders.
    pub(crate) pool: Arc<DecodePool>,
    /// Whether sources that can wait (files read as fast as possible) are to wait: nobody takes packets yet, a
    /// consumer that wants every packet has as many waiting as it said, or the decoders are behind.
    pub(crate) hold: watch::Sender<bool>,
    status: Mutex<Status>,
    stopping: Notify,
}

#[derive(Debug, Default)]
struct Status {
    cameras: Vec<CameraStatus>,
    strangers: PortCounters,
}

impl Shared {
    fn new(commands: mpsc::Sender<Command>) -> Self {
        let hub = |pool: &Weak<DecodePool>| {
            let pool = pool.clone();
            let decode = move |frame: Frame| match pool.upgrade() {
                Some(pool) => pool.submit_still(frame),
                None => frame.settle(Outcome::Failed),
            };
            Arc::new(Hub::new(Box::new(decode), clock::now()))
        };
        let mut made = None;
        let pool = Arc::new_cyclic(|pool| {
            let hub = made.insert(hub(pool)).clone();
            let on_event = move |event| match event {
                PoolEvent::Settled => hub.settled(),
                PoolEvent::WantsKeyFrame(camera) => tell(&commands, Command::KeyFrame(camera)),
            };
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            DecodePool::new(threads, Box::new(BuiltIn), Box::new(on_event))
        });
        let hub = made.unwrap_or_else(|| hub(&Arc::downgrade(&pool)));
        Self { hub, pool, hold: watch::Sender::new(true), status: Mutex::default(), stopping: Notify::new() }
    }

    /// Looks anew whether sources are to wait. Returns whether even what they have told already is to wait.
    pub(crate) fn renew_hold(&self, now: HostTime) -> bool {
        let full = self.hub.is_full() || self.pool.is_full();
        let hold = full || self.hub.is_idle();
        if *self.hold.borrow() != hold {
            self.hub.set_held(hold, now);
            self.hold.send_replace(hold);
        }
        full
    }

    pub(crate) fn set_status(&self, cameras: Vec<CameraStatus>, strangers: PortCounters) {
        *self.status() = Status { cameras, strangers };
    }

    /// Waits until the receive loop has to come to its end.
    pub(crate) async fn stopping(&self) {
        self.stopping.notified().await;
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the receive loop something, if it has room for it.
fn tell(commands: &mpsc::Sender<Command>, command: Command) {
    if commands.try_send(command).is_err() {
        tracing::trace!(?command, "not taken");
    }
}

/// Tells the consumers when the thread ends, for whatever reason.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.hub.end(ConsumerError::Stopped);
    }
}
