//! Joins the stages: threads, the queues between them, and how they end.
//!
//! ```text
//! capture thread --slot of one, drop oldest--> encode thread --queue--> network loop --> socket
//! ```
//!
//! A source that delivers H.264 has no encode thread: its frames depend on each other, so none may be
//! dropped, and the capture thread fills the queue itself. A full queue holds up the stage before it,
//! and frames are then dropped where that does no harm: before the encoder, or in the camera.

mod capturing;
mod encoding;
mod outlet;
mod reporting;
mod slot;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use framelock_common::time::Span;
use tracing::Instrument;

use crate::capture::{self, Capture, CaptureConfig, CaptureError};
use crate::clock::{self, BoardClock, ClockWatch};
use crate::config::Settings;
use crate::encode::{EncodeConfig, EncodeError, Encoder};
use crate::net::stream::{Frame, Stream, StreamConfig};
use crate::net::{self, FrameSender, Inputs};
use crate::phase::PhaseConfig;
use crate::stats::Counters;
use outlet::Outlet;
use reporting::Reporter;
use slot::Slot;

/// How long threads may take to end; each looks every 200 ms whether it has to. One that a driver or a
/// disk holds longer must not hold up the end of the process.
const END_WITHIN: Span = Span::from_secs(3);

/// How much later the camera is opened for want of UTC. A server in the same network answers within
/// milliseconds; one that does not must not keep pictures from anybody.
const FIRST_UTC_WITHIN: Duration = Duration::from_secs(1);

/// Stack of our threads. Pictures are on the heap, and a board has little memory.
const STACK: usize = 256 * 1024;

/// Why a sender ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The source.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The encoder.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The source changed from pixels to H.264 or back.
    #[error("the source changed between pixels and H.264; start the sender again")]
    Changed,
    /// A thread, timer or signal handler.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A thread panicked, which is a bug.
    #[error("the {0} thread panicked; this is a bug in Framelock, please report it with the lines above")]
    Panicked(&'static str),
}

impl RunError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// What all threads share.
#[derive(Clone)]
struct Shared {
    clock: BoardClock,
    utc: ClockWatch,
    counters: Arc<Counters>,
    force_key: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    phase: Option<PhaseConfig>,
}

/// Runs a sender until its source ends, `settings.frames` have been sent, or the process is asked to
/// end (SIGINT, SIGTERM).
///
/// # Errors
/// When source or encoder cannot be opened, or fail for good.
pub fn run(settings: &Settings) -> Result<(), RunError> {
    let clock = clock::board_clock(&settings.clock);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_stack_size(STACK)
        .build()
        .map_err(RunError::system("set up the event loop"))?;
    let span = tracing::info_span!("stream", camera = settings.camera);
    let outcome = runtime.block_on(run_stages(settings, clock).instrument(span));
    // A look-up that still hangs must not hold the process up.
    runtime.shutdown_background();
    outcome
}

async fn run_stages(settings: &Settings, clock: BoardClock) -> Result<(), RunError> {
    // Before anything that takes time, so that no signal is missed.
    let stop_signal = stop_signal().map_err(RunError::system("set up signal handlers"))?;
    tokio::pin!(stop_signal);
    let utc = clock::start(settings.clock.clone(), clock, settings.system_trust);
    let opened = tokio::select! {
        biased;
        () = &mut stop_signal => return Ok(()),
        opened = async {
            // Not while the camera is open: what it captures meanwhile would be lost.
            clock::wait_for_utc(&settings.clock, utc.clone(), FIRST_UTC_WITHIN).await;
            open_source(settings, clock).await
        } => opened,
    };
    let source = opened?;
    let info = source.info().clone();
    tracing::info!(to = %settings.to, transport = %settings.transport, "{info}");
    let shared = Shared {
        clock,
        utc,
        counters: Arc::default(),
        force_key: Arc::default(),
        stop: Arc::default(),
        phase: settings.phase,
    };
    let stream = Stream::new(
        StreamConfig {
            transport: settings.transport,
            cname: settings.camera.clone(),
            random: std::array::from_fn(|_| (clock::random() >> 32) as u32),
        },
        clock.now(),
    );
    let inputs = Inputs {
        clock,
        to: settings.to.clone(),
        force_key: Arc::clone(&shared.force_key),
        counters: Arc::clone(&shared.counters),
    };
    let (network, frames) =
        net::start(stream, shared.utc.clone(), inputs).map_err(RunError::system("set up a timer"))?;
    let stages = Stages::start(settings, source, frames, &shared)?;
    let reporter = Reporter::start(settings, &shared)?;
    network.run(&mut stop_signal).await;
    shared.stop.store(true, Ordering::Relaxed);
    let outcome = stages.end(clock).await;
    reporter.finish();
    outcome
}

/// Opens the source on a thread of its own: a driver or a network disk may take its time, and meanwhile
/// the process must still end when it is asked to.
async fn open_source(settings: &Settings, clock: BoardClock) -> Result<Box<dyn Capture>, RunError> {
    let (spec, config) = (settings.source.clone(), capture_config(settings, clock));
    let span = tracing::Span::current();
    let open = move || span.in_scope(|| capture::open(&spec, &config));
    match tokio::task::spawn_blocking(open).await {
        Ok(opened) => Ok(opened?),
        Err(_) => Err(RunError::Panicked("opening")),
    }
}

fn capture_config(settings: &Settings, clock: BoardClock) -> CaptureConfig {
    CaptureConfig {
        camera: settings.camera_id,
        size: settings.size,
        rate: settings.fps,
        format: settings.capture.format,
        pixels: settings.overlay_time,
        controls: settings.capture.controls.clone(),
        latency: settings.capture.latency.unwrap_or(Span::ZERO),
        latency_spread: settings.capture.latency_spread,
        clock,
    }
}

/// The threads before the network.
struct Stages {
    threads: Vec<(&'static str, JoinHandle<Result<(), RunError>>)>,
}

impl Stages {
    fn start(
        settings: &Settings,
        source: Box<dyn Capture>,
        mut frames: FrameSender,
        shared: &Shared,
    ) -> Result<Self, RunError> {
        let info = source.info().clone();
        let sink = Box::new(move |frame: Frame| frames.send(&frame));
        let outlet = Outlet::new(sink, shared.clone(), settings.frames);
        let mut threads = Vec::new();
        if info.is_encoded() {
            let shared = shared.clone();
            threads.push(spawn("capture", move || capturing::pass_through(source, outlet, &shared))?);
            return Ok(Self { threads });
        }
        let encoder = Encoder::new(EncodeConfig {
            size: info.size,
            rate: info.rate,
            bitrate: settings.bitrate,
            keyframe_interval: settings.keyframe_interval,
            threads: settings.encoder_threads,
            full_range: info.full_range,
        })?;
        let slot = Arc::new(Slot::default());
        let (for_capture, capture_shared) = (Arc::clone(&slot), shared.clone());
        let (overlay, encode_shared) = (settings.overlay_time, shared.clone());
        threads
            .push(spawn("encode", move || encoding::run(encoder, &slot, outlet, &encode_shared, overlay))?);
        threads.push(spawn("capture", move || capturing::fill_slot(source, &for_capture, &capture_shared))?);
        Ok(Self { threads })
    }

    /// Waits for the threads to end, but not for ever; gives the first error.
    async fn end(self, clock: BoardClock) -> Result<(), RunError> {
        let deadline = clock.now() + END_WITHIN;
        let mut outcome = Ok(());
        for (name, thread) in self.threads {
            while !thread.is_finished() && clock.now() < deadline {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if !thread.is_finished() {
                tracing::warn!("the {name} thread hangs in a call to the system; ending without it");
                continue;
            }
            let ended = thread.join().unwrap_or(Err(RunError::Panicked(name)));
            outcome = outcome.and(ended);
        }
        outcome
    }
}

type Thread = (&'static str, JoinHandle<Result<(), RunError>>);

/// Starts a thread whose log lines carry the stream's name.
fn spawn(
    name: &'static str,
    work: impl FnOnce() -> Result<(), RunError> + Send + 'static,
) -> Result<Thread, RunError> {
    let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    let span = tracing::Span::current();
    let thread = builder.spawn(move || span.in_scope(work)).map_err(RunError::system("start a thread"))?;
    Ok((name, thread))
}

/// A future that completes when somebody asks this process to end.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
