//! Configuration files: TOML with kebab-case keys, and the values in them.
//!
//! What keys there are is the business of the sender and the aggregator. Their structures must carry
//! `#[serde(rename_all = "kebab-case", deny_unknown_fields)]`: without it serde drops unknown keys in
//! silence.

pub mod de;
mod values;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

pub use values::{Size, ValueError, parse_bitrate, parse_duration, parse_ppm, parse_size};

/// The largest configuration file that is read, in bytes: many times what any needs.
pub const MAX_FILE: u64 = 1 << 20;

/// Why a configuration was refused. It says where: `FILE:LINE: ...`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {}: {what}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        what: String,
    },
    /// The file is far too large for a configuration.
    #[error("configuration {} has more than {MAX_FILE} bytes; is it the right file?", .0.display())]
    TooLarge(PathBuf),
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

/// Reads and parses the configuration file `path`.
///
/// # Errors
/// A file that cannot be read or is larger than [`MAX_FILE`]; as [`parse`].
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let failed = |error: io::Error| ConfigError::Read { path: path.to_owned(), what: error.to_string() };
    let mut text = String::new();
    // Whatever its size is said to be: a device has none.
    let mut file = File::open(path).map_err(failed)?.take(MAX_FILE + 1);
    let outcome = file.read_to_string(&mut text);
    if file.limit() == 0 {
        return Err(ConfigError::TooLarge(path.to_owned()));
    }
    outcome.map_err(failed)?;
    parse(&text, path)
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

/// The one of `known` most like `found`, if it is alike at all: at most a third of it differs. Dashes
/// and underscores count as the same.
#[must_use]
pub fn nearest<'a>(found: &str, known: &'a [String]) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    let distance = |k: &str| edit_distance(&plain(found), &plain(k));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    struct Settings {
        camera: Option<String>,
        #[serde(default, deserialize_with = "de::optional_size")]
        size: Option<Size>,
        #[serde(default, deserialize_with = "de::optional_bitrate")]
        bitrate: Option<u32>,
        #[serde(default, deserialize_with = "de::optional_ppm")]
        drift: Option<i64>,
        #[serde(default)]
        clock: Clock,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    struct Clock {
        source: Source,
        #[serde(default, deserialize_with = "de::optional_duration")]
        capture_latency: Option<Span>,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    enum Source {
        #[default]
        System,
        Ntp,
    }

    fn settings(text: &str) -> Result<Settings, ConfigError> {
        parse(text, Path::new("/etc/framelock/sender.toml"))
    }

    fn error(text: &str) -> String {
        settings(text).unwrap_err().to_string()
    }

    #[test]
    fn reads_kebab_case_keys_and_values_with_units() {
        let found = settings(
            "camera = \"left\"\nsize = \"640x480\"\nbitrate = \"1.5M\"\ndrift = \"-20ppm\"\n\
             [clock]\nsource = \"ntp\"\ncapture-latency = \"12ms\"",
        );
        let expected = Settings {
            camera: Some("left".into()),
            size: Some(Size { width: 640, height: 480 }),
            bitrate: Some(1_500_000),
            drift: Some(-20_000),
            clock: Clock { source: Source::Ntp, capture_latency: Some(Span::from_millis(12)) },
        };
        assert_eq!(found, Ok(expected));
        assert_eq!(settings("bitrate = 300000").unwrap().bitrate, Some(300_000), "a bare number is bit/s");
    }

    #[test]
    fn an_unknown_key_is_refused_with_place_and_nearest() {
        assert_eq!(
            error("camera = \"a\"\n\nbitrat = 5\n"),
            "/etc/framelock/sender.toml:3: unknown key \"bitrat\"; did you mean \"bitrate\"?"
        );
        assert_eq!(
            error("[clock]\nsource = \"ntp\"\ncapture_latency = \"1ms\""),
            "/etc/framelock/sender.toml:3: unknown key \"capture_latency\"; did you mean \"capture-latency\"?"
        );
        assert_eq!(
            error("[cloc]\nsource = \"ntp\""),
            "/etc/framelock/sender.toml:1: unknown key \"cloc\"; did you mean \"clock\"?"
        );
        assert_eq!(
            error("wxyz = 1"),
            "/etc/framelock/sender.toml:1: unknown key \"wxyz\"; \
             known are camera, size, bitrate, drift, clock"
        );
    }

    #[test]
    fn a_file_that_is_not_there_far_too_large_or_no_text_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sender.toml");
        let error = || read::<Settings>(&path).unwrap_err().to_string();
        let missing = error();
        assert!(missing.contains("cannot read") && missing.contains("sender.toml"), "{missing}");
        std::fs::write(&path, "camera = \"left\"\n").unwrap();
        assert_eq!(read::<Settings>(&path).unwrap().camera.as_deref(), Some("left"));
        std::fs::write(&path, b"camera = \"\xff\"\n").unwrap();
        assert!(error().contains("UTF-8"));
        File::options().write(true).open(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert!(error().contains("is it the right file?"));
        // It has no size, and no end.
        let endless = read::<Settings>(Path::new("/dev/zero"));
        assert_eq!(endless, Err(ConfigError::TooLarge("/dev/zero".into())));
    }

    #[test]
    fn an_unknown_value_is_refused_the_same_way() {
        assert_eq!(
            error("[clock]\nsource = \"ntpd\""),
            "/etc/framelock/sender.toml:2: unknown value \"ntpd\"; did you mean \"ntp\"?"
        );
    }

    #[test]
    fn other_mistakes_say_where_too() {
        for (text, expected) in [
            ("size = \"640\"", "sender.toml:1: \"640\" is not a picture size: write it like 640x480"),
            ("\n\nbitrate = \"fast\"", "sender.toml:3: \"fast\" is not a bit rate: write it like 1500k"),
            ("[clock]\nsource = \"ntp\"\ncapture-latency = 12", ":3: \"12\" is not a length of time"),
            ("camera = 5", "sender.toml:1: invalid type: integer `5`, expected a string"),
            ("camera = \"a\"\ncamera = \"b\"", "sender.toml:2: duplicate key"),
            ("camera = \"a\"\nsize 5", "sender.toml:2: "),
            ("[clock]\ncapture-latency = \"1ms\"", "sender.toml:1: missing field `source`"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text:?}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_files_never_panic(text in ".{0,200}") {
            let _ = settings(&text);
        }

        #[test]
        fn arbitrary_keys_and_values_are_refused_on_their_line(
            blank in 0_usize..5, key in "[a-z_-]{1,80}", value in "[a-z0-9.]{0,20}",
        ) {
            let text = format!("{}{key} = \"{value}\"", "\n".repeat(blank));
            if let Err(error) = settings(&text) {
                let place = format!("/etc/framelock/sender.toml:{}: ", blank + 1);
                prop_assert!(error.to_string().starts_with(&place), "{}", error);
            }
        }
    }
}
