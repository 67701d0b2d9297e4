//! Tells how much moves in the pictures of one camera, by the motion vectors of its stream; ends after COUNT frames.
//!
//!     cargo run -p framelock-aggregator --example motion -- rtp://:5000 [COUNT]
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::time::Duration;

use anyhow::Context;
use framelock_aggregator::{Aggregator, MotionVector, Queue, Subscription};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let source = args.next().context("usage: motion SOURCE [COUNT]")?;
    let count = args.next().map_or(Ok(u64::MAX), |count| count.parse())?;
    let aggregator = Aggregator::builder().camera("camera", &source)?.start()?;
    let wants = Subscription { motion_vectors: true, queue: Queue::Newest(30), ..Subscription::default() };
    let mut consumer = aggregator.subscribe(wants)?;
    let mut told = 0;
    while told < count {
        let packet = consumer.next(Duration::from_secs(30))?.context("nothing came for 30 s")?;
        let frame = packet.entries.iter().find_map(|entry| entry.frame.as_ref());
        // Without a frame before its first key frame.
        let Some((frame, vectors)) = frame.and_then(|frame| Some((frame, frame.motion_vectors()?))) else {
            continue;
        };
        let kind = frame.frame_type.map_or("unknown", |kind| kind.as_str());
        let farthest = vectors.iter().map(length).fold(0.0, f64::max);
        println!("{} {kind}: {} vectors, {farthest:.2} pixels at most", frame.time.utc, vectors.len());
        told += 1;
    }
    Ok(())
}

/// How far a block moved, in pixels.
fn length(vector: &MotionVector) -> f64 {
    f64::from(vector.motion_x).hypot(f64::from(vector.motion_y)) / f64::from(vector.motion_scale.max(1))
}
