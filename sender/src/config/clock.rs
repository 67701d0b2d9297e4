//! Where UTC comes from: `--clock`.

use std::fmt;
use std::str::FromStr;

use framelock_common::config::{parse_duration, parse_ppm};
use framelock_common::time::Span;

use super::target::{HostPort, TargetError};
use crate::clock::SimulatedError;

/// NTP's port (RFC 5905 section 7.2).
pub const NTP_PORT: u16 = 123;

/// Servers that are asked at most.
pub const MAX_SERVERS: usize = 8;

/// Where UTC comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockSpec {
    /// The system clock or these NTP servers, whichever is the better bound; without servers the system
    /// clock.
    Auto(Vec<HostPort>),
    /// The system clock, which something else disciplines, as far as the kernel says that it does.
    System,
    /// These NTP servers; the system clock is neither used nor touched.
    Ntp(Vec<HostPort>),
    /// A board whose clocks are wrong, for tests; it may correct itself by NTP.
    Simulated {
        /// How they are wrong.
        error: SimulatedError,
        /// NTP servers; without any, the wrong clock is believed.
        servers: Vec<HostPort>,
    },
}

/// Why a clock source is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ClockSpecError {
    /// No kind of source.
    #[error(
        "unknown clock source \"{0}\": use auto, auto:HOST[:PORT][,HOST...], system, ntp:HOST[:PORT][,HOST...] or sim:offset=80ms,drift=30ppm[,ntp:HOST]"
    )]
    Kind(String),
    /// An option that is none.
    #[error("unknown option \"{0}\" of clock source \"sim\": it has offset=, drift= and ntp:HOST")]
    Option(String),
    /// An option's value.
    #[error("clock source \"sim\": {0}")]
    Value(String),
    /// A server that is none.
    #[error("NTP server {0}")]
    Server(#[from] TargetError),
    /// Too many servers, or none.
    #[error("clock sources \"ntp\" and \"auto\" take 1 to {MAX_SERVERS} servers and got {0}")]
    Count(usize),
}

/// Reads `HOST[:PORT][,HOST...]`.
///
/// # Errors
/// When a host is none, or there are none or too many.
pub fn parse_servers(text: &str) -> Result<Vec<HostPort>, ClockSpecError> {
    let names = text.split(',').filter(|name| !name.is_empty());
    let servers = names.map(|name| HostPort::parse(name, Some(NTP_PORT))).collect::<Result<Vec<_>, _>>()?;
    if servers.is_empty() || servers.len() > MAX_SERVERS {
        return Err(ClockSpecError::Count(servers.len()));
    }
    Ok(servers)
}

impl FromStr for ClockSpec {
    type Err = ClockSpecError;

    fn from_str(text: &str) -> Result<Self, ClockSpecError> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto(Vec::new())),
            Some(("auto", servers)) => parse_servers(servers).map(Self::Auto),
            None if text == "system" => Ok(Self::System),
            Some(("ntp", servers)) => parse_servers(servers).map(Self::Ntp),
            Some(("sim", options)) => parse_simulated(options),
            None if text == "sim" => parse_simulated(""),
            _ => Err(ClockSpecError::Kind(text.to_owned())),
        }
    }
}

/// Reads what follows `sim:`. Servers come last, as their list has commas too.
fn parse_simulated(text: &str) -> Result<ClockSpec, ClockSpecError> {
    let (options, servers) = match text.split_once("ntp:") {
        Some((options, servers)) => (options, parse_servers(servers)?),
        None => (text, Vec::new()),
    };
    let mut error = SimulatedError { offset: Span::ZERO, drift_ppb: 0 };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let value = |error: &dyn fmt::Display| ClockSpecError::Value(error.to_string());
        match option.split_once('=') {
            Some(("offset", text)) => error.offset = parse_duration(text).map_err(|e| value(&e))?,
            Some(("drift", text)) => error.drift_ppb = parse_ppm(text).map_err(|e| value(&e))?,
            _ => return Err(ClockSpecError::Option(option.to_owned())),
        }
    }
    Ok(ClockSpec::Simulated { error, servers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, port: u16) -> HostPort {
        HostPort { host: host.to_owned(), port }
    }

    #[test]
    fn clock_sources_parse() {
        assert_eq!("auto".parse(), Ok(ClockSpec::Auto(Vec::new())));
        assert_eq!("system".parse(), Ok(ClockSpec::System));
        let both = vec![server("a.lan", 123), server("b", 1123)];
        assert_eq!("ntp:a.lan,b:1123".parse(), Ok(ClockSpec::Ntp(both.clone())));
        assert_eq!("auto:a.lan,b:1123".parse(), Ok(ClockSpec::Auto(both.clone())));
        let error = SimulatedError { offset: Span::from_millis(80), drift_ppb: -30_000 };
        assert_eq!(
            "sim:offset=80ms,drift=-30ppm,ntp:a.lan,b:1123".parse(),
            Ok(ClockSpec::Simulated { error, servers: both })
        );
        assert_eq!(
            "sim:ntp:a.lan".parse(),
            Ok(ClockSpec::Simulated {
                error: SimulatedError::default(),
                servers: vec![server("a.lan", 123)]
            })
        );
    }

    #[test]
    fn bad_clock_sources_say_what_would_do() {
        for (text, hint) in [
            ("gps", "use auto"),
            ("ntp:", "1 to 8"),
            ("auto:", "1 to 8"),
            ("ntp:h:0", "port"),
            ("sim:speed=2", "offset="),
            ("sim:offset=fast", "sim"),
            ("sim:drift=3", "sim"),
        ] {
            let error = text.parse::<ClockSpec>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
