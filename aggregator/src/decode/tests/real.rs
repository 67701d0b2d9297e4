//! libavcodec over streams of x264.

use std::process::Command;

use framelock_common::h264::Inspector;
use framelock_common::mpegts::{Demuxer, PacketMeta, TsEvent};

use super::*;

/// The access units that x264 makes of a lavfi source, in decoding order, with their PTS.
fn stream(source: &str, args: &[&str]) -> (Vec<Frame>, Vec<i64>) {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264"])
        .args(args)
        .args(["-f", "mpegts", "-"])
        .output()
        .expect("ffmpeg is installed by `make test`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut demuxer = Demuxer::new();
    let (mut inspector, mut frames, mut times) = (Inspector::new(), Vec::new(), Vec::new());
    let mut take = |event| {
        if let TsEvent::AccessUnit { data, pts, .. } = event {
            let key = inspector.inspect(&data).key;
            frames.push(frame(frames.len() as u64, key, &data));
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
    (frames, times)
}

/// Decodes all frames through a pool, as fast as it takes them.
fn decode_all(frames: &[Frame]) -> DecodeStats {
    let (notify, events) = mpsc::channel();
    let pool = DecodePool::new(2, Box::new(BuiltIn), to(notify));
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

#[test]
fn every_picture_lands_in_its_own_frame_even_with_b_frames() {
    // Frame N is a grey of 20 + 4 N, so that its picture tells which frame it is.
    let source = "nullsrc=s=128x128:r=25:d=2,geq=lum='20+4*N':cb=128:cr=128";
    let (frames, times) = stream(source, &["-qp", "10", "-bf", "3", "-g", "20", "-pix_fmt", "yuv420p"]);
    assert_eq!(frames.len(), 50);
    assert!(!times.is_sorted(), "the stream has B-frames");
    let stats = decode_all(&frames);
    let first = *times.iter().min().unwrap();
    for (frame, pts) in frames.iter().zip(&times) {
        let number = (pts - first) / 3_600;
        let picture = frame.picture().unwrap_or_else(|| panic!("frame {number} has no picture"));
        let grey = i64::from(picture.y().data[64 * picture.y().stride + 64]);
        assert!((grey - (20 + 4 * number)).abs() <= 1, "frame {number} shows frame {}", (grey - 20) / 4);
        assert_eq!((picture.width(), picture.height()), (128, 128));
    }
    assert_eq!((stats.failed, stats.skipped), (0, 0));
}
