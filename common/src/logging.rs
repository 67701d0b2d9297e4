//! Logs: `tracing` events on stderr. Standard output belongs to data.
//!
//! `RUST_LOG` chooses what is logged (default `info`), as the `tracing-subscriber` documentation
//! describes under `EnvFilter`.

use std::fmt;
use std::io::{IsTerminal, stderr};
use std::str::FromStr;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = LoggingError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LoggingError::Format(s.to_owned())),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// Not a log format.
    #[error("log format \"{0}\" is neither \"text\" nor \"json\"")]
    Format(String),
    /// The filter in `RUST_LOG` is wrong.
    #[error("RUST_LOG is not a valid filter: {0}; try RUST_LOG=info or RUST_LOG=framelock_sender=debug")]
    Filter(#[from] ParseError),
    /// Somebody already set a subscriber in this process.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// Sends this process's events to stderr in `format`. To be called once, from `main`.
///
/// # Errors
/// A malformed `RUST_LOG`, or logging that is already set up.
pub fn init(format: LogFormat) -> Result<(), LoggingError> {
    init_with_default(format, LevelFilter::INFO)
}

/// As [`init`], with another level where `RUST_LOG` says nothing: for a program that draws on the
/// terminal.
///
/// # Errors
/// As [`init`].
pub fn init_with_default(format: LogFormat, default: LevelFilter) -> Result<(), LoggingError> {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref(), default)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(format == LogFormat::Text && stderr().is_terminal());
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| LoggingError::AlreadySet)
}

fn filter(rust_log: Option<&str>, default: LevelFilter) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().with_default_directive(default.into()).parse(rust_log.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_default_to_info_and_say_what_is_wrong() {
        assert_eq!(filter(None, LevelFilter::INFO).unwrap().max_level_hint(), Some(LevelFilter::INFO));
        assert_eq!(filter(Some(""), LevelFilter::WARN).unwrap().max_level_hint(), Some(LevelFilter::WARN));
        assert_eq!(
            filter(Some("trace"), LevelFilter::WARN).unwrap().max_level_hint(),
            Some(LevelFilter::TRACE)
        );
        let error =
            LoggingError::from(filter(Some("framelock=loud"), LevelFilter::INFO).unwrap_err()).to_string();
        assert!(error.starts_with("RUST_LOG is not a valid filter"), "{error}");
    }

    #[test]
    fn formats_parse_and_print_the_same() {
        for format in [LogFormat::Text, LogFormat::Json] {
            assert_eq!(format.to_string().parse::<LogFormat>().unwrap(), format);
        }
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
