//! How to synchronize: the grouping policy, the rate and the limits, with their written forms.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use framelock_common::config::parse_duration;
use framelock_common::time::{Span, Utc};
use thiserror::Error;

/// Nanoseconds in 1000 seconds: one millihertz.
const UNITS: i128 = 1_000_000_000_000;

/// How the synchronizer works.
#[derive(Clone, Debug)]
pub struct SyncConfig {
    /// Which frames make a set.
    pub policy: Policy,
    /// Which camera's frames the sets are anchored on (`tightest` only).
    pub rate: Rate,
    /// How long after its anchor's arrival a set may wait for frames; `None` for two periods of the
    /// reference camera. A policy without an anchor takes the frame that defines its instant.
    pub max_wait: Option<Span>,
    /// How much earlier than one period after the last a camera's next frame may come, in thousandths of
    /// its period; 0 to 1000. The larger, the longer a set waits to be sure that it is the tightest. A camera
    /// that has shown to be steadier is waited for less: its next frame is expected where the line through its
    /// last ones says, less twice their largest distance from it, and less more while they are few. But at
    /// 1000 a frame may come at any time after the last.
    pub tolerance_permille: u16,
    /// How many frames are kept of one camera; the oldest is dropped and counted. At least 2.
    pub queue_limit: usize,
    /// How many bytes the frames that wait may take, those of all cameras together: the camera that has the most
    /// drops its oldest, which is counted. Finished sets that nobody takes may take as many again.
    pub queue_bytes: usize,
    /// How many finished sets are kept for [`crate::sync::Synchronizer::poll_set`]; the oldest is
    /// dropped and counted. At least 1.
    pub ready_limit: usize,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            policy: Policy::Tightest,
            rate: Rate::Slowest,
            max_wait: None,
            tolerance_permille: 100,
            queue_limit: 256,
            queue_bytes: 256 << 20,
            ready_limit: 256,
        }
    }
}

/// Which frames make a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Every frame of the reference camera anchors one set, which takes from every other camera the unused
    /// frame that makes the whole set's spread smallest.
    #[default]
    Tightest,
    /// The instant is the latest of the cameras' oldest unused frames; each camera gives its last frame at
    /// or before it.
    LastBefore,
    /// Only complete sets whose spread is at most this.
    Exact(Span),
}

impl FromStr for Policy {
    type Err = SyncConfigError;

    /// `tightest`, `last-before` or `exact:5ms`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || SyncConfigError::Policy(text.chars().take(64).collect());
        match text {
            "tightest" => Ok(Self::Tightest),
            "last-before" => Ok(Self::LastBefore),
            _ => {
                let tolerance = text.strip_prefix("exact:").ok_or_else(unknown)?;
                let tolerance = parse_duration(tolerance).map_err(|_| unknown())?;
                if tolerance < Span::ZERO { Err(unknown()) } else { Ok(Self::Exact(tolerance)) }
            }
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tightest => f.write_str("tightest"),
            Self::LastBefore => f.write_str("last-before"),
            Self::Exact(tolerance) => write!(f, "exact:{}ns", tolerance.as_nanos()),
        }
    }
}

/// How many sets a second, told by the camera whose frames anchor them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rate {
    /// As many as the slowest camera alive has frames.
    #[default]
    Slowest,
    /// As many as the fastest camera alive has frames.
    Fastest,
    /// One for each instant of a grid of UTC: multiples of this period since the Unix epoch.
    Hertz(Hertz),
}

impl FromStr for Rate {
    type Err = SyncConfigError;

    /// `slowest`, `fastest`, or sets a second with up to three decimals: `10`, `29.97`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "slowest" => Ok(Self::Slowest),
            "fastest" => Ok(Self::Fastest),
            _ => text.parse().map(Self::Hertz),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slowest => f.write_str("slowest"),
            Self::Fastest => f.write_str("fastest"),
            Self::Hertz(hertz) => hertz.fmt(f),
        }
    }
}

/// A frequency in exact thousandths of a hertz: 0.001 to 1000 Hz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hertz(NonZeroU32);

impl Hertz {
    /// A frequency of `millihertz` thousandths of a hertz, 1 to 1,000,000.
    #[must_use]
    pub fn from_millihertz(millihertz: u32) -> Option<Self> {
        NonZeroU32::new(millihertz).filter(|value| value.get() <= 1_000_000).map(Self)
    }

    /// Thousandths of a hertz.
    #[must_use]
    pub const fn as_millihertz(self) -> u32 {
        self.0.get()
    }

    /// One period, rounded down to the nanosecond.
    #[must_use]
    pub fn period(self) -> Span {
        Span::from_secs(1_000) / i64::from(self.0.get())
    }

    /// The number of the period's multiple, counted from the Unix epoch, that is nearest to `time`.
    pub(super) fn nearest(self, time: Utc) -> i128 {
        let scaled = i128::from(time.as_unix_nanos()) * i128::from(self.0.get());
        (scaled + UNITS / 2).div_euclid(UNITS)
    }

    /// The multiple with that number, rounded down to the nanosecond.
    pub(super) fn instant(self, number: i128) -> Utc {
        let ns = (number * UNITS).div_euclid(i128::from(self.0.get()));
        Utc::from_unix_nanos(i64::try_from(ns).unwrap_or(i64::MAX))
    }
}

impl FromStr for Hertz {
    type Err = SyncConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|byte| byte.is_ascii_digit());
        let value = (digits(whole) && digits(decimals) && decimals.len() <= 3)
            .then(|| format!("{whole}{decimals:0<3}").parse().ok().and_then(Self::from_millihertz))
            .flatten();
        value.ok_or_else(|| SyncConfigError::Rate(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Hertz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.0.get() / 1_000, self.0.get() % 1_000);
        if decimals == 0 { write!(f, "{whole}") } else { write!(f, "{whole}.{decimals:03}") }
    }
}

/// A policy or rate that is not one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SyncConfigError {
    /// Not a policy.
    #[error("\"{0}\" is not a policy: use tightest, last-before or exact:TOLERANCE, for example exact:5ms")]
    Policy(String),
    /// Not a rate.
    #[error(
        "\"{0}\" is not a rate: use slowest, fastest or sets a second from 0.001 to 1000, for example 10"
    )]
    Rate(String),
}
