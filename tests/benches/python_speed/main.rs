//! Four cameras at 640x480, 30 frames a second and 1.5 Mbit/s in Python: CPU time for each frame, beside what else does
//! that job. One after the other, on streams of the same senders, round after round: the figures are medians of
//! the rounds.
//!
//! `pixels`, to BGR arrays. Targets: at most GStreamer's, at most OpenCV's, and at most 1.25 times that of `bare.c`,
//! which decodes the same pictures at the same pace and does nothing else.
//!
//! `coded`, packets of frames as they were sent. Target: at most a third of GStreamer's up to its `h264parse`, which
//! does not synchronize and hands nothing to Python.
//!
//! Both jobs are done, or the one that is given as an argument. The bench fails where a target is missed.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use framelock_tests::process::free_port;
use framelock_tests::rig::{FPS, Rig, clip};
use serde::Deserialize;

const CAMERAS: usize = 4;
const SECONDS: u32 = 8;
const ROUNDS: usize = 5;

/// What a contender prints.
#[derive(Debug, Deserialize)]
struct Figures {
    frames: u64,
    cpu: f64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    /// Frames are decoded and converted.
    Pixels,
    /// Frames are taken as they were sent.
    Coded,
}

impl Job {
    const ALL: [Self; 2] = [Self::Pixels, Self::Coded];

    /// Its name to the programs.
    const fn name(self) -> &'static str {
        match self {
            Self::Pixels => "pixels",
            Self::Coded => "coded",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Pixels => "to BGR arrays",
            Self::Coded => "without pixels",
        }
    }

    const fn contenders(self) -> &'static [Contender] {
        match self {
            Self::Pixels => &[
                Contender::Ours,
                Contender::GStreamer,
                Contender::OpenCv,
                Contender::Bare,
                Contender::BareUnpaced,
            ],
            Self::Coded => &[Contender::Ours, Contender::GStreamer],
        }
    }

    const fn describe(self, contender: Contender) -> &'static str {
        match (self, contender) {
            (_, Contender::Ours) => "framelock (Python)",
            (Self::Pixels, Contender::GStreamer) => "GStreamer: avdec_h264 max-threads=1 ! videoconvert",
            (Self::Coded, Contender::GStreamer) => "GStreamer: rtpbin ! rtpmp2tdepay ! tsdemux ! h264parse",
            (_, Contender::OpenCv) => "OpenCV VideoCapture threads (Python)",
            (_, Contender::Bare) => "bare libavcodec + libswscale, same pace",
            (_, Contender::BareUnpaced) => "bare libavcodec + libswscale, as fast as possible",
        }
    }

    /// The most that our CPU time for a frame may be, in the contender's.
    const fn target(self, contender: Contender) -> Option<f64> {
        match (self, contender) {
            (Self::Pixels, Contender::GStreamer | Contender::OpenCv) => Some(1.0),
            (Self::Pixels, Contender::Bare) => Some(1.25),
            (Self::Coded, Contender::GStreamer) => Some(1.0 / 3.0),
            _ => None,
        }
    }
}

/// Who does the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Ours,
    GStreamer,
    OpenCv,
    /// At the cameras' pace.
    Bare,
    /// As fast as possible.
    BareUnpaced,
}

struct Bench {
    dir: tempfile::TempDir,
    clip: PathBuf,
    bare: PathBuf,
}

fn main() -> ExitCode {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clip = clip(dir.path());
    let bare = compile_bare(dir.path());
    let bench = Bench { dir, clip, bare };
    let wanted = |job: &Job| std::env::args().any(|arg| arg == job.name());
    let one = Job::ALL.iter().any(wanted);
    let jobs = Job::ALL.into_iter().filter(|job| !one || wanted(job));
    // Each is done, whatever came of the one before.
    if jobs.filter(|job| !bench.run(*job)).count() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the table. Returns whether every target is met.
fn report(job: Job, all: &mut [(Contender, Vec<f64>)]) -> bool {
    println!("  {:<54} {:>12} {:>17} {:>8} {:>9}", "", "CPU ms/frame", "min - max", "ours is", "target");
    let ours = all.iter_mut().find(|(contender, _)| *contender == Contender::Ours);
    let ours = ours.map_or(f64::NAN, |(_, costs)| median(costs));
    let mut met = true;
    for (contender, costs) in all {
        let cost = median(costs);
        let range = format!("{:.3} - {:.3}", 1e3 * costs[0], 1e3 * costs[costs.len() - 1]);
        print!("  {:<54} {:>12.3} {range:>17}", job.describe(*contender), 1e3 * cost);
        if *contender != Contender::Ours {
            print!(" {:>7.2}x", ours / cost);
        }
        if let Some(target) = job.target(*contender) {
            let missed = (ours / cost).total_cmp(&target).is_gt();
            met &= !missed;
            print!(" {:>9}", format!("<= {target:.2}"));
            print!("{}", if missed { "  MISSED" } else { "" });
        }
        println!();
    }
    println!();
    met
}

/// Sorts, too.
fn median(costs: &mut [f64]) -> f64 {
    costs.sort_unstable_by(f64::total_cmp);
    costs[costs.len() / 2]
}

impl Bench {
    /// Has every contender do the job and prints the figures. Returns whether every target is met.
    fn run(&self, job: Job) -> bool {
        println!(
            "Python: {CAMERAS} cameras, 640x480, {FPS} fps, 1.5 Mbit/s, {}; {ROUNDS} rounds of {SECONDS} s",
            job.title()
        );
        let mut all: Vec<_> = job.contenders().iter().map(|contender| (*contender, Vec::new())).collect();
        let count = all.len();
        for round in 0..ROUNDS {
            // Whoever is first or last in a round may be lucky: everybody is once.
            for place in 0..count {
                let (contender, costs) = &mut all[(round + place) % count];
                costs.push(self.cost(job, *contender, round as u64));
            }
        }
        report(job, &mut all)
    }

    /// CPU seconds for each frame.
    fn cost(&self, job: Job, contender: Contender, seed: u64) -> f64 {
        let figures = match contender {
            Contender::Bare => self.bare(FPS),
            Contender::BareUnpaced => self.bare(0),
            Contender::Ours => self.live(&python(), "ours.py", &[job.name()], seed),
            Contender::OpenCv => self.live(&python(), "opencv.py", &[], seed),
            // Debian's Python has the bindings.
            Contender::GStreamer => {
                self.live(Path::new("/usr/bin/python3"), "gstreamer.py", &[job.name()], seed)
            }
        };
        let least = u64::from(SECONDS * FPS) * CAMERAS as u64 * 9 / 10;
        assert!(figures.frames >= least, "{contender:?} did not keep up: {figures:?}");
        figures.cpu / figures.frames as f64
    }

    /// A Python program that receives from senders of its own.
    fn live(&self, python: &Path, script: &str, args: &[&str], seed: u64) -> Figures {
        let ports = ports();
        let _rig = Rig::start(&ports, &self.clip, self.dir.path(), seed);
        let mut command = Command::new(python);
        command.arg(here().join(script)).args(args).arg(SECONDS.to_string());
        figures(command.args(ports.map(|port| port.to_string())))
    }

    fn bare(&self, fps: u32) -> Figures {
        let numbers = [CAMERAS.to_string(), fps.to_string(), SECONDS.to_string()];
        figures(Command::new(&self.bare).arg(&self.clip).args(numbers))
    }
}

fn figures(command: &mut Command) -> Figures {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; see `make bench`"));
    let (said, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{log}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{command:?}: {error}: {said}\n{log}"))
}

/// The Python in whose environment the package is.
fn python() -> PathBuf {
    let default = || here().join("../../../target/python/venv/bin/python");
    std::env::var_os("FRAMELOCK_PYTHON").map_or_else(default, PathBuf::from)
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/python_speed")
}

fn compile_bare(dir: &Path) -> PathBuf {
    let program = dir.join("bare");
    let libraries = ["--cflags", "--libs", "libavformat", "libavcodec", "libswscale", "libavutil"];
    let flags = Command::new("pkg-config").args(libraries).output().expect("pkg-config is installed");
    assert!(flags.status.success(), "pkg-config: {}", String::from_utf8_lossy(&flags.stderr));
    let flags = String::from_utf8_lossy(&flags.stdout).into_owned();
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-o"]).arg(&program).arg(here().join("bare.c")).args(flags.split_whitespace());
    let output = cc.output().expect("a C compiler is installed");
    assert!(output.status.success(), "{cc:?}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Free ports that do not overlap, RTCP's included.
fn ports() -> [u16; CAMERAS] {
    let mut ports: Vec<u16> = Vec::new();
    while ports.len() < CAMERAS {
        let port = free_port();
        if ports.iter().all(|other| other.abs_diff(port) > 1) {
            ports.push(port);
        }
    }
    ports.try_into().expect("as many as there are cameras")
}
