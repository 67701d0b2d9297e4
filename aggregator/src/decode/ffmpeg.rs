//! libavcodec's H.264 decoder.

use ffmpeg_the_third as ffmpeg;

use ffmpeg::codec::{self, threading};
use ffmpeg::format::Pixel;
use ffmpeg::{Dictionary, Packet, decoder, frame};

use super::picture::{Plane, picture};
use super::{DecodeError, Decoder, Pictures};
use crate::deliver::Picture;
use crate::source::MAX_MACROBLOCKS;

/// A libavcodec H.264 decoder of one stream.
pub(super) struct FfmpegDecoder {
    decoder: decoder::Video,
}

impl FfmpegDecoder {
    pub(super) fn new() -> Result<Self, DecodeError> {
        let open = |error: ffmpeg::Error| DecodeError::Open(error.to_string());
        ffmpeg::util::log::set_level(ffmpeg::util::log::Level::Fatal);
        let codec = decoder::find(codec::Id::H264)
            .ok_or_else(|| DecodeError::Open("this libavcodec has no H.264 decoder".to_owned()))?;
        let mut context = codec::Context::new_with_codec(codec);
        // Frame threads would hold every picture back by one frame each.
        context
            .set_threading(threading::Config { count: 1, ..threading::Config::kind(threading::Type::Slice) });
        let mut options = Dictionary::new();
        // What is larger has been refused before; this holds whatever a stream declares.
        options.set("max_pixels", (MAX_MACROBLOCKS * 256).to_string());
        let opened = context.decoder().open_as_with(codec, options);
        let decoder = opened.and_then(decoder::Opened::video).map_err(open)?;
        Ok(Self { decoder })
    }

    fn drain(&mut self, out: &mut Pictures) {
        let mut frame = frame::Video::empty();
        while self.decoder.receive_frame(&mut frame).is_ok() {
            let Some(number) = frame.pts() else { continue };
            if !frame.is_corrupt()
                && let Some(picture) = planar(&frame)
            {
                out.push((number, picture));
            }
        }
    }
}

impl Decoder for FfmpegDecoder {
    fn decode(&mut self, access_unit: &[u8], number: i64, out: &mut Pictures) -> Result<(), DecodeError> {
        let mut packet = Packet::copy(access_unit);
        packet.set_pts(Some(number));
        let sent = self.decoder.send_packet(&packet);
        self.drain(out);
        sent.map_err(|error| DecodeError::Data(error.to_string()))
    }

    fn flush(&mut self, out: &mut Pictures) {
        if self.decoder.send_eof().is_ok() {
            self.drain(out);
        }
        self.decoder.flush();
    }
}

fn planar(frame: &frame::Video) -> Option<Picture> {
    if !matches!(frame.format(), Pixel::YUV420P | Pixel::YUVJ420P) {
        return None;
    }
    let plane = |index| Plane { data: frame.data(index), stride: frame.stride(index) };
    picture(frame.width() as usize, frame.height() as usize, [plane(0), plane(1), plane(2)])
}
