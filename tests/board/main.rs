//! The board test: two emulated ARM boards with real kernels and real V4L2 drivers run the cross-built
//! sender; their clocks are wrong until a real `chronyd` on this machine corrects them; the aggregator on
//! this machine puts their frames together. What the cameras can do and what they refuse is looked at before.
//! Then the cameras break in every way the driver can, and then they are moved into phase. At last one board gets
//! a USB webcam, which is unplugged and plugged in again elsewhere.
//!
//! `tests/board/run.sh` builds what this needs and calls it with the folder that holds it; console logs and
//! packets are kept there. Nothing here waits for a fixed time: boots and recoveries are waited for, with
//! generous limits, because emulation is slow and its speed depends on the machine.

mod camera;
mod child;
mod chrony;
mod faults;
mod figures;
mod machine;
mod packets;
mod phase;
mod sender;
mod truth;
mod usb;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use framelock_common::time::Span;

use child::utc_now;
use chrony::Chrony;
use faults::FAULTS;
use figures::Figures;
use machine::{Board, MACHINES};
use packets::Aggregator;
use truth::{Agreement, Offset, Truth};

/// Full packets that the boards must deliver before anything is broken.
const PACKETS: usize = 100;
/// Frames per second of each camera: what emulated boards can encode.
const FPS: i64 = 10;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(dir), None) = (args.next().map(PathBuf::from), args.next()) else {
        complain("usage: board-test DIR (see tests/board/run.sh)");
        return ExitCode::from(2);
    };
    match run(&dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("board-test: failed: {error:#}"));
            complain(&format!("board-test: consoles, packets and logs are in {}", dir.display()));
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &Path) -> Result<()> {
    let started = child::now();
    let user = std::env::var("USER").context("the environment has no USER: run tests/board/run.sh")?;
    let chrony = Chrony::start(dir, &user)?;
    let mut aggregator = Aggregator::start(dir, MACHINES.iter().map(|machine| machine.name).collect())?;
    let mut boards = boot(dir)?;
    let mut clocks = Vec::new();
    for board in &mut boards {
        clocks.push(Offset::of(board)?);
        let report = camera::check(board).with_context(|| format!("{}: camera", board.name))?;
        say(&format!("{}: {report}", board.name));
        truth::watch_frames(board)?;
        sender::start(board, aggregator.port, chrony.port, FPS, "")?;
    }
    let setup = phase::Setup { media_port: aggregator.port, ntp_port: chrony.port, fps: FPS };
    let result = measure(&mut boards, &mut aggregator, &clocks, &setup, dir);
    for board in &mut boards {
        if let Err(error) = sender::save_logs(board, dir) {
            complain(&format!("board-test: the log of {} is lost: {error:#}", board.name));
        }
    }
    result?;
    let took = child::now().saturating_duration_since(started);
    say(&format!("board-test: passed in {} s", took.as_secs()));
    Ok(())
}

/// Boots all boards at once and makes sure that their clocks are as wrong as they should be.
fn boot(dir: &Path) -> Result<Vec<Board>> {
    let mut boards = Vec::new();
    let began = child::now();
    for machine in &MACHINES {
        say(&format!("booting {}: {}", machine.name, machine.description));
        boards.push(Board::start(machine, dir, utc_now()?)?);
    }
    for (board, machine) in boards.iter_mut().zip(&MACHINES) {
        board.wait_ready()?;
        let host = utc_now()?.as_unix_nanos() / 1_000_000_000;
        let error = board.clock_seconds()? - host;
        say(&format!("{} is up, its clock is {error} s off", board.name));
        // The H3's emulated clock chip stands still until the kernel reads it, which on a busy machine is late.
        let boot = child::now().saturating_duration_since(began).as_secs().cast_signed();
        let wrong = machine.clock_error_seconds;
        ensure!(
            (wrong - boot - 2..=wrong + 2).contains(&error),
            "{}: the clock should be wrong by {wrong} s, up to {boot} s less for booting, and is by {error} s",
            board.name,
        );
    }
    Ok(boards)
}

fn measure(
    boards: &mut [Board],
    aggregator: &mut Aggregator,
    clocks: &[Offset],
    setup: &phase::Setup,
    dir: &Path,
) -> Result<()> {
    sender::wait_for_clocks(boards, truth::LIMIT)?;
    aggregator.skip_waiting();
    aggregator.recovered(utc_now()?)?;
    let full = aggregator.full_packets(PACKETS)?;
    let period = Span::from_nanos(1_000_000_000 / FPS);
    say(&Figures::of(&full, &MACHINES, period)?.to_string());
    let truths = boards.iter_mut().zip(clocks).map(|(board, clock)| Truth::of(board, *clock));
    say(&Agreement::of(&full, &truths.collect::<Result<Vec<_>>>()?, dir)?.to_string());
    for fault in &FAULTS {
        for board in boards.iter_mut() {
            let recovery =
                fault.inject(board, aggregator).with_context(|| format!("{}: {}", board.name, fault.name))?;
            say(&format!("{}: {}: {recovery}", board.name, fault.name));
        }
    }
    // Whatever happened, the clocks are right and the sender is the one that was started.
    let full = aggregator.recovered(utc_now()?)?;
    say(&Figures::of(&full, &MACHINES, period)?.to_string());
    say(&phase::compare(boards, aggregator, setup)?);
    for board in boards.iter_mut() {
        let memory = sender::stop(board)?;
        say(&format!("{}: sender ended cleanly, peak resident memory {memory} KiB", board.name));
    }
    let board = boards.last_mut().context("there are boards")?;
    let report = usb::check(board, setup.ntp_port).with_context(|| format!("{}: USB webcam", board.name))?;
    say(&format!("{}: {report}", board.name));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the summary is what this program is for")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "errors of a command line program")]
fn complain(line: &str) {
    eprintln!("{line}");
}
