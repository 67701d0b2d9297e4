//! Session sources against hosts that misbehave: each on a socket of the test, since no real server does these
//! things. How they get on with real ones is in the workspace's end-to-end tests.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod host;
mod http;
mod rtsp;
mod tcp;
mod zmq;

use std::time::{Duration, Instant};

use framelock_aggregator::{Aggregator, CameraStatus, FrameStatus, Packet};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The smallest image that is one: 320x240, says its header.
fn image() -> Vec<u8> {
    let mut image = vec![0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0, 240, 1, 64, 1, 1, 0x11, 0];
    image.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 7, 0xff, 0, 9, 0xff, 0xd9]);
    image
}

/// An aggregator with one camera of each of `sources`.
fn aggregator(sources: &[&str]) -> Aggregator {
    let builder = Aggregator::builder();
    let add = |builder: framelock_aggregator::AggregatorBuilder, (n, source): (usize, &&str)| {
        builder.camera(&format!("cam{n}"), source).unwrap()
    };
    sources.iter().enumerate().fold(builder, add).start().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "waiting for real sockets takes real time")]
fn now() -> Instant {
    Instant::now()
}

/// Takes packets until one is as wanted.
fn until(aggregator: &mut Aggregator, what: &str, mut wanted: impl FnMut(&Packet) -> bool) -> Packet {
    let end = now() + PATIENCE;
    while now() < end {
        if let Some(packet) = aggregator.next(Duration::from_millis(100)).unwrap()
            && wanted(&packet)
        {
            return packet;
        }
    }
    panic!("no packet: {what}; {:?}", aggregator.status());
}

/// Waits until the first camera's status is as wanted.
fn status(aggregator: &mut Aggregator, what: &str, wanted: impl Fn(&CameraStatus) -> bool) -> CameraStatus {
    let end = now() + PATIENCE;
    while now() < end {
        let _packet = aggregator.next(Duration::from_millis(50)).unwrap();
        if let Some(status) = aggregator.status().into_iter().next().filter(&wanted) {
            return status;
        }
    }
    panic!("never {what}: {:?}", aggregator.status());
}

/// Waits until the first camera is down for a reason that says `why`.
fn broken(aggregator: &mut Aggregator, why: &str) -> CameraStatus {
    let is_down = |status: &CameraStatus| status.reason.as_ref().is_some_and(|reason| reason.contains(why));
    status(aggregator, &format!("down because of \"{why}\""), is_down)
}

fn is_okay(packet: &Packet) -> bool {
    packet.entries[0].status == FrameStatus::Okay
}
