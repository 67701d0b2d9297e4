//! Clips made by ffmpeg, each in a folder of its own.

use std::path::PathBuf;
use std::process::Command;

/// A clip.
pub(crate) struct Clip {
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Clip {
    /// Makes a clip of a moving test pattern with `ffmpeg ARGS NAME`.
    pub(crate) fn make(name: &str, seconds: &str, rate: &str, args: &str) -> Self {
        let source = format!("testsrc2=size=160x96:rate={rate}:duration={seconds}");
        let video = "-c:v libx264 -preset ultrafast";
        Self::of(name, &format!("-f lavfi -i {source} {video} {args}"))
    }

    /// Makes a clip with `ffmpeg ARGS NAME`.
    pub(crate) fn of(name: &str, args: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin"])
            .args(args.split_whitespace())
            .arg(&path)
            .output()
            .expect("ffmpeg runs (Debian: apt install ffmpeg)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { _folder: folder, path }
    }

    /// As a source with `options` behind it.
    pub(crate) fn source(&self, options: &str) -> String {
        format!("file:{}{options}", self.path.display())
    }

    /// When each frame is shown, in us after the first, as ffprobe sees it.
    pub(crate) fn shown(&self) -> Vec<i64> {
        let output = Command::new("ffprobe")
            .args([
                "-v",
                "error",
                "-select_streams",
                "v",
                "-of",
                "csv=p=0",
                "-show_entries",
                "packet=pts_time",
            ])
            .arg(&self.path)
            .output()
            .expect("ffprobe runs");
        let text = String::from_utf8(output.stdout).unwrap();
        let numbers = text.lines().filter_map(|line| line.split(',').next()).filter(|text| !text.is_empty());
        let mut times: Vec<_> =
            numbers.map(|text| (text.parse::<f64>().unwrap() * 1e6).round() as i64).collect();
        times.sort_unstable();
        times.iter().map(|time| time - times[0]).collect()
    }
}
