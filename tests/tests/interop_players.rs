//! Programs that nobody here wrote receive and decode our sender: ffmpeg and GStreamer, all three
//! transports, without an error, every frame intact (by its timecode strip).

use std::path::Path;

use framelock_tests::ntp;
use framelock_tests::process::{Process, free_port, wait_for_udp_port};
use framelock_tests::video::timecodes;

const WIDTH: usize = 320;
const HEIGHT: usize = 240;
/// Frames that the receiver decodes; the sender sends more, so that the receiver ends first.
const FRAMES: usize = 60;

fn sender(transport: &str, port: u16) -> Process {
    let scheme = if transport == "udp-mpegts" { "udp" } else { "rtp" };
    let to = format!("{scheme}://127.0.0.1:{port}");
    let args = ["run", "--source", "test", "--size", "320x240", "--fps", "30", "--bitrate", "800k"];
    let rest = ["--camera", "left", "--clock", ntp::clock(), "--transport", transport, "--to", &to];
    Process::ours("framelock-sender", args.into_iter().chain(rest))
}

/// Runs `receiver` against our sender and looks at what it wrote.
fn receives_every_frame(transport: &str, port: u16, mut receiver: Process, raw: &Path) {
    wait_for_udp_port(port);
    let mut sender = sender(transport, port);
    let status = receiver.wait();
    let log = receiver.log();
    assert!(status.success(), "{transport}: {status}\n{log}");
    assert_eq!(log.trim(), "", "{transport}: the receiver complained");
    assert!(sender.terminate().success(), "{}", sender.log());

    let raw = std::fs::read(raw).expect("the receiver wrote pictures");
    let codes = timecodes(&raw, WIDTH, HEIGHT);
    assert!(codes.len() >= FRAMES, "{transport}: only {} pictures", codes.len());
    let numbers: Vec<u32> = codes.iter().flatten().map(|code| code.frame).collect();
    assert_eq!(numbers.len(), codes.len(), "{transport}: unreadable strips");
    // A busy sender drops frames before the encoder, so numbers may be left out; a frame lost after it would
    // have made the decoder complain.
    assert!(
        numbers.windows(2).all(|pair| pair[1] > pair[0]),
        "{transport}: frames out of order: {numbers:?}"
    );
}

fn with_ffmpeg(transport: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let raw = dir.path().join("pictures.yuv");
    let port = free_port();
    // Without a session description ffmpeg opens the port twice, to look and then to play, and loses what came between.
    let (format, map) = if transport == "rtp-h264" { (96, "H264/90000") } else { (33, "MP2T/90000") };
    let sdp = dir.path().join("stream.sdp");
    let description = format!(
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=test\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP {format}\na=rtpmap:{format} {map}\n"
    );
    std::fs::write(&sdp, description).expect("the session description can be written");
    let input = match transport {
        "udp-mpegts" => format!("udp://127.0.0.1:{port}"),
        _ => sdp.to_string_lossy().into_owned(),
    };
    let frames = FRAMES.to_string();
    let raw_name = raw.to_string_lossy();
    let args = ["-v", "warning", "-nostdin", "-protocol_whitelist", "file,udp,rtp", "-i", &input];
    let rest = [
        "-frames:v",
        &frames,
        "-fps_mode",
        "passthrough",
        "-pix_fmt",
        "yuv420p",
        "-f",
        "rawvideo",
        &raw_name,
    ];
    let receiver = Process::start(Path::new("ffmpeg"), args.into_iter().chain(rest));
    receives_every_frame(transport, port, receiver, &raw);
}

fn with_gstreamer(transport: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let raw = dir.path().join("pictures.yuv");
    let port = free_port();
    // RTP and RTCP come on one port (RFC 5761), which rtpbin takes apart.
    let rtp = |name: &str, format: u8, depay: &str| {
        format!(
            "rtpbin name=bin udpsrc port={port} caps=application/x-rtp,media=video,clock-rate=90000,encoding-name={name},payload={format} ! bin.recv_rtp_sink_0 bin. ! {depay}"
        )
    };
    let source = match transport {
        "rtp-mpegts" => rtp("MP2T", 33, "rtpmp2tdepay ! tsdemux"),
        "rtp-h264" => rtp("H264", 96, "rtph264depay"),
        _ => format!("udpsrc port={port} ! tsparse ! tsdemux"),
    };
    let pipeline = format!(
        "{source} ! h264parse ! avdec_h264 ! video/x-raw,format=I420 ! identity eos-after={} ! filesink location={}",
        FRAMES + 2, // it ends a buffer or two early
        raw.display()
    );
    let receiver = Process::start(
        Path::new("gst-launch-1.0"),
        ["--quiet", "--gst-debug-level=2", "--gst-debug-no-color"].into_iter().chain(pipeline.split(' ')),
    );
    receives_every_frame(transport, port, receiver, &raw);
}

#[test]
fn ffmpeg_decodes_rtp_mpegts() {
    with_ffmpeg("rtp-mpegts");
}

#[test]
fn ffmpeg_decodes_rtp_h264() {
    with_ffmpeg("rtp-h264");
}

#[test]
fn ffmpeg_decodes_udp_mpegts() {
    with_ffmpeg("udp-mpegts");
}

#[test]
fn gstreamer_decodes_rtp_mpegts() {
    with_gstreamer("rtp-mpegts");
}

#[test]
fn gstreamer_decodes_rtp_h264() {
    with_gstreamer("rtp-h264");
}

#[test]
fn gstreamer_decodes_udp_mpegts() {
    with_gstreamer("udp-mpegts");
}
