//! Streams of foreign muxers, read by our demuxer.

use std::path::{Path, PathBuf};

use framelock_common::h264::{FrameType, Inspector};
use framelock_common::mpegts::{Demuxer, TS_PACKET};
use tempfile::TempDir;

use crate::tools::{Frame, META, demux, drain, encode, path, probe, run};

fn file(dir: &TempDir, name: &str) -> PathBuf {
    dir.path().join(name)
}

/// A transport stream of 90 frames by ffmpeg.
fn ffmpeg_stream(dir: &TempDir, options: &[&str]) -> PathBuf {
    let target = file(dir, "foreign.ts");
    encode(&target, "320x240", 90, options);
    target
}

fn agrees_with_ffprobe(target: &Path, frames: usize) -> Vec<Frame> {
    let data = std::fs::read(target).expect("the stream was just written");
    let expected = probe(target);
    assert_eq!(expected.len(), frames);
    let mut found = Vec::new();
    for step in [TS_PACKET, 1316, 1000, 65_536] {
        found = demux(&data, step);
        assert!(found.iter().all(|frame| frame.complete));
        let probed: Vec<_> = found.iter().map(Frame::probed).collect();
        assert_eq!(probed, expected, "pushes of {step} bytes");
    }
    found
}

#[test]
fn ffmpeg_without_b_frames() {
    let dir = TempDir::new().expect("a temporary directory");
    let target = ffmpeg_stream(&dir, &["-bf", "0"]);
    let frames = agrees_with_ffprobe(&target, 90);
    assert!(frames.iter().all(|frame| frame.dts.is_none()));
}

#[test]
fn ffmpeg_with_b_frames() {
    let dir = TempDir::new().expect("a temporary directory");
    let target = ffmpeg_stream(&dir, &["-bf", "2"]);
    let frames = agrees_with_ffprobe(&target, 90);
    assert!(frames.iter().any(|frame| frame.dts.is_some_and(|dts| dts < frame.pts)));
    assert!(frames.windows(2).any(|pair| pair[1].pts < pair[0].pts), "nothing was reordered");
}

#[test]
fn ffmpeg_beside_audio_and_with_lengths_in_its_pes_packets() {
    let dir = TempDir::new().expect("a temporary directory");
    let target = file(&dir, "foreign.ts");
    let video =
        ["-f", "lavfi", "-i", "testsrc2=size=640x480:rate=30,noise=alls=60:allf=t:enable='lt(mod(n,4),1)'"];
    let audio = ["-f", "lavfi", "-i", "sine=frequency=440"];
    let coding =
        ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "1", "-bf", "2", "-c:a", "mp2", "-t", "2"];
    let mux = ["-omit_video_pes_length", "0", "-mpegts_flags", "latm", path(&target)];
    run("ffmpeg", &[&["-v", "error", "-y"][..], &video, &audio, &coding, &mux].concat());
    let frames = agrees_with_ffprobe(&target, 60);
    assert!(frames.iter().any(|frame| frame.data.len() > 65_535), "no frame was open-ended");
    assert!(frames.iter().any(|frame| frame.data.len() < 65_000), "no frame had a length");
}

#[test]
fn gstreamer() {
    let dir = TempDir::new().expect("a temporary directory");
    for bframes in ["0", "2"] {
        let target = file(&dir, "foreign.ts");
        let (bframes, location) = (format!("bframes={bframes}"), format!("location={}", path(&target)));
        let mut pipeline = vec![
            "-q",
            "videotestsrc",
            "num-buffers=60",
            "!",
            "video/x-raw,width=320,height=240,framerate=30/1",
        ];
        pipeline.extend([
            "!",
            "x264enc",
            "key-int-max=20",
            "speed-preset=ultrafast",
            &bframes,
            "!",
            "h264parse",
        ]);
        pipeline.extend(["!", "mpegtsmux", "!", "filesink", &location]);
        run("gst-launch-1.0", &pipeline);
        agrees_with_ffprobe(&target, 60);
    }
}

#[test]
fn a_stream_is_joined_anywhere() {
    let dir = TempDir::new().expect("a temporary directory");
    let data = std::fs::read(ffmpeg_stream(&dir, &["-bf", "2"])).expect("the stream was just written");
    let all = demux(&data, 1316);
    for cut in (1..data.len() / 2).step_by(data.len() / 23) {
        let mut demuxer = Demuxer::new();
        let mut frames = Vec::new();
        for piece in data[cut..].chunks(1316) {
            demuxer.push(piece, META);
            drain(&mut demuxer, &mut frames, false);
        }
        demuxer.flush();
        drain(&mut demuxer, &mut frames, false);
        assert!(frames.len() > 30, "cut at {cut}: {} frames", frames.len());
        assert_eq!(frames, all[all.len() - frames.len()..], "cut at {cut}");
    }
}

#[test]
fn loss_in_a_foreign_stream_never_makes_a_bad_frame_complete() {
    let dir = TempDir::new().expect("a temporary directory");
    let data = std::fs::read(ffmpeg_stream(&dir, &["-bf", "2"])).expect("the stream was just written");
    let all = demux(&data, 1316);
    let mut seed = 1_u64;
    for _ in 0..40 {
        let mut demuxer = Demuxer::new();
        let (mut frames, mut lost) = (Vec::new(), 0);
        for packet in data.chunks(TS_PACKET) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if (seed >> 33).is_multiple_of(50) {
                lost += 1;
                continue;
            }
            demuxer.push(packet, META);
            drain(&mut demuxer, &mut frames, false);
        }
        assert!(lost > 0 && demuxer.stats().incomplete > 0);
        let mut rest = all.iter();
        for frame in frames.iter().filter(|frame| frame.complete) {
            assert!(rest.any(|sent| sent == frame), "PTS {} was not sent like this", frame.pts);
        }
    }
}

/// Frame types as libavcodec's decoder names them, in output order.
fn types_by_ffprobe(target: &Path) -> String {
    let args =
        ["-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pict_type", "-of", "csv=p=0"];
    let output = run("ffprobe", &[&args[..], &[path(target)]].concat());
    let text = String::from_utf8(output.stdout).expect("ffprobe writes UTF-8");
    text.chars().filter(|char| "IPB".contains(*char)).collect()
}

#[test]
fn frame_types_and_sizes_are_those_of_a_decoder() {
    let dir = TempDir::new().expect("a temporary directory");
    // An odd size is cropped; several slices a picture.
    for (size, options) in [
        ("322x242", &["-bf", "2", "-b_strategy", "0"][..]),
        ("320x240", &["-bf", "0", "-slices", "4"]),
        ("640x360", &["-bf", "3", "-profile:v", "high", "-x264-params", "interlaced=1"]),
    ] {
        let target = file(&dir, "types.ts");
        encode(&target, size, 45, options);
        let mut inspector = Inspector::new();
        let data = std::fs::read(&target).expect("the stream was just written");
        let mut found = Vec::new();
        for frame in demux(&data, 1316) {
            let info = inspector.inspect(&frame.data);
            let sps = info.sps.expect("x264 repeats its parameter sets");
            assert_eq!(format!("{}x{}", sps.width, sps.height), size);
            assert_eq!(sps.frame_rate.map(|rate| (rate.num, rate.den)), Some((30, 1)));
            let reordered = options[1] != "0";
            assert_eq!(sps.reorder_frames.is_none_or(|frames| frames > 0), reordered);
            found.push((frame.pts, info.frame_type.expect("a slice")));
        }
        assert_eq!(inspector.bad_parameter_sets(), 0);
        found.sort_by_key(|&(pts, _)| pts);
        let found: String = found.iter().map(|(_, kind)| FrameType::as_str(*kind)).collect();
        assert_eq!(found, types_by_ffprobe(&target), "{size} {options:?}");
    }
}
