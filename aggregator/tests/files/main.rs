//! Files as cameras: clips made by ffmpeg, against what ffprobe says of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod clip;
mod end;
mod fast;
mod pace;

use std::time::{Duration, Instant};

use framelock_aggregator::{
    Aggregator, AggregatorError, CameraStatus, ConsumerError, FrameType, Packet, TimeSource,
};

use clip::Clip;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Name, frames a second and options of clips of all kinds.
const CLIPS: [(&str, &str, &str); 7] = [
    ("plain.mp4", "30", "-bf 0 -g 20"),
    ("b-frames.mp4", "25", "-bf 3 -g 30 -x264-params b-adapt=0"),
    ("ntsc.mp4", "30000/1001", "-bf 2 -g 15 -movflags +faststart"),
    ("negative.mp4", "25", "-bf 2 -movflags +negative_cts_offsets"),
    ("fragmented.mp4", "30", "-bf 2 -g 15 -movflags +frag_keyframe+empty_moov+default_base_moof"),
    ("plain.ts", "30", "-bf 0 -g 20"),
    ("b-frames.ts", "25", "-bf 3 -g 30 -x264-params b-adapt=0"),
];

/// An aggregator with one camera of each of `sources`.
fn aggregator(sources: &[String]) -> Aggregator {
    let add = |builder: framelock_aggregator::AggregatorBuilder, (n, source): (usize, &String)| {
        builder.camera(&format!("cam{n}"), source).unwrap()
    };
    sources.iter().enumerate().fold(Aggregator::builder(), add).start().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "playing in real time takes real time")]
fn now() -> Instant {
    Instant::now()
}

/// All packets up to the end of all files.
fn all(aggregator: &mut Aggregator) -> Vec<Packet> {
    let end = now() + PATIENCE;
    let mut packets = Vec::new();
    while now() < end {
        match aggregator.next(Duration::from_millis(100)) {
            Ok(packet) => packets.extend(packet),
            Err(AggregatorError::Consumer(ConsumerError::Ended)) => return packets,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no end after {} packets: {:?}", packets.len(), aggregator.status());
}

/// Waits until a camera's status is as wanted.
fn status(aggregator: &Aggregator, camera: usize, wanted: impl Fn(&CameraStatus) -> bool) -> CameraStatus {
    let end = now() + PATIENCE;
    while now() < end {
        if let Some(status) = aggregator.status().into_iter().nth(camera).filter(&wanted) {
            return status;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    panic!("not so: {:?}", aggregator.status());
}

/// When each frame of a camera was captured, in us after the first.
fn times(packets: &[Packet], camera: usize) -> Vec<i64> {
    let frames = packets.iter().filter_map(|packet| packet.entries[camera].frame.as_ref());
    let times: Vec<_> = frames.map(|frame| frame.time.utc).collect();
    times.iter().map(|time| (*time - times[0]).as_nanos() / 1_000).collect()
}

/// Whether times in us are the same, but for what an integer clock rounds.
fn alike(one: &[i64], other: &[i64]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| (one - other).abs() <= 30)
}
