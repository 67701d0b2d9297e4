//! The command line: what is asked for, and what comes of it. Packets go to standard output, everything else to standard error.

mod args;
mod rates;
mod replay;
mod serve;
mod writer;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use framelock_common::cli::{self, FAILED, WRONG_INPUT};
use framelock_common::logging::{self, LoggingError};
use tracing_subscriber::filter::LevelFilter;

use crate::aggregator::AggregatorError;
use crate::config::{Settings, SettingsError};
use crate::demo::{self, DemoError};
use crate::engine::offline::OfflineError;
use crate::replay::ReplayError;

use args::{Cli, Command};
pub(crate) use rates::{CameraRates, Rates};
pub(crate) use serve::Interrupt;
pub(crate) use writer::Writer;

const PROGRAM: &str = "framelock-aggregator";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Wrong settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Wrong log settings.
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// A flag that does not fit the others.
    #[error("{0}")]
    Usage(String),
    /// The aggregator does not start or go on.
    #[error(transparent)]
    Aggregator(#[from] AggregatorError),
    /// All sources have come to their end, and this one not to that of its file.
    #[error("camera {camera}: {reason}")]
    Camera {
        /// Its name.
        camera: String,
        /// Why.
        reason: String,
    },
    /// A CSV replay failed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A pcap replay failed.
    #[error("{path}: {source}")]
    Pcap {
        /// The file.
        path: String,
        /// Why.
        source: OfflineError,
    },
    /// A file cannot be opened.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The demonstration failed.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// Standard output cannot be written to.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] std::io::Error),
    /// The system gives no threads, timers or signals.
    #[error("cannot set up threads, timers and signals: {0}")]
    System(#[source] std::io::Error),
}

impl CliError {
    /// Whether the user asked for something that cannot be, or it went wrong later.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_)
            | Self::Logging(_)
            | Self::Usage(_)
            | Self::Aggregator(AggregatorError::Settings(_)) => WRONG_INPUT,
            _ => FAILED,
        }
    }

    /// Whether the reader of our output is gone, which is no failure.
    fn is_closed_pipe(&self) -> bool {
        let source = match self {
            Self::Output(error)
            | Self::Replay(ReplayError::Write(error))
            | Self::Pcap { source: OfflineError::Write(error), .. }
            | Self::Demo(DemoError::Output(error)) => error,
            _ => return false,
        };
        source.kind() == std::io::ErrorKind::BrokenPipe
    }
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match cli::parse::<Cli>(PROGRAM) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => cli::complain(PROGRAM, &error, error.exit_code()),
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    // The demonstration draws on the terminal, where lines of other origin would tear its table.
    let draws = matches!(cli.command, Command::Demo(_)) && std::io::stdout().is_terminal();
    let level = if draws { LevelFilter::WARN } else { LevelFilter::INFO };
    logging::init_with_default(cli.log.log_format.unwrap_or_default(), level)?;
    match cli.command {
        Command::Packets(args) => {
            let options = args.options();
            serve::packets(&args.settings()?, &options)
        }
        Command::Run { config, ntp } => {
            let mut settings = Settings::read(&config)?;
            ntp.apply(&mut settings, true);
            serve::run(&settings)
        }
        Command::Replay(args) => replay::replay(&args),
        Command::Validate { file } => validate(&file),
        Command::Demo(args) => Ok(demo::run(&args.into())?),
    }
}

fn validate(file: &Path) -> Result<(), CliError> {
    let settings = Settings::read(file)?;
    settings.check().map_err(|error| CliError::Usage(format!("{}: {error}", file.display())))?;
    let count = settings.cameras.len();
    let plural = if count == 1 { "" } else { "s" };
    writeln!(std::io::stdout(), "{}: valid, {count} source{plural}", file.display()).map_err(CliError::Output)
}
