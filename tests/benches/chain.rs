//! The whole chain for half a minute: the demonstration's senders with clocks wrong by seconds and drifting by up
//! to 50 ppm, the aggregator's NTP service, and what the timecode strips in the decoded pictures say of the
//! reported times. Limit: 250 us at p99, and none outside its bound.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::process::ExitCode;

use framelock_common::config::parse_duration;
use framelock_common::time::Span;
use framelock_tests::process::Process;

const LIMIT: Span = Span::from_micros(250);

fn main() -> ExitCode {
    println!("whole chain: three boards with wrong clocks on loopback, 30 s");
    let mut demo = Process::ours("framelock-aggregator", ["demo", "--cameras", "3", "--seconds", "30"]);
    let lines = demo.output();
    let held = demo.wait().success();
    let report = lines.iter().skip_while(|line| !line.is_empty());
    report.for_each(|line| println!("  {line}"));
    let table = lines.iter().skip_while(|line| !line.ends_with("outside bound")).skip(1);
    // Name, strips, unreadable ones, frames before UTC, then the errors: median, p99.
    let p99 = |line: &String| parse_duration(line.split_whitespace().nth(5).unwrap_or_default()).ok();
    let errors: Vec<Option<Span>> = table.map(p99).collect();
    let within = errors.len() == 3 && errors.iter().all(|error| error.is_some_and(|error| error <= LIMIT));
    println!("  limit: p99 {LIMIT}, nothing outside its bound\n");
    if held && within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
