//! Every kind of source in one packet.

use framelock_aggregator::{Codec, TimeSource};
use framelock_common::time::Span;
use framelock_tests::peers::{self, Peer};
use framelock_tests::process::{free_port, wait_for_udp_port};

use super::*;

/// What an image on its way is late by the most, on a machine that does other things, too.
const LATE: Span = Span::from_secs(2);

#[test]
fn boards_and_foreign_cameras_of_all_kinds_are_in_one_packet() {
    let (board_port, udp_port, http_port) = (free_port(), free_port(), free_port());
    let rtsp = Peer::rtsp("");
    let zmq = Peer::start("jpeg_camera.py", "zmq --bind --encoding base64");
    let tcp = Peer::start("jpeg_camera.py", "tcp --bind");
    let http = format!("-- -c:v mjpeg -q:v 3 -f mpjpeg -listen 1 http://127.0.0.1:{http_port}/video");
    let http = peers::start("ffmpeg_camera.py", &http);
    let cameras = [
        ("board", format!("rtp://127.0.0.1:{board_port}")),
        ("udp", format!("udp://127.0.0.1:{udp_port}")),
        ("rtsp", format!("rtsp://127.0.0.1:{}/cam", rtsp.port)),
        ("http", format!("http://127.0.0.1:{http_port}/video")),
        ("zmq", format!("zmq+tcp://127.0.0.1:{}", zmq.port)),
        ("tcp", format!("tcp://127.0.0.1:{}", tcp.port)),
    ];
    let mut aggregator = aggregator(&cameras);
    let _board = board("board", board_port);
    wait_for_udp_port(udp_port);
    let udp = format!(
        "-- -c:v libx264 -preset ultrafast -tune zerolatency -g 25 -f mpegts udp://127.0.0.1:{udp_port}?pkt_size=1316"
    );
    let _udp = peers::start("ffmpeg_camera.py", &udp);
    let mut complete = 0;
    until(&mut aggregator, "complete packets of six kinds of source", |packet| {
        for (entry, (name, _)) in packet.entries.iter().zip(&cameras) {
            assert_eq!(entry.camera.as_str(), *name);
            let Some(frame) = entry.frame.as_ref() else { continue };
            let off = error(entry);
            let expected = match *name {
                "board" | "rtsp" | "udp" => Codec::H264,
                _ => Codec::Jpeg,
            };
            assert_eq!(frame.codec, expected, "{name}");
            if !matches!(*name, "board" | "rtsp") {
                assert_eq!(frame.time_source, TimeSource::Arrival, "{name}");
                assert!(off < LATE, "{name}: {off}");
            }
            assert_eq!((frame.width, frame.height), (Some(320), Some(240)), "{name}");
        }
        let reported = |camera: usize| {
            packet.entries[camera].frame.as_ref().map(|frame| frame.time_source)
                == Some(TimeSource::SenderReport)
        };
        complete += usize::from(packet.complete && reported(0) && reported(2));
        complete >= 20
    });
    drop(http);
}

#[test]
fn zeromq_scripts_of_all_kinds_and_either_end_bound() {
    for encoding in ["raw", "base64", "imagezmq"] {
        let port = free_port();
        let mut aggregator = aggregator(&[("cam", format!("zmq+tcp://*:{port}"))]);
        for failures in 1..=2 {
            let script = peers::start("jpeg_camera.py", &format!("zmq --port {port} --encoding {encoding}"));
            let packet = until(&mut aggregator, encoding, |packet| is_okay(packet, 0));
            assert!(error(&packet.entries[0]) < LATE);
            drop(script);
            let stream = failed(&mut aggregator, 0, failures).stream;
            assert_eq!((stream.connects, stream.frames.damaged), (failures, 0), "{encoding}");
        }
    }
}
