//! How files end, and those that cannot be played.

use std::process::Command;

use framelock_aggregator::sync::SourceState;
use framelock_aggregator::{FrameStatus, Queue, Subscription};

use super::*;

fn packets(args: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framelock-aggregator"));
    command.env_remove("RUST_LOG").arg("packets").args(args).output().unwrap()
}

/// What a camera that plays the file `path` says of it, in real time and as fast as possible.
fn why(path: &std::path::Path) -> Vec<String> {
    let one = |options: &str| {
        let aggregator = aggregator(&[format!("file:{}{options}", path.display())]);
        let status = status(&aggregator, 0, |status| status.reason.is_some());
        assert_eq!(status.state, SourceState::Broken);
        status.reason.unwrap()
    };
    ["", ",fast"].map(one).into()
}

#[test]
fn what_cannot_be_played_says_which_file_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.mp4");
    let says = |path: &std::path::Path, what: &str| {
        for reason in why(path) {
            assert!(reason.starts_with(&format!("{}: ", path.display())), "{reason}");
            assert!(reason.contains(what) && reason.lines().count() == 1, "{reason} has no {what:?}");
        }
    };
    says(&path, "there is no such file");
    says(folder.path(), "no ordinary file");
    std::fs::write(&path, b"").unwrap();
    says(&path, "neither MP4 nor MPEG-TS");
    std::fs::write(&path, b"plain text, and enough of it to look at").unwrap();
    says(&path, "neither MP4 nor MPEG-TS");
    let whole = std::fs::read(&Clip::make("clip.mp4", "1", "25", "").path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    says(&path, "cut short");
    let source = "-f lavfi -i testsrc2=size=160x96:rate=25:duration=1";
    let h265 = format!("{source} -c:v libx265 -x265-params log-level=none");
    says(&Clip::of("h265.mp4", &h265).path, "no H.264 track");
    says(&Clip::of("h265.ts", &h265).path, "no H.264 key frame");
    let sound = "-f lavfi -i sine=duration=1 -c:a aac";
    says(&Clip::of("sound.mp4", sound).path, "no H.264 track");
    says(&Clip::of("sound.ts", sound).path, "no H.264 key frame");
}

#[test]
fn a_file_that_was_cut_gives_what_it_has_and_ends_or_says_where() {
    let clip = Clip::make("cut.ts", "2", "25", "-bf 0 -g 10");
    let whole = std::fs::read(&clip.path).unwrap();
    std::fs::write(&clip.path, &whole[..whole.len() / 2]).unwrap();
    let mut cut = aggregator(&[clip.source(",fast")]);
    let got = all(&mut cut).len();
    assert!((15..50).contains(&got), "{got}");
    assert_eq!(cut.status()[0].reason.as_deref(), Some("the file ended"));
    // An index that promises more than there is.
    let clip = Clip::make("cut.mp4", "2", "25", "-bf 0 -g 10 -movflags +faststart");
    let whole = std::fs::read(&clip.path).unwrap();
    std::fs::write(&clip.path, &whole[..whole.len() / 2]).unwrap();
    let mut cut = aggregator(&[clip.source(",fast")]);
    let got = all(&mut cut).len();
    assert!((5..50).contains(&got), "{got}");
    let reason = cut.status()[0].reason.clone().unwrap();
    assert!(reason.contains("cut.mp4: a frame of") && reason.contains("beyond the file"), "{reason}");
}

#[test]
fn a_shorter_file_ends_and_the_others_go_on() {
    let clips = [Clip::make("long.mp4", "2", "25", "-bf 2"), Clip::make("short.mp4", "1", "25", "-bf 0")];
    let packets = all(&mut aggregator(&[clips[0].source(",fast"), clips[1].source(",fast")]));
    assert_eq!(packets.len(), 50);
    let both = packets.iter().filter(|packet| packet.complete).count();
    assert_eq!(both, 25, "{packets:?}");
    assert_eq!(packets[49].entries[1].status, FrameStatus::Broken);
}

/// The first frame may be the only key frame.
#[test]
fn who_subscribes_after_the_start_gets_the_first_frame_all_the_same() {
    let clip = Clip::make("clip.mp4", "1", "25", "-bf 2");
    for options in ["", ",fast"] {
        let aggregator = aggregator(&[clip.source(options)]);
        std::thread::park_timeout(Duration::from_millis(500));
        let queue = Queue::All { limit: 100 };
        let mut consumer = aggregator.subscribe(Subscription { queue, ..Subscription::decoded() }).unwrap();
        let mut frames = 0;
        while let Ok(packet) = consumer.next(PATIENCE) {
            let packet = packet.expect("in time");
            assert_eq!(packet.entries[0].status, FrameStatus::Okay, "packet {frames}");
            frames += 1;
        }
        assert_eq!(frames, 25);
    }
}

#[test]
fn the_program_ends_with_its_files() {
    let clip = Clip::make("clip.mp4", "1", "25", "-bf 2");
    let camera = |options: &str| format!("cam={}", clip.source(options));
    for options in ["", ",fast"] {
        let output = packets(&["--camera", &camera(options), "--decode"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        let lines = String::from_utf8(output.stdout).unwrap();
        assert_eq!(lines.lines().count(), 25, "{lines}");
        assert!(lines.lines().all(|line| line.contains("\"complete\":true")), "{lines}");
        assert!(stderr.contains("the file ended"), "{stderr}");
    }
    let output = packets(&["--camera", &camera(",fast"), "--camera", "other=file:/nowhere.mp4,fast"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 25);
    assert!(stderr.contains("camera other: /nowhere.mp4: there is no such file"), "{stderr}");
    let output = packets(&["--camera", "cam=file:"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("write it as file:PATH"));
}
