//! libavcodec's H.264 decoder. Its pictures stay in its own reference-counted buffers.

use ffmpeg_the_third as ffmpeg;

use ffmpeg::codec::{self, threading};
use ffmpeg::format::Pixel;
use ffmpeg::frame::side_data;
use ffmpeg::util::color;
use ffmpeg::{Dictionary, Packet, decoder, frame};

use super::{DecodeError, Decoder, DecoderOptions, Output};
use crate::deliver::{Chroma, Matrix, MotionVector, Picture, PictureFormat, Plane, Planes, Range};
use crate::source::MAX_MACROBLOCKS;

/// Size of `AVMotionVector` in memory (`libavutil/motion_vector.h`), unchanged since FFmpeg 4.
const VECTOR_BYTES: usize = 40;

/// A libavcodec H.264 decoder of one stream.
pub(super) struct FfmpegDecoder {
    decoder: decoder::Video,
    options: DecoderOptions,
}

impl FfmpegDecoder {
    pub(super) fn new(options: DecoderOptions) -> Result<Self, DecodeError> {
        let open = |error: ffmpeg::Error| DecodeError::Open(error.to_string());
        ffmpeg::util::log::set_level(ffmpeg::util::log::Level::Fatal);
        let codec = decoder::find(codec::Id::H264)
            .ok_or_else(|| DecodeError::Open("this libavcodec has no H.264 decoder".to_owned()))?;
        let mut context = codec::Context::new_with_codec(codec);
        // The pool's threads are enough; frame threads would hold every picture back by one frame each.
        context.set_threading(threading::Config::count(1));
        let mut dictionary = Dictionary::new();
        // What is larger has been refused before; this holds whatever a stream declares.
        dictionary.set("max_pixels", (MAX_MACROBLOCKS * 256).to_string());
        if options.motion_vectors {
            dictionary.set("flags2", "+export_mvs");
        }
        let opened = context.decoder().open_as_with(codec, dictionary);
        let decoder = opened.and_then(decoder::Opened::video).map_err(open)?;
        Ok(Self { decoder, options })
    }

    fn drain(&mut self, out: &mut Vec<Output>) {
        loop {
            let mut frame = frame::Video::empty();
            if self.decoder.receive_frame(&mut frame).is_err() {
                return;
            }
            let Some(number) = frame.pts() else { continue };
            let damaged = frame.is_corrupt() || framelock_avcodec::is_concealed(&frame);
            let picture = format(&frame).filter(|_| !damaged).and_then(|format| {
                Picture::new(format, Box::new(Decoded { frame, vectors: self.options.motion_vectors }))
            });
            out.push(Output { number, picture });
        }
    }
}

impl Decoder for FfmpegDecoder {
    fn decode(&mut self, access_unit: &[u8], number: i64, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let mut packet = Packet::copy(access_unit);
        packet.set_pts(Some(number));
        let sent = self.decoder.send_packet(&packet);
        self.drain(out);
        sent.map_err(|error| DecodeError::Data(error.to_string()))
    }

    fn flush(&mut self, out: &mut Vec<Output>) {
        if self.decoder.send_eof().is_ok() {
            self.drain(out);
        }
        self.decoder.flush();
    }
}

/// What the samples of `frame` are; `None` for a kind that nothing here can show.
fn format(frame: &frame::Video) -> Option<PictureFormat> {
    let (chroma, depth) = match frame.format() {
        Pixel::GRAY8 => (Chroma::Gray, 8),
        Pixel::YUV420P | Pixel::YUVJ420P => (Chroma::Yuv420, 8),
        Pixel::YUV422P | Pixel::YUVJ422P => (Chroma::Yuv422, 8),
        Pixel::YUV444P | Pixel::YUVJ444P => (Chroma::Yuv444, 8),
        Pixel::YUV420P10LE => (Chroma::Yuv420, 10),
        Pixel::YUV422P10LE => (Chroma::Yuv422, 10),
        Pixel::YUV444P10LE => (Chroma::Yuv444, 10),
        other => {
            tracing::debug!(format = ?other, "pixel format not taken");
            return None;
        }
    };
    let matrix = match frame.color_space() {
        color::Space::BT709 => Matrix::Bt709,
        color::Space::BT2020NCL => Matrix::Bt2020,
        color::Space::SMPTE240M => Matrix::Smpte240m,
        color::Space::FCC => Matrix::Fcc,
        _ => Matrix::Bt601,
    };
    let full = matches!(frame.format(), Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P)
        || frame.color_range() == color::Range::JPEG;
    Some(PictureFormat {
        width: frame.width() as usize,
        height: frame.height() as usize,
        chroma,
        depth,
        matrix,
        range: if full { Range::Full } else { Range::Limited },
    })
}

/// A decoded frame in the decoder's own buffers.
struct Decoded {
    frame: frame::Video,
    /// Its decoder was asked for motion vectors.
    vectors: bool,
}

impl Planes for Decoded {
    fn plane(&self, index: usize) -> Plane<'_> {
        if index >= self.frame.planes() {
            return Plane { data: &[], stride: 0 };
        }
        Plane { data: self.frame.data(index), stride: self.frame.stride(index) }
    }

    fn motion_vectors(&self) -> Option<Vec<MotionVector>> {
        let vectors = self.vectors.then(|| self.frame.side_data(side_data::Type::MotionVectors))?;
        // An intra picture comes without.
        let Some(vectors) = vectors else { return Some(Vec::new()) };
        Some(vectors.data().as_chunks().0.iter().map(vector).collect())
    }
}

/// Reads an `AVMotionVector`, which the library lays out as C does.
fn vector(bytes: &[u8; VECTOR_BYTES]) -> MotionVector {
    let two = |at: usize| [bytes[at], bytes[at + 1]];
    let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    MotionVector {
        source: i32::from_ne_bytes(four(0)),
        w: bytes[4],
        h: bytes[5],
        src_x: i16::from_ne_bytes(two(6)),
        src_y: i16::from_ne_bytes(two(8)),
        dst_x: i16::from_ne_bytes(two(10)),
        dst_y: i16::from_ne_bytes(two(12)),
        // 64 bits of flags, aligned to 8.
        motion_x: i32::from_ne_bytes(four(24)),
        motion_y: i32::from_ne_bytes(four(28)),
        motion_scale: u16::from_ne_bytes(two(32)),
    }
}
