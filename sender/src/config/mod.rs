//! The sender's settings: a TOML file, overridden by command line flags.
//!
//! [`Options`] holds what was written, wherever it was written; [`Options::settle`] fills in the
//! defaults and checks that the whole fits together. Nothing here opens devices or sockets.

mod clock;
mod target;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use framelock_common::config::{self, ConfigError, ValueError, de, parse_bitrate, parse_size};
use framelock_common::logging::LogFormat;
use framelock_common::time::Span;
use serde::{Deserialize, Deserializer};

pub use clock::{ClockSpec, ClockSpecError, MAX_SERVERS, NTP_PORT, parse_servers};
pub use target::{HostPort, Target, TargetError, Transport};

use crate::capture::{ControlValue, Format, FrameRate, Size, SourceSpec};
use crate::clock::Trust;
use crate::phase::{PhaseConfig, PhaseTarget};

/// The longest camera name in bytes; it is the SDES CNAME, which may have 255 (RFC 3550 section 6.5).
const MAX_NAME: usize = 64;

/// From one restart of a stream for its phase to the next at least.
const PHASE_RESTART_INTERVAL: Span = Span::from_secs(60);

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read, or its text is wrong.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// Source or target are not given anywhere.
    #[error("no {what} given: pass {flag}, or set {key} in the configuration file")]
    Missing {
        /// What it is.
        what: &'static str,
        /// Its flag.
        flag: &'static str,
        /// Its key.
        key: &'static str,
    },
    /// URL and transport contradict each other.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The list of NTP servers.
    #[error(transparent)]
    Clock(#[from] ClockSpecError),
    /// A value outside its range.
    #[error("{key} is {value}: {allowed}")]
    Range {
        /// Its key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What may be given.
        allowed: &'static str,
    },
}

/// Settings as written in the file; flags are laid over them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Options {
    /// The camera's name, sent as SDES CNAME.
    pub camera: Option<String>,
    /// The number that the test source writes into its pictures.
    pub camera_id: Option<u16>,
    /// Where frames come from.
    #[serde(deserialize_with = "from_text")]
    pub source: Option<SourceSpec>,
    /// Where the stream goes.
    #[serde(deserialize_with = "from_text")]
    pub to: Option<Target>,
    /// How it is wrapped.
    pub transport: Option<Transport>,
    /// Picture size.
    #[serde(deserialize_with = "size")]
    pub size: Option<Size>,
    /// Frames per second.
    #[serde(deserialize_with = "from_number_or_text")]
    pub fps: Option<FrameRate>,
    /// Bits per second.
    #[serde(deserialize_with = "de::optional_bitrate")]
    pub bitrate: Option<u32>,
    /// Time from one key frame to the next.
    #[serde(deserialize_with = "de::optional_duration")]
    pub keyframe_interval: Option<Span>,
    /// Threads of the encoder; 0 takes as many as help.
    pub encoder_threads: Option<u16>,
    /// Where on the grid of UTC frames shall be exposed.
    #[serde(deserialize_with = "from_text")]
    pub phase: Option<PhaseTarget>,
    /// How often the stream may be restarted for that.
    #[serde(deserialize_with = "de::optional_duration")]
    pub phase_restart_interval: Option<Span>,
    /// The error of the phase that is left alone where a move costs frames.
    #[serde(deserialize_with = "de::optional_duration")]
    pub phase_tolerance: Option<Span>,
    /// Whether the UTC time is burned into the picture.
    pub overlay_time: Option<bool>,
    /// Where counters are written as JSON.
    pub stats: Option<PathBuf>,
    /// How log lines look.
    #[serde(deserialize_with = "from_text")]
    pub log_format: Option<LogFormat>,
    /// Frames after which to end.
    #[serde(skip)]
    pub frames: Option<u64>,
    /// What concerns the camera.
    pub capture: CaptureOptions,
    /// What concerns the clock.
    pub clock: ClockOptions,
}

/// The table `[capture]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CaptureOptions {
    /// The format to take from the camera.
    pub format: Option<Format>,
    /// How much later than the exposure the driver's timestamp is.
    #[serde(deserialize_with = "de::optional_duration")]
    pub latency: Option<Span>,
    /// Half-width of the spread of that latency; `None` lets the kind of timestamp decide.
    #[serde(deserialize_with = "de::optional_duration")]
    pub latency_spread: Option<Span>,
    /// V4L2 controls by name.
    pub controls: BTreeMap<String, ControlValue>,
}

/// The table `[clock]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ClockOptions {
    /// Where UTC comes from.
    #[serde(deserialize_with = "from_text")]
    pub source: Option<ClockSpec>,
    /// NTP servers for the source `auto`.
    pub servers: Vec<String>,
    /// Vouches for the system clock: it is taken for UTC within this, whatever the kernel says of it.
    #[serde(deserialize_with = "de::optional_duration")]
    pub trust_system_within: Option<Span>,
}

/// Settings that fit together.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The camera's name.
    pub camera: String,
    /// The number in the test source's pictures.
    pub camera_id: u16,
    /// Where frames come from.
    pub source: SourceSpec,
    /// Where the stream goes.
    pub to: Target,
    /// How it is wrapped.
    pub transport: Transport,
    /// Wanted picture size.
    pub size: Option<Size>,
    /// Wanted frames per second.
    pub fps: Option<FrameRate>,
    /// Bits per second.
    pub bitrate: u32,
    /// Time from one key frame to the next.
    pub keyframe_interval: Span,
    /// Threads of the encoder.
    pub encoder_threads: u16,
    /// What phase to keep, if any.
    pub phase: Option<PhaseConfig>,
    /// Whether the UTC time is burned into the picture.
    pub overlay_time: bool,
    /// Where counters are written.
    pub stats: Option<PathBuf>,
    /// Frames after which to end.
    pub frames: Option<u64>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What concerns the camera.
    pub capture: CaptureOptions,
    /// Where UTC comes from.
    pub clock: ClockSpec,
    /// How far to believe the system clock.
    pub system_trust: Trust,
}

impl Options {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it cannot be read, or its text is wrong; with file and line.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        Ok(config::read(path)?)
    }

    /// Lays `given` over these settings; the tables of camera and clock stay as they are.
    pub fn override_with(&mut self, given: Self) {
        fn lay<T>(over: &mut Option<T>, given: Option<T>) {
            if given.is_some() {
                *over = given;
            }
        }
        // A new URL may not go with the file's transport, which was chosen for another.
        if given.to.is_some() && given.to.as_ref().map(|to| to.rtp) != self.to.as_ref().map(|to| to.rtp) {
            self.transport = None;
        }
        lay(&mut self.camera, given.camera);
        lay(&mut self.camera_id, given.camera_id);
        lay(&mut self.source, given.source);
        lay(&mut self.to, given.to);
        lay(&mut self.transport, given.transport);
        lay(&mut self.size, given.size);
        lay(&mut self.fps, given.fps);
        lay(&mut self.bitrate, given.bitrate);
        lay(&mut self.keyframe_interval, given.keyframe_interval);
        lay(&mut self.encoder_threads, given.encoder_threads);
        lay(&mut self.phase, given.phase);
        lay(&mut self.overlay_time, given.overlay_time);
        lay(&mut self.stats, given.stats);
        lay(&mut self.log_format, given.log_format);
        lay(&mut self.frames, given.frames);
    }

    /// Fills in defaults (`host` names the camera if nothing else does) and checks the whole.
    ///
    /// # Errors
    /// When something is missing, out of range, or contradicts something else.
    pub fn settle(self, host: &str) -> Result<Settings, SettingsError> {
        let source = self.source.ok_or(SettingsError::Missing {
            what: "source",
            flag: "--source test or --source v4l2:/dev/video0",
            key: "source",
        })?;
        let to = self.to.ok_or(SettingsError::Missing {
            what: "receiver",
            flag: "--to rtp://HOST:PORT",
            key: "to",
        })?;
        let transport = to.transport(self.transport)?;
        let bitrate = self.bitrate.unwrap_or(1_500_000);
        let keyframe_interval = self.keyframe_interval.unwrap_or(Span::from_secs(2));
        let spread = self.capture.latency_spread.unwrap_or(Span::ZERO);
        let latency = self.capture.latency.unwrap_or(Span::ZERO);
        let system_trust = self.clock.trust_system_within.map_or(Trust::Kernel, Trust::Within);
        in_range("bitrate", bitrate, 10_000..=100_000_000, "allowed are 10k to 100M")?;
        in_range(
            "keyframe-interval",
            keyframe_interval,
            Span::from_millis(100)..=Span::from_secs(60),
            "allowed are 100ms to 60s",
        )?;
        let latencies = Span::from_secs(-1)..=Span::from_secs(10);
        in_range("capture.latency", latency, latencies, "allowed are -1s to 10s")?;
        in_range("capture.latency-spread", spread, Span::ZERO..=Span::from_secs(1), "allowed are 0ms to 1s")?;
        let restart_interval = self.phase_restart_interval.unwrap_or(PHASE_RESTART_INTERVAL);
        in_range(
            "phase-restart-interval",
            restart_interval,
            Span::from_secs(1)..=Span::from_secs(86_400),
            "allowed are 1s to 24h",
        )?;
        let tolerance = self.phase_tolerance;
        if let Some(tolerance) = tolerance {
            let range = Span::from_micros(10)..=Span::from_secs(1);
            in_range("phase-tolerance", tolerance, range, "allowed are 10us to 1s")?;
        }
        let target = self.phase.map_or(Span::ZERO, PhaseTarget::span);
        in_range("phase", target, Span::from_secs(-10)..=Span::from_secs(10), "allowed are -10s to 10s")?;
        if let Trust::Within(bound) = system_trust {
            let range = Span::from_micros(1)..=Span::from_secs(60);
            in_range("clock.trust-system-within", bound, range, "allowed are 1us to 60s")?;
        }
        if self.frames == Some(0) {
            in_range("frames", 0_u64, 1..=u64::MAX, "at least one")?;
        }
        Ok(Settings {
            camera: camera_name(self.camera, host)?,
            camera_id: self.camera_id.unwrap_or(0),
            source,
            to,
            transport,
            size: self.size,
            fps: self.fps,
            bitrate,
            keyframe_interval,
            encoder_threads: self.encoder_threads.unwrap_or(0),
            phase: self.phase.map(|_| PhaseConfig { target, restart_interval, tolerance }),
            overlay_time: self.overlay_time.unwrap_or(false),
            stats: self.stats,
            frames: self.frames,
            log_format: self.log_format.unwrap_or_default(),
            capture: self.capture,
            clock: choose_clock(self.clock.source, &self.clock.servers)?,
            system_trust,
        })
    }
}

/// `auto` asks the configured servers where none are named with it.
fn choose_clock(source: Option<ClockSpec>, servers: &[String]) -> Result<ClockSpec, SettingsError> {
    match source.unwrap_or_else(|| ClockSpec::Auto(Vec::new())) {
        ClockSpec::Auto(named) if named.is_empty() && !servers.is_empty() => {
            Ok(ClockSpec::Auto(parse_servers(&servers.join(","))?))
        }
        source => Ok(source),
    }
}

/// The camera's name, by default the host's. It is data to everyone, but people read it in logs.
fn camera_name(name: Option<String>, host: &str) -> Result<String, SettingsError> {
    let name = name.unwrap_or_else(|| {
        let printable: String = host.chars().filter(|c| !c.is_control()).take(32).collect();
        if printable.is_empty() { "camera".to_owned() } else { printable }
    });
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(SettingsError::Range {
            key: "camera",
            value: format!("{:?}", name.chars().take(MAX_NAME).collect::<String>()),
            allowed: "a name has 1 to 64 bytes and no control characters",
        });
    }
    Ok(name)
}

fn in_range<T: PartialOrd + fmt::Display>(
    key: &'static str,
    value: T,
    range: std::ops::RangeInclusive<T>,
    allowed: &'static str,
) -> Result<(), SettingsError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(SettingsError::Range { key, value: value.to_string(), allowed })
}

/// Reads a size such as `640x480`.
///
/// # Errors
/// Anything else, and sizes that 4:2:0 cannot have.
pub fn read_size(text: &str) -> Result<Size, ValueError> {
    parse_size(text).map(|size| Size::new(size.width, size.height))
}

/// Reads a bit rate such as `1500k`.
///
/// # Errors
/// Anything else.
pub fn read_bitrate(text: &str) -> Result<u32, ValueError> {
    parse_bitrate(text)
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Size>, D::Error> {
    let size = de::optional_size(from)?;
    Ok(size.map(|size| Size::new(size.width, size.height)))
}

fn from_text<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

fn from_number_or_text<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number such as 30 or a text such as \"30000/1001\"")]
    enum Written {
        Integer(i64),
        Decimal(f64),
        Text(String),
    }
    let text = match Written::deserialize(from)? {
        Written::Integer(number) => number.to_string(),
        Written::Decimal(number) => number.to_string(),
        Written::Text(text) => text,
    };
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests;
