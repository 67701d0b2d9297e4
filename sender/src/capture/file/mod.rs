//! Files as cameras: H.264 out of MP4 and MPEG-TS, passed through at the pace of its timestamps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use framelock_common::container::{self, Probe, ReadError, Slot, Timeline, Units};
use framelock_common::h264::ParameterSets;
use framelock_common::rtcp::CaptureKind;
use framelock_common::time::{Board, Span};

use super::pace::sleep_until;
use super::{
    Capture, CaptureConfig, CaptureCounters, CaptureError, Captured, Format, FrameRate, PhaseMeans,
    PhaseMove, Picture, Size, StreamInfo,
};

/// A sender that falls behind further than this does not try to catch up.
const LATE_LIMIT: Span = Span::from_secs(1);

/// What is wrong with the file at `path`.
fn failed(error: ReadError, path: &Path) -> CaptureError {
    let path = path.to_owned();
    match error {
        ReadError::Io(source) => CaptureError::FileRead { path, source },
        ReadError::Format { at, what } => CaptureError::FileFormat { path, at, what },
    }
}

/// A file that is captured from.
pub(crate) struct FileSource {
    path: PathBuf,
    looped: bool,
    config: CaptureConfig,
    units: Box<dyn Units>,
    parameter_sets: ParameterSets,
    timeline: Timeline<Board>,
    info: StreamInfo,
    counters: CaptureCounters,
    /// A frame that is not due yet.
    waiting: Option<(Slot<Board>, Picture)>,
    /// Frames since the file's beginning.
    in_pass: u64,
}

impl FileSource {
    /// Opens `path` and finds out what is in it.
    pub(crate) fn open(path: &Path, looped: bool, config: &CaptureConfig) -> Result<Self, CaptureError> {
        let mut units = container::open_file(path).map_err(|error| failed(error, path))?;
        let probe = Probe::of(units.as_mut()).map_err(|error| failed(error, path))?;
        units.rewind().map_err(|error| failed(error, path))?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let info = StreamInfo {
            size: Size::new(probe.sps.width, probe.sps.height),
            rate: frame_rate(&probe, units.timescale()),
            format: Format::H264,
            full_range: false,
            description: format!("file {name}"),
        };
        check_settings(config, &info)?;
        let mut parameter_sets = ParameterSets::default();
        parameter_sets.learn(units.parameter_sets());
        Ok(Self {
            path: path.to_owned(),
            looped,
            config: config.clone(),
            timeline: Timeline::new(units.timescale(), probe.reorder),
            units,
            parameter_sets,
            info,
            counters: CaptureCounters::default(),
            waiting: None,
            in_pass: 0,
        })
    }

    /// The next frame and its time.
    fn schedule(&mut self) -> Result<(Slot<Board>, Picture), CaptureError> {
        loop {
            let Some(unit) = self.units.next().map_err(|error| failed(error, &self.path))? else {
                self.end_pass()?;
                continue;
            };
            if unit.damaged {
                self.counters.malformed += 1;
                continue;
            }
            let Some(complete) = self.parameter_sets.complete(unit.data) else { continue };
            // Decoding can only begin at a key frame.
            if self.in_pass == 0 && !complete.key {
                continue;
            }
            self.in_pass += 1;
            let slot = self.timeline.place(unit.pts, unit.dts, self.config.clock.now());
            let dts = (slot.decode != slot.capture).then_some(slot.decode);
            return Ok((slot, Picture::H264 { data: complete.data, key: complete.key, dts }));
        }
    }

    fn end_pass(&mut self) -> Result<(), CaptureError> {
        if !self.looped {
            return Err(CaptureError::EndOfFile { path: self.path.clone() });
        }
        if self.in_pass == 0 {
            return Err(failed(ReadError::format(0, "no frame that could be played again"), &self.path));
        }
        self.in_pass = 0;
        self.timeline.next_pass();
        self.units.rewind().map_err(|error| failed(error, &self.path))
    }
}

impl Capture for FileSource {
    fn next(&mut self, timeout: Duration) -> Result<Captured, CaptureError> {
        let clock = self.config.clock;
        let (mut slot, picture) = match self.waiting.take() {
            Some(waiting) => waiting,
            None => self.schedule()?,
        };
        let now = clock.now();
        if slot.send > now + Span::from(timeout) {
            self.waiting = Some((slot, picture));
            sleep_until(&clock, slot.send, timeout);
            return Err(CaptureError::Timeout {
                source_name: self.info.description.clone(),
                waited: timeout,
            });
        }
        if now - slot.send > LATE_LIMIT {
            // The process was stopped, or the network: the file goes on from now, without a burst.
            slot = self.timeline.postpone(slot, now - slot.send);
        }
        sleep_until(&clock, slot.send, timeout);
        let sequence = self.counters.frames;
        self.counters.frames += 1;
        Ok(Captured::exact(slot.capture, CaptureKind::File, sequence, picture))
    }

    fn info(&self) -> &StreamInfo {
        &self.info
    }

    fn counters(&self) -> CaptureCounters {
        self.counters
    }

    fn phase_means(&self) -> PhaseMeans {
        PhaseMeans::exact(self.info.rate.period())
    }

    fn move_phase(&mut self, order: PhaseMove) -> Result<(), CaptureError> {
        self.timeline.shift(order.stretch(&self.info)?);
        Ok(())
    }
}

/// Frames of a file are passed through: what would change them cannot be had.
fn check_settings(config: &CaptureConfig, info: &StreamInfo) -> Result<(), CaptureError> {
    let refuse = |what: String| Err(CaptureError::Settings(format!("{}: {what}", info.description)));
    if config.pixels {
        return refuse("its frames are passed through encoded, so nothing can be drawn on them".to_owned());
    }
    if let Some(size) = config.size.filter(|size| *size != info.size) {
        return refuse(format!("its frames are {}, not {size}; leave the size out", info.size));
    }
    if let Some(format) = config.format.filter(|format| *format != Format::H264) {
        return refuse(format!("its frames are h264, not {format}; leave the format out"));
    }
    Ok(())
}

/// How many frames the file at `path` has, at most `limit`, read without pacing.
pub(crate) fn count_frames(path: &Path, limit: usize) -> Result<usize, CaptureError> {
    let source = FileSource::open(path, false, &CaptureConfig::default())?;
    let FileSource { mut units, mut parameter_sets, mut timeline, config, .. } = source;
    let mut frames = 0;
    while frames < limit
        && let Some(unit) = units.next().map_err(|error| failed(error, path))?
    {
        if let Some(complete) = parameter_sets.complete(unit.data) {
            let slot = timeline.place(unit.pts, unit.dts, config.clock.now());
            debug_assert!(slot.capture <= slot.send && !complete.data.is_empty());
        }
        frames += 1;
    }
    Ok(frames)
}

/// The rate at which the first frames come; where they do not tell, that which the stream declares.
fn frame_rate(probe: &Probe, timescale: u32) -> FrameRate {
    mean_rate(&probe.times, timescale)
        .or_else(|| probe.sps.frame_rate.and_then(|rate| FrameRate::new(rate.num, rate.den)))
        .unwrap_or_else(|| FrameRate::from_hz(25))
}

/// The mean rate of frames that are decoded at `times`.
fn mean_rate(times: &[i64], timescale: u32) -> Option<FrameRate> {
    let (first, last) = (times.first()?, times.last()?);
    let frames = u64::try_from(times.len() - 1).ok()? * u64::from(timescale);
    let ticks = u64::try_from(last.checked_sub(*first)?).ok()?;
    let (mut a, mut b) = (frames, ticks);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let divisor = a.max(1);
    FrameRate::new(u32::try_from(frames / divisor).ok()?, u32::try_from(ticks / divisor).ok()?)
}

#[cfg(test)]
mod tests;
