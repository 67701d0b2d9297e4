//! What a sender needs: memory, CPU of each stage, and the size of the program for a board.
//!
//! Limits: 24 MiB resident, CPU outside the encoder at most 10 % of the encoder's, 5 MiB of program for
//! ARMv7. The test source draws its pictures, which a camera would deliver: its row counts that too.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::ffi::OsStr;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use framelock_tests::process::{Process, program};
use framelock_tests::rig::{FPS, SenderStats, clip, sender};
use framelock_tests::usage::{cpu_by_thread, resident_kib};

const SECONDS: u64 = 12;
const MEMORY_LIMIT_MIB: f64 = 24.0;
const CPU_LIMIT_PERCENT: f64 = 10.0;
/// What `cross/build.sh` makes, from the top of the workspace.
const ARM_BINARY: &str = "target/armv7-unknown-linux-gnueabihf/board/framelock-sender";
const ARM_LIMIT: u64 = 5 << 20;

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clip = clip(dir.path());
    println!("sender: 640x480, 30 fps, 1.5 Mbit/s, {SECONDS} s each; CPU in % of one core of this machine");
    println!(
        "  {:<8} {:>9} {:>8} {:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>11} {:>9}",
        "source",
        "RSS MiB",
        "peak",
        "fps",
        "kbit/s",
        "capture",
        "encoder",
        "rest of",
        "network",
        "other",
        "outside/enc",
        "skipped"
    );
    measure("test", "test", dir.path());
    measure("file", &format!("file:{},loop", clip.display()), dir.path());
    let arm = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(ARM_BINARY);
    if arm.is_file() {
        measure_arm(&arm, dir.path());
        println!(
            "           armv7: emulated, 10 fps; memory is the emulator's, and the kernel's share is too small"
        );
    } else {
        println!("  armv7    not built: `make cross` builds it");
    }
    println!(
        "  limits: {MEMORY_LIMIT_MIB} MiB; outside the encoder at most {CPU_LIMIT_PERCENT} % of the encoder"
    );
    sizes();
    println!();
}

fn measure(what: &str, source: &str, dir: &Path) {
    let (_sink, port) = sink();
    let stats = dir.join(format!("{what}.json"));
    observe(what, sender("footprint", source, port, &stats), &stats);
}

/// The program for ARMv7 under QEMU's user emulation. Its memory is the emulator's. Its share of CPU outside the encoder
/// comes out too small: the emulator slows the program's own instructions, and the kernel's work for the network
/// runs at this machine's speed. So the row shows user code only and is no proof of the limit. A third of the frame
/// rate, with the bytes of each frame as above, is what the emulator keeps up with.
fn measure_arm(binary: &Path, dir: &Path) {
    let (_sink, port) = sink();
    let stats = dir.join("armv7.json");
    let to = format!("rtp://127.0.0.1:{port}");
    let command = [OsStr::new("-L"), OsStr::new("/usr/arm-linux-gnueabihf"), binary.as_os_str()];
    let args =
        ["run", "--source", "test", "--size", "640x480", "--fps", "10", "--bitrate", "500k", "--to", &to];
    let args =
        command.into_iter().chain(args.map(OsStr::new)).chain([OsStr::new("--stats"), stats.as_os_str()]);
    observe("armv7", Process::start(Path::new("qemu-arm"), args), &stats);
}

/// Somebody must listen, or the network refuses every other datagram. Nobody reads: on one machine the kernel
/// would bill waking the reader to the sender. What does not fit is dropped.
fn sink() -> (UdpSocket, u16) {
    let sink = UdpSocket::bind("127.0.0.1:0").expect("a loopback socket");
    let port = sink.local_addr().expect("a bound socket has an address").port();
    (sink, port)
}

fn observe(what: &str, mut process: Process, stats: &Path) {
    let frames = |stats: &SenderStats| stats.frames;
    // The first key frame and the tables of a start are no part of the steady state.
    let before = counters_when(stats, |now| frames(now) >= u64::from(FPS) * 2);
    let after = counters_when(stats, |now| now.uptime_ns >= before.uptime_ns + SECONDS * 1_000_000_000);
    let threads = cpu_by_thread(process.id());
    let (resident, peak) = resident_kib(process.id()).expect("the sender runs");
    end(&mut process);
    print_row(what, &before, &after, (resident, peak));
    let threads: Vec<_> =
        threads.iter().map(|(name, cpu)| format!("{name} {:.0} ms", 1e3 * cpu.as_secs_f64())).collect();
    println!("           threads since the start: {}", threads.join(", "));
}

fn print_row(what: &str, before: &SenderStats, after: &SenderStats, (resident, peak): (u64, u64)) {
    let since = |value: fn(&SenderStats) -> u64| (value(after) - value(before)) as f64;
    let nanos = since(|s| s.uptime_ns);
    let percent = |cpu: f64| 100.0 * cpu / nanos;
    let (all, capture, network) =
        (since(|s| s.cpu_ns), since(|s| s.capture_cpu_ns), since(|s| s.network_cpu_ns));
    let (encode, encoder) = (since(|s| s.encode_cpu_ns), since(|s| s.encoder_cpu_ns));
    let other = all - capture - encode - network;
    let ratio = match encoder {
        0.0 => "-".to_owned(),
        _ => format!("{:.1} %", 100.0 * (all - encoder) / encoder),
    };
    let mib = |kib: u64| kib as f64 / 1_024.0;
    println!(
        "  {what:<8} {:>9.1} {:>8.1} {:>7.1} {:>8.0} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>9.2} {ratio:>11} {:>9}",
        mib(resident),
        mib(peak),
        since(|s| s.frames) / nanos * 1e9,
        since(|s| s.frame_bytes) * 8e6 / nanos,
        percent(capture),
        percent(encoder),
        percent(encode - encoder),
        percent(network),
        percent(other),
        since(|s| s.capture_skipped) + since(|s| s.capture_lost),
    );
}

/// Waits until the sender's counters satisfy `done`.
fn counters_when(stats: &Path, done: impl Fn(&SenderStats) -> bool) -> SenderStats {
    loop {
        std::thread::park_timeout(Duration::from_millis(50));
        if let Some(now) = SenderStats::read(stats).filter(&done) {
            return now;
        }
    }
}

fn end(process: &mut Process) {
    let status = process.terminate();
    assert!(status.success(), "{status}; its log:\n{}", process.log());
}

fn sizes() {
    let size = |path: &Path| std::fs::metadata(path).map(|data| data.len()).ok();
    if let Some(bytes) = size(&program("framelock-sender")) {
        println!("  program on this machine: {:.2} MiB", bytes as f64 / f64::from(1 << 20));
    }
    let arm = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(ARM_BINARY);
    match size(&arm) {
        Some(bytes) => println!(
            "  program for ARMv7: {:.2} MiB (limit {} MiB)",
            bytes as f64 / f64::from(1 << 20),
            ARM_LIMIT >> 20
        ),
        None => println!("  program for ARMv7: not built; `make cross` builds it"),
    }
}
