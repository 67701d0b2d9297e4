//! The real programs, and foreign ones, as child processes that never outlive a test.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a test waits for something that must happen, on a machine that is busy with other work.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A child process: its stdout comes as lines, its stderr goes to a file that a failing test shows.
/// It is killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    log: tempfile::NamedTempFile,
}

/// The path of one of our own programs, built beside the running test.
///
/// # Panics
/// When the program has not been built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a running test has a path");
    let found = exe.ancestors().skip(1).map(|dir| dir.join(name)).find(|path| path.is_file());
    found
        .unwrap_or_else(|| panic!("{name} is not built: run `cargo build --workspace --bins` or `make test`"))
}

/// A UDP port that was free a moment ago, as was the next one (for RTCP).
///
/// # Panics
/// When the machine has no free pair of ports.
#[must_use]
pub fn free_port() -> u16 {
    for _ in 0..100 {
        let Ok(first) = UdpSocket::bind("127.0.0.1:0") else { continue };
        let port = first.local_addr().expect("a bound socket has an address").port();
        if port % 2 == 0 && port < 65_000 && UdpSocket::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no free pair of UDP ports on loopback")
}

impl Process {
    /// Starts one of our own programs.
    ///
    /// # Panics
    /// When it is not built or cannot be started.
    pub fn ours<I: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = I>) -> Self {
        Self::start(&program(name), args)
    }

    /// Starts any program.
    ///
    /// # Panics
    /// When it cannot be started, naming it.
    pub fn start<I: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = I>) -> Self {
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        let log = tempfile::NamedTempFile::new().expect("a temporary file for the log");
        let stderr: File = log.reopen().expect("the log file opens twice");
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{name} cannot be started ({error}); `make test` installs what is needed")
            });
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { name, child, lines, log }
    }

    /// The next line of stdout within `timeout`; `None` when it ended or the time is over.
    pub fn line(&mut self, timeout: Duration) -> Option<String> {
        self.lines.recv_timeout(timeout).ok()
    }

    /// The next line of stdout for which `wanted` holds; lines before it are thrown away.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`], with the program's log.
    pub fn line_where(&mut self, what: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
        let deadline = now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(now())) {
                Ok(line) if wanted(&line) => return line,
                Ok(_) => {}
                Err(_) => panic!("{} never printed {what}; its log:\n{}", self.name, self.log()),
            }
        }
    }

    /// What it has written to stderr so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in KiB, `None` when it has ended.
    #[must_use]
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Panics
    /// When it has not ended within [`PATIENCE`].
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Sends it a signal; nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ended_already = kill_process(id, signal);
        }
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended within [`PATIENCE`], with its log.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status,
                Ok(None) if now() < deadline => std::thread::park_timeout(Duration::from_millis(10)),
                other => panic!("{} did not end ({other:?}); its log:\n{}", self.name, self.log()),
            }
        }
    }

    /// All lines of stdout until it ends.
    ///
    /// # Panics
    /// When it has not ended within [`PATIENCE`].
    pub fn output(&mut self) -> Vec<String> {
        let deadline = now() + PATIENCE;
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(now())) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => return lines,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} did not end; its log:\n{}", self.name, self.log())
                }
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let start = log.len().saturating_sub(4_000);
            let tail = log.get(start..).unwrap_or(&log);
            #[expect(clippy::print_stderr, reason = "shown by the test runner beside the failure")]
            {
                eprintln!("--- the end of the log of {}\n{tail}", self.name);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "waiting for real processes takes real time")]
fn now() -> Instant {
    Instant::now()
}

/// Waits until some process has bound UDP `port`, as `/proc/net/udp` and `/proc/net/udp6` show it.
///
/// # Panics
/// When that does not happen within [`PATIENCE`].
pub fn wait_for_udp_port(port: u16) {
    let wanted = format!(":{port:04X}");
    let bound = |table: &str| {
        let table = std::fs::read_to_string(table).unwrap_or_default();
        table.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|local| local.ends_with(&wanted))
    };
    let deadline = now() + PATIENCE;
    while !bound("/proc/net/udp") && !bound("/proc/net/udp6") {
        assert!(now() < deadline, "nobody has bound UDP port {port}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
