//! Configuration files: TOML with kebab-case keys, and the values in them.
//!
//! What keys there are is the business of the sender and the aggregator. Their structures must carry
//! `#[serde(rename_all = "kebab-case", deny_unknown_fields)]`: without it serde drops unknown keys in
//! silence. Reading the file is the caller's part.

pub mod de;
mod values;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

pub use values::{Size, ValueError, parse_bitrate, parse_duration, parse_ppm, parse_size};

/// Why a configuration was refused. It says where: `FILE:LINE: ...`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A key or a name that does not exist.
    #[error("{}:{line}: unknown {what} \"{found}\"{}", path.display(), hint(nearest.as_deref(), known))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// `key` or `value`.
        what: &'static str,
        /// What was found.
        found: String,
        /// The most similar of the known ones, if any is similar.
        nearest: Option<String>,
        /// All that would be accepted here.
        known: Vec<String>,
    },
    /// Not TOML, or a value that does not fit.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

fn hint(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean \"{nearest}\"?"),
        None if known.is_empty() => String::new(),
        None => format!("; known are {}", known.join(", ")),
    }
}

/// Parses the `text` of the configuration file `path` (used for messages only).
///
/// # Errors
/// Text that is not TOML, an unknown key, a value that does not fit; with file and line.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| explain(&error, text, path))
}

fn explain(error: &toml::de::Error, text: &str, path: &Path) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count() + 1;
    let message = error.message().trim().replace('\n', "; ");
    let path = path.to_owned();
    let unknown = [("unknown field `", "key"), ("unknown variant `", "value")]
        .into_iter()
        .find_map(|(prefix, what)| Some((what, message.strip_prefix(prefix)?)));
    let Some((what, (found, rest))) = unknown.and_then(|(what, rest)| Some((what, rest.split_once('`')?)))
    else {
        return ConfigError::Invalid { path, line, message };
    };
    // serde lists what it knows in backquotes: "..., expected one of `a`, `b`".
    let known: Vec<String> = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let nearest = nearest(found, &known).map(str::to_owned);
    ConfigError::Unknown { path, line, what, found: found.to_owned(), nearest, known }
}

/// The one of `known` most like `found`, if it is alike at all: at most a third of it differs.
fn nearest<'a>(found: &str, known: &'a [String]) -> Option<&'a str> {
    let distance = |k: &str| edit_distance(&found.to_lowercase().replace('_', "-"), k);
    let (distance, best) = known.iter().map(|k| (distance(k), k)).min()?;
    (distance <= best.chars().count().max(found.chars().count()).div_ceil(3)).then_some(best)
}

/// Levenshtein distance; keys are short, but `a` may be hostile, so it is cut.
fn edit_distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let b: Vec<char> = b.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(LONGEST).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
