//! Logs as somebody needs them who looks for a fault: every line about a stream says which, and a verbose log
//! does not drown it in a line for every packet.

use std::ffi::OsStr;
use std::path::Path;

use framelock_tests::ntp;
use framelock_tests::packets::next_where;
use framelock_tests::process::{Process, free_port, program};
use framelock_tests::relay::{Faults, Relay};
use serde_json::Value;

/// Frames that are sent; each is some packets.
const FRAMES: usize = 300;
/// Lines that starting, ending and a few reports may take.
const LINES: usize = 100;

/// One of our programs with everything but traces in its log, as JSON.
fn verbose(name: &str, args: &[&str]) -> Process {
    let program = program(name);
    let command = [OsStr::new("RUST_LOG=debug"), program.as_os_str()];
    let args = args.iter().map(OsStr::new).chain(["--log-format", "json"].map(OsStr::new));
    Process::start(Path::new("env"), command.into_iter().chain(args))
}

fn lines(log: &str) -> Vec<Value> {
    let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let lines: Vec<Value> = log.lines().map(line).collect();
    assert!(lines.len() < LINES, "{} lines for {FRAMES} frames: {log}", lines.len());
    lines
}

/// The cameras in whose spans `message` was said.
fn cameras(lines: &[Value], message: &str) -> Vec<String> {
    let said = lines.iter().filter(|line| line["message"] == message);
    said.map(|line| line["span"]["camera"].as_str().unwrap_or("nobody").to_owned()).collect()
}

#[test]
fn every_line_of_a_stream_names_its_camera_and_no_packet_has_one() {
    let (ports, frames) = ([free_port(), free_port()], FRAMES.to_string());
    // A port for one camera and one for whoever comes; loss and reordering are many events, too.
    let faults = Faults { loss: 0.02, duplicates: 0.02, reordering: 0.02, ..Faults::default() };
    let relay = Relay::start(ports[0], faults, 3);
    let sources = [format!("left=rtp://127.0.0.1:{}", ports[0]), format!("*=rtp://127.0.0.1:{}", ports[1])];
    let mut aggregator = verbose(
        "framelock-aggregator",
        &["packets", "--decode", "--camera", &sources[0], "--camera", &sources[1]],
    );
    let sender = |camera: &str, port: u16| {
        let to = format!("rtp://127.0.0.1:{port}");
        let test = ["run", "--source", "test", "--size", "320x240", "--fps", "60", "--bitrate", "1M"];
        let more = ["--frames", &frames, "--clock", ntp::clock(), "--camera", camera, "--to", &to];
        verbose("framelock-sender", &[&test[..], &more].concat())
    };
    let senders = [("left", sender("left", relay.port())), ("right", sender("right", ports[1]))];
    next_where(&mut aggregator, "both cameras", |packet| packet.frames.len() == 2 && packet.complete);
    for (camera, mut sender) in senders {
        assert!(sender.wait().success(), "{}", sender.log());
        let log = lines(&sender.log());
        assert!(!log.is_empty());
        for line in log {
            assert_eq!(line["span"]["camera"], camera, "{line}");
        }
    }
    assert!(aggregator.terminate().success(), "{}", aggregator.log());
    let log = lines(&aggregator.log());
    for message in ["receiving", "live"] {
        let mut found = cameras(&log, message);
        found.sort();
        found.dedup();
        assert_eq!(found, ["left", "right"], "{message}: {}", aggregator.log());
    }
    assert!(!cameras(&log, "the sender said goodbye").contains(&"nobody".to_owned()), "{}", aggregator.log());
    let parts = ["framelock_aggregator::source::rtp_stream", "framelock_aggregator::decode"];
    for line in log.iter().filter(|line| parts.iter().any(|part| line["target"].as_str() == Some(part))) {
        assert!(line["span"]["camera"].is_string(), "{line}");
    }
}
