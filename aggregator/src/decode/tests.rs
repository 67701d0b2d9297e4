//! The worker with decoders made to fail, and with the real one over a real stream.

use std::sync::{Arc, OnceLock, mpsc};

use framelock_common::time::{HostTime, Span, Utc, UtcEstimate};

use super::*;
use crate::deliver::{Codec, Decoded, Frame, TimeSource};

fn frame(sequence: u64, key: bool, data: Vec<u8>) -> Arc<Frame> {
    Arc::new(Frame {
        time: UtcEstimate { utc: Utc::from_unix_nanos(0), uncertainty: Span::ZERO },
        time_source: TimeSource::Arrival,
        codec: Codec::H264,
        frame_type: None,
        key,
        width: None,
        height: None,
        data,
        arrival: HostTime::from_nanos(0),
        sequence,
        picture: OnceLock::new(),
    })
}

/// Feeds all frames as fast as the worker takes them, and waits for its end.
fn decode_all(decoder: Box<dyn Decoder>, frames: &[Arc<Frame>]) -> Arc<DecodeStats> {
    let (notify, settled) = mpsc::channel();
    let mut worker = DecodeWorker::start(
        0,
        decoder,
        Box::new(move |failed| {
            let _gone = notify.send(failed);
        }),
    )
    .unwrap();
    let mut open = 0_usize;
    for frame in frames {
        worker.submit(frame.clone());
        open += 1;
        // The decoder holds back a few frames for reordering; the queue must not overflow here.
        while open > 4 && settled.recv_timeout(std::time::Duration::from_millis(200)).is_ok() {
            open -= 1;
        }
    }
    worker.stats().clone()
}

/// A stand-in for a decoder that refuses what says so; the real ones refuse nothing on demand.
struct Picky;

impl Decoder for Picky {
    fn decode(&mut self, unit: &[u8], number: i64, out: &mut Vec<(i64, Picture)>) -> Result<(), DecodeError> {
        if unit == b"bad" {
            return Err(DecodeError::Data("asked to".to_owned()));
        }
        out.push((number, Picture { width: 0, height: 0, y: Vec::new(), u: Vec::new(), v: Vec::new() }));
        Ok(())
    }

    fn flush(&mut self, _out: &mut Vec<(i64, Picture)>) {}
}

#[test]
fn after_a_failure_nothing_is_shown_until_a_key_frame() {
    let plan =
        [(true, "good"), (false, "bad"), (false, "good"), (false, "good"), (true, "good"), (false, "good")];
    let frames: Vec<_> =
        (0..).zip(plan).map(|(n, (key, data))| frame(n, key, data.as_bytes().to_vec())).collect();
    let stats = decode_all(Box::new(Picky), &frames);
    let shown: Vec<_> = frames.iter().map(|frame| frame.decoded().is_some()).collect();
    assert_eq!(shown, [true, false, false, false, true, true]);
    assert!(frames.iter().all(|frame| frame.picture.get().is_some()), "and none is left waiting");
    assert_eq!((stats.decoded(), stats.failed()), (3, 3));
}

/// A stand-in for a decoder that takes its time: until it is let go.
struct Slow(mpsc::Receiver<()>);

impl Decoder for Slow {
    fn decode(&mut self, _: &[u8], number: i64, out: &mut Vec<(i64, Picture)>) -> Result<(), DecodeError> {
        let _gone = self.0.recv();
        Picky.decode(b"good", number, out)
    }

    fn flush(&mut self, _out: &mut Vec<(i64, Picture)>) {}
}

#[test]
fn a_slow_decoder_skips_to_a_key_frame_and_holds_nobody_up() {
    let (go, wait) = mpsc::channel();
    let mut worker = DecodeWorker::start(0, Box::new(Slow(wait)), Box::new(|_| {})).unwrap();
    let frames: Vec<_> = (0..100).map(|n| frame(n, n == 0, Vec::new())).collect();
    for frame in &frames {
        worker.submit(frame.clone());
    }
    let skipped = worker.stats().skipped();
    assert!((90..=92).contains(&skipped), "all but the queue and the one at work: {skipped}");
    assert_eq!(frames[99].picture.get(), Some(&Decoded::Failed));
    drop(go);
    drop(worker);
    assert!(frames.iter().all(|frame| frame.picture.get().is_some()));
}

#[test]
fn a_slow_decoder_goes_on_with_the_newest_key_frame() {
    let (go, wait) = mpsc::channel();
    let mut worker = DecodeWorker::start(0, Box::new(Slow(wait)), Box::new(|_| {})).unwrap();
    let frames: Vec<_> = (0..100).map(|n| frame(n, n % 40 == 0, Vec::new())).collect();
    for frame in &frames {
        worker.submit(frame.clone());
    }
    drop(go);
    drop(worker);
    let shown: Vec<_> = (0..100).filter(|n| frames[*n].decoded().is_some()).collect();
    // The one at work if the thread was that quick, and what waits from the last key frame on.
    let newest: Vec<_> = (80..88).collect();
    assert!(shown == newest || shown.strip_prefix(&[0]) == Some(&newest[..]), "{shown:?}");
    assert!(frames.iter().all(|frame| frame.picture.get().is_some()), "none is left waiting");
}

/// A stand-in for a decoder with a bug.
struct Panics;

impl Decoder for Panics {
    fn decode(&mut self, _: &[u8], _: i64, _: &mut Vec<(i64, Picture)>) -> Result<(), DecodeError> {
        panic!("asked to");
    }

    fn flush(&mut self, _out: &mut Vec<(i64, Picture)>) {}
}

#[test]
fn a_decoder_that_panics_leaves_no_frame_waiting() {
    let mut worker = DecodeWorker::start(0, Box::new(Panics), Box::new(|_| {})).unwrap();
    let frames: Vec<_> = (0..20).map(|n| frame(n, n == 0, Vec::new())).collect();
    for frame in &frames {
        worker.submit(frame.clone());
    }
    drop(worker);
    assert!(frames[1..].iter().all(|frame| frame.picture.get() == Some(&Decoded::Failed)));
}

#[cfg(feature = "ffmpeg")]
mod real {
    use std::process::Command;

    use framelock_common::h264::Inspector;
    use framelock_common::mpegts::{Demuxer, PacketMeta, TsEvent};

    use super::*;

    #[test]
    fn every_picture_lands_in_its_own_frame_even_with_b_frames() {
        // Frame N is a grey of 20 + 4 N, so that its picture tells which frame it is.
        let source = "nullsrc=s=128x128:r=25:d=2,geq=lum='20+4*N':cb=128:cr=128";
        let args = ["-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264", "-qp", "10", "-bf", "3"];
        let output = Command::new("ffmpeg")
            .args(args)
            .args(["-g", "20", "-pix_fmt", "yuv420p", "-f", "mpegts", "-"])
            .output()
            .expect("ffmpeg is installed by `make test`");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut demuxer = Demuxer::new();
        let (mut inspector, mut frames, mut times) = (Inspector::new(), Vec::new(), Vec::new());
        let mut take = |event| {
            if let TsEvent::AccessUnit { data, pts, .. } = event {
                let key = inspector.inspect(&data).key;
                frames.push(frame(frames.len() as u64, key, data));
                times.push(pts);
            }
        };
        let meta = PacketMeta { rtp_timestamp: None, arrival: HostTime::from_nanos(0) };
        for chunk in output.stdout.chunks(1_316) {
            demuxer.push(chunk, meta);
            std::iter::from_fn(|| demuxer.poll()).for_each(&mut take);
        }
        demuxer.flush();
        std::iter::from_fn(|| demuxer.poll()).for_each(&mut take);
        assert_eq!(frames.len(), 50);
        assert!(!times.is_sorted(), "the stream has B-frames");
        let stats = decode_all(open().unwrap(), &frames);
        let first = *times.iter().min().unwrap();
        for (frame, pts) in frames.iter().zip(&times) {
            let number = (pts - first) / 3_600;
            let picture = frame.decoded().unwrap_or_else(|| panic!("frame {number} has no picture"));
            let grey = i64::from(picture.y[64 * 128 + 64]);
            assert!((grey - (20 + 4 * number)).abs() <= 1, "frame {number} shows frame {}", (grey - 20) / 4);
            assert_eq!((picture.width, picture.height, picture.u.len()), (128, 128, 64 * 64));
        }
        assert_eq!((stats.failed(), stats.skipped()), (0, 0));
    }
}
