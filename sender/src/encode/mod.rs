//! H.264 encoding of captured pictures.

mod cadence;

use cadence::Cadence;
use framelock_common::time::{BoardTime, Span};
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, EncoderConfig, FrameRate as MaxRate, FrameType, IntraFramePeriod, Profile,
    RateControlMode, UsageType, VuiConfig,
};
use openh264::formats::YUVSource;

use crate::capture::{FrameRate, I420, Size};

/// How to encode.
#[derive(Clone, Copy, Debug)]
pub struct EncodeConfig {
    /// Picture size; a picture of another size is an error.
    pub size: Size,
    /// Frames per second that are said to come; what really comes is measured.
    pub rate: FrameRate,
    /// Wanted bits per second.
    pub bitrate: u32,
    /// Time from one IDR frame to the next.
    pub keyframe_interval: Span,
    /// Encoder threads; 0 takes as many as help.
    pub threads: u16,
    /// Whether luma uses 0 to 255, to be signalled to decoders.
    pub full_range: bool,
}

/// An encoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedFrame {
    /// The access unit in Annex B, parameter sets before each IDR frame.
    pub data: Vec<u8>,
    /// Whether it is an IDR frame.
    pub key: bool,
}

/// Why a picture was not encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The settings cannot be served.
    #[error("cannot encode {size} at {bitrate} bit/s: {what}")]
    Settings {
        /// Picture size.
        size: Size,
        /// Wanted bits per second.
        bitrate: u32,
        /// What is wrong.
        what: String,
    },
    /// The picture is not of the configured size.
    #[error("a picture of {got} came to an encoder for {expected}")]
    WrongSize {
        /// Configured size.
        expected: Size,
        /// The picture's.
        got: Size,
    },
    /// The encoder library failed.
    #[error("the H.264 encoder failed: {0}")]
    Library(String),
}

/// The most bits per second that an encoder is asked for.
const MAX_BITRATE: u32 = 100_000_000;
/// The fewest: below it not even the headers fit.
const MIN_BITRATE: u32 = 10_000;
/// From this many pixels on, two threads are faster than one; below it they get in each other's way.
const THREADS_HELP_FROM: u64 = 1280 * 720;
/// openh264 splits a picture over more threads than this only to lose quality.
const MAX_THREADS: u16 = 4;

/// The frame rates that openh264 takes; it silently takes the nearest for another.
const LIBRARY_MIN_HZ: f64 = 1.0;
const LIBRARY_MAX_HZ: f64 = 60.0;

/// An H.264 encoder for one stream: constrained baseline, no reordering, one frame out for each in.
///
/// Rate control never skips a frame, since each one carries an instant that others are to be matched
/// with. Bits that a key frame takes are saved on the frames after it; over 2 s the rate stays within
/// 10 % unless the picture needs less, or more at the coarsest quantizer. The rate of the pictures is
/// measured by their capture times, so that this also holds for a camera that delivers fewer than it
/// declares; after a change it holds again within 4 s. Key frames go by the same times.
pub struct Encoder {
    config: EncodeConfig,
    encoder: openh264::encoder::Encoder,
    cadence: Cadence,
}

impl Encoder {
    /// An encoder for `config`.
    ///
    /// # Errors
    /// When the size is odd, too small or too large, the bitrate out of range, or the library refuses.
    pub fn new(config: EncodeConfig) -> Result<Self, EncodeError> {
        if let Err(what) = check(&config) {
            return Err(EncodeError::Settings { size: config.size, bitrate: config.bitrate, what });
        }
        let api = OpenH264API::from_source();
        let mut encoder =
            openh264::encoder::Encoder::with_api_config(api, settings(&config)).map_err(library)?;
        framelock_openh264::silence(&mut encoder).map_err(library)?;
        Ok(Self { config, encoder, cadence: Cadence::new(config.rate, config.keyframe_interval) })
    }

    /// Makes the encoder one for pictures of this kind if it is not: a camera that was plugged in again may
    /// deliver others than before. The first frame after a change is an IDR frame.
    ///
    /// # Errors
    /// When such pictures cannot be encoded; the encoder is then what it was.
    pub fn fit(&mut self, size: Size, full_range: bool) -> Result<(), EncodeError> {
        if (self.config.size, self.config.full_range) != (size, full_range) {
            *self = Self::new(EncodeConfig { size, full_range, ..self.config })?;
        }
        Ok(())
    }

    /// Encodes `picture`, which was taken at `mono`; `force_key` makes it an IDR frame. The first one and
    /// one in every key frame interval are IDR frames anyway.
    ///
    /// # Errors
    /// When the size is another one, or the library fails.
    pub fn encode(
        &mut self,
        picture: &I420,
        mono: BoardTime,
        force_key: bool,
    ) -> Result<EncodedFrame, EncodeError> {
        if picture.size() != self.config.size {
            return Err(EncodeError::WrongSize { expected: self.config.size, got: picture.size() });
        }
        if let Some(rate) = self.cadence.handle_picture(mono) {
            self.follow(rate)?;
        }
        if force_key || self.cadence.is_key_due(mono) {
            self.encoder.force_intra_frame();
        }
        let stream = self.encoder.encode(picture).map_err(library)?;
        let (data, key) = (stream.to_vec(), stream.frame_type() == FrameType::IDR);
        if data.is_empty() {
            return Err(EncodeError::Library("it made nothing of a frame".to_owned()));
        }
        if key {
            self.cadence.handle_key(mono);
        }
        Ok(EncodedFrame { data, key })
    }

    /// Spreads the bits over pictures that come at `rate`.
    fn follow(&mut self, rate: FrameRate) -> Result<(), EncodeError> {
        tracing::debug!("pictures come at {:.2} fps; declared were {}", rate.as_hz(), self.config.rate);
        let (hz, bitrate) = library_rates(rate, self.config.bitrate);
        framelock_openh264::set_frame_rate(&mut self.encoder, hz).map_err(library)?;
        framelock_openh264::set_bitrate(&mut self.encoder, bitrate.cast_signed()).map_err(library)
    }
}

/// Frame rate and bitrate to tell the library, so that a picture gets the bits it should have also where
/// the library does not take the frame rate.
fn library_rates(rate: FrameRate, bitrate: u32) -> (f32, u32) {
    let hz = rate.as_hz();
    let taken = hz.clamp(LIBRARY_MIN_HZ, LIBRARY_MAX_HZ);
    let bitrate = (f64::from(bitrate) * taken / hz).clamp(1.0, f64::from(MAX_BITRATE));
    (taken as f32, bitrate as u32)
}

fn library(error: impl std::fmt::Display) -> EncodeError {
    EncodeError::Library(error.to_string())
}

fn check(config: &EncodeConfig) -> Result<(), String> {
    let Size { width, height } = config.size;
    if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
        return Err("width and height must be even".to_owned());
    }
    if width.min(height) < 16 || width.max(height) > 3840 || width.min(height) > 2160 {
        return Err("the size must be from 16x16 to 3840x2160".to_owned());
    }
    if !(MIN_BITRATE..=MAX_BITRATE).contains(&config.bitrate) {
        return Err(format!(
            "the bitrate must be from {} to {} kbit/s",
            MIN_BITRATE / 1_000,
            MAX_BITRATE / 1_000
        ));
    }
    Ok(())
}

fn settings(config: &EncodeConfig) -> EncoderConfig {
    let threads = match config.threads {
        0 if config.size.pixels() < THREADS_HELP_FROM => 1,
        0 => std::thread::available_parallelism()
            .map_or(1, |cores| cores.get().min(usize::from(MAX_THREADS)) as u16),
        asked => asked.min(MAX_THREADS),
    };
    let (hz, bitrate) = library_rates(config.rate, config.bitrate);
    let settings = EncoderConfig::new()
        .usage_type(UsageType::CameraVideoRealTime)
        .rate_control_mode(RateControlMode::Bitrate)
        .skip_frames(false)
        .bitrate(BitRate::from_bps(bitrate))
        .max_frame_rate(MaxRate::from_hz(hz))
        // None by itself: it would count frames, and key frames go by time.
        .intra_frame_period(IntraFramePeriod::from_num_frames(0))
        .profile(Profile::Baseline)
        .complexity(Complexity::Low)
        .scene_change_detect(false)
        .num_threads(threads)
        .vui(VuiConfig::bt601().full_range(config.full_range));
    if threads == 1 {
        return settings;
    }
    // Threads work on slices. Slices of a mean frame's size: a key frame stays far below the library's
    // limit of 35 slices.
    let frame_bytes =
        u32::try_from(u64::from(config.bitrate) / 8 / u64::from(config.rate.as_hz().max(1.0) as u32));
    settings.max_slice_len(frame_bytes.unwrap_or(u32::MAX).max(10_000))
}

impl YUVSource for I420 {
    fn dimensions(&self) -> (usize, usize) {
        (self.width(), self.height())
    }

    fn strides(&self) -> (usize, usize, usize) {
        let (cb, cr) = self.chroma_strides();
        (self.stride(), cb, cr)
    }

    fn y(&self) -> &[u8] {
        self.y()
    }

    fn u(&self) -> &[u8] {
        self.u()
    }

    fn v(&self) -> &[u8] {
        self.v()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{PicturePool, TestPattern};

    fn config(size: &str, hz: u32, bitrate: u32) -> EncodeConfig {
        EncodeConfig {
            size: size.parse().unwrap(),
            rate: FrameRate::from_hz(hz),
            bitrate,
            keyframe_interval: Span::from_secs(2),
            threads: 0,
            full_range: false,
        }
    }

    /// What a camera does for a while: its true rate in frames per 1000 s, and for how long.
    type Act = (u32, u64);

    /// A scripted camera: the instants at which it takes pictures, a tenth of a period early or late.
    fn instants(script: &[Act]) -> Vec<BoardTime> {
        let mut instants = Vec::new();
        let mut start = BoardTime::from_nanos(7_000_000_000);
        for &(millihertz, seconds) in script {
            let rate = FrameRate::new(millihertz, 1_000).unwrap();
            let count = i64::from(millihertz) * seconds as i64 / 1_000;
            let jitter = rate.period().mul_div(1, 10);
            instants.extend(
                (0..count).map(|number| start + rate.time_of(number) + jitter * (number * 7 % 3 - 1)),
            );
            start += Span::from_secs(seconds as i64);
        }
        instants
    }

    /// The moving pattern as taken at `instants`, encoded; frames for which `force` holds are forced to be
    /// key.
    fn encode_at(
        config: EncodeConfig,
        instants: &[BoardTime],
        force: impl Fn(u64) -> bool,
    ) -> Vec<(BoardTime, EncodedFrame)> {
        let mut encoder = Encoder::new(config).unwrap();
        let (pattern, pool) = (TestPattern::new(), PicturePool::new());
        let encode = |(number, &mono)| {
            let mut picture = pool.take(config.size);
            pattern.draw(&mut picture, number);
            (mono, encoder.encode(&picture, mono, force(number)).unwrap())
        };
        (0..).zip(instants).map(encode).collect()
    }

    /// `seconds` of it from a camera that keeps its word.
    fn encode(
        config: EncodeConfig,
        seconds: u64,
        force: impl Fn(u64) -> bool,
    ) -> Vec<(BoardTime, EncodedFrame)> {
        encode_at(config, &instants(&[(1_000 * config.rate.as_hz() as u32, seconds)]), force)
    }

    /// The lowest and highest bitrate over 2 s from any frame on, of frames from `from` seconds after the
    /// first to `to`, as parts of the wanted one.
    fn extremes(
        config: EncodeConfig,
        frames: &[(BoardTime, EncodedFrame)],
        from: i64,
        to: i64,
    ) -> (f64, f64) {
        let start = BoardTime::from_nanos(7_000_000_000);
        let (from, to) = (start + Span::from_secs(from), start + Span::from_secs(to));
        let inside: Vec<_> = frames.iter().filter(|(at, _)| (from..to).contains(at)).collect();
        let mut range = (f64::MAX, 0.0_f64);
        for (first, (begin, _)) in inside.iter().enumerate() {
            let Some(count) = inside[first..].iter().position(|(at, _)| *at - *begin >= Span::from_secs(2))
            else {
                break;
            };
            let bits: usize =
                inside[first..first + count].iter().map(|(_, frame)| frame.data.len() * 8).sum();
            let seconds = (inside[first + count].0 - *begin).as_secs_f64();
            let part = bits as f64 / seconds / f64::from(config.bitrate);
            range = (range.0.min(part), range.1.max(part));
        }
        range
    }

    #[test]
    fn every_two_seconds_hold_the_bitrate_within_ten_per_cent() {
        for config in [
            config("640x480", 30, 300_000),
            config("640x480", 30, 1_500_000),
            config("640x480", 15, 500_000),
            config("320x180", 10, 150_000),
            EncodeConfig { threads: 2, ..config("640x480", 30, 1_500_000) },
        ] {
            let frames = encode(config, 8, |_| false);
            let (low, high) = extremes(config, &frames, 0, 8);
            assert!(low > 0.9 && high < 1.1, "{config:?}: {low:.3} to {high:.3}");
        }
    }

    #[test]
    fn key_frames_on_demand_do_not_break_the_bitrate() {
        let config = config("640x480", 30, 1_500_000);
        let frames = encode(config, 8, |number| number % 20 == 13);
        let (low, high) = extremes(config, &frames, 0, 8);
        assert!(low > 0.9 && high < 1.1, "{low:.3} to {high:.3}");
    }

    #[test]
    fn a_key_frame_comes_every_interval_and_when_asked_for() {
        let frames = encode(config("320x180", 10, 200_000), 9, |number| number == 33);
        let keys: Vec<_> =
            frames.iter().enumerate().filter(|(_, (_, frame))| frame.key).map(|(i, _)| i).collect();
        assert_eq!(keys[..3], [0, 20, 33][..], "{keys:?}");
        assert!(keys.windows(2).all(|pair| pair[1] - pair[0] <= 20), "{keys:?}");
        for (number, (_, frame)) in frames.iter().enumerate() {
            let starts_with_sps = frame.data.starts_with(&[0, 0, 0, 1]) && frame.data[4] & 0x1f == 7;
            assert_eq!(starts_with_sps, frame.key, "frame {number}");
        }
    }

    /// Every key frame is 2 s after the one before, give or take half a period of at most 100 ms and jitter.
    fn assert_key_frames(frames: &[(BoardTime, EncodedFrame)]) {
        let keys: Vec<_> = frames.iter().filter(|(_, frame)| frame.key).map(|(at, _)| *at).collect();
        assert!(keys.len() > 5, "{}", keys.len());
        for pair in keys.windows(2) {
            let gap = pair[1] - pair[0];
            assert!((gap - Span::from_secs(2)).abs() < Span::from_millis(70), "{gap}");
        }
    }

    #[test]
    fn a_camera_slower_than_it_declares_holds_bitrate_and_key_frames() {
        for (declared, millihertz) in [(25, 21_000), (30, 7_500), (30, 20_370), (10, 14_000)] {
            let config = config("320x240", declared, 400_000);
            let frames = encode_at(config, &instants(&[(millihertz, 16)]), |_| false);
            let (low, high) = extremes(config, &frames, 4, 16);
            assert!(low > 0.9 && high < 1.1, "{millihertz} mHz, not {declared} Hz: {low:.3} to {high:.3}");
            assert_key_frames(&frames);
        }
    }

    #[test]
    fn a_camera_that_halves_its_rate_in_the_dark_is_followed_down_and_up() {
        let config = config("320x240", 30, 400_000);
        let frames = encode_at(config, &instants(&[(30_000, 8), (15_000, 12), (30_000, 12)]), |_| false);
        for (from, to) in [(0, 8), (12, 20), (24, 32)] {
            let (low, high) = extremes(config, &frames, from, to);
            assert!(low > 0.9 && high < 1.1, "{from} to {to} s: {low:.3} to {high:.3}");
        }
        assert_key_frames(&frames);
    }

    #[test]
    fn rates_that_the_library_does_not_take_hold_the_bitrate_too() {
        let config = config("320x180", 120, 600_000);
        let frames = encode_at(config, &instants(&[(120_000, 6), (90_000, 8)]), |_| false);
        for (from, to) in [(0, 6), (10, 14)] {
            let (low, high) = extremes(config, &frames, from, to);
            assert!(low > 0.9 && high < 1.1, "{from} to {to} s: {low:.3} to {high:.3}");
        }
    }

    #[test]
    fn what_was_encoded_decodes_to_the_picture() {
        let config = config("320x180", 10, 400_000);
        let frames = encode(config, 1, |_| false);
        let mut decoder = openh264::decoder::Decoder::new().unwrap();
        let (pattern, pool) = (TestPattern::new(), PicturePool::new());
        for (number, (_, frame)) in frames.iter().enumerate() {
            let decoded = decoder.decode(&frame.data).unwrap().expect("one picture for each frame");
            let mut original = pool.take(config.size);
            pattern.draw(&mut original, number as u64);
            assert_eq!(decoded.dimensions(), (320, 180));
            let rows = decoded.y().chunks(decoded.strides().0).zip(original.y().chunks(320));
            let difference: u64 =
                rows.flat_map(|(a, b)| a.iter().zip(b)).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            assert!(difference < 320 * 180 * 6, "frame {number}: {difference}");
        }
    }

    #[test]
    fn impossible_settings_are_refused_with_the_reason() {
        for (size, bitrate, hint) in [
            ("641x480", 300_000, "even"),
            ("8x8", 300_000, "16x16"),
            ("4096x2160", 300_000, "3840x2160"),
            ("640x480", 100, "10 to 100000 kbit/s"),
        ] {
            let Err(error) = Encoder::new(config(size, 30, bitrate)) else { panic!("{size} was taken") };
            assert!(error.to_string().contains(hint), "{error}");
        }
        let mut encoder = Encoder::new(config("640x480", 30, 300_000)).unwrap();
        let other = PicturePool::new().take(Size::new(320, 240));
        let encoded = encoder.encode(&other, BoardTime::from_nanos(0), false);
        assert!(matches!(encoded, Err(EncodeError::WrongSize { .. })));
    }
}
