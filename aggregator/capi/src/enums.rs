//! Enumerations and their words. What comes from C as one is a plain number here until it is checked.

use std::ffi::{CStr, c_char};

use framelock_aggregator::deliver::{Chroma, Matrix, Range};
use framelock_aggregator::sync::SourceState;
use framelock_aggregator::{Codec, FrameStatus, FrameType, PixelFormat, TimeSource};

use crate::{Failure, args};

/// Why a camera has a frame in a packet, or why not.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramelockFrameStatus {
    /// It has one.
    Okay = 0,
    /// The camera runs but has no frame for this instant.
    Dropped = 1,
    /// The camera's frame of this instant arrived damaged.
    ReadError = 2,
    /// The source is down; it keeps reconnecting.
    Broken = 3,
    /// The camera has not been seen yet.
    Starting = 4,
}

/// Where a frame's capture time comes from, best first.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramelockTimeSource {
    /// There is no frame.
    None = 0,
    /// RTCP sender reports (RFC 3550 section 6.4.1).
    SenderReport = 1,
    /// The NTP-64 header extension (RFC 6051).
    InBand = 2,
    /// The capture time in the H.264 SEI (MISB ST 0604).
    Sei = 3,
    /// No capture time was sent: arrival minus an estimate of the smallest delay. The bound is wide.
    Arrival = 4,
}

/// How a frame is predicted, as its slices say.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramelockFrameType {
    /// The stream does not say, or there is no frame.
    Unknown = 0,
    /// From itself alone.
    I = 1,
    /// From one earlier frame a block.
    P = 2,
    /// From up to two frames a block, which may be later ones.
    B = 3,
}

/// How a frame's compressed data is coded.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramelockCodec {
    /// There is no frame.
    None = 0,
    /// One access unit of H.264, as an Annex B byte stream.
    H264 = 1,
    /// One JPEG image.
    Jpeg = 2,
}

/// Whether a camera's source is up.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramelockCameraState {
    /// Connecting for the first time.
    Starting = 0,
    /// Connected.
    Live = 1,
    /// Down; it keeps reconnecting.
    Broken = 2,
}

/// What images a consumer wants, and how an image is laid out; 8 bits a channel.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramelockPixels {
    /// None: compressed frames and their times. Nothing is decoded for such a consumer.
    None = 0,
    /// Blue, green, red; 3 bytes a pixel: what OpenCV works with.
    Bgr = 1,
    /// Red, green, blue; 3 bytes a pixel.
    Rgb = 2,
    /// Brightness, 0 for black and 255 for white; 1 byte a pixel.
    Gray = 3,
}

/// What becomes of packets that a consumer is too slow for.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramelockQueue {
    /// The newest are kept; older ones give way and are counted as skipped.
    Newest = 0,
    /// Every packet is wanted: sources that can wait, such as files, wait. Live cameras cannot: once there are 256
    /// packets more than said, the oldest gives way and is counted as skipped.
    All = 1,
}

/// How much chroma a decoded picture has.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramelockChroma {
    /// None: luma only.
    Gray = 0,
    /// Half of luma's size both ways, rounded up.
    Yuv420 = 1,
    /// Half of luma's width, rounded up.
    Yuv422 = 2,
    /// As much as luma.
    Yuv444 = 3,
}

/// How colours are made of luma and chroma (ITU-T H.264 table E-5).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramelockMatrix {
    /// ITU-R BT.601: also taken where the stream does not say, and for JPEG.
    Bt601 = 0,
    /// ITU-R BT.709.
    Bt709 = 1,
    /// ITU-R BT.2020, non-constant luminance.
    Bt2020 = 2,
    /// SMPTE 240M.
    Smpte240m = 3,
    /// FCC Title 47.
    Fcc = 4,
}

/// Which sample values mean black and white.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramelockRange {
    /// Luma from 16 to 235, chroma from 16 to 240.
    Limited = 0,
    /// 0 to 255, as in JPEG.
    Full = 1,
}

/// A value as C hands it in, which may be none of the enumeration's. In the header it is [`FramelockPixels`].
pub type PixelsValue = u32;
/// The same of [`FramelockQueue`].
pub type QueueValue = u32;
/// The same of [`FramelockFrameStatus`].
pub type FrameStatusValue = u32;
/// The same of [`FramelockTimeSource`].
pub type TimeSourceValue = u32;
/// The same of [`FramelockFrameType`].
pub type FrameTypeValue = u32;
/// The same of [`FramelockCodec`].
pub type CodecValue = u32;
/// The same of [`FramelockCameraState`].
pub type CameraStateValue = u32;

/// The layout with the number `value`; `None` for no images.
pub(crate) fn pixels(value: PixelsValue, name: &str) -> Result<Option<PixelFormat>, Failure> {
    const BGR: u32 = FramelockPixels::Bgr as u32;
    const RGB: u32 = FramelockPixels::Rgb as u32;
    const GRAY: u32 = FramelockPixels::Gray as u32;
    match value {
        0 => Ok(None),
        BGR => Ok(Some(PixelFormat::Bgr)),
        RGB => Ok(Some(PixelFormat::Rgb)),
        GRAY => Ok(Some(PixelFormat::Gray)),
        _ => Err(args::wrong(name, &format!("{value} is no FramelockPixels"))),
    }
}

/// The layout's number.
pub(crate) const fn layout(format: PixelFormat) -> FramelockPixels {
    match format {
        PixelFormat::Bgr => FramelockPixels::Bgr,
        PixelFormat::Rgb => FramelockPixels::Rgb,
        PixelFormat::Gray => FramelockPixels::Gray,
    }
}

/// Conversion from the aggregator's enumeration, and the words of its members by their numbers.
macro_rules! enumeration {
    ($ours:ident from $theirs:ident { $($member:ident: $word:literal),+ $(,)? }) => {
        impl From<$theirs> for $ours {
            fn from(value: $theirs) -> Self {
                match value {
                    $($theirs::$member => Self::$member,)+
                }
            }
        }

        impl $ours {
            /// The word for the member with the number `value`.
            pub(crate) fn word(value: u32) -> &'static CStr {
                const WORDS: &[(u32, &CStr)] = &[$(($ours::$member as u32, $word)),+];
                WORDS.iter().find(|(number, _)| *number == value).map_or(c"unknown", |(_, word)| word)
            }
        }
    };
}

enumeration!(FramelockFrameStatus from FrameStatus {
    Okay: c"okay", Dropped: c"dropped", ReadError: c"read-error", Broken: c"broken", Starting: c"starting",
});
enumeration!(FramelockTimeSource from TimeSource {
    SenderReport: c"sender-report", InBand: c"in-band", Sei: c"sei", Arrival: c"arrival",
});
enumeration!(FramelockFrameType from FrameType { I: c"I", P: c"P", B: c"B" });
enumeration!(FramelockCodec from Codec { H264: c"h264", Jpeg: c"jpeg" });
enumeration!(FramelockCameraState from SourceState {
    Starting: c"starting", Live: c"live", Broken: c"broken",
});

impl From<Chroma> for FramelockChroma {
    fn from(chroma: Chroma) -> Self {
        match chroma {
            Chroma::Gray => Self::Gray,
            Chroma::Yuv420 => Self::Yuv420,
            Chroma::Yuv422 => Self::Yuv422,
            Chroma::Yuv444 => Self::Yuv444,
        }
    }
}

impl From<Matrix> for FramelockMatrix {
    fn from(matrix: Matrix) -> Self {
        match matrix {
            Matrix::Bt601 => Self::Bt601,
            Matrix::Bt709 => Self::Bt709,
            Matrix::Bt2020 => Self::Bt2020,
            Matrix::Smpte240m => Self::Smpte240m,
            Matrix::Fcc => Self::Fcc,
        }
    }
}

impl From<Range> for FramelockRange {
    fn from(range: Range) -> Self {
        match range {
            Range::Limited => Self::Limited,
            Range::Full => Self::Full,
        }
    }
}

/// The word for a status, as in the JSON form of packets: "okay", "read-error". A constant string; "unknown" for
/// a value that is none.
#[unsafe(no_mangle)]
pub extern "C" fn framelock_frame_status_name(status: FrameStatusValue) -> *const c_char {
    FramelockFrameStatus::word(status).as_ptr()
}

/// The word for a time source, as in the JSON form of packets: "sender-report". A constant string; "unknown" where
/// there is no frame and for a value that is none.
#[unsafe(no_mangle)]
pub extern "C" fn framelock_time_source_name(source: TimeSourceValue) -> *const c_char {
    FramelockTimeSource::word(source).as_ptr()
}

/// "I", "P" or "B". A constant string; "unknown" for any other value.
#[unsafe(no_mangle)]
pub extern "C" fn framelock_frame_type_name(kind: FrameTypeValue) -> *const c_char {
    FramelockFrameType::word(kind).as_ptr()
}

/// "h264" or "jpeg". A constant string; "unknown" for any other value.
#[unsafe(no_mangle)]
pub extern "C" fn framelock_codec_name(codec: CodecValue) -> *const c_char {
    FramelockCodec::word(codec).as_ptr()
}

/// "starting", "live" or "broken". A constant string; "unknown" for any other value.
#[unsafe(no_mangle)]
pub extern "C" fn framelock_camera_state_name(state: CameraStateValue) -> *const c_char {
    FramelockCameraState::word(state).as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_aggregator() {
        use FrameStatus::{Broken, Dropped, Okay, ReadError, Starting};
        use TimeSource::{Arrival, InBand, Sei, SenderReport};
        for status in [Okay, Dropped, ReadError, Broken, Starting] {
            let ours = FramelockFrameStatus::from(status);
            assert_eq!(FramelockFrameStatus::word(ours as u32).to_str(), Ok(status.as_str()));
        }
        for source in [SenderReport, InBand, Sei, Arrival] {
            let ours = FramelockTimeSource::from(source);
            assert_eq!(FramelockTimeSource::word(ours as u32).to_str(), Ok(source.as_str()));
        }
        for kind in [FrameType::I, FrameType::P, FrameType::B] {
            let ours = FramelockFrameType::from(kind);
            assert_eq!(FramelockFrameType::word(ours as u32).to_str(), Ok(kind.as_str()));
        }
        for codec in [Codec::H264, Codec::Jpeg] {
            let ours = FramelockCodec::from(codec);
            assert_eq!(FramelockCodec::word(ours as u32).to_str(), Ok(codec.as_str()));
        }
        for state in [SourceState::Starting, SourceState::Live, SourceState::Broken] {
            let ours = FramelockCameraState::from(state);
            assert_eq!(FramelockCameraState::word(ours as u32).to_str(), Ok(state.as_str()));
        }
        assert_eq!(FramelockTimeSource::word(0), c"unknown");
        assert_eq!(FramelockFrameStatus::word(5), c"unknown");
    }

    #[test]
    fn layouts_have_the_numbers_that_the_header_gives_them() {
        for format in [PixelFormat::Bgr, PixelFormat::Rgb, PixelFormat::Gray] {
            assert_eq!(pixels(layout(format) as u32, "pixels").unwrap(), Some(format));
        }
        assert_eq!(pixels(FramelockPixels::None as u32, "pixels").unwrap(), None);
        assert!(
            format!("{:?}", pixels(4, "pixels").unwrap_err()).contains("pixels: 4 is no FramelockPixels")
        );
    }
}
