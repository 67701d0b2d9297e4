use framelock_common::time::UtcEstimate;

use super::*;

mod consumers;
mod outlet;
mod picture;

fn frame(ns: i64) -> Frame {
    Frame::new(coded(ns))
}

fn coded(ns: i64) -> CodedFrame {
    CodedFrame {
        time: UtcEstimate { utc: Utc::from_unix_nanos(ns), uncertainty: Span::from_micros(250) },
        time_source: TimeSource::SenderReport,
        codec: Codec::H264,
        frame_type: Some(FrameType::P),
        key: false,
        width: Some(640),
        height: Some(480),
        data: vec![0; 5312],
        arrival: HostTime::from_nanos(0),
        sequence: 0,
    }
}

/// A decoded picture of one black pixel.
fn tiny() -> Outcome {
    let format = PictureFormat {
        width: 1,
        height: 1,
        chroma: Chroma::Gray,
        depth: 8,
        matrix: Matrix::Bt601,
        range: Range::Full,
    };
    let planes = OwnPlanes::new(vec![0], (1, 1), None);
    Outcome::Picture(Picture::new(format, Box::new(planes)).expect("a whole picture"))
}

/// A packet of these frames, ready at `ready` ms.
fn packet(number: u64, ready: i64, frames: &[Frame]) -> Packet {
    let entry =
        |frame: &Frame| Entry { camera: "a".into(), status: FrameStatus::Okay, frame: Some(frame.clone()) };
    Packet {
        number,
        time: Utc::from_unix_nanos(0),
        spread: Span::ZERO,
        complete: true,
        ready: HostTime::from_nanos(ready * 1_000_000),
        entries: frames.iter().map(entry).collect(),
    }
}

fn json(packet: &Packet, delivered: i64) -> String {
    let mut out = Vec::new();
    packet.write_json(Utc::from_unix_nanos(delivered), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_packet_is_the_line_that_the_interface_fixes() {
    let entry = |camera: &str, status, frame| Entry { camera: camera.into(), status, frame };
    let packet = Packet {
        number: 17,
        time: Utc::from_unix_nanos(1_790_000_000_000_000_000),
        spread: Span::from_micros(812),
        complete: false,
        ready: HostTime::from_nanos(0),
        entries: vec![
            entry("left", FrameStatus::Okay, Some(frame(1_790_000_000_000_000_000))),
            entry("right", FrameStatus::Dropped, None),
            entry("a\"b\\\n", FrameStatus::ReadError, None),
        ],
    };
    let expected = concat!(
        r#"{"packet":17,"time_ns":1790000000000000000,"spread_ns":812000,"complete":false,"frames":["#,
        r#"{"camera":"left","status":"okay","time_ns":1790000000000000000,"uncertainty_ns":250000,"#,
        r#""time_source":"sender-report","frame_type":"P","width":640,"height":480,"bytes":5312,"latency_ns":42},"#,
        r#"{"camera":"right","status":"dropped"},{"camera":"a\"b\\\n","status":"read-error"}]}"#,
        "\n"
    );
    assert_eq!(json(&packet, 1_790_000_000_000_000_042), expected);
}
