//! UTC instants and estimates of them.

use std::fmt;
use std::ops::{Add, Sub};

use super::Span;

/// An instant of UTC, in ns since the Unix epoch (leap seconds not counted, as POSIX does).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utc(i64);

impl Utc {
    /// The instant `ns` nanoseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_unix_nanos(ns: i64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_unix_nanos(self) -> i64 {
        self.0
    }
}

impl Add<Span> for Utc {
    type Output = Self;
    fn add(self, rhs: Span) -> Self {
        Self(self.0.saturating_add(rhs.as_nanos()))
    }
}

impl Sub<Span> for Utc {
    type Output = Self;
    fn sub(self, rhs: Span) -> Self {
        Self(self.0.saturating_sub(rhs.as_nanos()))
    }
}

impl Sub for Utc {
    type Output = Span;
    fn sub(self, rhs: Self) -> Span {
        Span::from_nanos(self.0.saturating_sub(rhs.0))
    }
}

impl fmt::Display for Utc {
    /// `2026-11-20T12:34:56.123456Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = chrono::DateTime::from_timestamp_nanos(self.0);
        write!(f, "{}", time.format("%Y-%m-%dT%H:%M:%S%.6fZ"))
    }
}

/// An estimate of a UTC instant with a bound on its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UtcEstimate {
    /// The best estimate.
    pub utc: Utc,
    /// Half the width of the interval around `utc` that must contain the true instant.
    pub uncertainty: Span,
}
