//! H.264 encoding of captured pictures.

use framelock_common::time::Span;
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
    /// Frames per second that will come.
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

/// An H.264 encoder for one stream: constrained baseline, no reordering, one frame out for each in.
///
/// Rate control never skips a frame, since each one carries an instant that others are to be matched
/// with. Bits that a key frame takes are saved on the frames after it; over 2 s the rate stays within
/// 10 % unless the picture needs less, or more at the coarsest quantizer.
pub struct Encoder {
    config: EncodeConfig,
    encoder: openh264::encoder::Encoder,
    /// Whether the library has seen a frame: some options it takes only then.
    started: bool,
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
        Ok(Self { config, encoder, started: false })
    }

    /// Changes the wanted bits per second and the frames per second that really come, from the next
    /// frame on: a camera may deliver fewer than it declares.
    ///
    /// # Errors
    /// When the bitrate is out of range, or the library refuses.
    pub fn set_rates(&mut self, bitrate: u32, rate: FrameRate) -> Result<(), EncodeError> {
        let config = EncodeConfig { bitrate, rate, ..self.config };
        if let Err(what) = check(&config) {
            return Err(EncodeError::Settings { size: config.size, bitrate, what });
        }
        if !self.started {
            *self = Self::new(config)?;
            return Ok(());
        }
        framelock_openh264::set_frame_rate(&mut self.encoder, rate.as_hz() as f32).map_err(library)?;
        framelock_openh264::set_bitrate(&mut self.encoder, bitrate.cast_signed()).map_err(library)?;
        self.config = config;
        Ok(())
    }

    /// Encodes `picture`; `force_key` makes it an IDR frame.
    ///
    /// # Errors
    /// When the size is another one, or the library fails.
    pub fn encode(&mut self, picture: &I420, force_key: bool) -> Result<EncodedFrame, EncodeError> {
        if picture.size() != self.config.size {
            return Err(EncodeError::WrongSize { expected: self.config.size, got: picture.size() });
        }
        if force_key {
            self.encoder.force_intra_frame();
        }
        self.started = true;
        self.started = true;
        let stream = self.encoder.encode(picture).map_err(library)?;
        let (data, key) = (stream.to_vec(), stream.frame_type() == FrameType::IDR);
        if data.is_empty() {
            return Err(EncodeError::Library("it made nothing of a frame".to_owned()));
        }
        Ok(EncodedFrame { data, key })
    }
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
    let settings = EncoderConfig::new()
        .usage_type(UsageType::CameraVideoRealTime)
        .rate_control_mode(RateControlMode::Bitrate)
        .skip_frames(false)
        .bitrate(BitRate::from_bps(config.bitrate))
        .max_frame_rate(MaxRate::from_hz(config.rate.as_hz() as f32))
        .intra_frame_period(IntraFramePeriod::from_num_frames(
            config.rate.frames_in(config.keyframe_interval),
        ))
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
        (self.width(), self.chroma_width(), self.chroma_width())
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

    /// Encodes `seconds` of the moving pattern; frames for which `force` holds are forced to be key.
    fn encode(config: EncodeConfig, seconds: u64, force: impl Fn(u64) -> bool) -> Vec<EncodedFrame> {
        let mut encoder = Encoder::new(config).unwrap();
        let (pattern, pool) = (TestPattern::new(), PicturePool::new());
        let frames = 0..seconds * config.rate.as_hz() as u64;
        let encode = |number| {
            let mut picture = pool.take(config.size);
            pattern.draw(&mut picture, number);
            encoder.encode(&picture, force(number)).unwrap()
        };
        frames.map(encode).collect()
    }

    /// The lowest and highest bitrate over any 2 s, as parts of the wanted one.
    fn extremes(config: EncodeConfig, frames: &[EncodedFrame]) -> (f64, f64) {
        let window = 2 * config.rate.as_hz() as usize;
        let rates = frames.windows(window).map(|frames| {
            let bits: usize = frames.iter().map(|frame| frame.data.len() * 8).sum();
            bits as f64 / 2.0 / f64::from(config.bitrate)
        });
        rates.fold((f64::MAX, 0.0), |(low, high), rate| (rate.min(low), rate.max(high)))
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
            let (low, high) = extremes(config, &frames);
            assert!(low > 0.9 && high < 1.1, "{config:?}: {low:.3} to {high:.3}");
        }
    }

    #[test]
    fn key_frames_on_demand_do_not_break_the_bitrate() {
        let config = config("640x480", 30, 1_500_000);
        let frames = encode(config, 8, |number| number % 20 == 13);
        let (low, high) = extremes(config, &frames);
        assert!(low > 0.9 && high < 1.1, "{low:.3} to {high:.3}");
    }

    #[test]
    fn a_key_frame_comes_every_interval_and_when_asked_for() {
        let frames = encode(config("320x180", 10, 200_000), 9, |number| number == 33);
        let keys: Vec<_> = frames.iter().enumerate().filter(|(_, frame)| frame.key).map(|(i, _)| i).collect();
        assert_eq!(keys[..3], [0, 20, 33][..], "{keys:?}");
        assert!(keys.windows(2).all(|pair| pair[1] - pair[0] <= 20), "{keys:?}");
        for (number, frame) in frames.iter().enumerate() {
            let starts_with_sps = frame.data.starts_with(&[0, 0, 0, 1]) && frame.data[4] & 0x1f == 7;
            assert_eq!(starts_with_sps, frame.key, "frame {number}");
        }
    }

    #[test]
    fn rates_change_while_encoding() {
        let slow = config("640x480", 15, 400_000);
        let mut encoder = Encoder::new(config("640x480", 30, 1_500_000)).unwrap();
        let (pattern, pool) = (TestPattern::new(), PicturePool::new());
        let encode = |encoder: &mut Encoder, number| {
            let mut picture = pool.take(slow.size);
            pattern.draw(&mut picture, number);
            encoder.encode(&picture, false).unwrap()
        };
        encoder.set_rates(1_200_000, slow.rate).unwrap();
        (0..30).for_each(|number| drop(encode(&mut encoder, number)));
        encoder.set_rates(slow.bitrate, slow.rate).unwrap();
        // Two seconds to settle: the buffer still owes for the higher rate.
        (30..60).for_each(|number| drop(encode(&mut encoder, number)));
        let frames: Vec<_> = (60..180).map(|number| encode(&mut encoder, number)).collect();
        let (low, high) = extremes(slow, &frames);
        assert!(low > 0.9 && high < 1.1, "{low:.3} to {high:.3}");
        assert!(encoder.set_rates(1, slow.rate).is_err());
    }

    #[test]
    fn what_was_encoded_decodes_to_the_picture() {
        let config = config("320x180", 10, 400_000);
        let frames = encode(config, 1, |_| false);
        let mut decoder = openh264::decoder::Decoder::new().unwrap();
        let (pattern, pool) = (TestPattern::new(), PicturePool::new());
        for (number, frame) in frames.iter().enumerate() {
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
        assert!(matches!(encoder.encode(&other, false), Err(EncodeError::WrongSize { .. })));
    }
}
