//! The real chronyd, as a server of this machine's clock and as a client.
//!
//! `-x`: never touches the clock. `-U`: needs no root.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use framelock_common::time::Span;
use framelock_sender::clock::BoardClock;
use framelock_tests::process::{PATIENCE, Process, free_port};
use tempfile::TempDir;

use crate::figures::Reading;
use crate::relay::WrongClock;

/// A chronyd that serves this machine's clock as a reference.
pub(crate) struct Server {
    port: u16,
    _daemon: Daemon,
}

impl Server {
    pub(crate) fn start() -> Self {
        let port = free_port();
        let config =
            format!("local stratum 8\nport {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\ncmdport 0\n");
        Self { port, _daemon: Daemon::start(config) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// A chronyd that asks a server once a second and sets nothing.
pub(crate) struct Client {
    control: u16,
    clock: BoardClock,
    _daemon: Daemon,
}

/// What `chronyc tracking` says.
struct Tracking {
    stratum: u8,
    /// This machine's clock minus what chrony takes for UTC.
    ahead: Span,
    bound: Span,
}

impl Client {
    pub(crate) fn start(server: u16) -> Self {
        let control = free_port();
        let config = format!(
            "server 127.0.0.1 port {server} iburst minpoll 0 maxpoll 0\n\
             port 0\ncmdport {control}\nbindcmdaddress 127.0.0.1\n"
        );
        Self { control, clock: BoardClock::real(), _daemon: Daemon::start(config) }
    }

    #[expect(clippy::disallowed_methods, reason = "a real client needs real time")]
    pub(crate) fn wait_until_synchronized(&self) {
        let start = Instant::now();
        while self.tracking().is_none_or(|tracking| tracking.stratum == 0) {
            assert!(start.elapsed() < PATIENCE, "chronyd never synchronized");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// chrony's own bound is the maximum error that it documents: root dispersion and half the root delay,
    /// and what it has yet to correct, which is nothing here.
    pub(crate) fn error(&self, truth: &WrongClock) -> Reading {
        let before = self.clock.reading().realtime;
        let tracking = self.tracking().expect("chronyc answers as it did before");
        let after = self.clock.reading().realtime;
        let half = (after - before) / 2;
        let middle = before + half;
        // The truth drifts by some 30 ppm while chronyc runs.
        let slack = half.mul_div(40, 1_000_000);
        Reading { error: middle - tracking.ahead - truth.at(middle), bound: tracking.bound, slack }
    }

    fn tracking(&self) -> Option<Tracking> {
        let port = self.control.to_string();
        let program = find("chronyc");
        let output = Command::new(&program)
            .args(["-h", "127.0.0.1", "-p", &port, "-c", "tracking"])
            .output()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()));
        let text = String::from_utf8(output.stdout).unwrap();
        let fields: Vec<&str> = text.trim().split(',').collect();
        let [_, _, stratum, _, system, .., root_delay, root_dispersion, _, _] = fields[..] else {
            return None;
        };
        let seconds = |field: &str| field.parse().map(Span::from_secs_f64).unwrap();
        Some(Tracking {
            stratum: stratum.parse().unwrap(),
            ahead: -seconds(system),
            bound: seconds(root_delay) / 2 + seconds(root_dispersion),
        })
    }
}

struct Daemon {
    _process: Process,
    _directory: TempDir,
}

impl Daemon {
    fn start(mut config: String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        writeln!(config, "pidfile {}", directory.path().join("pid").display()).unwrap();
        let path = directory.path().join("chrony.conf");
        std::fs::write(&path, config).unwrap();
        let args = ["-x", "-U", "-d", "-L", "1", "-f"].map(Path::new);
        let process = Process::start(&find("chronyd"), args.into_iter().chain([path.as_path()]));
        Self { _process: process, _directory: directory }
    }
}

/// Debian keeps daemons out of the path of ordinary users.
fn find(program: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(program);
    if path.exists() { path } else { PathBuf::from(program) }
}
