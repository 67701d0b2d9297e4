//! The NTP client against a real `chronyd` on loopback.
//!
//! Needs `chronyd` in PATH or in `/usr/sbin`, and fails without it. It is told to leave this machine's
//! clock alone.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test with real sockets and clocks")]

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use framelock_common::clock::{ClockMapping, NtpClient, NtpConfig};
use framelock_common::time::{BoardTime, Span, Utc};

/// A `chronyd` that serves this machine's clock; ended when dropped.
struct Chronyd {
    child: Child,
    port: u16,
    directory: std::path::PathBuf,
}

impl Chronyd {
    fn start() -> Self {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = std::env::temp_dir().join(format!("framelock-chronyd-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let config = directory.join("chrony.conf");
        let pid = directory.join("pid");
        let text = format!(
            "local stratum 8\nport {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\ncmdport 0\npidfile {}\n",
            pid.display()
        );
        std::fs::write(&config, text).unwrap();
        let program = if Path::new("/usr/sbin/chronyd").exists() { "/usr/sbin/chronyd" } else { "chronyd" };
        // -x: never touch the clock; -U: no root needed; -d: stay in the foreground.
        let child = Command::new(program)
            .args(["-x", "-U", "-d", "-L", "1", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| {
                panic!("cannot run chronyd ({e}): this test needs it; install the package `chrony`")
            });
        Self { child, port, directory }
    }
}

impl Drop for Chronyd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A board whose monotonic clock starts at an arbitrary value.
struct Board(Instant);

impl Board {
    fn now(&self) -> BoardTime {
        BoardTime::from_nanos(77_000_000_000) + Span::from(self.0.elapsed())
    }
}

fn system_utc() -> Utc {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Utc::from_unix_nanos(0) + Span::from(elapsed)
}

#[test]
fn maps_to_the_time_that_chronyd_serves() {
    let server = Chronyd::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", server.port)).unwrap();
    let board = Board(Instant::now());
    let mut client = NtpClient::new(NtpConfig::new(1), u64::from(std::process::id()));

    // chronyd needs a moment to start; after that every exchange counts.
    let deadline = board.now() + Span::from_secs(30);
    while client.status().samples < 8 {
        assert!(board.now() < deadline, "no samples from chronyd: {:?}", client.server_status(0));
        turn(&mut client, &socket, &board);
    }
    let mapping = client.mapping().unwrap();
    let status = client.status();
    assert_eq!((status.stratum, mapping.epoch), (Some(8), 0));
    assert!(status.delay.unwrap() < Span::from_millis(100), "{status:?}");
    assert_close(&mapping, &board);
}

/// Sends what is due, and takes one answer if one comes in time.
fn turn(client: &mut NtpClient, socket: &UdpSocket, board: &Board) {
    while let Some(transmit) = client.poll_transmit(board.now()) {
        client.handle_sent(transmit.server, board.now());
        // Refused while chronyd is not up yet.
        let _ = socket.send(&transmit.datagram);
    }
    let wait = (client.poll_timeout() - board.now()).to_duration().max(Duration::from_millis(1));
    socket.set_read_timeout(Some(wait)).unwrap();
    let mut datagram = [0; 128];
    match socket.recv(&mut datagram) {
        Ok(length) => {
            // One that came late is refused, and that is all.
            let _ = client.handle_response(0, &datagram[..length], board.now());
        }
        Err(error) => assert!(
            matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
            ),
            "{error}"
        ),
    }
}

/// The mapping and this machine's clock agree within the bound, and what the reading itself took.
fn assert_close(mapping: &ClockMapping, board: &Board) {
    let before = board.now();
    let truth = system_utc();
    let after = board.now();
    let (low, high) = (mapping.utc_at(before), mapping.utc_at(after));
    assert!(low.utc - low.uncertainty <= truth, "mapping is ahead: {low:?}, truth {truth:?}");
    assert!(high.utc + high.uncertainty >= truth, "mapping is behind: {high:?}, truth {truth:?}");
    assert!(low.uncertainty < Span::from_millis(100), "a useless bound on loopback: {}", low.uncertainty);
}
