//! Where frames come from: V4L2 cameras, files, and a test pattern that knows the truth.
//!
//! A source is a [`Capture`]: a loop calls [`Capture::next`] and gets a frame with the instant at
//! which it was taken, as exact as the source knows it. Sources pace themselves, never wait longer
//! than they are told, never panic on what a device or file says, and look for a camera that went
//! away themselves. Encoding and sending do not live here.

mod convert;
pub mod devices;
mod file;
#[doc(hidden)]
pub mod fuzz;
mod jpeg;
mod pace;
mod phase;
mod picture;
mod spec;
mod test;
mod v4l2;

#[cfg(test)]
pub(crate) use test::pattern::Pattern as TestPattern;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use framelock_common::rtcp::CaptureKind;
use framelock_common::time::{BoardTime, Span};

pub use phase::{IntervalChoice, PhaseMeans, PhaseMove, StretchRange};
pub use picture::{I420, PicturePool, Size};
pub use spec::{CaptureConfig, ControlValue, Format, FrameRate, SourceSpec, SpecError, TestSpec};

/// A source of frames.
pub trait Capture: Send {
    /// The next frame, waiting at most `timeout` for it.
    ///
    /// # Errors
    /// After an error for which [`CaptureError::is_recoverable`] holds, call again: the source
    /// repairs itself (a camera that was unplugged is looked for, at most `timeout` a call). Any
    /// other error is final.
    fn next(&mut self, timeout: Duration) -> Result<Captured, CaptureError>;

    /// What the source delivers.
    fn info(&self) -> &StreamInfo;

    /// What went wrong so far.
    fn counters(&self) -> CaptureCounters;

    /// When the stream that runs now was asked for, where it is the source's start that decides when frames
    /// are exposed.
    fn started(&self) -> Option<BoardTime> {
        None
    }

    /// What the source can do about its phase.
    fn phase_means(&self) -> PhaseMeans {
        PhaseMeans::default()
    }

    /// Moves the phase. Takes effect within a few frames; a restart within the calls of [`Self::next`] that
    /// follow.
    ///
    /// # Errors
    /// When the device refuses, or the source does not have this means. It goes on as before.
    fn move_phase(&mut self, order: PhaseMove) -> Result<(), CaptureError> {
        Err(CaptureError::Settings(format!("{} cannot do {order:?}", self.info().description)))
    }
}

/// A frame and when it was taken.
#[derive(Debug)]
pub struct Captured {
    /// The instant of capture on the board's `CLOCK_MONOTONIC`, latency already subtracted.
    pub mono: BoardTime,
    /// What that instant is of.
    pub kind: CaptureKind,
    /// Half-width of the error of `mono` that differs from frame to frame.
    pub jitter: Span,
    /// Half-width of what is not known of the latency that was subtracted: more error of `mono`, which is about
    /// the same in all frames of a camera.
    pub latency_spread: Span,
    /// The frame's number, counting frames that the camera took and lost.
    pub sequence: u64,
    /// The frame.
    pub picture: Picture,
}

impl Captured {
    /// A frame of a source that knows exactly when it was taken.
    const fn exact(mono: BoardTime, kind: CaptureKind, sequence: u64, picture: Picture) -> Self {
        Self { mono, kind, jitter: Span::ZERO, latency_spread: Span::ZERO, sequence, picture }
    }
}

/// What a frame is made of.
#[derive(Debug)]
pub enum Picture {
    /// Pixels, to be encoded.
    Raw(I420),
    /// An H.264 access unit, to be passed through.
    H264 {
        /// Annex B, parameter sets before each key frame.
        data: Vec<u8>,
        /// Whether it is an IDR frame.
        key: bool,
        /// When to decode it, where that differs from when to show it.
        dts: Option<BoardTime>,
    },
}

/// What a source delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Picture size.
    pub size: Size,
    /// Frames per second, as the source declares them.
    pub rate: FrameRate,
    /// Format before conversion to [`I420`].
    pub format: Format,
    /// Whether luma uses 0 to 255 (JPEG) rather than 16 to 235.
    pub full_range: bool,
    /// What the source is, for people: `Test pattern`, a camera's name, a file's.
    pub description: String,
}

impl StreamInfo {
    /// Whether frames arrive encoded and are passed through.
    #[must_use]
    pub fn is_encoded(&self) -> bool {
        self.format == Format::H264
    }
}

impl fmt::Display for StreamInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {} {} fps", self.description, self.format, self.size, self.rate)
    }
}

/// Counts since the source was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureCounters {
    /// Frames delivered.
    pub frames: u64,
    /// Frames that the camera or driver took and lost, by its sequence numbers; of the test source,
    /// those that nobody came for in time.
    pub lost: u64,
    /// Frames that the driver marked as damaged, dropped.
    pub errors: u64,
    /// Frames that could not be decoded or were cut short, dropped.
    pub malformed: u64,
    /// Frames whose driver's timestamp was not of the monotonic clock; their time is when they were
    /// fetched.
    pub bad_timestamps: u64,
    /// Times that the stream was started again after the camera failed or was unplugged.
    pub restarts: u64,
}

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No frame came within the timeout.
    #[error("no frame from {source_name} within {} ms", .waited.as_millis())]
    Timeout {
        /// The source.
        source_name: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The camera went away; it is looked for.
    #[error("camera {path} ({card}) was unplugged; waiting for it to come back")]
    Unplugged {
        /// Where it was.
        path: PathBuf,
        /// Its name.
        card: String,
    },
    /// The stream failed and is started again.
    #[error("camera {path}: {what}: {source}; starting the stream again")]
    Stream {
        /// The device.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// There is no such device.
    #[error("no camera at {path}; {present}")]
    Missing {
        /// The path asked for.
        path: PathBuf,
        /// The cameras there are, for people.
        present: String,
    },
    /// Someone else streams from it.
    #[error("camera {path} is in use by another program; stop that program or choose another camera")]
    Busy {
        /// The device.
        path: PathBuf,
    },
    /// The device may not be opened.
    #[error("no permission to open {path}; run as a member of the group \"video\"")]
    Permission {
        /// The device.
        path: PathBuf,
    },
    /// The device node is no camera that can be streamed from.
    #[error("{path} is not a capture device with streaming: {what}")]
    NotACamera {
        /// The device.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// The camera does not have the wanted size, rate or format.
    #[error("camera {path} cannot do {wanted}; it has {possible}")]
    Unsupported {
        /// The device.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What it can do.
        possible: String,
    },
    /// A control that does not exist or does not take the value.
    #[error("camera {path}: control \"{control}\": {what}")]
    Control {
        /// The device.
        path: PathBuf,
        /// The control's name.
        control: String,
        /// What is wrong, and what is possible.
        what: String,
    },
    /// The USB bus has no room for the stream.
    #[error(
        "camera {path}: no USB bandwidth left for {wanted}; use mjpeg, a smaller size or rate, or another USB controller for one of the cameras"
    )]
    Bandwidth {
        /// The device.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
    },
    /// A call to the device failed.
    #[error("camera {path}: {what}: {source}")]
    Device {
        /// The device.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    FileRead {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {what} (at byte {at})")]
    FileFormat {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// The file is at its end and does not loop.
    #[error("end of {path}")]
    EndOfFile {
        /// The file.
        path: PathBuf,
    },
    /// A size or option that the source cannot serve.
    #[error("{0}")]
    Settings(String),
}

impl CaptureError {
    /// Whether the source goes on by itself: call [`Capture::next`] again.
    #[must_use]
    pub const fn is_recoverable(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Unplugged { .. } | Self::Stream { .. })
    }

    /// Whether what was asked for cannot be, and only asking for something else helps.
    #[must_use]
    pub const fn is_wrong_input(&self) -> bool {
        matches!(self, Self::Settings(_) | Self::Unsupported { .. } | Self::Control { .. })
    }
}

/// Opens `spec` and starts it.
///
/// # Errors
/// Says what is wrong with the device, file or settings, and what is possible instead.
pub fn open(spec: &SourceSpec, config: &CaptureConfig) -> Result<Box<dyn Capture>, CaptureError> {
    match spec {
        SourceSpec::Test(behaviour) => Ok(Box::new(test::TestSource::open(*behaviour, config)?)),
        SourceSpec::V4l2(path) => Ok(Box::new(v4l2::V4l2Source::open(path, config)?)),
        SourceSpec::File { path, looped } => Ok(Box::new(file::FileSource::open(path, *looped, config)?)),
    }
}
