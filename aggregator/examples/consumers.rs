//! Two consumers of the same cameras: one looks at the picture of now and then, at its own slow pace; the other gets
//! the times of all packets, and is not held up.
//!
//!     cargo run -p framelock-aggregator --example consumers -- left=rtp://:5000 right=rtp://:5002
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::time::Duration;

use anyhow::Context;
use framelock_aggregator::{Aggregator, Consumer, ConsumerCounters, Pixels, Queue, Subscription};

const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let mut builder = Aggregator::builder();
    for arg in std::env::args().skip(1) {
        let (name, source) = arg.split_once('=').context("a camera is NAME=SOURCE")?;
        builder = builder.camera(name, source)?;
    }
    let aggregator = builder.start()?;
    let all = Subscription { queue: Queue::All { limit: 100 }, ..Subscription::default() };
    let times = aggregator.subscribe(all)?;
    let newest = Subscription { pixels: Pixels::Decoded, queue: Queue::Newest(1), ..Subscription::default() };
    let mut pictures = aggregator.subscribe(newest)?;

    let thread = std::thread::spawn(move || every_packet(times));
    for _ in 0..5 {
        let packet = pictures.next(PATIENCE)?.context("nothing came for 30 s")?;
        let frames = packet.entries.iter().filter_map(|entry| entry.frame.as_ref());
        let count = frames.filter_map(|frame| frame.picture()).count();
        println!("packet {}: {count} pictures", packet.number);
        // This takes longer than the next packet does.
        std::thread::sleep(Duration::from_millis(200));
    }
    let slow = pictures.counters();
    println!("pictures: {} taken, {} skipped", slow.delivered, slow.skipped);
    // No packet comes any more: that ends the other one, once it has what is left.
    drop(aggregator);
    let counters = thread.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?;
    println!("times: {} taken, {} skipped", counters.delivered, counters.skipped);
    Ok(())
}

/// Takes packets until the aggregator is gone.
fn every_packet(mut consumer: Consumer) -> ConsumerCounters {
    while let Ok(Some(packet)) = consumer.next(PATIENCE) {
        println!("  packet {} at {}", packet.number, packet.time);
    }
    consumer.counters()
}
