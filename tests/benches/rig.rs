//! Sixteen boards at 640x480, 30 frames a second and 1.5 Mbit/s into one aggregator without decoding: CPU
//! for each stream, and what the aggregator adds to the latency.
//!
//! Added latency is a packet's delivery minus the arrival of the last of its frames. `waiting` is the part
//! in which the synchronizer waits for frames that could have made the set tighter; the rest is the machine:
//! waking up, other processes, handing over. Aim: p99 of at most 5 ms.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::path::Path;
use std::time::Duration;

use framelock_aggregator::{Aggregator, CameraStatus, Packet};
use framelock_common::time::{HostTime, Span};
use framelock_tests::process::{PATIENCE, free_port};
use framelock_tests::rig::{Rig, camera, clip};
use framelock_tests::usage::{cpu_by_thread, kernel_drops};

const BOARDS: usize = 16;
const SECONDS: i64 = 12;
/// The aggregator's thread that receives, puts together and synchronizes.
const RECEIVE: &str = "receive";

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clip = clip(dir.path());
    println!("aggregator: {BOARDS} boards, 640x480, 30 fps, 1.5 Mbit/s, no decoding, {SECONDS} s each");
    println!(
        "  {:<10} {:>7} {:>8} {:>5} {:>11} {:>11} {:>9} {:>9} {:>24} {:>24}",
        "cameras",
        "packets",
        "complete",
        "lost",
        "% of a core",
        "% a stream",
        "us/packet",
        "spread",
        "added p50/p99/max ms",
        "waiting p50/p99/max ms"
    );
    let one = |port| (Aggregator::builder().camera("*", &source(port)), vec![port; BOARDS]);
    for seed in 1..=2 {
        let (builder, ports) = one(free_port());
        run(
            "one port",
            builder.and_then(|b| b.start()).expect("a free port"),
            &ports,
            &clip,
            dir.path(),
            seed,
        );
    }
    let ports = ports();
    let builder = ports
        .iter()
        .enumerate()
        .try_fold(Aggregator::builder(), |builder, (n, port)| builder.camera(&camera(n), &source(*port)));
    run("16 ports", builder.and_then(|b| b.start()).expect("free ports"), &ports, &clip, dir.path(), 3);
    println!("  aim: added p99 at most 5 ms\n");
}

fn source(port: u16) -> String {
    format!("rtp://127.0.0.1:{port}")
}

/// Free ports that do not overlap, RTCP's included.
fn ports() -> Vec<u16> {
    let mut ports: Vec<u16> = Vec::new();
    while ports.len() < BOARDS {
        let port = free_port();
        if ports.iter().all(|other| other.abs_diff(port) > 1) {
            ports.push(port);
        }
    }
    ports
}

/// What a packet took from the arrival of its last frame on.
struct Latency {
    added: Span,
    waiting: Span,
}

fn run(what: &str, mut aggregator: Aggregator, ports: &[u16], clip: &Path, dir: &Path, seed: u64) {
    let mut rig = Rig::start(ports, clip, dir, seed);
    let next = |aggregator: &mut Aggregator| {
        aggregator.next(PATIENCE).expect("the aggregator runs").expect("a packet in time")
    };
    let whole = |packet: &Packet| packet.entries.len() == BOARDS && packet.complete;
    while !whole(&next(&mut aggregator)) {}
    // A second for the estimates of periods and jitter.
    let start = now() + Span::from_secs(1);
    while now() < start {
        next(&mut aggregator);
    }

    let (began, cpu_before, datagrams_before) = (now(), receive_cpu(), datagrams(&aggregator.status()));
    let (mut latencies, mut spreads, mut packets, mut complete) = (Vec::new(), Vec::new(), 0_u64, 0_u64);
    while now() - began < Span::from_secs(SECONDS) {
        let packet = next(&mut aggregator);
        let delivered = now();
        packets += 1;
        complete += u64::from(packet.complete);
        let frames = packet.entries.iter().filter_map(|entry| entry.frame.as_ref());
        let Some(arrival) = frames.map(|frame| frame.arrival).max() else { continue };
        latencies.push(Latency { added: delivered - arrival, waiting: packet.ready - arrival });
        spreads.push(packet.spread);
    }
    let took = (now() - began).as_secs_f64();
    let cpu = (receive_cpu() - cpu_before).as_secs_f64();
    let status = aggregator.status();
    let datagrams = datagrams(&status) - datagrams_before;
    let drops: u64 = ports
        .iter()
        .take(if ports[0] == ports[1] { 1 } else { BOARDS })
        .filter_map(|p| kernel_drops(*p))
        .sum();
    let lost = status.iter().map(|camera| camera.stream.lost).sum::<u64>() + drops;
    let _counters = rig.stop();
    println!(
        "  {what:<10} {packets:>7} {complete:>8} {lost:>5} {:>11.2} {:>11.3} {:>9.2} {:>9} {:>24} {:>24}",
        100.0 * cpu / took,
        100.0 * cpu / took / BOARDS as f64,
        1e6 * cpu / datagrams as f64,
        percentiles(spreads).0.to_string(),
        shown(latencies.iter().map(|latency| latency.added)),
        shown(latencies.iter().map(|latency| latency.waiting)),
    );
}

fn receive_cpu() -> Duration {
    cpu_by_thread(std::process::id()).get(RECEIVE).copied().unwrap_or_default()
}

fn datagrams(status: &[CameraStatus]) -> u64 {
    status.iter().map(|camera| camera.stream.packets).sum()
}

fn shown(spans: impl Iterator<Item = Span>) -> String {
    let (p50, p99, max) = percentiles(spans.collect());
    [p50, p99, max].map(|span| format!("{:.2}", 1e3 * span.as_secs_f64())).join(" / ")
}

/// Median, 99th percentile, maximum.
fn percentiles(mut spans: Vec<Span>) -> (Span, Span, Span) {
    spans.sort_unstable();
    let at = |permille: usize| spans[(spans.len() * permille / 1_000).min(spans.len() - 1)];
    (at(500), at(990), at(1_000))
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> HostTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    HostTime::from_nanos(now.tv_sec * 1_000_000_000 + now.tv_nsec)
}
