//! The real chronyd, as a server of this machine's clock and as a client.
//!
//! `-x`: never touches the clock. `-U`: needs no root.

use std::fmt::Write;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
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
    control: Control,
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
        let config =
            format!("server 127.0.0.1 port {server} iburst minpoll 0 maxpoll 0\nport 0\ncmdport 0\n");
        let daemon = Daemon::start(config);
        let socket = daemon.socket();
        wait("chronyd's control socket", || socket.exists());
        Self { control: Control::start(&socket), clock: BoardClock::real(), _daemon: daemon }
    }

    pub(crate) fn wait_until_synchronized(&mut self) {
        let synchronized = || self.control.tracking().is_some_and(|tracking| tracking.stratum != 0);
        wait("chronyd to synchronize", synchronized);
    }

    /// chrony's own bound is the maximum error that it documents: root dispersion and half the root delay,
    /// and what it has yet to correct, which is nothing here.
    pub(crate) fn error(&mut self, truth: &WrongClock) -> Reading {
        let before = self.clock.reading().realtime;
        let tracking = self.control.tracking().expect("chronyc answers as it did before");
        let after = self.clock.reading().realtime;
        let half = (after - before) / 2;
        let middle = before + half;
        // The truth drifts by some 30 ppm while chronyc asks.
        let slack = half.mul_div(40, 1_000_000);
        Reading { error: middle - tracking.ahead - truth.at(middle), bound: tracking.bound, slack }
    }
}

/// A running chronyc, for starting one for each question costs more than all clients together.
struct Control {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Control {
    fn start(socket: &Path) -> Self {
        let program = find("chronyc");
        let mut process = Command::new(&program)
            .arg("-c")
            .arg("-h")
            .arg(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()));
        let questions = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, questions, answers }
    }

    /// `None` while chronyd does not answer.
    fn tracking(&mut self) -> Option<Tracking> {
        self.questions.write_all(b"tracking\n").unwrap();
        let mut text = String::new();
        self.answers.read_line(&mut text).unwrap();
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

impl Drop for Control {
    fn drop(&mut self) {
        let _gone_already = self.process.kill();
        let _status = self.process.wait();
    }
}

/// The name of the socket for chronyc.
const SOCKET: &str = "control";

struct Daemon {
    _process: Process,
    directory: TempDir,
}

impl Daemon {
    fn start(mut config: String) -> Self {
        // chronyd opens no socket where others could put one in its place.
        let own = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(own).tempdir().unwrap();
        let within = |name: &str| directory.path().join(name);
        writeln!(config, "pidfile {}", within("pid").display()).unwrap();
        // Unlike a port, it is nobody else's.
        writeln!(config, "bindcmdaddress {}", within(SOCKET).display()).unwrap();
        let path = within("chrony.conf");
        std::fs::write(&path, config).unwrap();
        // Whoever starts it owns the directory.
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap();
        let args = ["-x", "-U", "-d", "-L", "1", "-u", user.trim(), "-f"].map(Path::new);
        let process = Process::start(&find("chronyd"), args.into_iter().chain([path.as_path()]));
        Self { _process: process, directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }
}

#[expect(clippy::disallowed_methods, reason = "a real daemon needs real time")]
fn wait(what: &str, mut is_there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Debian keeps daemons out of the path of ordinary users.
fn find(program: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(program);
    if path.exists() { path } else { PathBuf::from(program) }
}
