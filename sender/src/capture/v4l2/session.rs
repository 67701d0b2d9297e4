//! A camera that is open and streams, from set-up until something goes wrong.

use std::io;
use std::path::{Path, PathBuf};

use framelock_common::h264::ParameterSets;
use framelock_common::time::{BoardTime, Span, Unwrapper};
use framelock_v4l2::{Buffer, Device, Event, PixelFormat, Stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::controls;
use super::identity::{Identity, nodes};
use super::modes::{Choice, choose, is_close};
use super::phase::Mover;
use super::stamp::{Stamp, USB_DRIVER, stamp, unmeasured_latency};
use crate::capture::jpeg::JpegDecoder;
use crate::capture::pace::sleep_until;
use crate::capture::{
    CaptureConfig, CaptureCounters, CaptureError, Captured, Format, FrameRate, PhaseMeans, PhaseMove,
    Picture, PicturePool, Size, StreamInfo, convert,
};

/// Buffers that the driver fills in turn: one being filled, one full, one being converted, one spare.
const BUFFERS: u32 = 4;
/// More lost frames than this at once is a counter that jumped, not a loss.
const LOSS_LIMIT: i64 = 10_000;
/// A restart this much after its instant would miss its phase: it is put off by a period. A machine so
/// busy that this happens so often in a row starts whenever it comes to it.
const START_LATE: Span = Span::from_micros(500);
const START_TRIES: u32 = 10;

/// A call to the device that failed while streaming.
#[derive(Debug)]
pub(crate) struct SessionError {
    pub(crate) what: &'static str,
    pub(crate) source: io::Error,
}

/// A streaming camera.
pub(crate) struct Session {
    pub(crate) info: StreamInfo,
    pub(crate) identity: Identity,
    /// When the stream was last asked for.
    pub(crate) started: BoardTime,
    driver: String,
    stream: Stream,
    config: CaptureConfig,
    converter: Converter,
    numbers: Numbers,
    events: bool,
    mover: Mover,
    /// A paused stream's next start: not before the instant, else whole spans later.
    next_start: Option<NextStart>,
}

impl Session {
    /// Opens the camera at `path`, sets it up as `config` says and starts it.
    pub(crate) fn open(path: &Path, config: &CaptureConfig) -> Result<Self, CaptureError> {
        let device = Device::open(path).map_err(|error| open_error(path, error))?;
        let capability = device.capability().map_err(|error| match errno(&error) {
            Some(Errno::NOTTY | Errno::INVAL) => {
                CaptureError::NotACamera { path: path.to_owned(), what: "it is no V4L2 device".to_owned() }
            }
            _ => open_error(path, error),
        })?;
        let lacks = match (capability.captures, capability.multi_planar, capability.streams) {
            (_, true, _) => Some("it only has multi-planar buffers"),
            (false, ..) => Some("it does not capture video (a camera has several nodes: try the others)"),
            (.., false) => Some("it cannot stream"),
            _ => None,
        };
        if let Some(lacks) = lacks {
            let what = format!("{}: {lacks}", capability.card);
            return Err(CaptureError::NotACamera { path: path.to_owned(), what });
        }
        let (choice, format) = set_up(&device, path, config)?;
        controls::apply(&device, path, config)?;
        let events = device.subscribe_events().is_ok();
        let failed = |error| start_error(path, choice, error);
        let mover = Mover::new(&device, choice.fourcc, choice.size, choice.rate);
        let mut stream = Stream::prepare(device, BUFFERS).map_err(failed)?;
        let started = config.clock.now();
        stream.start().map_err(failed)?;
        Ok(Self {
            info: StreamInfo {
                size: choice.size,
                rate: choice.rate,
                format: choice.format,
                full_range: format.full_range || choice.format == Format::Mjpeg,
                description: capability.card.clone(),
            },
            identity: Identity::new(path, &capability),
            started,
            driver: capability.driver,
            stream,
            config: config.clone(),
            converter: Converter::new(path, choice, format)?,
            numbers: Numbers::default(),
            events,
            mover,
            next_start: None,
        })
    }

    /// Numbers this session's frames from `first` on.
    pub(crate) fn number_from(&mut self, first: u64) {
        self.numbers.next = first;
    }

    /// The next good frame, `None` if there is none by `deadline`.
    pub(crate) fn next(
        &mut self,
        deadline: BoardTime,
        counters: &mut CaptureCounters,
    ) -> Result<Option<Captured>, SessionError> {
        if !self.start_again(deadline)? {
            return Ok(None);
        }
        loop {
            let remaining = deadline - self.config.clock.now();
            if !self.wait(remaining.max(Span::ZERO))? {
                return Ok(None);
            }
            if let Some(captured) = self.fetch(counters)? {
                counters.frames += 1;
                let ended = self.mover.handle_frame(self.stream.device(), captured.sequence);
                ended
                    .map_err(|source| SessionError { what: "going back to the usual frame time", source })?;
                return Ok(Some(captured));
            }
            // A camera whose every frame is damaged has the next one ready at once.
            if self.config.clock.now() >= deadline {
                return Ok(None);
            }
        }
    }

    /// Whether frames are stamped when their first USB payload arrives.
    pub(crate) fn stamps_payloads(&self) -> bool {
        self.driver == USB_DRIVER
    }

    /// What the camera can do about its phase.
    pub(crate) fn phase_means(&self) -> PhaseMeans {
        self.mover.means()
    }

    /// Begins a change of phase.
    pub(crate) fn move_phase(&mut self, order: PhaseMove) -> io::Result<()> {
        let PhaseMove::Restart { at, every } = order else {
            return self.mover.begin(self.stream.device(), order, self.numbers.next.saturating_sub(1));
        };
        self.stream.pause()?;
        self.next_start = Some(NextStart { at, every, tries: START_TRIES });
        Ok(())
    }

    /// Starts a paused stream when its time has come; false if that is after `deadline`.
    fn start_again(&mut self, deadline: BoardTime) -> Result<bool, SessionError> {
        let clock = self.config.clock;
        while let Some(start) = &mut self.next_start {
            let now = clock.now();
            // Stopping may have taken longer than was thought: the phase is the same some periods later.
            start.catch_up(now);
            let (at, last) = (start.at, start.tries == 0);
            if !sleep_until(&clock, at, (deadline - now).to_duration()) {
                return Ok(false);
            }
            self.started = clock.now();
            if self.started - at <= START_LATE || last {
                break;
            }
            start.tries -= 1;
        }
        if self.next_start.take().is_none() {
            return Ok(true);
        }
        self.numbers = Numbers { next: self.numbers.next, ..Numbers::default() };
        self.stream.start().map_err(|source| SessionError { what: "starting again", source })?;
        Ok(true)
    }

    /// Waits for a frame; false if none came in time.
    fn wait(&self, timeout: Span) -> Result<bool, SessionError> {
        let failed = |source: io::Error| SessionError { what: "waiting for a frame", source };
        let timeout = Timespec::try_from(timeout.to_duration()).map_err(|_| failed(Errno::INVAL.into()))?;
        let mut fds = [PollFd::new(&self.stream, PollFlags::IN | PollFlags::PRI)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let seen = fds[0].revents();
        if seen.contains(PollFlags::PRI) && self.events {
            self.handle_events()?;
        }
        if seen.contains(PollFlags::IN) {
            return Ok(true);
        }
        if seen.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            // The reason comes with the next buffer; without one the stream is broken all the same.
            let reason = self.stream.dequeue().err().unwrap_or_else(|| Errno::IO.into());
            return Err(failed(reason));
        }
        Ok(true)
    }

    fn handle_events(&self) -> Result<(), SessionError> {
        let failed = |source: io::Error| SessionError { what: "listening to the camera", source };
        match self.stream.device().next_event().map_err(failed)? {
            Some(Event::SourceChange) => {
                Err(SessionError { what: "the picture's source changed", source: Errno::PIPE.into() })
            }
            Some(Event::EndOfStream) => {
                Err(SessionError { what: "the camera ended the stream", source: Errno::PIPE.into() })
            }
            Some(Event::Other(_)) | None => Ok(()),
        }
    }

    /// Takes the newest of the frames that are there; the encoder gains nothing from older ones. An
    /// encoded stream needs every frame.
    fn fetch(&mut self, counters: &mut CaptureCounters) -> Result<Option<Captured>, SessionError> {
        let failed = |source: io::Error| SessionError { what: "fetching a frame", source };
        let Some(mut buffer) = self.stream.dequeue().map_err(failed)? else { return Ok(None) };
        let mut number = self.numbers.take(&buffer, counters);
        while self.info.format != Format::H264 && !buffer.error {
            let Some(newer) = self.stream.dequeue().map_err(failed)? else { break };
            let newer_number = self.numbers.take(&newer, counters);
            if newer.error {
                counters.errors += 1;
                continue;
            }
            counters.lost += 1;
            (buffer, number) = (newer, newer_number);
        }
        if buffer.error {
            counters.errors += 1;
            return Ok(None);
        }
        let clock = self.config.clock;
        let now = clock.to_kernel(clock.now());
        let period = self.info.rate.period();
        let Stamp { kernel, kind, jitter, made_up } =
            stamp(&self.driver, buffer.source, buffer.timestamp_ns, now, period);
        counters.bad_timestamps += u64::from(made_up);
        let Some(picture) = self.converter.convert(buffer.data()) else {
            counters.malformed += 1;
            return Ok(None);
        };
        Ok(Some(Captured {
            mono: clock.at_kernel(kernel) - self.config.latency,
            kind,
            jitter,
            latency_spread: self
                .config
                .latency_spread
                .unwrap_or_else(|| unmeasured_latency(kind, self.info.rate.period())),
            sequence: number,
            picture,
        }))
    }
}

/// When a paused stream starts.
struct NextStart {
    at: BoardTime,
    /// Or whole multiples of this later.
    every: Span,
    /// How often it may still be put off.
    tries: u32,
}

impl NextStart {
    /// To the first instant that is not before `now`.
    fn catch_up(&mut self, now: BoardTime) {
        let every = self.every.as_nanos().max(1);
        let late = (now - self.at).max(Span::ZERO).as_nanos();
        self.at += Span::from_nanos(every) * (late.saturating_add(every - 1) / every);
    }
}

/// Numbers frames by the driver's counter, and counts those that it skipped.
#[derive(Debug, Default)]
struct Numbers {
    unwrapper: Unwrapper<32>,
    last: Option<i64>,
    /// The number of the next frame if none is lost.
    next: u64,
}

impl Numbers {
    fn take(&mut self, buffer: &Buffer<'_>, counters: &mut CaptureCounters) -> u64 {
        let (number, lost) = self.number(buffer.sequence);
        counters.lost += lost;
        number
    }

    /// The number of the frame that the driver counts as `sequence`, and how many before it were lost.
    fn number(&mut self, sequence: u32) -> (u64, u64) {
        let value = self.unwrapper.unwrap(u64::from(sequence));
        let skipped = self.last.map_or(0, |last| value.saturating_sub(last).saturating_sub(1));
        self.last = Some(value);
        // A counter that stands still or goes backward says nothing.
        let lost = if (0..=LOSS_LIMIT).contains(&skipped) { skipped.unsigned_abs() } else { 0 };
        let number = self.next.saturating_add(lost);
        self.next = number.saturating_add(1);
        (number, lost)
    }
}

/// Buffers to pictures.
struct Converter {
    format: Format,
    size: Size,
    stride: usize,
    pool: PicturePool,
    jpeg: Option<JpegDecoder>,
    parameter_sets: ParameterSets,
}

impl Converter {
    fn new(path: &Path, choice: Choice, format: PixelFormat) -> Result<Self, CaptureError> {
        let jpeg = match choice.format {
            Format::Mjpeg => Some(JpegDecoder::new().map_err(|error| CaptureError::Device {
                path: path.to_owned(),
                what: "preparing to decode JPEG",
                source: io::Error::other(error.to_string()),
            })?),
            _ => None,
        };
        Ok(Self {
            format: choice.format,
            size: choice.size,
            stride: format.bytes_per_line as usize,
            pool: PicturePool::new(),
            jpeg,
            parameter_sets: ParameterSets::default(),
        })
    }

    /// The picture in `data`; `None` if it is damaged.
    fn convert(&mut self, data: &[u8]) -> Option<Picture> {
        if self.format == Format::H264 {
            let unit = self.parameter_sets.complete(data.to_vec())?;
            return Some(Picture::H264 { data: unit.data, key: unit.key, dts: None });
        }
        let mut picture = self.pool.take(self.size);
        let damaged = match (self.format, &mut self.jpeg) {
            (Format::Mjpeg, Some(decoder)) => {
                decoder.decode(data, &mut picture).err().map(|error| error.to_string())
            }
            (Format::Yuyv, _) => {
                convert::yuyv(data, self.stride, &mut picture).err().map(|error| error.to_string())
            }
            (Format::Nv12, _) => {
                convert::nv12(data, self.stride, &mut picture).err().map(|error| error.to_string())
            }
            _ => convert::i420(data, self.stride, &mut picture).err().map(|error| error.to_string()),
        };
        if let Some(why) = damaged {
            tracing::trace!("frame dropped: {why}");
            return None;
        }
        Some(Picture::Raw(picture))
    }
}

/// Sets format and rate; the camera must take them as asked for.
fn set_up(
    device: &Device,
    path: &Path,
    config: &CaptureConfig,
) -> Result<(Choice, PixelFormat), CaptureError> {
    let unsupported = |possible: String| CaptureError::Unsupported {
        path: path.to_owned(),
        wanted: wanted(config),
        possible,
    };
    let failed = |what: &'static str| {
        move |source: io::Error| match errno(&source) {
            Some(Errno::BUSY) => CaptureError::Busy { path: path.to_owned() },
            _ => CaptureError::Device { path: path.to_owned(), what, source },
        }
    };
    let mut choice = choose(device, config).map_err(unsupported)?;
    let format = device
        .set_format(choice.size.width, choice.size.height, choice.fourcc)
        .map_err(failed("setting the format"))?;
    let got = Size::new(format.width, format.height);
    if (got, format.fourcc) != (choice.size, choice.fourcc) {
        return Err(unsupported(format!("{} {got} instead, by what it set itself to", format.fourcc)));
    }
    if format.interlaced {
        tracing::warn!("camera {}: frames are interlaced: moving edges will be combed", path.display());
    }
    let interval = framelock_v4l2::Fraction {
        numerator: choice.rate.denominator(),
        denominator: choice.rate.numerator(),
    };
    match device.set_interval(interval) {
        Ok(set) => {
            let set = set.and_then(|interval| FrameRate::new(interval.denominator, interval.numerator));
            choice.rate = set.unwrap_or(choice.rate);
        }
        // A driver without frame intervals runs at the rate that it has.
        Err(error) if matches!(errno(&error), Some(Errno::NOTTY | Errno::INVAL)) => {}
        Err(error) => return Err(failed("setting the frame rate")(error)),
    }
    if let Some(rate) = config.rate
        && !is_close(choice.rate, rate)
    {
        return Err(unsupported(format!("{} fps instead, by what it set itself to", choice.rate)));
    }
    Ok((choice, format))
}

/// What `config` asks for, for people.
fn wanted(config: &CaptureConfig) -> String {
    let format = config.format.map(|format| format.to_string());
    let size = config.size.map(|size| size.to_string());
    let rate = config.rate.map(|rate| format!("{rate} fps"));
    let parts: Vec<_> = [format, size, rate].into_iter().flatten().collect();
    if parts.is_empty() { "any format that can be taken".to_owned() } else { parts.join(" ") }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

fn open_error(path: &Path, source: io::Error) -> CaptureError {
    let path = path.to_owned();
    match errno(&source) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::NOTDIR) => {
            CaptureError::Missing { path, present: present() }
        }
        Some(Errno::BUSY) => CaptureError::Busy { path },
        Some(Errno::ACCESS | Errno::PERM) => CaptureError::Permission { path },
        Some(Errno::ISDIR) => CaptureError::NotACamera { path, what: "it is a directory".to_owned() },
        _ => CaptureError::Device { path, what: "opening it", source },
    }
}

fn start_error(path: &Path, choice: Choice, source: io::Error) -> CaptureError {
    let path = path.to_owned();
    match errno(&source) {
        Some(Errno::NOSPC) => {
            let wanted = format!("{} {} at {} fps", choice.format, choice.size, choice.rate);
            CaptureError::Bandwidth { path, wanted }
        }
        Some(Errno::BUSY) => CaptureError::Busy { path },
        _ => CaptureError::Device { path, what: "starting the stream", source },
    }
}

/// The cameras there are, for people.
fn present() -> String {
    let describe = |path: PathBuf| {
        let capability = Device::open(&path).ok()?.capability().ok()?;
        capability.captures.then(|| format!("{} ({})", path.display(), capability.card))
    };
    let cameras: Vec<_> = nodes().into_iter().filter_map(describe).collect();
    match cameras.as_slice() {
        [] => "there is none on this machine".to_owned(),
        cameras => format!("there are {}", cameras.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_across_the_wrap_and_jumps_are_not() {
        let mut numbers = Numbers::default();
        let sequences = [0xffff_fffd, 0xffff_fffe, 1, 2, 2, 0, 1, 0x7000_0000, 0x7000_0001];
        let numbered: Vec<_> = sequences.into_iter().map(|sequence| numbers.number(sequence)).collect();
        let lost = [0, 0, 2, 0, 0, 0, 0, 0, 0];
        assert_eq!(numbered.iter().map(|n| n.1).collect::<Vec<_>>(), lost);
        assert_eq!(numbered.iter().map(|n| n.0).collect::<Vec<_>>(), [0, 1, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn a_start_that_was_missed_is_whole_periods_later() {
        let at = BoardTime::from_nanos(1_000);
        let from = |now| {
            let mut start = NextStart { at, every: Span::from_nanos(300), tries: 0 };
            start.catch_up(BoardTime::from_nanos(now));
            start.at.as_nanos()
        };
        assert_eq!([0, 1_000, 1_001, 1_300, 1_301].map(from), [1_000, 1_000, 1_300, 1_300, 1_600]);
    }

    #[test]
    fn errors_are_told_apart() {
        let error = |errno: Errno| {
            let choice = Choice {
                format: Format::Yuyv,
                fourcc: framelock_v4l2::FourCc::new(b"YUYV"),
                size: Size::new(640, 480),
                rate: FrameRate::from_hz(30),
            };
            start_error("/dev/video0".as_ref(), choice, errno.into())
        };
        let text = error(Errno::NOSPC).to_string();
        assert!(text.contains("USB bandwidth") && text.contains("yuyv 640x480 at 30 fps"), "{text}");
        assert!(matches!(error(Errno::BUSY), CaptureError::Busy { .. }));
        assert!(matches!(error(Errno::INVAL), CaptureError::Device { .. }));
        let open = |errno: Errno| open_error("/dev/video0".as_ref(), errno.into());
        assert!(matches!(open(Errno::ACCESS), CaptureError::Permission { .. }));
        assert!(matches!(open(Errno::NODEV), CaptureError::Missing { .. }));
    }
}
