//! What to capture and how: the `--source` argument and the camera's settings.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use framelock_common::time::Span;
use serde::Deserialize;

use super::picture::Size;
use crate::clock::BoardClock;

/// A source as written on the command line or in the configuration:
/// `test[:phase=12ms,drift=20ppm]`, `v4l2:/dev/video0` or `file:clip.mp4[,loop]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// A moving test pattern with a readable clock and the timecode strip.
    Test(TestSpec),
    /// A V4L2 camera, by device path or stable name.
    V4l2(PathBuf),
    /// An MP4 or MPEG-TS file with H.264.
    File {
        /// The file.
        path: PathBuf,
        /// Whether it starts again at its end.
        looped: bool,
    },
}

/// How the test source's camera behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestSpec {
    /// The instants of exposure lie this much after the multiples of the frame period in UTC.
    pub phase: Span,
    /// How much faster than UTC the camera's oscillator runs, in 1e-9. Zero keeps the grid for ever.
    pub drift_ppb: i64,
}

/// Why a source, a size or a rate could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// The part before the colon is no kind of source.
    #[error(
        "unknown source \"{0}\": use test[:phase=12ms,drift=20ppm], v4l2:/dev/video0 or file:clip.mp4[,loop]"
    )]
    Kind(String),
    /// An option that the source does not have.
    #[error("unknown option \"{option}\" of source \"{source_kind}\": it has {known}")]
    Option {
        /// The option as written.
        option: String,
        /// The kind of source.
        source_kind: &'static str,
        /// The options there are.
        known: &'static str,
    },
    /// A value that does not parse.
    #[error("\"{value}\" is no {what}: write it like {example}")]
    Value {
        /// The text.
        value: String,
        /// What it should have been.
        what: &'static str,
        /// One that would do.
        example: &'static str,
    },
    /// No path was given.
    #[error("source \"{0}:\" needs a path after the colon")]
    NoPath(&'static str),
}

impl FromStr for SourceSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "test" => rest.parse().map(Self::Test),
            "v4l2" if rest.is_empty() => Err(SpecError::NoPath("v4l2")),
            "v4l2" => Ok(Self::V4l2(rest.into())),
            "file" => {
                let (path, looped) = rest.strip_suffix(",loop").map_or((rest, false), |path| (path, true));
                if path.is_empty() {
                    return Err(SpecError::NoPath("file"));
                }
                Ok(Self::File { path: path.into(), looped })
            }
            _ => Err(SpecError::Kind(text.to_owned())),
        }
    }
}

impl FromStr for TestSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut spec = Self::default();
        for option in text.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("phase", value)) => spec.phase = parse_span(value)?,
                Some(("drift", value)) => spec.drift_ppb = parse_ppm(value)?,
                _ => {
                    return Err(SpecError::Option {
                        option: option.to_owned(),
                        source_kind: "test",
                        known: "phase= and drift=",
                    });
                }
            }
        }
        Ok(spec)
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test(_) => f.write_str("test"),
            Self::V4l2(path) => write!(f, "v4l2:{}", path.display()),
            Self::File { path, .. } => write!(f, "file:{}", path.display()),
        }
    }
}

/// A signed length of time such as `12ms`, `-1.5s`, `250us`, `80ns`, exact to the nanosecond.
fn parse_span(text: &str) -> Result<Span, SpecError> {
    let error = || SpecError::Value { value: text.to_owned(), what: "length of time", example: "12ms" };
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(error)?;
    let (number, unit) = text.split_at(digits);
    let decimals = match unit {
        "ns" => 0,
        "us" => 3,
        "ms" => 6,
        "s" => 9,
        _ => return Err(error()),
    };
    parse_fixed(number, decimals).map(Span::from_nanos).ok_or_else(error)
}

/// A rate error such as `20ppm` or `-0.5ppm`, in parts per 1e9; at most a per cent, as no
/// oscillator is worse.
fn parse_ppm(text: &str) -> Result<i64, SpecError> {
    text.strip_suffix("ppm")
        .and_then(|number| parse_fixed(number, 3))
        .filter(|ppb| ppb.abs() <= 10_000_000)
        .ok_or_else(|| SpecError::Value {
            value: text.to_owned(),
            what: "drift up to 10000ppm",
            example: "20ppm",
        })
}

/// A decimal number times ten to the `decimals`, without floats; further digits are an error.
fn parse_fixed(text: &str, decimals: usize) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > decimals {
        return None;
    }
    let value: i64 = format!("{whole}{fraction:0<decimals$}").parse().ok()?;
    Some(if negative { -value } else { value })
}

/// Frames per second as a fraction: 30, 29.97 or 30000/1001.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameRate {
    numerator: u32,
    denominator: u32,
}

impl FrameRate {
    /// The highest rate taken from anyone.
    pub const MAX_HZ: u32 = 1_000;

    /// `numerator / denominator` frames a second; `None` outside (0, [`Self::MAX_HZ`]].
    #[must_use]
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        let in_range = numerator > 0
            && denominator > 0
            && u64::from(numerator) <= u64::from(Self::MAX_HZ) * u64::from(denominator);
        in_range.then_some(Self { numerator, denominator })
    }

    /// `hz` whole frames a second, held to 1 to [`Self::MAX_HZ`].
    #[must_use]
    pub fn from_hz(hz: u32) -> Self {
        Self { numerator: hz.clamp(1, Self::MAX_HZ), denominator: 1 }
    }

    /// The numerator of the frames per second.
    #[must_use]
    pub const fn numerator(self) -> u32 {
        self.numerator
    }

    /// The denominator of the frames per second.
    #[must_use]
    pub const fn denominator(self) -> u32 {
        self.denominator
    }

    /// Frames per second, for display and encoders.
    #[must_use]
    pub fn as_hz(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }

    /// The time from one frame to the next, rounded down to the nanosecond.
    #[must_use]
    pub fn period(self) -> Span {
        self.time_of(1)
    }

    /// When frame `number` is due after frame 0, without accumulating rounding.
    #[must_use]
    pub fn time_of(self, number: i64) -> Span {
        let ns =
            i128::from(number) * 1_000_000_000 * i128::from(self.denominator) / i128::from(self.numerator);
        Span::from_nanos(i64::try_from(ns).unwrap_or(i64::MAX))
    }
}

impl FromStr for FrameRate {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let rate = match text.split_once('/') {
            Some((n, d)) => n.parse().ok().zip(d.parse().ok()).and_then(|(n, d)| Self::new(n, d)),
            None => {
                parse_fixed(text, 3).and_then(|millihz| u32::try_from(millihz).ok()).and_then(|millihz| {
                    match millihz % 1_000 {
                        0 => Self::new(millihz / 1_000, 1),
                        _ => Self::new(millihz, 1_000),
                    }
                })
            }
        };
        rate.ok_or_else(|| SpecError::Value {
            value: text.to_owned(),
            what: "frame rate",
            example: "30, 29.97 or 30000/1001",
        })
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.numerator.is_multiple_of(self.denominator) {
            write!(f, "{}", self.numerator / self.denominator)
        } else {
            write!(f, "{:.2}", self.as_hz())
        }
    }
}

impl FromStr for Size {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        text.split_once('x')
            .and_then(|(width, height)| Some(Self::new(width.parse().ok()?, height.parse().ok()?)))
            .filter(|size| size.width > 0 && size.height > 0)
            .ok_or_else(|| SpecError::Value { value: text.to_owned(), what: "size", example: "640x480" })
    }
}

/// A pixel or stream format that the sender can take from a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Planar 4:2:0 (V4L2 `YU12`).
    I420,
    /// Luma plane and interleaved 4:2:0 chroma.
    Nv12,
    /// Packed 4:2:2.
    Yuyv,
    /// One JPEG a frame.
    Mjpeg,
    /// H.264 from the camera, passed through.
    H264,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::I420, Self::Nv12, Self::Yuyv, Self::Mjpeg, Self::H264];
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I420 => "i420",
            Self::Nv12 => "nv12",
            Self::Yuyv => "yuyv",
            Self::Mjpeg => "mjpeg",
            Self::H264 => "h264",
        })
    }
}

impl FromStr for Format {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::ALL.into_iter().find(|format| format.to_string() == text).ok_or_else(|| SpecError::Value {
            value: text.to_owned(),
            what: "format (i420, nv12, yuyv, mjpeg, h264)",
            example: "yuyv",
        })
    }
}

/// The value of a camera control: a number, a switch, or the name of a menu entry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum ControlValue {
    /// A switch.
    Bool(bool),
    /// A number, within the limits that the control names.
    Integer(i64),
    /// An entry of a menu control.
    Name(String),
}

impl fmt::Display for ControlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Name(value) => write!(f, "\"{value}\""),
        }
    }
}

/// How to capture, whatever the source.
#[derive(Clone, Debug)]
pub struct CaptureConfig {
    /// The number that the test source writes into its timecode strip.
    pub camera: u16,
    /// The wanted size; `None` lets the source choose (640x480 where it can).
    pub size: Option<Size>,
    /// The wanted rate; `None` lets the source choose (30 where it can).
    pub rate: Option<FrameRate>,
    /// The format to take from the camera; `None` picks the cheapest that serves size and rate.
    pub format: Option<Format>,
    /// Whether the frames must be pixels, to be drawn on: rules out a camera's own H.264.
    pub pixels: bool,
    /// Camera controls by name, such as `exposure_time_absolute`, set before streaming.
    pub controls: BTreeMap<String, ControlValue>,
    /// How much later than the exposure the driver's timestamp is, subtracted from each.
    pub latency: Span,
    /// Half-width of the spread of that latency, part of each frame's uncertainty; `None` where nobody has
    /// measured it: then what such a timestamp can be off by.
    pub latency_spread: Option<Span>,
    /// The board's clocks.
    pub clock: BoardClock,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            camera: 0,
            size: None,
            rate: None,
            format: None,
            pixels: false,
            controls: BTreeMap::new(),
            latency: Span::ZERO,
            latency_spread: None,
            clock: BoardClock::real(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_parse() {
        let test = |phase, drift_ppb| SourceSpec::Test(TestSpec { phase, drift_ppb });
        assert_eq!("test".parse(), Ok(test(Span::ZERO, 0)));
        assert_eq!("test:phase=12ms,drift=-20.5ppm".parse(), Ok(test(Span::from_millis(12), -20_500)));
        assert_eq!("v4l2:/dev/video0".parse(), Ok(SourceSpec::V4l2("/dev/video0".into())));
        let file = |path: &str, looped| SourceSpec::File { path: path.into(), looped };
        assert_eq!("file:a,b.mp4,loop".parse(), Ok(file("a,b.mp4", true)));
        assert_eq!("file:c:d.ts".parse(), Ok(file("c:d.ts", false)));
    }

    #[test]
    fn bad_sources_say_what_would_do() {
        for (text, hint) in [
            ("webcam", "v4l2:/dev/video0"),
            ("v4l2:", "needs a path"),
            ("file:,loop", "needs a path"),
            ("test:speed=3", "phase= and drift="),
            ("test:phase=12", "like 12ms"),
            ("test:phase=1.0000000001s", "like 12ms"),
            ("test:drift=20000ppm", "up to 10000ppm"),
        ] {
            let error = text.parse::<SourceSpec>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn rates_do_not_accumulate_rounding() {
        let rate: FrameRate = "30000/1001".parse().unwrap();
        assert_eq!(rate.time_of(30_000), Span::from_secs(1_001));
        assert_eq!(rate.period(), Span::from_nanos(33_366_666));
        assert_eq!("29.97".parse::<FrameRate>().unwrap(), FrameRate::new(29_970, 1_000).unwrap());
        for bad in ["0", "-1", "1/0", "2000", "x", "0/1", ""] {
            assert!(bad.parse::<FrameRate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_parse() {
        assert_eq!("640x480".parse(), Ok(Size::new(640, 480)));
        for bad in ["640", "0x480", "640x", "-1x2", "640x480x3"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
