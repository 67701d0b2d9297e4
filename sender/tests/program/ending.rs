//! The sender ends when it has to, whatever it is doing.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Receiver, Sender, is_goodbye};

/// More than any machine reads while a test waits.
const HUGE: u64 = 1 << 40;

/// A clip of 3 s in MPEG-TS, if `with_frames`, and zeros after it without end.
fn endless(folder: &Path, with_frames: bool) -> String {
    let path = folder.join("endless.ts");
    let length = if with_frames { "3" } else { "0.1" };
    let kind = if with_frames { ["-c:v", "libx264"] } else { ["-c:v", "mpeg2video"] };
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30", "-t", length])
        .args(kind)
        .arg(&path)
        .status()
        .expect("ffmpeg runs (Debian: apt install ffmpeg)");
    assert!(status.success());
    File::options().write(true).open(&path).expect("just made").set_len(HUGE).expect("a sparse file");
    format!("file:{}", path.display())
}

#[expect(clippy::disallowed_methods, reason = "a test gives up after a time")]
fn now() -> Instant {
    Instant::now()
}

/// Waits until process `pid` handles SIGTERM itself (proc(5), `SigCgt`).
fn wait_for_handler(pid: u32) {
    let deadline = now() + PATIENCE;
    let handles = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        Some(u64::from_str_radix(caught.trim(), 16).ok()? & (1 << 14) != 0)
    };
    while handles() != Some(true) {
        assert!(now() < deadline, "no handler for SIGTERM");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether `child` ends by itself in time; killed if not.
fn ends(child: &mut Child) -> bool {
    let deadline = now() + PATIENCE;
    while now() < deadline {
        if let Some(status) = child.try_wait().expect("our child") {
            assert_eq!((status.code(), status.signal()), (Some(0), None));
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

#[test]
fn a_source_that_takes_for_ever_to_open_does_not_hold_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let source = endless(folder.path(), false);
    let mut sender = Sender::start(&["--to", "rtp://127.0.0.1:9", "--source", &source]);
    wait_for_handler(sender.child().id());
    sender.terminate();
    assert!(ends(sender.child()));
}

#[test]
fn a_source_that_hangs_does_not_hold_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let source = endless(folder.path(), true);
    let mut receiver = Receiver::new();
    let mut sender = Sender::start(&["--to", &receiver.url("rtp"), "--source", &source]);
    // By the fifth report, one a second, the clip is over.
    let mut reports = 0;
    while reports < 5 {
        reports += usize::from(receiver.next().rtcp().is_some());
    }
    sender.terminate();
    assert!(ends(sender.child()));
}

#[test]
fn it_ends_with_the_process_that_asked_for_that_even_if_that_is_killed() {
    let mut receiver = Receiver::new();
    let script = r#""$0" run --source test --size 320x240 --to "$1" --end-with $$ & wait"#;
    let mut parent = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_framelock-sender"), &receiver.url("rtp")])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    while receiver.next().media().is_none() {}
    parent.kill().unwrap();
    parent.wait().unwrap();
    let deadline = now() + PATIENCE;
    while !is_goodbye(&receiver.next()) {
        assert!(now() < deadline, "it goes on");
    }
    // Its parent was another one from the start: nobody waits for it.
    let mut orphan = Sender::run(&receiver.url("rtp"), &["--end-with", "1"]);
    assert!(ends(orphan.child()));
}
