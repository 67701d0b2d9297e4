//! `framelock-aggregator demo`: boards whose clocks are wrong by seconds and drift by up to 50 ppm become
//! synchronized by the aggregator's own NTP service, and no capture time ever leaves its bound.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use framelock_tests::process::{PATIENCE, Process, program};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn three_wrong_clocks_are_synchronized_and_every_bound_holds() {
    let mut demo = Process::ours("framelock-aggregator", ["demo", "--cameras", "3", "--seconds", "10"]);
    let lines = demo.output();
    let text = lines.join("\n");
    // The demonstration fails by itself if no complete packet came or a bound did not hold.
    assert!(demo.wait().success(), "{text}\n{}", demo.log());
    for said in ["every camera synchronized ", "spread of complete ", "bound on the spread of complete "] {
        assert!(lines.iter().any(|line| line.starts_with(said)), "{said:?}: {text}");
    }
    // What is shown while it runs.
    for shown in ["lost", "latency", "fps", "kbit/s", "+-", "live", "at most"] {
        assert!(
            lines.iter().any(|line| line.starts_with("packets ") && line.contains(shown)),
            "{shown}: {text}"
        );
    }
    let header =
        lines.iter().position(|line| line.ends_with("outside bound")).unwrap_or_else(|| panic!("{text}"));
    let cameras: Vec<Vec<&str>> =
        lines[header + 1..].iter().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(cameras.len(), 3, "{text}");
    for fields in cameras {
        // Name, strips read, unreadable ones, frames before UTC, ..., frames outside their bound.
        let number = |field: &str| field.parse::<u64>().unwrap_or_else(|_| panic!("{text}"));
        assert!(number(fields[1]) > 0, "{text}");
        assert_eq!((number(fields[2]), fields.last().map(|field| number(field))), (0, Some(0)), "{text}");
    }
}

/// Waits until `found` finds something, for as long as a test may.
fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE.as_millis() / 10 {
        if let Some(found) = found() {
            return found;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("{what} did not come")
}

/// Whether a thread of process `id` hangs in a call with stdout (proc(5), `syscall`).
fn hangs_on_stdout(id: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let mut calls = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("syscall")).ok());
    calls.any(|call| call.split(' ').nth(1) == Some("0x1"))
}

/// Killed when dropped, as a failing test does.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn a_terminal_that_is_stopped_keeps_it_from_nothing() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let child = Command::new(program("framelock-aggregator"))
        .args(["demo", "--cameras", "1"])
        .stdin(Stdio::null())
        .stdout(writer.try_clone().expect("a second end"))
        .stderr(Stdio::null())
        .spawn();
    let mut demo = Killed(child.expect("it starts"));
    let mut lines = BufReader::new(reader).lines();
    let good = |line: &str| line.starts_with("packets ") && !line.contains(" complete 0 ");
    while !good(&lines.next().expect("it goes on").expect("text")) {}

    // From now on nobody reads, and the pipe is full. Opened anew, only this end of it does not wait.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a flag");
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut filler = OpenOptions::new().write(true).custom_flags(nonblocking).open(path).expect("the pipe");
    for size in [4_096, 1] {
        while filler.write(&vec![b'\n'; size]).is_ok() {}
    }
    let id = demo.0.id();
    wait_for("the line that nobody takes", || hangs_on_stdout(id).then_some(()));
    kill_process(Pid::from_child(&demo.0), Signal::INT).expect("it runs");
    let status = wait_for("its end", || demo.0.try_wait().expect("it is our child"));
    assert_eq!(status.code(), Some(0));
}
