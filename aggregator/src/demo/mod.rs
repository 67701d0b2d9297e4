//! The demonstration: real sender processes on this machine, their cameras at different phases and
//! drifts and their boards' clocks wrong by seconds and drifting, received over loopback and decoded.
//! They get the time from the aggregator's own NTP service. At the end it tells, from the timecode strips
//! in the decoded pictures, how far the reported capture times are from the truth.

mod senders;
mod table;
mod truth;

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::aggregator::{Aggregator, AggregatorError};
use crate::cli::{Interrupt, Rates, Writer};
use crate::clock;
use crate::config::Settings;
use crate::deliver::Packet;
use crate::ntp::{NtpService, NtpServiceError, NtpSettings};

use senders::Senders;
use table::{Table, View};
use truth::Truth;

/// How often the table or the line of figures is renewed.
const REFRESH: Duration = Duration::from_millis(500);
/// The same without a terminal.
const REFRESH_PLAIN: Duration = Duration::from_secs(1);

/// What to demonstrate.
#[derive(Clone, Copy, Debug)]
pub struct DemoConfig {
    /// How many cameras.
    pub cameras: u16,
    /// How long; until interrupted if `None`.
    pub duration: Option<Duration>,
}

/// Why a demonstration failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The sender's binary is nowhere.
    #[error(
        "framelock-sender is neither beside {0} nor in PATH; build it with: cargo build --release --bins"
    )]
    NoSender(String),
    /// A sender does not start.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A sender ended by itself.
    #[error("the sender of {camera} ended ({status}); its last words: {words}")]
    Ended {
        /// Its camera.
        camera: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it last logged.
        words: String,
    },
    /// No ports.
    #[error("no free UDP ports on this machine's loopback")]
    NoPorts,
    /// The NTP service failed.
    #[error(transparent)]
    Ntp(#[from] NtpServiceError),
    /// The aggregator failed.
    #[error(transparent)]
    Aggregator(#[from] AggregatorError),
    /// Nothing was synchronized.
    #[error("no packet with all {0} cameras came together; RUST_LOG=debug tells more")]
    Nothing(u16),
    /// A bound did not hold.
    #[error("{0} capture times lie outside their bound; please report this with the table above")]
    OutsideBound(u64),
    /// Standard output cannot be written to.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// The system gives no threads, timers or signals, or does not tell of the senders' processes.
    #[error("cannot set up threads, timers and processes: {0}")]
    System(#[from] io::Error),
}

/// Runs the demonstration.
///
/// # Errors
/// When something needed is missing, a sender dies, no complete packet came together, or a reported
/// capture time lies outside its bound.
pub fn run(config: &DemoConfig) -> Result<(), DemoError> {
    let cameras = senders::plan(config.cameras)?;
    let mut settings = Settings { decode: true, ..Settings::default() };
    for camera in &cameras {
        settings
            .add_camera(&camera.name, &format!("rtp://127.0.0.1:{}", camera.port))
            .map_err(AggregatorError::from)?;
    }
    // This machine's clock is the truth here, whether or not something keeps it right.
    let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let ntp = NtpService::start(&NtpSettings { listen, local_stratum: Some(10), optional: false })?;
    let names = cameras.iter().map(|camera| camera.name.clone()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before the senders: they must be ended whenever a signal comes.
        let interrupt = Interrupt::new()?;
        let aggregator = Aggregator::start(&settings)?;
        let demo = Demo {
            interrupt,
            senders: Senders::start(&cameras, ntp.address())?,
            aggregator,
            truth: Truth::new(names, clock::now()),
            table: Table::new(io::stdout().is_terminal()),
            rates: Rates::default(),
            writer: Writer::start(|text: &Vec<u8>, out| out.write_all(text))?,
        };
        demo.run(config).await
    })
}

/// What runs.
struct Demo {
    interrupt: Interrupt,
    senders: Senders,
    aggregator: Aggregator,
    truth: Truth,
    table: Table,
    rates: Rates,
    writer: Writer<Vec<u8>>,
}

impl Demo {
    async fn run(mut self, config: &DemoConfig) -> Result<(), DemoError> {
        let interrupted = self.follow(config).await?;
        let Self { mut interrupt, mut senders, aggregator, mut truth, writer, .. } = self;
        senders.stop();
        drop(aggregator);
        let mut report = Vec::new();
        truth.report(&mut report)?;
        writer.end(Some(report), &mut interrupt, interrupted).await.map_err(DemoError::Output)?;
        match (truth.complete_packets(), truth.outside()) {
            (0, _) => Err(DemoError::Nothing(config.cameras)),
            (_, 0) => Ok(()),
            (_, outside) => Err(DemoError::OutsideBound(outside)),
        }
    }

    /// Shows what happens until the time is over, or nobody looks any more; true if it was interrupted.
    async fn follow(&mut self, config: &DemoConfig) -> Result<bool, DemoError> {
        let mut refresh = interval(if self.table.is_drawn() { REFRESH } else { REFRESH_PLAIN });
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refresh.tick().await;
        let end = sleep(config.duration.unwrap_or(Duration::MAX / 4));
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                () = self.interrupt.wait() => return Ok(true),
                () = &mut end => return Ok(false),
                _ = refresh.tick() => if !self.show()? { return Ok(false) },
                packet = self.aggregator.next_async() => self.note(&packet?),
            }
        }
    }

    fn note(&mut self, packet: &Packet) {
        self.table.note(packet, clock::sandwich().utc_at(clock::now()).utc);
        self.truth.note(packet, clock::now());
    }

    /// Renews the table, unless the last one is still not written; false when nobody can see it any more.
    fn show(&mut self) -> Result<bool, DemoError> {
        self.senders.check()?;
        let room = match self.writer.room_now() {
            Ok(room) => room,
            Err(TrySendError::Full(())) => return Ok(true),
            Err(TrySendError::Closed(())) => return Ok(false),
        };
        let cameras = self.aggregator.status();
        let rates = self.rates.look(&cameras);
        room.send(self.table.show(&View { cameras: &cameras, rates: &rates, truth: &self.truth })?);
        Ok(true)
    }
}
