//! Adds cameras one after the other while packets go on, tells what is known of them, and removes them again.
//!
//!     cargo run -p framelock-aggregator --example cameras -- left=rtp://:5000 right=rtp://:5002
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::time::Duration;

use anyhow::{Context, bail};
use framelock_aggregator::Aggregator;

fn main() -> anyhow::Result<()> {
    let mut aggregator = Aggregator::builder().start()?;
    let mut names = Vec::new();
    for arg in std::env::args().skip(1) {
        let (name, source) = arg.split_once('=').context("a camera is NAME=SOURCE")?;
        aggregator.add_camera(name, source)?;
        names.push(name.to_owned());
        wait(&mut aggregator, names.len())?;
        println!("{name} added");
        tell(&aggregator);
    }
    while let Some(name) = names.pop() {
        aggregator.remove_camera(&name)?;
        println!("{name} removed");
        tell(&aggregator);
        if !names.is_empty() {
            wait(&mut aggregator, names.len())?;
        }
    }
    Ok(())
}

/// Takes packets until one has `cameras` cameras in it, all with a frame.
fn wait(aggregator: &mut Aggregator, cameras: usize) -> anyhow::Result<()> {
    while let Some(packet) = aggregator.next(Duration::from_secs(30))? {
        if packet.complete && packet.entries.len() == cameras {
            return Ok(());
        }
    }
    tell(aggregator);
    bail!("nothing came for 30 s")
}

fn tell(aggregator: &Aggregator) {
    for camera in aggregator.status() {
        let (frames, lost) = (camera.stream.frames.good, camera.stream.lost);
        print!("  {}: {}, {frames} frames, {lost} lost", camera.name, camera.state.as_str());
        println!("{}", camera.reason.map(|reason| format!(": {reason}")).unwrap_or_default());
    }
}
