//! OpenH264's decoder: no system library. It gives pictures without saying of which access unit, and so
//! serves only streams in which they come out in the order in which they went in: B-frames are refused.

use framelock_common::h264::{FrameType, Inspector};
use openh264::decoder::{DecodedYUV, Decoder as OpenH264};
use openh264::formats::YUVSource;

use super::{DecodeError, Decoder, Output};
use crate::deliver::{Chroma, Matrix, OwnPlanes, Picture, PictureFormat, Range};

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
    fn decode(&mut self, access_unit: &[u8], number: i64, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        if self.inspector.inspect(access_unit).frame_type == Some(FrameType::B) {
            return Err(DecodeError::Data(
                "openh264 takes no B-frames; build with feature ffmpeg".to_owned(),
            ));
        }
        // Without B-frames every access unit gives its picture at once.
        match self.decoder.decode(access_unit) {
            Ok(Some(yuv)) => {
                out.push(Output { number, picture: planar(&yuv) });
                Ok(())
            }
            Ok(None) => Err(DecodeError::Data("no picture came out".to_owned())),
            Err(error) => Err(DecodeError::Data(error.to_string())),
        }
    }

    fn flush(&mut self, _out: &mut Vec<Output>) {}
}

/// A copy of the picture, which the library keeps only until its next.
fn planar(yuv: &DecodedYUV<'_>) -> Option<Picture> {
    let (width, height) = yuv.dimensions();
    let (y, u, v) = yuv.strides();
    let chroma = (width.div_ceil(2), height.div_ceil(2));
    let mut samples = Vec::with_capacity(width * height + 2 * chroma.0 * chroma.1);
    for (plane, stride, (width, height)) in
        [(yuv.y(), y, (width, height)), (yuv.u(), u, chroma), (yuv.v(), v, chroma)]
    {
        for row in plane.chunks(stride.max(1)).take(height) {
            samples.extend_from_slice(row.get(..width)?);
        }
    }
    let format = PictureFormat {
        width,
        height,
        chroma: Chroma::Yuv420,
        depth: 8,
        // The library does not tell what the stream says of its colours.
        matrix: Matrix::Bt601,
        range: Range::Limited,
    };
    Picture::new(format, Box::new(OwnPlanes::new(samples, (width, height), Some(chroma))))
}
