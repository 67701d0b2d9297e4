//! The cameras moved onto a common grid of UTC: the spread of packets before and after.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use framelock_common::time::Span;
use serde_json::Value;

use crate::child::{deadline, now, utc_now};
use crate::machine::Board;
use crate::packets::{Aggregator, Received};
use crate::sender::{self, stats};

/// Full packets that are measured, before and after.
const PACKETS: usize = 100;
/// The median spread of two cameras that hold their phase.
const LIMIT: Span = Span::from_millis(3);
/// How near to the target each camera has to be, and how often in a row, some seconds apart.
const NEAR: Span = Span::from_micros(2_500);
const HELD: u32 = 3;
/// How long the cameras may take to get there: their clocks, and some fifty restarts.
const CONVERGE: Duration = Duration::from_secs(300);
/// Settings for cameras whose starts scatter: emulated boards on a busy machine take 10 ms more or less to run the
/// driver's thread, and one of several starts lands within 2 ms. By default a minute would lie between two.
const SETTINGS: &str = "phase-restart-interval = \"5s\"\nphase-tolerance = \"2ms\"\n";

/// Where to send to, where to ask for the time, and how fast.
pub(crate) struct Setup {
    pub(crate) media_port: u16,
    pub(crate) ntp_port: u16,
    pub(crate) fps: i64,
}

/// Starts the senders anew, first free-running and then with `--phase`, and compares.
///
/// vivid exposes on the kernel's ticks, 4 ms apart, and each board's ticks lie elsewhere in UTC: a camera can only be
/// within 2 ms of a target. So the target is where the first camera has been: it can be there again, and the other
/// one within 2 ms.
pub(crate) fn compare(boards: &mut [Board], aggregator: &mut Aggregator, setup: &Setup) -> Result<String> {
    restart(boards, setup, "")?;
    aggregator.recovered(utc_now()?)?;
    let packets = aggregator.full_packets(PACKETS)?;
    let before = median_spread(&packets)?;
    let target = phase_of(&packets, boards[0].name, setup.fps)?;
    for board in boards.iter_mut() {
        board.expect(&format!("printf '{}' > /run/phase.toml", SETTINGS.replace('\n', "\\n")))?;
    }
    restart(boards, setup, &format!("--config /run/phase.toml --phase {}ns", target.as_nanos()))?;
    let (started, limit) = (now(), deadline(CONVERGE));
    let (mut took, mut rounds) = (Duration::ZERO, 0);
    // A clock whose bound a busy machine has widened lets its camera stay farther off: once more, then.
    let after = loop {
        hold(boards, aggregator, limit)?;
        if rounds == 0 {
            took = now().saturating_duration_since(started);
        }
        rounds += 1;
        aggregator.skip_waiting();
        aggregator.recovered(utc_now()?)?;
        let after = median_spread(&aggregator.full_packets(PACKETS)?)?;
        if after <= LIMIT || now() > limit {
            break after;
        }
    };
    let mut lines = String::new();
    for board in boards.iter_mut() {
        let phase = phase(board)?;
        lines.push_str(&format!("\n  {}: {phase}", board.name));
    }
    let found = format!(
        "phase: median spread {before} free-running, {after} with --phase {target}, held after {} s, measured {rounds} times{lines}",
        took.as_secs()
    );
    ensure!(after <= LIMIT, "the median spread with --phase is above {LIMIT}: {found}");
    Ok(found)
}

/// Waits until all cameras say that they are in their places. All at the same time: one may have to go once more
/// while another is waited for.
fn hold(boards: &mut [Board], aggregator: &mut Aggregator, limit: Instant) -> Result<()> {
    let mut held = 0;
    while held < HELD {
        let Some(board) = not_holding(boards)? else {
            held += 1;
            aggregator.recovered(utc_now()?)?;
            continue;
        };
        held = 0;
        if now() > limit {
            let (name, phase) = (boards[board].name, phase(&mut boards[board])?);
            bail!("{name} does not hold its phase after {} s: {phase}", CONVERGE.as_secs());
        }
        let _next = aggregator.next(Duration::from_secs(1))?;
    }
    Ok(())
}

/// The first board that does not say that it is in its place.
fn not_holding(boards: &mut [Board]) -> Result<Option<usize>> {
    for (n, board) in boards.iter_mut().enumerate() {
        let phase = phase(board)?;
        let near = |error: i64| error.abs() <= NEAR.as_nanos();
        if phase["state"] != "holding" || !phase["error_ns"].as_i64().is_some_and(near) {
            return Ok(Some(n));
        }
    }
    Ok(None)
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

/// Where in its period a camera exposes.
fn phase_of(packets: &[Received], camera: &str, fps: i64) -> Result<Span> {
    let period = 1_000_000_000 / fps;
    let frames = packets.iter().flat_map(|received| &received.packet.frames);
    let times: Vec<i64> = frames.filter(|f| f.camera == camera).filter_map(|f| f.time_ns).collect();
    let first = *times.first().context("no frame of the first camera")?;
    // Near the first one: phases have no beginning and no end.
    let near = |time: i64| (time - first + period / 2).rem_euclid(period) - period / 2;
    let mut phases: Vec<i64> = times.into_iter().map(near).collect();
    phases.sort_unstable();
    Ok(Span::from_nanos((first + phases[phases.len() / 2]).rem_euclid(period)))
}

fn median_spread(packets: &[Received]) -> Result<Span> {
    let mut spreads: Vec<i64> = packets.iter().filter_map(|received| received.packet.spread_ns).collect();
    spreads.sort_unstable();
    ensure!(!spreads.is_empty(), "no packet has a spread");
    Ok(Span::from_nanos(spreads[spreads.len() / 2]))
}
