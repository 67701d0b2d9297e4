//! `packets` and `run`: a live aggregator until it is told to end, or all files have come to theirs.

use std::io::{self, StdoutLock};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::writer::Writer;
use super::{CliError, Rates};
use crate::aggregator::{Aggregator, AggregatorError};
use crate::clock;
use crate::config::{Output, Settings};
use crate::deliver::{ConsumerCounters, ConsumerError, Packet};
use crate::source::{DownReason, PortCounters};

/// How often a reader that is gone is noticed while there is nothing to write.
const PIPE_CHECK: Duration = Duration::from_millis(500);
/// How often `run` logs what every camera does.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// What to do with packets, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) write: bool,
    pub(super) count: Option<u64>,
    pub(super) duration: Option<Duration>,
    pub(super) status_interval: Option<Duration>,
}

/// SIGINT or SIGTERM.
#[derive(Debug)]
pub(crate) struct Interrupt {
    int: Signal,
    term: Signal,
}

impl Interrupt {
    /// Takes the signals over from now on. Must be called inside a tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { int: signal(SignalKind::interrupt())?, term: signal(SignalKind::terminate())? })
    }

    /// Waits for one.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}

pub(super) fn packets(settings: &Settings, options: &Options) -> Result<(), CliError> {
    serve(settings, options)
}

pub(super) fn run(settings: &Settings) -> Result<(), CliError> {
    let options = Options {
        write: settings.output == Output::Stdout,
        count: None,
        duration: None,
        status_interval: Some(STATUS_INTERVAL),
    };
    serve(settings, &options)
}

fn serve(settings: &Settings, options: &Options) -> Result<(), CliError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::System)?;
    runtime.block_on(async {
        // Before the first sign of life: whoever sees it may signal at once.
        let interrupt = Interrupt::new().map_err(CliError::System)?;
        settings.check()?;
        let mut aggregator = Aggregator::start(settings)?;
        follow(&mut aggregator, interrupt, options).await
    })
}

async fn follow(
    aggregator: &mut Aggregator,
    mut interrupt: Interrupt,
    options: &Options,
) -> Result<(), CliError> {
    let mut checks = interval(PIPE_CHECK);
    let mut status = interval(options.status_interval.unwrap_or(STATUS_INTERVAL));
    status.set_missed_tick_behavior(MissedTickBehavior::Delay);
    status.tick().await;
    let end = sleep(options.duration.unwrap_or(Duration::MAX / 4));
    tokio::pin!(end);
    let writer = options.write.then(|| Writer::start(write_line)).transpose().map_err(CliError::System)?;
    let (mut rates, mut taken, mut interrupted, mut over) = (Rates::default(), 0, false, false);
    while options.count.is_none_or(|count| taken < count) {
        tokio::select! {
            biased;
            () = interrupt.wait() => { interrupted = true; break }
            () = &mut end, if options.duration.is_some() => break,
            _ = checks.tick(), if options.write => if reader_is_gone() { return Ok(()) },
            _ = status.tick(), if options.status_interval.is_some() => log_status(aggregator, &mut rates),
            more = pass_on(aggregator, writer.as_ref()) => match more {
                Ok(true) => taken += 1,
                Ok(false) => break,
                Err(AggregatorError::Consumer(ConsumerError::Ended)) => { over = true; break }
                Err(error) => return Err(error.into()),
            },
        }
    }
    if let Some(writer) = writer {
        writer.end(None, &mut interrupt, interrupted).await.map_err(CliError::Output)?;
    }
    if over { ended_well(aggregator) } else { Ok(()) }
}

/// Every source came to its end: an error where that is not the end of its file.
fn ended_well(aggregator: &Aggregator) -> Result<(), CliError> {
    let well = DownReason::Ended.to_string();
    let failed = aggregator.status().into_iter().find(|camera| camera.reason.as_ref() != Some(&well));
    failed.map_or(Ok(()), |camera| {
        let (camera, reason) = (camera.name.to_string(), camera.reason.unwrap_or_default());
        Err(CliError::Camera { camera, reason })
    })
}

/// Writes a packet as delivered now.
fn write_line(packet: &Packet, out: &mut StdoutLock<'_>) -> io::Result<()> {
    packet.write_json(clock::sandwich().utc_at(clock::now()).utc, out)
}

/// Takes the next packet, once there is room to write it; `false` when writing has failed. Can be cancelled:
/// no packet is lost.
async fn pass_on(
    aggregator: &mut Aggregator,
    writer: Option<&Writer<Packet>>,
) -> Result<bool, AggregatorError> {
    let Some(writer) = writer else { return aggregator.next_async().await.map(|_| true) };
    let Some(room) = writer.room().await else { return Ok(false) };
    room.send(aggregator.next_async().await?);
    Ok(true)
}

/// Whether standard output is a pipe that nobody reads any more.
fn reader_is_gone() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
}

fn log_status(aggregator: &Aggregator, rates: &mut Rates) {
    let cameras = aggregator.status();
    let rates = rates.look(&cameras);
    for (camera, rate) in cameras.iter().zip(rates) {
        let last = camera.last;
        tracing::info!(
            camera = %camera.name,
            state = camera.state.as_str(),
            fps = format_args!("{:.1}", rate.fps),
            kbit_s = format_args!("{:.0}", rate.bitrate / 1e3),
            lost = camera.stream.lost,
            damaged = camera.stream.frames.damaged,
            late = camera.sync.late,
            time_source = last.map(|last| last.source.as_str()),
            uncertainty = last.map(|last| last.uncertainty.to_string()),
            "status"
        );
    }
    let strangers = aggregator.strangers();
    if strangers != PortCounters::default() {
        let PortCounters { malformed, unclaimed, forgotten } = strangers;
        tracing::info!(malformed, unclaimed, forgotten, "datagrams and streams of nobody's camera");
    }
    let ConsumerCounters { offered, skipped, .. } = aggregator.counters();
    tracing::info!(packets = offered, dropped = skipped, "packets");
}
