//! Values with units, as configuration files and command lines write them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::time::Span;

/// A value that could not be read: what it was and what is expected.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("\"{found}\" is not a {kind}: write it like {example}")]
pub struct ValueError {
    found: String,
    kind: &'static str,
    example: &'static str,
}

impl ValueError {
    fn new(found: &str, kind: &'static str, example: &'static str) -> Self {
        // Enough to recognize it; a file may hold anything.
        let found = found.chars().take(64).collect();
        Self { found, kind, example }
    }
}

/// A picture size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Pixels in a row; 2 to 16384, even.
    pub width: u32,
    /// Rows; 2 to 16384, even.
    pub height: u32,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Size {
    type Err = ValueError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        parse_size(s)
    }
}

/// A picture size, `640x480`: both even (chroma is subsampled), 2 to 16384.
///
/// # Errors
/// Anything else.
pub fn parse_size(text: &str) -> Result<Size, ValueError> {
    let side = |s: &str| {
        let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        s.parse::<u32>().ok().filter(|n| digits && (2..=16_384).contains(n) && n % 2 == 0)
    };
    let size = text.trim().split_once(['x', 'X']).and_then(|(w, h)| Some((side(w)?, side(h)?)));
    size.map(|(width, height)| Size { width, height })
        .ok_or_else(|| ValueError::new(text, "picture size", "640x480 (both even, 2 to 16384)"))
}

/// A length of time with its unit, `12ms`: `ns`, `us`, `ms`, `s`, `min` or `h`; may be negative and may
/// have a decimal fraction, which is cut after the nanosecond.
///
/// # Errors
/// A missing or unknown unit, or a number out of range (292 years).
pub fn parse_duration(text: &str) -> Result<Span, ValueError> {
    const UNITS: [(&str, i64); 7] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("min", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    scaled(text, &UNITS)
        .map(Span::from_nanos)
        .ok_or_else(|| ValueError::new(text, "length of time", "250us, 12ms, 1.5s or 2min"))
}

/// A bit rate in bit/s: `300000`, `1500k` or `1.5M` (powers of 1000); 1 to 4294967295.
///
/// # Errors
/// Anything else.
pub fn parse_bitrate(text: &str) -> Result<u32, ValueError> {
    const UNITS: [(&str, i64); 5] = [("", 1), ("k", 1_000), ("K", 1_000), ("M", 1_000_000), ("m", 1_000_000)];
    scaled(text, &UNITS)
        .and_then(|bits| u32::try_from(bits).ok())
        .filter(|&bits| bits > 0)
        .ok_or_else(|| ValueError::new(text, "bit rate", "1500k or 1.5M (bit/s)"))
}

/// A relative frequency in parts per 10^9: `20ppm`, `-0.5ppm` or `300ppb`.
///
/// # Errors
/// A missing unit, or more than ±100 % (10^9 ppb).
pub fn parse_ppm(text: &str) -> Result<i64, ValueError> {
    scaled(text, &[("ppm", 1_000), ("ppb", 1)])
        .filter(|ppb| ppb.unsigned_abs() < 1_000_000_000)
        .ok_or_else(|| ValueError::new(text, "relative frequency", "20ppm or -0.5ppm"))
}

/// A decimal number times its unit's factor, without floating point.
fn scaled(text: &str, units: &[(&str, i64)]) -> Option<i64> {
    let text = text.trim();
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = i128::from(units.iter().find(|(name, _)| *name == unit.trim_start())?.1);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = whole.len() + fraction.len();
    if digits == 0 || digits > 20 || fraction.contains('.') {
        return None;
    }
    let parse = |s: &str| if s.is_empty() { Some(0) } else { s.parse::<i128>().ok() };
    let fraction = parse(fraction)? * factor / 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let value = parse(whole)? * factor + fraction;
    i64::try_from(if negative { -value } else { value }).ok()
}
