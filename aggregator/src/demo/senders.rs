//! The demonstration's sender processes: found, started, watched, and always ended.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::DemoError;

/// Frame period of the simulated cameras, in microseconds; phases are spread over it.
const PERIOD_US: u32 = 33_333;
/// Lines of a sender's log that are kept for the case that it dies.
const LAST_WORDS: usize = 3;
/// How long a sender may take to say goodbye, in steps of 10 ms.
const GOODBYE_STEPS: usize = 100;

/// A simulated camera.
#[derive(Clone, Debug)]
pub(super) struct CameraPlan {
    pub(super) name: String,
    pub(super) id: u16,
    pub(super) port: u16,
    source: String,
    /// How its board's clock is wrong, as `--clock sim:` takes it.
    wrong: String,
}

/// Plans `count` cameras with different phases and drifts, each on its own free port, and on boards whose
/// clocks are wrong by seconds and drift by up to 50 ppm.
pub(super) fn plan(count: u16) -> Result<Vec<CameraPlan>, DemoError> {
    let mut cameras: Vec<CameraPlan> = Vec::new();
    for id in 0..count {
        let taken = |port: u16| cameras.iter().any(|camera| camera.port.abs_diff(port) < 2);
        let port = free_port(taken).ok_or(DemoError::NoPorts)?;
        // Multiples of the golden ratio spread any number of phases evenly and without order.
        let phase = (u32::from(id) * 20_601) % PERIOD_US;
        let drift = i32::from(id % 5) * 20 - 40;
        let source = format!("test:phase={phase}us,drift={drift}ppm");
        let sign = if id % 2 == 0 { 1 } else { -1 };
        let wrong = format!(
            "offset={}s,drift={}ppm",
            sign * (2 + 3 * i32::from(id)),
            sign * (50 - i32::from(id % 4) * 10)
        );
        cameras.push(CameraPlan { name: format!("cam{}", id + 1), id, port, source, wrong });
    }
    Ok(cameras)
}

/// A port that is free, as is the next one for RTCP.
fn free_port(taken: impl Fn(u16) -> bool) -> Option<u16> {
    (0..100).find_map(|_| {
        let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
        let port = socket.local_addr().ok()?.port();
        let next = port.checked_add(1).filter(|next| *next < u16::MAX)?;
        (!taken(port) && UdpSocket::bind(("127.0.0.1", next)).is_ok()).then_some(port)
    })
}

/// Running senders. Dropping them ends them.
#[derive(Debug)]
pub(super) struct Senders {
    running: Vec<Sender>,
}

#[derive(Debug)]
struct Sender {
    camera: String,
    child: Child,
    last_words: Arc<Mutex<VecDeque<String>>>,
}

impl Senders {
    /// Starts a sender for each camera; they ask the NTP server at `ntp` for the time.
    pub(super) fn start(cameras: &[CameraPlan], ntp: SocketAddr) -> Result<Self, DemoError> {
        let program = find()?;
        let mut senders = Self { running: Vec::new() };
        for camera in cameras {
            senders.running.push(start(&program, camera, ntp)?);
        }
        Ok(senders)
    }

    /// Notices a sender that ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        for sender in &mut self.running {
            if let Some(status) = sender.child.try_wait()? {
                let words = sender.last_words.lock().unwrap_or_else(PoisonError::into_inner);
                let words = words.iter().cloned().collect::<Vec<_>>().join(" | ");
                return Err(DemoError::Ended { camera: sender.camera.clone(), status, words });
            }
        }
        Ok(())
    }

    /// Ends all senders: asked first, so that they say goodbye, then killed.
    pub(super) fn stop(&mut self) {
        for sender in &self.running {
            if let Some(pid) = i32::try_from(sender.child.id()).ok().and_then(Pid::from_raw) {
                let _ended_already = kill_process(pid, Signal::TERM);
            }
        }
        for _ in 0..GOODBYE_STEPS {
            let ended = |sender: &mut Sender| matches!(sender.child.try_wait(), Ok(Some(_)));
            if self.running.iter_mut().all(ended) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for sender in &mut self.running {
            let _ended_already = sender.child.kill();
            let _status = sender.child.wait();
        }
        self.running.clear();
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The sender's binary: beside ours, else wherever PATH finds it.
fn find() -> Result<PathBuf, DemoError> {
    const NAME: &str = "framelock-sender";
    let ours = std::env::current_exe()?;
    let beside = ours.with_file_name(NAME);
    if beside.is_file() {
        return Ok(beside);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(NAME)).find(|file| file.is_file());
    found.ok_or_else(|| DemoError::NoSender(ours.display().to_string()))
}

fn start(program: &PathBuf, camera: &CameraPlan, ntp: SocketAddr) -> Result<Sender, DemoError> {
    let (to, id) = (format!("rtp://127.0.0.1:{}", camera.port), camera.id.to_string());
    let clock = format!("sim:{},ntp:{ntp}", camera.wrong);
    let mut child = Command::new(program)
        .args(["run", "--source", &camera.source, "--to", &to, "--camera", &camera.name])
        .args(["--camera-id", &id, "--size", "640x480", "--fps", "30", "--bitrate", "1500k"])
        .args(["--clock", &clock])
        // Also where we are killed and cannot end it ourselves.
        .args(["--end-with", &std::process::id().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| DemoError::Start { program: program.display().to_string(), source })?;
    let last_words = Arc::new(Mutex::new(VecDeque::new()));
    if let Some(stderr) = child.stderr.take() {
        let words = last_words.clone();
        // Ends with the sender, whose end of the pipe closes then.
        std::thread::spawn(move || remember(stderr, &words));
    }
    Ok(Sender { camera: camera.name.clone(), child, last_words })
}

fn remember(stderr: impl Read, words: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.push_back(line);
        if words.len() > LAST_WORDS {
            words.pop_front();
        }
    }
}
