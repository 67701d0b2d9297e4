//! The real decoders over streams of x264.

use std::process::Command;

use framelock_common::h264::Inspector;
use framelock_common::mpegts::{Demuxer, PacketMeta, TsEvent};

use super::*;

/// Makes a clip of a lavfi source with x264, as MPEG-TS.
pub(super) fn clip(source: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264"])
        .args(args)
        .args(["-f", "mpegts", "-"])
        .output()
        .expect("ffmpeg is installed by `make test`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The access units of a clip in decoding order, with their PTS.
pub(super) fn access_units(ts: &[u8]) -> (Vec<Frame>, Vec<i64>) {
    let mut demuxer = Demuxer::new();
    let (mut inspector, mut frames, mut times) = (Inspector::new(), Vec::new(), Vec::new());
    let mut take = |event| {
        if let TsEvent::AccessUnit { data, pts, .. } = event {
            let info = inspector.inspect(&data);
            let coded =
                CodedFrame { frame_type: info.frame_type, ..coded(frames.len() as u64, info.key, &data) };
            frames.push(Frame::new(coded));
            times.push(pts);
        }
    };
    let meta = PacketMeta { rtp_timestamp: None, arrival: HostTime::from_nanos(0) };
    for chunk in ts.chunks(1_316) {
        demuxer.push(chunk, meta);
        std::iter::from_fn(|| demuxer.poll()).for_each(&mut take);
    }
    demuxer.flush();
    std::iter::from_fn(|| demuxer.poll()).for_each(&mut take);
    (frames, times)
}

/// Decodes all frames through a pool, as fast as it takes them.
pub(super) fn decode_all(
    decoders: Box<dyn Decoders>,
    frames: &[Frame],
    options: DecoderOptions,
) -> DecodeStats {
    let (notify, events) = mpsc::channel();
    let pool = DecodePool::new(2, decoders, to(notify));
    pool.set_options(options);
    for frame in frames {
        while pool.is_full() {
            events.recv_timeout(PATIENCE).expect("it goes on");
        }
        pool.submit(camera(0), frame.clone());
    }
    pool.flush(camera(0));
    while frames.iter().any(|frame| frame.outcome().is_none()) {
        events.recv_timeout(PATIENCE).expect("it goes on");
    }
    pool.stats()
}

/// 50 frames in decoding order, with their number in order of presentation. Frame N is a grey of 20 + 4 N, so
/// that its picture tells which frame it is.
fn greys(b_frames: &str) -> (Vec<Frame>, Vec<i64>) {
    let source = "nullsrc=s=128x128:r=25:d=2,geq=lum='20+4*N':cb=128:cr=128";
    let ts = clip(source, &["-qp", "10", "-bf", b_frames, "-g", "20", "-pix_fmt", "yuv420p"]);
    let (frames, times) = access_units(&ts);
    assert_eq!(frames.len(), 50);
    let first = *times.iter().min().expect("50 of them");
    (frames, times.iter().map(|pts| (pts - first) / 3_600).collect())
}

/// Looks at every picture that there is, and counts them.
fn shown(frames: &[Frame], numbers: &[i64]) -> usize {
    let shown = frames.iter().zip(numbers).filter_map(|(frame, number)| Some((frame.picture()?, number)));
    shown
        .map(|(picture, number)| {
            let grey = i64::from(picture.y().data[64 * picture.y().stride + 64]);
            assert!((grey - (20 + 4 * number)).abs() <= 1, "frame {number} shows frame {}", (grey - 20) / 4);
            assert_eq!((picture.width(), picture.height()), (128, 128));
        })
        .count()
}

#[cfg(feature = "ffmpeg")]
#[test]
fn every_picture_lands_in_its_own_frame_even_with_b_frames() {
    let (frames, numbers) = greys("3");
    assert!(!numbers.is_sorted(), "the stream has B-frames");
    let stats = decode_all(Box::new(BuiltIn), &frames, DecoderOptions::default());
    assert_eq!((shown(&frames, &numbers), stats.failed, stats.skipped), (50, 0, 0));
}

/// The fallback, whether or not it is what the build would choose.
#[cfg(feature = "openh264")]
struct Fallback;

#[cfg(feature = "openh264")]
impl Decoders for Fallback {
    fn open(&self, _: DecoderOptions) -> Result<Box<dyn Decoder>, DecodeError> {
        Ok(Box::new(crate::decode::openh264::OpenH264Decoder::new()?))
    }

    fn open_still(&self) -> Result<Box<dyn StillDecoder>, DecodeError> {
        Err(DecodeError::NoDecoder)
    }
}

#[cfg(feature = "openh264")]
#[test]
fn the_fallback_shows_every_frame_of_a_stream_without_b_frames() {
    let (frames, numbers) = greys("0");
    assert!(numbers.is_sorted());
    let stats = decode_all(Box::new(Fallback), &frames, DecoderOptions::default());
    assert_eq!((shown(&frames, &numbers), stats.failed, stats.skipped), (50, 0, 0));
}

#[cfg(feature = "openh264")]
#[test]
fn the_fallback_refuses_b_frames_and_goes_on_with_a_key_frame() {
    let (frames, numbers) = greys("3");
    let stats = decode_all(Box::new(Fallback), &frames, DecoderOptions::default());
    let (shown, keys) = (shown(&frames, &numbers), frames.iter().filter(|frame| frame.key).count());
    assert!(keys >= 3 && shown >= keys, "{shown} pictures, {keys} key frames");
    assert!(stats.failed > 0);
}
