//! Several consumers of one aggregator, over real senders: each has its own pace and choice of pixels, and
//! nothing is decoded that nobody wants.

use framelock_aggregator::{
    Aggregator, Consumer, FrameStatus, FrameType, Packet, Pixels, Queue, Subscription,
};
use framelock_common::timecode;
use framelock_tests::ntp;
use framelock_tests::process::{PATIENCE, Process, free_port};

const ALL: Subscription =
    Subscription { pixels: Pixels::None, queue: Queue::All { limit: 1_000 }, motion_vectors: false };

fn sender(camera: &str, port: u16) -> Process {
    let to = format!("rtp://127.0.0.1:{port}");
    let args = ["run", "--source", "test", "--size", "320x240", "--fps", "20", "--bitrate", "500k"];
    Process::ours(
        "framelock-sender",
        args.into_iter().chain(["--clock", ntp::clock(), "--camera", camera, "--to", &to]),
    )
}

/// An aggregator and its two senders.
fn rig() -> (Aggregator, [Process; 2]) {
    let ports = [free_port(), free_port()];
    let source = |port: u16| format!("rtp://127.0.0.1:{port}");
    let aggregator = Aggregator::builder()
        .camera("left", &source(ports[0]))
        .and_then(|builder| builder.camera("right", &source(ports[1])))
        .and_then(|builder| builder.start())
        .expect("two free ports on loopback");
    (aggregator, [sender("left", ports[0]), sender("right", ports[1])])
}

fn next(consumer: &mut Consumer) -> Packet {
    consumer.next(PATIENCE).expect("it runs").expect("a packet in time")
}

/// Takes packets until there were `count` with every camera in them.
fn complete(consumer: &mut Consumer, count: usize) -> Vec<Packet> {
    let mut packets = Vec::new();
    while packets.iter().filter(|packet: &&Packet| packet.complete).count() < count {
        packets.push(next(consumer));
    }
    packets
}

#[test]
fn pictures_come_from_the_first_key_frame_on_and_nobody_else_notices() {
    let (aggregator, _senders) = rig();
    let mut times = aggregator.subscribe(ALL).expect("no decoder is needed");
    let before = complete(&mut times, 20);
    assert_eq!(aggregator.decoding().decoded, 0, "nobody wants pixels");

    let mut pictures =
        aggregator.subscribe(Subscription { pixels: Pixels::Decoded, ..ALL }).expect("there is a decoder");
    let mut seen = [false; 2];
    for packet in complete(&mut pictures, 30) {
        for (entry, seen) in packet.entries.iter().zip(&mut seen) {
            let Some(frame) = &entry.frame else {
                assert!(*seen || entry.status == FrameStatus::Starting, "{packet:#?}");
                assert!(entry.status != FrameStatus::ReadError, "nothing is lost on loopback: {packet:#?}");
                continue;
            };
            assert!(*seen || frame.key, "{}: the first picture is a key frame's", entry.camera);
            *seen = true;
            let picture = frame.picture().expect("an okay frame has its picture");
            let luma = picture.y();
            let code = timecode::read(luma.data, luma.stride, picture.width(), picture.height())
                .unwrap_or_else(|error| panic!("{}: no good picture: {error}", entry.camera));
            assert!(
                (frame.time.utc - code.capture).abs() <= frame.time.uncertainty,
                "another frame's picture"
            );
        }
    }
    assert!(aggregator.decoding().decoded >= 60);

    drop(pictures);
    let during = complete(&mut times, 10);
    let decoded = aggregator.decoding();
    let after = complete(&mut times, 20);
    assert_eq!(aggregator.decoding(), decoded, "nobody wants pixels any more");
    let all: Vec<_> = [before, during, after].concat();
    assert!(all.windows(2).all(|pair| pair[1].number == pair[0].number + 1), "and this one got every packet");
    let held = all.iter().flat_map(|packet| &packet.entries).filter_map(|entry| entry.frame.as_ref());
    assert!(held.into_iter().all(|frame| frame.picture().is_none()), "it wanted no pictures and holds none");
}

#[test]
fn a_slow_consumer_gets_the_newest_beside_one_that_gets_all() {
    let (aggregator, _senders) = rig();
    let mut newest = aggregator.subscribe(Subscription::default()).expect("no decoder is needed");
    let mut all = aggregator.subscribe(ALL).expect("no decoder is needed");
    let mut numbers = Vec::new();
    for _ in 0..5 {
        numbers.extend((0..8).map(|_| next(&mut all).number));
        while newest.counters().offered < numbers.len() as u64 {
            // The packet is just being handed to one consumer after the other.
            std::thread::yield_now();
        }
        let packet = next(&mut newest);
        assert!(Some(&packet.number) >= numbers.last(), "{} after {numbers:?}", packet.number);
    }
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    let counters = newest.counters();
    assert_eq!((counters.delivered, all.counters().skipped), (5, 0));
    assert!(counters.skipped >= 30, "{counters:?}");
}

#[test]
fn motion_vectors_come_with_the_frames_of_those_who_ask() {
    let (aggregator, _senders) = rig();
    let mut pictures = aggregator.subscribe(Subscription::decoded()).expect("there is a decoder");
    complete(&mut pictures, 5);
    let wants = Subscription { motion_vectors: true, ..ALL };
    let mut vectors = aggregator.subscribe(wants).expect("the decoder exports them");
    let mut moved = 0;
    for packet in complete(&mut vectors, 30) {
        for frame in packet.entries.iter().filter_map(|entry| entry.frame.as_ref()) {
            let vectors = frame.motion_vectors().expect("an okay frame has its vectors");
            assert!(frame.frame_type != Some(FrameType::I) || vectors.is_empty());
            moved += vectors.iter().filter(|vector| (vector.motion_x, vector.motion_y) != (0, 0)).count();
        }
    }
    assert!(moved > 0, "the pattern moves");
}

#[test]
fn consumers_are_told_when_the_aggregator_is_dropped() {
    let (aggregator, _senders) = rig();
    let mut pictures = aggregator.subscribe(Subscription::decoded()).expect("there is a decoder");
    complete(&mut pictures, 2);
    let waiting = std::thread::spawn(move || {
        loop {
            if let Err(end) = pictures.next(PATIENCE) {
                return end;
            }
        }
    });
    drop(aggregator);
    assert_eq!(waiting.join().expect("no panic"), framelock_aggregator::ConsumerError::Closed);
}

#[test]
fn cameras_are_added_and_removed_while_packets_go_on() {
    let (aggregator, _senders) = rig();
    let mut packets = aggregator.subscribe(Subscription::decoded()).expect("there is a decoder");
    complete(&mut packets, 3);
    let port = free_port();
    let source = format!("rtp://127.0.0.1:{port}");
    aggregator.add_camera("top", &source).expect("a free port");
    let error = aggregator.add_camera("top", &source).expect_err("twice").to_string();
    assert!(error.contains("two cameras are called \"top\""), "{error}");
    let _sender = sender("top", port);
    let until = |packets: &mut Consumer, count| loop {
        let packet = next(packets);
        if packet.complete && packet.entries.len() == count {
            return packet;
        }
    };
    let packet = until(&mut packets, 3);
    let picture = packet.entries[2].frame.as_ref().and_then(|frame| frame.picture());
    assert!(picture.is_some_and(|picture| picture.width() == 320));
    aggregator.remove_camera("left").expect("it is there");
    let names = until(&mut packets, 2).entries.into_iter().map(|entry| entry.camera.to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["right", "top"]);
    assert_eq!(aggregator.status().len(), 2);
    // Its port is free again.
    aggregator.remove_camera("top").expect("it is there");
    let socket = std::net::UdpSocket::bind(("127.0.0.1", port));
    assert!(socket.is_ok(), "{socket:?}");
}
