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

use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::aggregator::{Aggregator, AggregatorError};
use crate::cli::{Interrupt, Rates};
use crate::clock;
use crate::config::Settings;
use crate::deliver::Packet;
use crate::ntp::{NtpService, NtpServiceError, NtpSettings};

use senders::Senders;
use table::Table;
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
    /// Standard output or the runtime failed.
    #[error("{0}")]
    Io(#[from] io::Error),
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
    let mut truth = Truth::new(names, clock::now());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before the senders: they must be ended whenever a signal comes.
        let interrupt = Interrupt::new()?;
        let mut aggregator = Aggregator::start(&settings)?;
        let mut senders = Senders::start(&cameras, ntp.address())?;
        follow(config, interrupt, &mut aggregator, &mut senders, &mut truth).await
    })?;
    truth.report(&mut io::stdout().lock())?;
    match (truth.complete_packets(), truth.outside()) {
        (0, _) => Err(DemoError::Nothing(config.cameras)),
        (_, 0) => Ok(()),
        (_, outside) => Err(DemoError::OutsideBound(outside)),
    }
}

async fn follow(
    config: &DemoConfig,
    mut interrupt: Interrupt,
    aggregator: &mut Aggregator,
    senders: &mut Senders,
    truth: &mut Truth,
) -> Result<(), DemoError> {
    let terminal = io::stdout().is_terminal();
    let mut refresh = interval(if terminal { REFRESH } else { REFRESH_PLAIN });
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    refresh.tick().await;
    let end = sleep(config.duration.unwrap_or(Duration::MAX / 4));
    tokio::pin!(end);
    let (mut table, mut rates) = (Table::new(terminal), Rates::default());
    loop {
        tokio::select! {
            biased;
            () = interrupt.wait() => return Ok(()),
            () = &mut end => return Ok(()),
            _ = refresh.tick() => {
                senders.check()?;
                let status = aggregator.status();
                let rates = rates.look(&status);
                let mut out = io::stdout().lock();
                table.show(&status, &rates, truth, &mut out)?;
                out.flush()?;
            }
            packet = aggregator.next_async() => note(&packet?, &mut table, truth),
        }
    }
}

fn note(packet: &Packet, table: &mut Table, truth: &mut Truth) {
    let delivered = clock::sandwich().utc_at(clock::now()).utc;
    table.note(packet, delivered);
    truth.note(packet, clock::now());
}
