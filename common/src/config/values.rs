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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        for (text, ns) in [
            ("80ns", 80),
            ("250us", 250_000),
            ("250 µs", 250_000),
            ("12ms", 12_000_000),
            (" 1.5s ", 1_500_000_000),
            (".5s", 500_000_000),
            ("-3.25ms", -3_250_000),
            ("2min", 120_000_000_000),
            ("1h", 3_600_000_000_000),
            ("0.0000000019s", 1),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Span::from_nanos(ns)), "{text}");
        }
        for text in
            ["", "12", "ms", "1..5s", "1.2.3s", ".s", "--1s", "1e3s", "1 s s", "4000000h", "1sec", "٣s"]
        {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains("250us, 12ms, 1.5s or 2min"), "{text}: {error}");
        }
    }

    #[test]
    fn bit_rates() {
        for (text, bits) in
            [("300000", 300_000), ("1500k", 1_500_000), ("1.5M", 1_500_000), ("4294967295", u32::MAX)]
        {
            assert_eq!(parse_bitrate(text), Ok(bits), "{text}");
        }
        for text in ["0", "0.4", "-5k", "4294967296", "5G", "k", "1500kbit", ""] {
            assert!(parse_bitrate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!("640x480".parse(), Ok(Size { width: 640, height: 480 }));
        assert_eq!(parse_size("1280X720").unwrap().to_string(), "1280x720");
        for text in
            ["640", "640x", "x480", "641x480", "640x0", "640x-480", "+640x480", "99999x2", "640x480x3", ""]
        {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn relative_frequencies() {
        for (text, ppb) in [("20ppm", 20_000), ("-0.5ppm", -500), ("300ppb", 300), ("0ppm", 0)] {
            assert_eq!(parse_ppm(text), Ok(ppb), "{text}");
        }
        for text in ["20", "ppm", "1000000ppm", "5%"] {
            assert!(parse_ppm(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_hostile_value_is_quoted_only_in_part() {
        assert!(parse_size(&"9".repeat(1_000_000)).unwrap_err().to_string().len() < 200);
    }

    proptest! {
        #[test]
        fn whole_nanoseconds_round_trip(ns: i64) {
            prop_assert_eq!(parse_duration(&format!("{ns}ns")), Ok(Span::from_nanos(ns)));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,60}", number in "-?[0-9]{0,30}\\.?[0-9]{0,30}(ns|us|s|h|k|M|ppm|)") {
            for text in [text, number] {
                let _ = (parse_duration(&text), parse_bitrate(&text), parse_size(&text), parse_ppm(&text));
            }
        }
    }
}
