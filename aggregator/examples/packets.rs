//! Takes every sender that arrives on a port and tells how far apart the frames of each packet are; ends after COUNT
//! packets, if given.
//!
//!     cargo run -p framelock-aggregator --example packets -- PORT [COUNT]
//!     framelock-sender run --source test --to rtp://127.0.0.1:PORT --camera left
//!     framelock-sender run --source test:phase=12ms --to rtp://127.0.0.1:PORT --camera right
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::time::Duration;

use anyhow::Context;
use framelock_aggregator::{Aggregator, FrameStatus};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let port = args.next().context("usage: packets PORT [COUNT]")?;
    let count = args.next().map_or(Ok(u64::MAX), |count| count.parse())?;
    let mut aggregator = Aggregator::builder().camera("*", &format!("rtp://:{port}"))?.start()?;
    println!("waiting for senders on port {port}");
    for _ in 0..count {
        let packet = aggregator.next(Duration::from_secs(30))?.context("nothing came for 30 s")?;
        println!("packet {} at {}, {} apart", packet.number, packet.time, packet.spread);
        for entry in &packet.entries {
            match (&entry.frame, entry.status) {
                (Some(frame), FrameStatus::Okay) => println!(
                    "  {}: {} +-{} by {}, {} bytes",
                    entry.camera,
                    frame.time.utc,
                    frame.time.uncertainty,
                    frame.time_source,
                    frame.data.len()
                ),
                (_, status) => println!("  {}: {status}", entry.camera),
            }
        }
    }
    Ok(())
}
