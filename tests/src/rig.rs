//! A rig of many boards on this machine: real sender processes that pass a recorded clip on, so that the
//! machine's power goes into what is tested and not into many encoders.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::ntp;
use crate::process::Process;

/// Frames a second of the clip.
pub const FPS: u32 = 30;

/// Makes a clip as a board would send it: 640x480, 30 frames a second, 1.5 Mbit/s, a key frame every 2 s, no
/// B-frames. It is 4 s long, in `dir`.
///
/// # Panics
/// When ffmpeg is missing or fails.
#[must_use]
pub fn clip(dir: &Path) -> PathBuf {
    let path = dir.join("clip.mp4");
    let source = "testsrc2=size=640x480:rate=30:duration=4,noise=alls=12:allf=t";
    let rate = ["-b:v", "1500k", "-minrate", "1500k", "-maxrate", "1500k", "-bufsize", "750k"];
    let codec = ["-c:v", "libx264", "-profile:v", "baseline", "-preset", "veryfast", "-tune", "zerolatency"];
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-f", "lavfi", "-i", source])
        .args(codec)
        .args(rate)
        .args(["-x264-params", "nal-hrd=cbr", "-g", "60", "-keyint_min", "60", "-pix_fmt", "yuv420p"])
        .arg(&path)
        .output()
        .unwrap_or_else(|error| panic!("ffmpeg cannot be started ({error}); `make test` installs it"));
    assert!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr));
    path
}

/// Running senders; each has its counters in a file of its own.
#[derive(Debug)]
pub struct Rig {
    senders: Vec<(Process, PathBuf)>,
}

/// What `--stats` of a sender says, as far as it is needed here; times in ns.
#[derive(Debug, Clone, Default, Deserialize)]
#[expect(missing_docs, reason = "named after the JSON fields")]
pub struct SenderStats {
    pub camera: String,
    pub uptime_ns: u64,
    pub capture_lost: u64,
    pub capture_skipped: u64,
    pub frames: u64,
    pub frame_bytes: u64,
    pub datagrams: u64,
    pub send_refused: u64,
    pub cpu_ns: u64,
    pub capture_cpu_ns: u64,
    pub encode_cpu_ns: u64,
    pub encoder_cpu_ns: u64,
    pub network_cpu_ns: u64,
    pub resident_bytes: u64,
    pub resident_peak_bytes: u64,
}

impl SenderStats {
    /// The counters in `file`; `None` while there are none yet.
    ///
    /// # Panics
    /// When it is not what `--stats` writes.
    #[must_use]
    pub fn read(file: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(file).ok()?;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }
}

/// The name of the n-th camera of a rig.
#[must_use]
pub fn camera(n: usize) -> String {
    format!("cam{n:02}")
}

/// Starts a sender of `source` at 640x480, 30 frames a second and 1.5 Mbit/s, its counters in `stats`.
#[must_use]
pub fn sender(name: &str, source: &str, port: u16, stats: &Path) -> Process {
    let to = format!("rtp://127.0.0.1:{port}");
    let mut args = vec!["run", "--source", source, "--to", &to, "--camera", name, "--clock", ntp::clock()];
    if !source.starts_with("file:") {
        args.extend(["--size", "640x480", "--fps", "30", "--bitrate", "1500k"]);
    }
    let args = args.into_iter().map(std::ffi::OsStr::new);
    Process::ours("framelock-sender", args.chain([std::ffi::OsStr::new("--stats"), stats.as_os_str()]))
}

impl Rig {
    /// Starts one sender for each of `ports` that passes `clip` on in a loop. They start with random pauses
    /// between them, and so have random phases; `seed` makes the pauses. Their files are in `dir`.
    #[must_use]
    pub fn start(ports: &[u16], clip: &Path, dir: &Path, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut senders = Vec::new();
        for (n, port) in ports.iter().enumerate() {
            let stats = dir.join(format!("{}.{port}.json", camera(n)));
            let source = format!("file:{},loop", clip.display());
            senders.push((sender(&camera(n), &source, *port, &stats), stats));
            std::thread::park_timeout(Duration::from_micros(random.u64(0..1_000_000 / u64::from(FPS))));
        }
        Self { senders }
    }

    /// Ends all senders and gives their last counters.
    ///
    /// # Panics
    /// When one fails or leaves no counters.
    pub fn stop(&mut self) -> Vec<SenderStats> {
        let mut all = Vec::new();
        for (process, _) in &self.senders {
            process.signal(rustix::process::Signal::TERM);
        }
        for (process, stats) in &mut self.senders {
            let status = process.wait();
            assert!(status.success(), "{status}; its log:\n{}", process.log());
            all.push(SenderStats::read(stats).expect("a sender leaves its counters"));
        }
        all
    }
}
