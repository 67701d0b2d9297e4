//! OpenH264's decoder: no system library. It gives pictures without saying of which access unit, and so
//! serves only streams in which they come out in the order in which they went in: B-frames are refused.

use framelock_common::h264::{FrameType, Inspector};
use openh264::decoder::{DecodedYUV, Decoder as OpenH264};
use openh264::formats::YUVSource;

use super::picture::{Plane, picture};
use super::{DecodeError, Decoder, Pictures};
use crate::deliver::Picture;

/// An openh264 decoder of one stream.
pub(super) struct OpenH264Decoder {
    decoder: OpenH264,
    inspector: Inspector,
}

impl OpenH264Decoder {
    pub(super) fn new() -> Result<Self, DecodeError> {
        let decoder = OpenH264::new().map_err(|error| DecodeError::Open(error.to_string()))?;
        Ok(Self { decoder, inspector: Inspector::new() })
    }
}

impl Decoder for OpenH264Decoder {
    fn decode(&mut self, access_unit: &[u8], number: i64, out: &mut Pictures) -> Result<(), DecodeError> {
        if self.inspector.inspect(access_unit).frame_type == Some(FrameType::B) {
            return Err(DecodeError::Data(
                "openh264 takes no B-frames; build with feature ffmpeg".to_owned(),
            ));
        }
        // Without B-frames every access unit gives its picture at once.
        match self.decoder.decode(access_unit) {
            Ok(Some(yuv)) => {
                out.extend(planar(&yuv).map(|picture| (number, picture)));
                Ok(())
            }
            Ok(None) => Err(DecodeError::Data("no picture came out".to_owned())),
            Err(error) => Err(DecodeError::Data(error.to_string())),
        }
    }

    fn flush(&mut self, _out: &mut Pictures) {}
}

fn planar(yuv: &DecodedYUV<'_>) -> Option<Picture> {
    let (width, height) = yuv.dimensions();
    let strides = yuv.strides();
    let planes = [
        Plane { data: yuv.y(), stride: strides.0 },
        Plane { data: yuv.u(), stride: strides.1 },
        Plane { data: yuv.v(), stride: strides.2 },
    ];
    picture(width, height, planes)
}
