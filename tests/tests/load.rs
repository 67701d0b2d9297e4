//! Sixteen boards at 640x480, 30 frames a second and 1.5 Mbit/s into one aggregator: on loopback nobody
//! but us could lose a packet.

use std::time::Duration;

use framelock_aggregator::{Aggregator, CameraStatus, Packet};
use framelock_common::time::Span;
use framelock_tests::process::{PATIENCE, free_port};
use framelock_tests::rig::{Rig, camera, clip};
use framelock_tests::usage::kernel_drops;

const BOARDS: usize = 16;
/// Complete packets to wait for: about 10 s.
const PACKETS: usize = 240;

#[test]
fn sixteen_boards_on_one_port_lose_nothing_and_every_packet_is_complete() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clip = clip(dir.path());
    let port = free_port();
    let mut aggregator = Aggregator::builder()
        .camera("*", &format!("rtp://127.0.0.1:{port}"))
        // A busy machine may hold a sender up; what is asked here is not how fast it is.
        .and_then(|builder| builder.max_wait(Span::from_secs(10)).start())
        .expect("a free port on loopback");
    let mut rig = Rig::start(&[port; BOARDS], &clip, dir.path(), 1);

    let is_whole = |packet: &Packet| packet.entries.len() == BOARDS && packet.complete;
    let first = loop {
        let packet = next(&mut aggregator);
        if is_whole(&packet) {
            break packet;
        }
    };
    let mut names: Vec<_> = first.entries.iter().map(|entry| entry.camera.to_string()).collect();
    names.sort_unstable();
    assert_eq!(names, (0..BOARDS).map(camera).collect::<Vec<_>>());

    for _ in 0..PACKETS {
        let packet = next(&mut aggregator);
        assert!(is_whole(&packet), "{packet:#?}");
        // One frame of each board, of one and the same instant as far as free-running cameras can.
        assert!(packet.spread < Span::from_secs(1) / i64::from(framelock_tests::rig::FPS), "{packet:#?}");
    }
    assert_eq!(aggregator.counters().skipped, 0, "this consumer was never slow");

    let sent = rig.stop();
    let received = settled(&mut aggregator);
    assert_eq!(kernel_drops(port), Some(0), "the receive buffer ran over");
    for camera in &received {
        let stream = &camera.stream;
        let lost = (stream.lost, stream.duplicates, stream.reordered, stream.malformed);
        assert_eq!(lost, (0, 0, 0, 0), "{camera:?}");
        assert_eq!((stream.frames.damaged, stream.frames.empty), (0, 0), "{camera:?}");
        let sender = sent.iter().find(|sent| sent.camera == camera.name.as_str()).expect("its sender");
        assert_eq!((sender.capture_lost, sender.send_refused), (0, 0), "{sender:?}");
        // All that was sent, from the first packet to the goodbye, was received.
        assert_eq!(stream.packets, sender.datagrams, "{camera:?} {sender:?}");
        assert!(sender.frames > PACKETS as u64, "{sender:?}");
    }
}

fn next(aggregator: &mut Aggregator) -> Packet {
    aggregator.next(PATIENCE).expect("it runs").expect("a packet in time")
}

/// The cameras' counters once they no longer change.
fn settled(aggregator: &mut Aggregator) -> Vec<CameraStatus> {
    let streams = |status: &[CameraStatus]| status.iter().map(|c| c.stream.clone()).collect::<Vec<_>>();
    let mut last = aggregator.status();
    loop {
        // Nothing is sent any more, so this only lets the status be renewed a few times.
        while aggregator.next(Duration::from_millis(600)).expect("it runs").is_some() {}
        let now = aggregator.status();
        if streams(&now) == streams(&last) {
            return now;
        }
        last = now;
    }
}
