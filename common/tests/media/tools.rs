//! The programs these tests need, and what they say about a stream.

use std::path::Path;
use std::process::{Command, Output};

use framelock_common::mpegts::{Demuxer, PacketMeta, TsEvent};
use framelock_common::time::HostTime;

/// Runs a program that must be there and must succeed.
pub(crate) fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| {
        panic!("{program} cannot be run ({error}): these tests need ffmpeg and GStreamer; run deploy/prerequisites.sh")
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {}\n{stderr}", output.status);
    output
}

/// Runs a program that must say nothing on stderr: its log level is set to warnings.
pub(crate) fn run_silent(program: &str, args: &[&str]) -> Vec<u8> {
    let output = run(program, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.is_empty(), "{program} {args:?} complains:\n{stderr}");
    output.stdout
}

/// The path as a string for a command line.
pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// Encodes ffmpeg's test pattern with libx264 into `target`, by its extension.
pub(crate) fn encode(target: &Path, size: &str, frames: u32, options: &[&str]) {
    let source = format!("testsrc2=size={size}:rate=30");
    let frames = frames.to_string();
    let mut args = vec!["-v", "error", "-y", "-f", "lavfi", "-i", &source, "-frames:v", &frames];
    args.extend(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "20"]);
    args.extend(options);
    args.push(path(target));
    run("ffmpeg", &args);
}

/// One packet as `ffprobe -show_packets` tells it, or as our demuxer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probed {
    pub(crate) pts: i64,
    pub(crate) dts: i64,
    pub(crate) size: usize,
    pub(crate) key: bool,
}

/// What ffprobe finds in `file`.
pub(crate) fn probe(file: &Path) -> Vec<Probed> {
    let entries = ["-show_entries", "packet=pts,dts,size,flags", "-of", "compact=p=0"];
    let mut args = vec!["-v", "warning", "-select_streams", "v:0", "-show_packets"];
    args.extend(entries);
    args.push(path(file));
    let text = String::from_utf8(run_silent("ffprobe", &args)).expect("ffprobe writes UTF-8");
    let packet = |line: &str| {
        let field = |name: &str| {
            let prefix = format!("{name}=");
            let value = line.split('|').find_map(|part| part.strip_prefix(&prefix));
            value.unwrap_or_else(|| panic!("ffprobe gives no {name} in {line:?}")).to_owned()
        };
        Probed {
            pts: field("pts").parse().expect("a PTS"),
            dts: field("dts").parse().expect("a DTS"),
            size: field("size").parse().expect("a size"),
            key: field("flags").starts_with('K'),
        }
    };
    text.lines().filter(|line| !line.is_empty()).map(packet).collect()
}

/// A frame from our demuxer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) data: Vec<u8>,
    pub(crate) pts: i64,
    pub(crate) dts: Option<i64>,
    pub(crate) complete: bool,
}

impl Frame {
    pub(crate) fn probed(&self) -> Probed {
        Probed {
            pts: self.pts,
            dts: self.dts.unwrap_or(self.pts),
            size: self.data.len(),
            key: framelock_common::h264::inspect(&self.data).key,
        }
    }
}

/// Demuxes `data` in pushes of `step` bytes, and asserts that the demuxer has nothing to complain of.
pub(crate) fn demux(data: &[u8], step: usize) -> Vec<Frame> {
    let mut demuxer = Demuxer::new();
    let mut frames = Vec::new();
    for piece in data.chunks(step) {
        demuxer.push(piece, META);
        drain(&mut demuxer, &mut frames, true);
    }
    demuxer.flush();
    drain(&mut demuxer, &mut frames, true);
    frames
}

pub(crate) const META: PacketMeta = PacketMeta { rtp_timestamp: None, arrival: HostTime::from_nanos(0) };

/// Takes what the demuxer has; problems fail the test if the stream is `clean`.
pub(crate) fn drain(demuxer: &mut Demuxer, frames: &mut Vec<Frame>, clean: bool) {
    while let Some(event) = demuxer.poll() {
        match event {
            TsEvent::AccessUnit { data, pts, dts, complete, .. } => {
                frames.push(Frame { data, pts, dts, complete });
            }
            TsEvent::Problem(problem) => assert!(!clean, "{problem}"),
        }
    }
}

/// MD5 of every decoded picture, by libavcodec; any complaint of it fails the test.
pub(crate) fn pictures(file: &Path) -> Vec<String> {
    let args = [
        "-v",
        "warning",
        "-i",
        path(file),
        "-map",
        "0:v:0",
        "-fps_mode",
        "passthrough",
        "-f",
        "framemd5",
        "-",
    ];
    let text = String::from_utf8(run_silent("ffmpeg", &args)).expect("framemd5 is text");
    let digest = |line: &str| line.rsplit(',').next().map(|digest| digest.trim().to_owned());
    text.lines().filter(|line| !line.starts_with('#')).filter_map(digest).collect()
}

/// Sizes of the access units of a raw H.264 file; it has no times.
pub(crate) fn probe_raw(target: &Path) -> Vec<usize> {
    let args = ["-v", "error", "-show_entries", "packet=size", "-of", "csv=p=0"];
    let output = run("ffprobe", &[&args[..], &[path(target)]].concat());
    let text = String::from_utf8(output.stdout).expect("ffprobe writes UTF-8");
    text.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
}
