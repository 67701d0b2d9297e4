//! Deserializers for values with units, for `#[serde(deserialize_with = "...")]`.
//!
//! ```
//! # use framelock_common::{config, time::Span};
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "kebab-case", deny_unknown_fields)]
//! struct Settings {
//!     #[serde(deserialize_with = "config::de::duration")]
//!     max_wait: Span,
//!     #[serde(default, deserialize_with = "config::de::optional_bitrate")]
//!     bitrate: Option<u32>,
//! }
//! let settings: Settings = config::parse("max-wait = \"12ms\"", "example.toml".as_ref())?;
//! assert_eq!((settings.max_wait, settings.bitrate), (Span::from_millis(12), None));
//! # Ok::<(), config::ConfigError>(())
//! ```
//!
//! The `optional_` ones need `#[serde(default)]` beside them, so that the key may be absent.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{self, Visitor};

use super::{Size, ValueError, parse_bitrate, parse_duration, parse_ppm, parse_size};
use crate::time::Span;

type Parse<T> = fn(&str) -> Result<T, ValueError>;

/// Reads a string by `parse`; a bare number is given to it as its digits, so that the unit's absence
/// is explained rather than the TOML type.
struct Text<T> {
    parse: Parse<T>,
    value: PhantomData<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its unit")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

fn text<'de, D: Deserializer<'de>, T>(from: D, parse: Parse<T>) -> Result<T, D::Error> {
    from.deserialize_any(Text { parse, value: PhantomData })
}

/// A length of time, `"12ms"`.
///
/// # Errors
/// As [`parse_duration`].
pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
    text(from, parse_duration)
}

/// As [`duration`], for a key that may be absent.
///
/// # Errors
/// As [`parse_duration`].
pub fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Span>, D::Error> {
    duration(from).map(Some)
}

/// A bit rate in bit/s, `"1500k"` or a bare number.
///
/// # Errors
/// As [`parse_bitrate`].
pub fn bitrate<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    text(from, parse_bitrate)
}

/// As [`bitrate`], for a key that may be absent.
///
/// # Errors
/// As [`parse_bitrate`].
pub fn optional_bitrate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    bitrate(from).map(Some)
}

/// A picture size, `"640x480"`.
///
/// # Errors
/// As [`parse_size`].
pub fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Size, D::Error> {
    text(from, parse_size)
}

/// As [`size`], for a key that may be absent.
///
/// # Errors
/// As [`parse_size`].
pub fn optional_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Size>, D::Error> {
    size(from).map(Some)
}

/// A relative frequency in parts per 10^9, `"20ppm"`.
///
/// # Errors
/// As [`parse_ppm`].
pub fn ppm<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    text(from, parse_ppm)
}

/// As [`ppm`], for a key that may be absent.
///
/// # Errors
/// As [`parse_ppm`].
pub fn optional_ppm<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    ppm(from).map(Some)
}
