//! Phase (software genlock) for two minutes: two senders with wrong, drifting clocks and cameras that drift
//! by 20 ppm either way, corrected by a real `chronyd`. Limit: a true phase error of 300 us at p99.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::process::ExitCode;
use std::time::Duration;

use framelock_common::time::Span;
use framelock_tests::phase::{measure, permille};

const TIME: Duration = Duration::from_secs(120);
const LIMIT: Span = Span::from_micros(300);

fn main() -> ExitCode {
    println!("phase: true error against the grid of UTC, {} s at 30 fps, 20 ppm drift", TIME.as_secs());
    let found = measure(TIME);
    println!("{found}");
    println!("  limit: p99 {LIMIT}\n");
    let within = found.cameras.iter().all(|camera| permille(&camera.errors, 990) <= LIMIT);
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
