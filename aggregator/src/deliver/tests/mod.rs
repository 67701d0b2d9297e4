use framelock_common::time::UtcEstimate;
use proptest::prelude::*;

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
    let okay = |frame: &Frame| entry("a", FrameStatus::Okay, Some(frame.clone()));
    Packet {
        number,
        time: Utc::from_unix_nanos(0),
        spread: Span::ZERO,
        spread_bound: Span::ZERO,
        complete: true,
        ready: HostTime::from_nanos(ready * 1_000_000),
        entries: frames.iter().map(okay).collect(),
    }
}

fn json(packet: &Packet, delivered: i64) -> String {
    let mut out = Vec::new();
    packet.write_json(Utc::from_unix_nanos(delivered), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn entry(camera: &str, status: FrameStatus, frame: Option<Frame>) -> Entry {
    Entry { camera: camera.into(), status, frame }
}

/// Estimates from (ns, uncertainty in ns).
fn estimates(of: &[(i64, i64)]) -> Vec<UtcEstimate> {
    let estimate = |&(ns, uncertainty): &(i64, i64)| UtcEstimate {
        utc: Utc::from_unix_nanos(ns),
        uncertainty: Span::from_nanos(uncertainty),
    };
    of.iter().map(estimate).collect()
}

#[test]
fn the_bound_on_the_spread_is_the_spread_and_both_ends_uncertainties() {
    let bound = |of: &[(i64, i64)]| spread_bound(&estimates(of)).as_nanos();
    assert_eq!(bound(&[(100, 3), (150, 1), (170, 5)]), 70 + 3 + 5);
    assert_eq!(bound(&[(170, 5), (100, 3)]), 70 + 3 + 5);
    // A frame in the middle that hardly anything is known of may have been taken long before or after.
    assert_eq!(bound(&[(100, 3), (150, 1_000), (170, 5)]), 50 + 1_000 + 3);
    assert_eq!((bound(&[]), bound(&[(100, 1_000)])), (0, 0));
}

#[test]
fn a_frame_that_does_not_decode_is_a_read_error_and_counts_for_nothing() {
    let decoded = |ns, outcome| {
        let frame = frame(ns);
        frame.settle(outcome);
        Some(frame)
    };
    let entries = vec![
        entry("a", FrameStatus::Okay, decoded(1_000_000, tiny())),
        entry("b", FrameStatus::Okay, decoded(9_000_000, Outcome::Failed)),
        entry("c", FrameStatus::Okay, decoded(3_000_000, tiny())),
        entry("d", FrameStatus::Okay, Some(frame(9_000_000))),
    ];
    let packet = Packet {
        number: 0,
        time: Utc::from_unix_nanos(6_000_000),
        spread: Span::from_millis(8),
        spread_bound: Span::from_micros(8_500),
        complete: true,
        ready: HostTime::from_nanos(0),
        entries,
    };
    let mut outlet = super::outlet::Outlet::new(Subscription::decoded());
    outlet.push(&packet);
    // The last picture never comes.
    outlet.settle(HostTime::from_nanos(1_000_000_000), Some(HostTime::from_nanos(0)));
    let packet = outlet.pop().expect("ready");
    let packet = outlet.finish(packet);
    let statuses: Vec<_> = packet.entries.iter().map(|entry| entry.status).collect();
    let (okay, failed) = (FrameStatus::Okay, FrameStatus::ReadError);
    assert_eq!(statuses, [okay, failed, okay, failed]);
    assert!(packet.entries.iter().all(|entry| entry.frame.is_some() == (entry.status == okay)));
    assert!(!packet.complete);
    assert_eq!(packet.time, Utc::from_unix_nanos(2_000_000));
    assert_eq!((packet.spread, packet.spread_bound), (Span::from_millis(2), Span::from_micros(2_500)));
}

proptest! {
    /// Whatever the frames' true times are within their bounds, they are not further apart than the bound;
    /// and it is no larger than the largest distance that is possible.
    #[test]
    fn the_bound_on_the_spread_is_reached_and_not_passed(
        of in prop::collection::vec((-1_000_i64..1_000, 0_i64..500), 2..8),
    ) {
        let pairs = of.iter().enumerate().flat_map(|(i, a)| of.iter().enumerate().map(move |(j, b)| (i, a, j, b)));
        let largest = pairs.filter(|(i, _, j, _)| i != j).map(|(_, a, _, b)| (a.0 - b.0).abs() + a.1 + b.1).max();
        prop_assert_eq!(Some(spread_bound(&estimates(&of)).as_nanos()), largest);
    }
}

#[test]
fn a_packet_is_the_line_that_the_interface_fixes() {
    let packet = Packet {
        number: 17,
        time: Utc::from_unix_nanos(1_790_000_000_000_000_000),
        spread: Span::from_micros(812),
        spread_bound: Span::from_micros(1_312),
        complete: false,
        ready: HostTime::from_nanos(0),
        entries: vec![
            entry("left", FrameStatus::Okay, Some(frame(1_790_000_000_000_000_000))),
            entry("right", FrameStatus::Dropped, None),
            entry("a\"b\\\n", FrameStatus::ReadError, None),
        ],
    };
    let expected = concat!(
        r#"{"packet":17,"time_ns":1790000000000000000,"spread_ns":812000,"spread_bound_ns":1312000,"complete":false,"frames":["#,
        r#"{"camera":"left","status":"okay","time_ns":1790000000000000000,"uncertainty_ns":250000,"#,
        r#""time_source":"sender-report","frame_type":"P","width":640,"height":480,"bytes":5312,"latency_ns":42},"#,
        r#"{"camera":"right","status":"dropped"},{"camera":"a\"b\\\n","status":"read-error"}]}"#,
        "\n"
    );
    assert_eq!(json(&packet, 1_790_000_000_000_000_042), expected);
}

#[test]
fn packets_that_wait_for_a_slow_consumer_take_bounded_memory() {
    use crate::sync::PacketQueue;

    let packet = |number| Packet {
        number,
        time: Utc::from_unix_nanos(0),
        spread: Span::ZERO,
        spread_bound: Span::ZERO,
        complete: false,
        ready: HostTime::from_nanos(0),
        entries: vec![
            entry("left", FrameStatus::Okay, Some(frame(0))),
            entry("right", FrameStatus::Okay, Some(frame(0))),
            entry("top", FrameStatus::Dropped, None),
        ],
    };
    let pictures = 2 * 640 * 480 * 3 / 2;
    assert_eq!((packet(0).bytes(), packet(0).bytes_with_pictures()), (2 * 5312, 2 * 5312 + pictures));
    let mut queue = PacketQueue::weighed(60, 4 << 20, Packet::bytes_with_pictures);
    (0..60).for_each(|number| drop(queue.push(packet(number))));
    let left: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|packet| packet.number).collect();
    assert_eq!(left, [56, 57, 58, 59]);
    assert_eq!(queue.counters().dropped, 56);
}
