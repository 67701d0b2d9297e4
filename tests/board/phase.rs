//! The cameras moved onto a common grid of UTC: the spread of packets before and after.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use framelock_common::time::Span;
use serde_json::Value;

use crate::child::{deadline, now};
use crate::faults::stats;
use crate::machine::Board;
use crate::packets::{Aggregator, Received, utc_now};
use crate::sender;

/// Full packets that are measured, before and after.
const PACKETS: usize = 100;
/// The median spread of two cameras that hold their phase.
const LIMIT: Span = Span::from_millis(3);
/// How long the cameras may take to get there: their clocks, and three restarts a minute apart.
const CONVERGE: Duration = Duration::from_secs(300);

/// Where to send to, where to ask for the time, and how fast.
pub(crate) struct Setup {
    pub(crate) media_port: u16,
    pub(crate) ntp_port: u16,
    pub(crate) fps: i64,
}

/// Starts the senders anew, first free-running and then with `--phase auto`, and compares.
pub(crate) fn compare(boards: &mut [Board], aggregator: &mut Aggregator, setup: &Setup) -> Result<String> {
    restart(boards, setup, "")?;
    aggregator.recovered(utc_now()?)?;
    let before = median_spread(&aggregator.full_packets(PACKETS)?)?;
    restart(boards, setup, "--phase auto")?;
    let started = now();
    let limit = deadline(CONVERGE);
    let mut lines = String::new();
    for board in boards.iter_mut() {
        while stats(board)?["phase"]["state"] != "holding" {
            if now() > limit {
                let phase = phase(board)?;
                bail!("{} does not hold its phase after {} s: {phase}", board.name, CONVERGE.as_secs());
            }
            let _next = aggregator.next(Duration::from_secs(1))?;
        }
    }
    let took = now().saturating_duration_since(started);
    aggregator.skip_waiting();
    aggregator.recovered(utc_now()?)?;
    let after = median_spread(&aggregator.full_packets(PACKETS)?)?;
    for board in boards.iter_mut() {
        let phase = phase(board)?;
        lines.push_str(&format!("\n  {}: {phase}", board.name));
    }
    let found = format!(
        "phase: median spread {before} free-running, {after} with --phase auto, held after {} s{lines}",
        took.as_secs()
    );
    ensure!(after <= LIMIT, "the median spread with --phase auto is above {LIMIT}: {found}");
    Ok(found)
}

fn restart(boards: &mut [Board], setup: &Setup, args: &str) -> Result<()> {
    for board in boards.iter_mut() {
        sender::stop(board)?;
        sender::start(board, setup.media_port, setup.ntp_port, setup.fps, args)?;
    }
    Ok(())
}

/// What the sender says of its phase.
fn phase(board: &mut Board) -> Result<Value> {
    Ok(stats(board)?["phase"].clone())
}

fn median_spread(packets: &[Received]) -> Result<Span> {
    let mut spreads: Vec<i64> = packets.iter().filter_map(|received| received.packet.spread_ns).collect();
    spreads.sort_unstable();
    ensure!(!spreads.is_empty(), "no packet has a spread");
    Ok(Span::from_nanos(spreads[spreads.len() / 2]))
}
