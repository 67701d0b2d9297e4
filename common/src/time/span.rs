//! A signed length of time.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

/// A signed length of time in nanoseconds; ±292 years.
///
/// Arithmetic saturates: hostile timestamps must not be able to panic or wrap us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest span; used for "unbounded".
    pub const MAX: Self = Self(i64::MAX);

    /// A span of `ns` nanoseconds.
    #[must_use]
    pub const fn from_nanos(ns: i64) -> Self {
        Self(ns)
    }

    /// A span of `us` microseconds.
    #[must_use]
    pub const fn from_micros(us: i64) -> Self {
        Self(us.saturating_mul(1_000))
    }

    /// A span of `ms` milliseconds.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// A span of `s` seconds.
    #[must_use]
    pub const fn from_secs(s: i64) -> Self {
        Self(s.saturating_mul(1_000_000_000))
    }

    /// A span of `s` seconds, rounded to the nanosecond; NaN gives zero, infinities saturate.
    #[must_use]
    pub fn from_secs_f64(s: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "float to int casts saturate")]
        Self((s * 1e9).round() as i64)
    }

    /// The length in nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The length in seconds, for display and filters.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for display and filters only")]
        let ns = self.0 as f64;
        ns / 1e9
    }

    /// The length without its sign.
    #[must_use]
    pub const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// `self * num / den` without intermediate overflow; a zero `den` gives [`Span::MAX`].
    #[must_use]
    pub fn mul_div(self, num: i64, den: i64) -> Self {
        if den == 0 {
            return Self::MAX;
        }
        let value = i128::from(self.0) * i128::from(num) / i128::from(den);
        Self(i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX }))
    }

    /// As a standard duration; a negative span gives zero.
    #[must_use]
    pub const fn to_duration(self) -> std::time::Duration {
        let ns = if self.0 < 0 { 0 } else { self.0 };
        std::time::Duration::from_nanos(ns.unsigned_abs())
    }
}

impl From<std::time::Duration> for Span {
    fn from(value: std::time::Duration) -> Self {
        Self(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, rhs: Self) {
        *self = *self + rhs;
    }
}

impl Sub for Span {
    type Output = Self;
    fn sub(self, rhs: Self) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

impl SubAssign for Span {
    fn sub_assign(&mut self, rhs: Self) {
        *self = *self - rhs;
    }
}

impl Neg for Span {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Mul<i64> for Span {
    type Output = Self;
    fn mul(self, rhs: i64) -> Self {
        Self(self.0.saturating_mul(rhs))
    }
}

impl Div<i64> for Span {
    type Output = Self;
    /// Division by zero gives [`Span::MAX`].
    fn div(self, rhs: i64) -> Self {
        self.0.checked_div(rhs).map_or(Self::MAX, Self)
    }
}

impl fmt::Display for Span {
    /// The span in the largest unit that keeps it readable: `1.500s`, `12.3ms`, `250.0us`, `80ns`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.as_secs_f64();
        match self.0.unsigned_abs() {
            0..1_000 => write!(f, "{}ns", self.0),
            1_000..1_000_000 => write!(f, "{:.1}us", s * 1e6),
            1_000_000..1_000_000_000 => write!(f, "{:.1}ms", s * 1e3),
            _ => write!(f, "{s:.3}s"),
        }
    }
}
