//! Cameras of real sender processes moved into phase, against the truth in their pictures.
//!
//! Every sender has a clock that is wrong by seconds and drifts, corrected by a real `chronyd`; its test
//! pattern has a frame clock of its own that drifts too. The truth is this machine's UTC, which `chronyd`
//! serves and the pictures' timecode strips tell.

use std::fmt;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use framelock_aggregator::Aggregator;
use framelock_common::time::{Span, Utc};
use framelock_common::timecode;
use serde_json::Value;

use crate::process::{PATIENCE, Process, free_port, wait_for_udp_port};

/// Frames a second.
const FPS: i64 = 30;
/// The senders: name, frame clock, board clock.
const SENDERS: [(&str, &str, &str); 2] = [
    ("fast", "test:phase=9ms,drift=20ppm", "offset=3s,drift=30ppm"),
    ("slow", "test:phase=-5ms,drift=-20ppm", "offset=-2s,drift=-40ppm"),
];

/// What was found of one camera.
#[derive(Debug)]
pub struct Camera {
    /// Its name.
    pub name: &'static str,
    /// True phase errors of its frames, without sign, sorted.
    pub errors: Vec<Span>,
    /// What the sender says at the end.
    pub said: Value,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// All cameras.
    pub cameras: Vec<Camera>,
    /// Spreads of complete packets by the reported times, sorted: before the cameras were moved and after.
    pub spreads: [Vec<Span>; 2],
}

/// Lets the cameras run for `time` after all of them hold their phase.
///
/// # Panics
/// When they never do, or a program fails.
#[must_use]
pub fn measure(time: Duration) -> Found {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_chronyd, ntp_port) = chronyd(dir.path());
    let port = free_port();
    let mut aggregator = Aggregator::builder()
        .camera("*", &format!("rtp://127.0.0.1:{port}"))
        .and_then(|builder| builder.decode(true).start())
        .expect("a free port");
    let stats = SENDERS.map(|(name, ..)| dir.path().join(format!("{name}.json")));
    let mut senders: Vec<Process> =
        SENDERS.iter().zip(&stats).map(|(sender, stats)| start(*sender, port, ntp_port, stats)).collect();
    let mut spreads = [Vec::new(), Vec::new()];
    let mut errors = SENDERS.map(|_| Vec::new());
    let limit = now() + PATIENCE;
    let mut end = None;
    while end.is_none_or(|end| now() < end) {
        let packet = aggregator.next(PATIENCE).expect("the aggregator runs").expect("a packet in time");
        if end.is_none() && stats.iter().all(|stats| phase(stats)["state"] == "holding") {
            end = Some(now() + time);
        }
        assert!(end.is_some() || now() < limit, "the cameras never held: {:?}", stats.map(|s| phase(&s)));
        if packet.complete && packet.entries.len() == SENDERS.len() {
            spreads[usize::from(end.is_some())].push(packet.spread);
        }
        for entry in packet.entries.iter().filter(|_| end.is_some()) {
            let Some(picture) = entry.frame.as_ref().and_then(|frame| frame.picture()) else { continue };
            let Ok(strip) =
                timecode::read(picture.y().data, picture.y().stride, picture.width(), picture.height())
            else {
                continue;
            };
            let camera = SENDERS.iter().position(|(name, ..)| *name == entry.camera.to_string());
            errors[camera.expect("only our senders send")].push(off_grid(strip.capture));
        }
    }
    let said = stats.each_ref().map(|stats| phase(stats));
    for sender in &mut senders {
        assert!(sender.terminate().success(), "{}", sender.log());
    }
    spreads.iter_mut().chain(&mut errors).for_each(|list| list.sort_unstable());
    let cameras = SENDERS.iter().zip(errors).zip(said);
    let cameras = cameras.map(|((sender, errors), said)| Camera { name: sender.0, errors, said }).collect();
    Found { cameras, spreads }
}

/// How far `capture` is from the nearest thirtieth of a second of UTC. Written here by its definition, so that
/// the sender's own arithmetic is tested too.
fn off_grid(capture: Utc) -> Span {
    let parts = (i128::from(capture.as_unix_nanos()) * i128::from(FPS)).rem_euclid(1_000_000_000);
    let off = parts.min(1_000_000_000 - parts) / i128::from(FPS);
    Span::from_nanos(i64::try_from(off).expect("less than a second"))
}

fn start((name, source, clock): (&str, &str, &str), port: u16, ntp_port: u16, stats: &Path) -> Process {
    let clock = format!("sim:{clock},ntp:127.0.0.1:{ntp_port}");
    let to = format!("rtp://127.0.0.1:{port}");
    let fps = FPS.to_string();
    let stats = stats.to_string_lossy().into_owned();
    let size = ["--size", "320x240", "--bitrate", "600k", "--fps", &fps];
    let args = ["run", "--source", source, "--to", &to, "--camera", name, "--clock", &clock];
    Process::ours("framelock-sender", args.iter().chain(&size).chain(&["--phase", "auto", "--stats", &stats]))
}

/// The real `chronyd` on loopback, serving this machine's time without touching it.
fn chronyd(dir: &Path) -> (Process, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP port on loopback");
    let port = socket.local_addr().expect("a bound socket").port();
    drop(socket);
    let config = dir.join("chrony.conf");
    let text = format!(
        "port {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\nlocal stratum 2\ncmdport 0\n\
         bindcmdaddress /\npidfile {}\n",
        dir.join("chrony.pid").display()
    );
    std::fs::write(&config, text).expect("the temporary directory can be written to");
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let config = config.to_string_lossy().into_owned();
    let args = ["-d", "-x", "-U", "-u", &user, "-f", &config];
    let server = Process::start(&PathBuf::from("/usr/sbin/chronyd"), args);
    wait_for_udp_port(port);
    (server, port)
}

/// The phase in a sender's counters; null while there are none.
fn phase(stats: &Path) -> Value {
    let Ok(text) = std::fs::read_to_string(stats) else { return Value::Null };
    let stats: Value = serde_json::from_str(&text).expect("the file is replaced as a whole");
    stats["phase"].clone()
}

/// The value that so many in a thousand of a sorted list do not exceed.
#[must_use]
pub fn permille(sorted: &[Span], permille: usize) -> Span {
    let at = (sorted.len() * permille / 1_000).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(Span::MAX)
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {:<8} {:>7} {:>10} {:>10} {:>10} {:>7} {:>14}",
            "camera", "frames", "p50", "p99", "max", "moves", "claimed bound"
        )?;
        for Camera { name, errors, said } in &self.cameras {
            let [p50, p99, max] = [500, 990, 1_000].map(|part| permille(errors, part).to_string());
            let bound = Span::from_nanos(said["uncertainty_ns"].as_i64().unwrap_or(0)).to_string();
            let moves = said["moves"].to_string();
            writeln!(
                f,
                "  {name:<8} {:>7} {p50:>10} {p99:>10} {max:>10} {moves:>7} {bound:>14}",
                errors.len()
            )?;
        }
        let [before, after] = self.spreads.each_ref().map(|spreads| permille(spreads, 500));
        write!(f, "  median packet spread {before} before, {after} while all hold their phase")
    }
}

#[expect(clippy::disallowed_methods, reason = "real processes take real time")]
fn now() -> Instant {
    Instant::now()
}
