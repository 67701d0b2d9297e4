//! Takes every sender that arrives on a port and tells how far apart the frames of each packet are.
//!
//!     cargo run -p framelock-aggregator --example packets -- 5000
//!     framelock-sender run --source test --to rtp://127.0.0.1:5000 --camera left
//!     framelock-sender run --source test:phase=12ms --to rtp://127.0.0.1:5000 --camera right
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::time::Duration;

use framelock_aggregator::{Aggregator, FrameStatus};

fn main() -> anyhow::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "5000".to_owned());
    let mut aggregator = Aggregator::builder().camera("*", &format!("rtp://:{port}"))?.start()?;
    println!("waiting for senders on port {port}");
    while let Some(packet) = aggregator.next(Duration::from_secs(30))? {
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
    println!("nothing came for 30 s");
    Ok(())
}
