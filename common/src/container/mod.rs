//! H.264 out of files: MP4 and MPEG-TS, one frame after the other. What a file is, its first bytes tell.
//!
//! Works on anything that can be read and sought in. Handing a frame out when it is due is the caller's business.

mod mp4;
mod probe;
mod timeline;
mod ts;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use thiserror::Error;

pub use probe::Probe;
pub use timeline::{Slot, Timeline};

/// What is read from: a file, or bytes in memory.
pub trait Input: Read + Seek + Send {}

impl<T: Read + Seek + Send> Input for T {}

/// A frame of a file, before it is given a time.
#[derive(Debug)]
pub struct Unit {
    /// Annex B; parameter sets may be missing.
    pub data: Vec<u8>,
    /// When to show it, in the reader's ticks.
    pub pts: i64,
    /// When to decode it, in the reader's ticks.
    pub dts: i64,
    /// Whether part of it is missing.
    pub damaged: bool,
}

/// Why a file cannot be read on.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is none that can be read.
    #[error("{what} (at byte {at})")]
    Format {
        /// Where in the file.
        at: u64,
        /// What is wrong, and what to do where something can be done.
        what: String,
    },
}

impl ReadError {
    /// The file is none that can be read: `what` is wrong at byte `at`.
    pub fn format(at: u64, what: impl Into<String>) -> Self {
        Self::Format { at, what: what.into() }
    }
}

/// The frames of a file, in decoding order.
pub trait Units: Send {
    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read on.
    fn next(&mut self) -> Result<Option<Unit>, ReadError>;

    /// Back to the first frame.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn rewind(&mut self) -> Result<(), ReadError>;

    /// Ticks a second.
    fn timescale(&self) -> u32;

    /// Parameter sets that are stored apart from the frames, in Annex B.
    fn parameter_sets(&self) -> &[u8];

    /// The most by which showing follows decoding, as far as the file's tables tell, in ticks.
    fn reorder(&self) -> i64;
}

/// The frames of the file at `path`, from its start.
///
/// # Errors
/// When it cannot be read, is no ordinary file, or as of [`open`].
pub fn open_file(path: &Path) -> Result<Box<dyn Units>, ReadError> {
    // Opening a pipe would wait for whoever writes into it.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(ReadError::format(0, "it is no ordinary file"));
    }
    open(file)
}

/// The frames of `input`, from its start.
///
/// # Errors
/// When it is neither MP4 with an H.264 track nor MPEG-TS.
pub fn open<'a>(mut input: impl Input + 'a) -> Result<Box<dyn Units + 'a>, ReadError> {
    let mut head = Vec::new();
    input.by_ref().take(4 * 188 + 1).read_to_end(&mut head)?;
    input.seek(SeekFrom::Start(0))?;
    let boxes: [&[u8]; 8] = [b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"];
    if head.get(4..8).is_some_and(|name| boxes.contains(&name)) {
        return Ok(Box::new(mp4::Mp4Reader::open(input)?));
    }
    // Two sync bytes a packet apart, wherever the first packet begins (ISO/IEC 13818-1 section 2.4.3.2).
    let is_sync = |at: &usize| head.get(*at) == Some(&0x47) && head.get(at + 188) == Some(&0x47);
    if (0..188).any(|at| is_sync(&at)) {
        return Ok(Box::new(ts::TsReader::new(input)));
    }
    Err(ReadError::format(0, "neither MP4 nor MPEG-TS; convert it: ffmpeg -i FILE -c:v libx264 -an out.mp4"))
}
