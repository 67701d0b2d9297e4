//! Cameras of every kind, served by programs that nobody here wrote. Every picture carries a timecode strip of the
//! instant at which it was made: reported times are held against that.

mod faults;
mod mixed;
mod recordings;
mod rtsp;

use std::time::{Duration, Instant};

use framelock_aggregator::{Aggregator, CameraStatus, Entry, FrameStatus, Packet};
use framelock_common::time::Span;
use framelock_common::timecode;
use framelock_tests::ntp;
use framelock_tests::process::{PATIENCE, Process};

/// An aggregator that decodes, with these cameras.
fn aggregator(cameras: &[(&str, String)]) -> Aggregator {
    let builder = cameras.iter().fold(Aggregator::builder(), |builder, (name, source)| {
        builder.camera(name, source).expect("a source")
    });
    builder.decode(true).start().expect("free ports")
}

/// A board: our own sender's test pattern.
fn board(camera: &str, port: u16) -> Process {
    let to = format!("rtp://127.0.0.1:{port}");
    let args = ["run", "--source", "test", "--size", "320x240", "--fps", "25", "--bitrate", "500k"];
    let more = ["--clock", ntp::clock(), "--camera", camera, "--to", &to];
    Process::ours("framelock-sender", args.into_iter().chain(more))
}

#[expect(clippy::disallowed_methods, reason = "waiting for real servers takes real time")]
fn now() -> Instant {
    Instant::now()
}

/// Takes packets until one is as wanted.
fn until(aggregator: &mut Aggregator, what: &str, mut wanted: impl FnMut(&Packet) -> bool) -> Packet {
    let end = now() + PATIENCE;
    while now() < end {
        if let Some(packet) = aggregator.next(Duration::from_millis(200)).expect("it runs")
            && wanted(&packet)
        {
            return packet;
        }
    }
    panic!("no packet: {what}; {:#?}", aggregator.status());
}

/// Waits until a camera's status is as wanted.
fn status(
    aggregator: &mut Aggregator,
    camera: usize,
    what: &str,
    wanted: impl Fn(&CameraStatus) -> bool,
) -> CameraStatus {
    let end = now() + PATIENCE;
    while now() < end {
        let _packet = aggregator.next(Duration::from_millis(100)).expect("it runs");
        if let Some(status) = aggregator.status().into_iter().nth(camera).filter(&wanted) {
            return status;
        }
    }
    panic!("camera {camera} is not {what}: {:#?}", aggregator.status());
}

/// Waits until a camera is down for a reason that says `why`.
fn broken(aggregator: &mut Aggregator, camera: usize, why: &str) -> CameraStatus {
    let told = |status: &CameraStatus| status.reason.as_ref().is_some_and(|reason| reason.contains(why));
    status(aggregator, camera, &format!("down because of \"{why}\""), told)
}

/// Waits until a camera's session has failed so many times.
fn failed(aggregator: &mut Aggregator, camera: usize, times: u64) -> CameraStatus {
    status(aggregator, camera, "down", |status| status.stream.failures == times)
}

fn is_okay(packet: &Packet, camera: usize) -> bool {
    packet.entries[camera].status == FrameStatus::Okay
}

/// How far the reported time of a frame is from the one in its picture, which must be within its bound.
fn error(entry: &Entry) -> Span {
    let frame = entry.frame.as_ref().expect("an okay entry has a frame");
    let picture = frame.picture().expect("an okay frame of a decoding aggregator has its picture");
    let luma = picture.y();
    let code = timecode::read(luma.data, luma.stride, picture.width(), picture.height())
        .unwrap_or_else(|error| panic!("{}: {error}", entry.camera));
    let error = frame.time.utc - code.capture;
    let bound = frame.time.uncertainty;
    assert!(error.abs() <= bound, "{}: {error} off, bound {bound} ({})", entry.camera, frame.time_source);
    error
}
