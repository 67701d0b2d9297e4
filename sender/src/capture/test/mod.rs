//! The test source: a camera that exists only here, exposes on a grid of UTC by an oscillator of its
//! own, and writes into every picture when it was taken.

mod canvas;
mod oscillator;
pub(crate) mod pattern;

use std::time::Duration;

use framelock_common::rtcp::CaptureKind;
use framelock_common::time::{BoardTime, Span, Utc};
use framelock_common::timecode::{self, Timecode};

use self::canvas::Canvases;
use self::oscillator::Oscillator;
use self::pattern::Pattern;
use super::pace::sleep_until;
use super::{
    CaptureConfig, CaptureCounters, CaptureError, Captured, Format, FrameRate, PhaseMeans, PhaseMove,
    Picture, PicturePool, Size, StreamInfo, TestSpec,
};
use crate::clock::BoardClock;
use crate::overlay;

/// What the test source delivers where nothing else is asked for.
const DEFAULT_SIZE: Size = Size::new(640, 480);
const DEFAULT_RATE: u32 = 30;
/// The smallest picture: the timecode strip and the clock must fit.
const MINIMUM: Size = Size::new(160, 96);
const MAXIMUM: Size = Size::new(3840, 2160);

/// The test source.
pub(crate) struct TestSource {
    clock: BoardClock,
    truth: Truth,
    oscillator: Oscillator,
    pattern: Pattern,
    canvases: Canvases,
    /// For pictures whose canvas is in use.
    pool: PicturePool,
    camera: u16,
    info: StreamInfo,
    counters: CaptureCounters,
    /// The next frame to expose.
    next: u64,
}

impl TestSource {
    /// Starts a camera that behaves as `spec` says.
    pub(crate) fn open(spec: TestSpec, config: &CaptureConfig) -> Result<Self, CaptureError> {
        let size = config.size.unwrap_or(DEFAULT_SIZE);
        check_size(size)?;
        let rate = config.rate.unwrap_or_else(|| FrameRate::from_hz(DEFAULT_RATE));
        let truth = Truth::read(&config.clock);
        let first = config.clock.to_kernel(config.clock.now());
        let pattern = Pattern::new();
        Ok(Self {
            clock: config.clock,
            truth,
            oscillator: Oscillator::new(truth.utc(first), first, rate, spec),
            canvases: Canvases::new(&pattern, size),
            pattern,
            pool: PicturePool::new(),
            camera: config.camera,
            info: StreamInfo {
                size,
                rate,
                format: Format::I420,
                full_range: false,
                description: "test pattern".to_owned(),
            },
            counters: CaptureCounters::default(),
            next: 0,
        })
    }

    fn draw(&mut self, number: u64, capture: Utc) -> Result<Picture, CaptureError> {
        let mut picture = self.canvases.take(&self.pattern, number).unwrap_or_else(|| {
            let mut picture = self.pool.take(self.info.size);
            self.pattern.draw(&mut picture, number);
            picture
        });
        let (stride, width, height) = (picture.stride(), picture.width(), picture.height());
        overlay::draw_time(picture.y_mut(), stride, width, height, capture);
        #[expect(clippy::cast_possible_truncation, reason = "the strip's counter wraps")]
        let code = Timecode { camera: self.camera, frame: number as u32, capture };
        timecode::draw(&code, picture.y_mut(), stride, width, height)
            .map_err(|error| CaptureError::Settings(error.to_string()))?;
        Ok(Picture::Raw(picture))
    }
}

fn check_size(size: Size) -> Result<(), CaptureError> {
    let even = size.width.is_multiple_of(2) && size.height.is_multiple_of(2);
    let fits = (MINIMUM.width..=MAXIMUM.width).contains(&size.width)
        && (MINIMUM.height..=MAXIMUM.height).contains(&size.height);
    if even && fits {
        return Ok(());
    }
    Err(CaptureError::Settings(format!(
        "the test source cannot do {size}: width and height must be even, from {MINIMUM} to {MAXIMUM}"
    )))
}

impl super::Capture for TestSource {
    fn next(&mut self, timeout: Duration) -> Result<Captured, CaptureError> {
        // A camera does not wait for anyone: frames that nobody came for in time are gone.
        let now = self.clock.to_kernel(self.clock.now());
        let number = self.next.max(self.oscillator.last_before(now));
        self.counters.lost += number - self.next;
        self.next = number;
        let exposure = self.oscillator.exposure(number);
        let mono = self.clock.at_kernel(exposure);
        if mono > self.clock.now() + Span::from(timeout) {
            sleep_until(&self.clock, mono, timeout);
            return Err(CaptureError::Timeout {
                source_name: self.info.description.clone(),
                waited: timeout,
            });
        }
        self.truth.follow_steps(&self.clock);
        let picture = self.draw(number, self.truth.utc(exposure))?;
        sleep_until(&self.clock, mono, timeout);
        self.next += 1;
        self.counters.frames += 1;
        Ok(Captured::exact(mono, CaptureKind::Synthetic, number, picture))
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
        self.oscillator.shift(order.stretch(&self.info)?);
        Ok(())
    }
}

/// The difference between this machine's UTC and its monotonic clock. Both are slewed alike, so it
/// changes only where UTC is stepped; a single reading may be off by a preemption.
#[derive(Clone, Copy)]
struct Truth {
    offset: Span,
    /// Half-width of the error of `offset`.
    error: Span,
}

impl Truth {
    /// The best of several readings.
    fn read(clock: &BoardClock) -> Self {
        let mut best = Self::read_once(clock);
        for _ in 0..7 {
            let reading = Self::read_once(clock);
            if reading.error < best.error {
                best = reading;
            }
        }
        best
    }

    fn read_once(clock: &BoardClock) -> Self {
        let start: BoardTime = clock.now();
        let utc = clock.truth(start);
        let error = clock.now() - start;
        Self { offset: Span::from_nanos(utc.as_unix_nanos() - clock.to_kernel(start)), error }
    }

    /// Takes over a step of UTC: a reading that cannot be the same offset.
    fn follow_steps(&mut self, clock: &BoardClock) {
        let seen = Self::read_once(clock);
        if (seen.offset - self.offset).abs() > seen.error + self.error {
            *self = Self::read(clock);
        }
    }

    /// UTC where the kernel's monotonic clock shows `kernel` ns.
    fn utc(self, kernel: i64) -> Utc {
        Utc::from_unix_nanos(kernel) + self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Capture, I420};
    use crate::clock::SimulatedError;

    fn open(spec: &str, config: &CaptureConfig) -> TestSource {
        TestSource::open(spec.parse().unwrap(), config).unwrap()
    }

    fn next(source: &mut TestSource) -> (Captured, Timecode) {
        let captured = source.next(Duration::from_secs(2)).unwrap();
        let Picture::Raw(picture) = &captured.picture else { panic!("raw pictures were expected") };
        let code = read(picture);
        (captured, code)
    }

    fn read(picture: &I420) -> Timecode {
        timecode::read(picture.y(), picture.stride(), picture.width(), picture.height()).unwrap()
    }

    #[test]
    fn the_strip_tells_camera_number_and_the_instant_on_the_grid() {
        let config =
            CaptureConfig { camera: 7, rate: Some(FrameRate::from_hz(50)), ..CaptureConfig::default() };
        let mut source = open("phase=3ms", &config);
        let mut last = None;
        for _ in 0..5 {
            let (captured, code) = next(&mut source);
            assert_eq!((u64::from(code.frame), code.camera), (captured.sequence, 7));
            assert_eq!(captured.kind, CaptureKind::Synthetic);
            assert_eq!((captured.jitter, captured.latency_spread), (Span::ZERO, Span::ZERO));
            // The grid holds to the error with which the offset of UTC was read.
            let off = (code.capture.as_unix_nanos() - 3_000_000).rem_euclid(20_000_000);
            assert!(off.min(20_000_000 - off) < 50_000, "{off}");
            // A frame is not handed out before it was taken, and its time is UTC's.
            assert!(config.clock.now() >= captured.mono);
            let error = config.clock.truth(captured.mono) - code.capture;
            assert!(error.abs() < Span::from_millis(5), "{error}");
            if let Some((sequence, mono)) = last.replace((captured.sequence, captured.mono)) {
                let frames = (captured.sequence - sequence) as i64;
                assert_eq!(captured.mono - mono, Span::from_millis(20) * frames);
            }
        }
    }

    #[test]
    fn a_wrong_board_clock_changes_the_stamps_and_not_the_truth() {
        let error = SimulatedError { offset: Span::from_secs(5), drift_ppb: 100_000 };
        let clock = BoardClock::simulated(error);
        let mut source = open("", &CaptureConfig { clock, ..CaptureConfig::default() });
        let (captured, code) = next(&mut source);
        let error = clock.truth(captured.mono) - code.capture;
        assert!(error.abs() < Span::from_millis(5), "{error}");
    }

    #[test]
    fn late_comers_get_the_newest_frame_and_the_rest_is_counted() {
        let config = CaptureConfig { rate: Some(FrameRate::from_hz(100)), ..CaptureConfig::default() };
        let mut source = open("", &config);
        let (first, _) = next(&mut source);
        sleep_until(&config.clock, first.mono + Span::from_millis(55), Duration::from_secs(1));
        let (late, _) = next(&mut source);
        assert!(late.sequence >= first.sequence + 5, "{}", late.sequence);
        // Two frames were delivered; every other number up to the last is a loss.
        assert_eq!((source.counters().frames, source.counters().lost), (2, late.sequence - 1));
    }

    #[test]
    fn its_phase_moves_by_exactly_what_was_asked() {
        let config = CaptureConfig { rate: Some(FrameRate::from_hz(50)), ..CaptureConfig::default() };
        let mut source = open("phase=3ms", &config);
        let (mut before, _) = next(&mut source);
        let periods = |a: &Captured, b: &Captured| Span::from_millis(20) * (b.sequence - a.sequence) as i64;
        for by in [Span::from_millis(-2), Span::from_millis(10), Span::from_millis(-10), Span::from_nanos(1)]
        {
            source.move_phase(PhaseMove::Stretch(by)).unwrap();
            let (after, code) = next(&mut source);
            assert_eq!(after.mono - before.mono, periods(&before, &after) + by);
            // The strip tells when that was in truth, wherever the camera was moved.
            let error = config.clock.truth(after.mono) - code.capture;
            assert!(error.abs() < Span::from_millis(5), "{error}");
            before = after;
        }
        let restart = PhaseMove::Restart { at: before.mono, every: Span::from_millis(20) };
        assert!(source.move_phase(restart).is_err());
    }

    #[test]
    fn it_waits_no_longer_than_told() {
        let config = CaptureConfig { rate: Some("0.1".parse().unwrap()), ..CaptureConfig::default() };
        let mut source = open("", &config);
        // Of two tries at most one can fall on the single frame in ten seconds.
        let errors = (0..2).filter_map(|_| source.next(Duration::from_millis(1)).err());
        let error = errors.last().expect("a timeout");
        assert!(error.is_recoverable() && matches!(error, CaptureError::Timeout { .. }), "{error}");
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        for size in ["641x480", "32x32", "4096x4096"] {
            let config = CaptureConfig { size: Some(size.parse().unwrap()), ..CaptureConfig::default() };
            let Err(error) = TestSource::open(TestSpec::default(), &config) else {
                panic!("{size} was taken")
            };
            assert!(error.to_string().contains("160x96"), "{error}");
        }
        let config = CaptureConfig { size: Some(MINIMUM), ..CaptureConfig::default() };
        next(&mut open("", &config));
    }
}
