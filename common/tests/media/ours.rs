//! Our streams, read by ffmpeg and GStreamer.

use std::path::{Path, PathBuf};

use framelock_common::clock::ClockState;
use framelock_common::h264::{Inspector, insert_sei, sei};
use framelock_common::mpegts::{Demuxer, MuxConfig, Muxer, TS_PACKET};
use framelock_common::time::{MediaTime, Span, Utc, UtcEstimate};
use tempfile::TempDir;

use crate::tools::{
    Frame, META, Probed, demux, drain, encode, path, pictures, probe, probe_raw, run, run_silent,
};

/// 2026-09-21T14:13:20Z, and a value that needs every digit.
const CAPTURE: i64 = 1_790_000_000_123_456_789;
const FRAME: i64 = 3_000;

/// Frames of libx264 as raw H.264, one access unit each.
fn units(dir: &TempDir, size: &str, options: &[&str]) -> (PathBuf, Vec<Vec<u8>>) {
    let target = dir.path().join("source.h264");
    encode(&target, size, 60, options);
    let stream = std::fs::read(&target).expect("the stream was just written");
    let mut rest = stream.as_slice();
    let mut unit = |size| {
        let (unit, after) = rest.split_at(size);
        rest = after;
        unit.to_vec()
    };
    let units = probe_raw(&target).into_iter().map(&mut unit).collect();
    assert!(rest.is_empty(), "ffprobe's packets are the whole stream");
    (target, units)
}

fn estimate(index: usize) -> UtcEstimate {
    let utc = Utc::from_unix_nanos(CAPTURE) + Span::from_millis(33) * i64::try_from(index).expect("small");
    UtcEstimate { utc, uncertainty: Span::from_micros(200) }
}

/// Muxes `units` as a sender does, 30 frames a second with a PCR between where one is due; the
/// file and what a reader should find in it.
fn mux(dir: &TempDir, units: &[Vec<u8>], with_sei: bool, first: i64) -> (PathBuf, Vec<Probed>) {
    let (mut muxer, mut inspector) = (Muxer::new(MuxConfig::default()), Inspector::new());
    let (mut out, mut expected) = (Vec::new(), Vec::new());
    for (index, unit) in units.iter().enumerate() {
        let mut data = Vec::new();
        if with_sei {
            insert_sei(unit, &sei::write_capture_time(estimate(index), ClockState::Synchronized), &mut data);
        } else {
            data.extend_from_slice(unit);
        }
        let info = inspector.inspect(&data);
        let pts = first + FRAME * i64::try_from(index).expect("small");
        let now = MediaTime::from_ticks(pts) + Span::from_millis(25);
        muxer.write_access_unit(&data, MediaTime::from_ticks(pts), None, info.key, now, &mut out);
        muxer.poll_pcr(now + Span::from_millis(20), &mut out);
        let delimiter = if info.delimiter { 0 } else { 6 };
        expected.push(Probed { pts, dts: pts, size: data.len() + delimiter, key: info.key });
    }
    assert_eq!(muxer.late_frames(), 0);
    let target = dir.path().join("ours.ts");
    std::fs::write(&target, out).expect("the temporary directory is writable");
    (target, expected)
}

/// Raw pictures that GStreamer decodes; any error fails the pipeline.
fn decoded_by_gstreamer(dir: &TempDir, source: &Path) -> Vec<u8> {
    let raw = dir.path().join("gstreamer.yuv");
    let (from, to) = (format!("location={}", path(source)), format!("location={}", path(&raw)));
    let mut pipeline = vec!["-q", "filesrc", &from, "!", "tsdemux", "!", "h264parse", "!", "avdec_h264"];
    pipeline.extend(["!", "video/x-raw,format=I420", "!", "filesink", &to]);
    run("gst-launch-1.0", &pipeline);
    std::fs::read(&raw).expect("GStreamer wrote its pictures")
}

/// The frames that come out of `data` without its end being told.
fn demux_at_once(data: &[u8]) -> Vec<Probed> {
    let (mut demuxer, mut frames) = (Demuxer::new(), Vec::new());
    for packet in data.chunks(TS_PACKET) {
        demuxer.push(packet, META);
        drain(&mut demuxer, &mut frames, true);
    }
    frames.iter().map(Frame::probed).collect()
}

#[test]
fn ffmpeg_and_gstreamer_read_ours_without_a_word() {
    let dir = TempDir::new().expect("a temporary directory");
    // Small frames, and frames beyond PES_packet_length; with and without a delimiter of the encoder's.
    let noisy = [
        "-vf",
        "noise=alls=60:allf=t:enable='not(mod(n,10))'",
        "-bf",
        "0",
        "-qp",
        "16",
        "-x264-params",
        "aud=1",
    ];
    for (size, options) in [("320x240", &["-bf", "0"][..]), ("640x480", &noisy)] {
        for with_sei in [false, true] {
            let (source, units) = units(&dir, size, options);
            assert_eq!(units.len(), 60);
            let (target, expected) = mux(&dir, &units, with_sei, 900_000);
            assert_eq!(expected.iter().any(|frame| frame.size > 65_535), size == "640x480");
            let ours = demux_at_once(&std::fs::read(&target).expect("it was just written"));
            assert_eq!(ours, expected, "a frame waited for the one behind it");
            assert_eq!(probe(&target), expected);
            assert_eq!(pictures(&target), pictures(&source));
            let raw = decoded_by_gstreamer(&dir, &target);
            let raw_by_ffmpeg =
                run("ffmpeg", &["-v", "error", "-i", path(&source), "-f", "rawvideo", "-"]).stdout;
            assert_eq!(raw.len(), raw_by_ffmpeg.len());
            assert!(raw == raw_by_ffmpeg, "GStreamer decodes other pictures out of our stream");
        }
    }
}

#[test]
fn b_frames_keep_their_times() {
    let dir = TempDir::new().expect("a temporary directory");
    let source = dir.path().join("b.ts");
    encode(&source, "320x240", 60, &["-bf", "2"]);
    let frames = demux(&std::fs::read(&source).expect("the stream was just written"), 1316);
    let mut muxer = Muxer::new(MuxConfig::default());
    let mut out = Vec::new();
    for frame in &frames {
        let dts = MediaTime::from_ticks(frame.dts.unwrap_or(frame.pts));
        let key = frame.probed().key;
        muxer.write_access_unit(&frame.data, MediaTime::from_ticks(frame.pts), Some(dts), key, dts, &mut out);
    }
    let target = dir.path().join("ours.ts");
    std::fs::write(&target, out).expect("the temporary directory is writable");
    assert_eq!(probe(&target), probe(&source));
    assert_eq!(pictures(&target), pictures(&source));
}

#[test]
fn the_capture_time_survives_a_remux_by_ffmpeg() {
    let dir = TempDir::new().expect("a temporary directory");
    let (_, units) = units(&dir, "320x240", &["-bf", "0"]);
    let (target, _) = mux(&dir, &units, true, 900_000);
    // Through MP4, where NAL units have lengths and not start codes, and back.
    let (mp4, back) = (dir.path().join("remux.mp4"), dir.path().join("back.ts"));
    run_silent("ffmpeg", &["-v", "warning", "-y", "-i", path(&target), "-c", "copy", path(&mp4)]);
    run_silent("ffmpeg", &["-v", "warning", "-y", "-i", path(&mp4), "-c", "copy", path(&back)]);
    let mut inspector = Inspector::new();
    let frames = demux(&std::fs::read(&back).expect("ffmpeg wrote it"), 1316);
    assert_eq!(frames.len(), 60);
    for (index, frame) in frames.iter().enumerate() {
        let time = inspector.inspect(&frame.data).sei_time.expect("the SEI is there");
        assert_eq!(time.utc, estimate(index).utc);
        assert_eq!((time.uncertainty, time.state), (Some(Span::from_micros(200)), ClockState::Synchronized));
    }
}

#[test]
fn ffmpeg_reads_both_messages_of_our_sei() {
    let dir = TempDir::new().expect("a temporary directory");
    let (_, units) = units(&dir, "320x240", &["-bf", "0"]);
    let (target, _) = mux(&dir, &units[..1], true, 900_000);
    let args =
        ["-v", "info", "-i", path(&target), "-c", "copy", "-bsf:v", "trace_headers", "-f", "null", "-"];
    let trace = String::from_utf8_lossy(&run("ffmpeg", &args).stderr).into_owned();
    let bytes_of = |name: &str| -> Vec<u8> {
        let value = |line: &&str| line.rsplit("= ").next().and_then(|value| value.trim().parse().ok());
        let lines: Vec<&str> = trace.lines().filter(|line| line.contains(name)).collect();
        lines.iter().map(|line| value(line).unwrap_or_else(|| panic!("no value in {line:?}"))).collect()
    };
    let uuids = bytes_of("uuid_iso_iec_11578[");
    for uuid in [sei::MISP_UUID, sei::FRAMELOCK_UUID] {
        assert!(uuids.chunks(16).any(|found| found == uuid), "{uuids:02x?}\n{trace}");
    }
    let [a, b, c, d, e, f, g, h] = (CAPTURE / 1_000).to_be_bytes();
    let payload = [0x1f, a, b, 0xff, c, d, 0xff, e, f, 0xff, g, h];
    let payloads = bytes_of("user_data_payload_byte[");
    assert!(payloads.windows(12).any(|found| found == payload), "{payloads:02x?}");
    assert!(!trace.contains("Invalid") && !trace.contains("Failed"), "{trace}");
}
