//! The aggregator's example programs, each run to its end on real senders: what they print is what they say they do.

use framelock_tests::ntp;
use framelock_tests::process::{PATIENCE, Process, free_port};

fn sender(camera: &str, port: u16) -> Process {
    let to = format!("rtp://127.0.0.1:{port}");
    let args = ["run", "--source", "test", "--size", "320x240", "--fps", "20", "--bitrate", "500k"];
    Process::ours(
        "framelock-sender",
        args.into_iter().chain(["--clock", ntp::clock(), "--camera", camera, "--to", &to]),
    )
}

/// Two cameras, as the programs take them, and their senders.
fn rig() -> ([String; 2], [Process; 2]) {
    let mut senders = Vec::new();
    let cameras = ["left", "right"].map(|name| {
        let port = free_port();
        senders.push(sender(name, port));
        format!("{name}=rtp://127.0.0.1:{port}")
    });
    (cameras, senders.try_into().expect("there are two"))
}

/// Runs an example to its end; what it printed.
fn run(name: &str, args: &[&str]) -> Vec<String> {
    let mut example = Process::ours(&format!("examples/{name}"), args);
    let lines: Vec<String> = std::iter::from_fn(|| example.line(PATIENCE)).collect();
    let status = example.wait();
    assert!(status.success(), "{name}: {status}: {lines:#?}\n{}", example.log());
    lines
}

fn count(lines: &[String], start: &str) -> usize {
    lines.iter().filter(|line| line.starts_with(start)).count()
}

#[test]
fn packets() {
    let port = free_port();
    let _senders = ["left", "right"].map(|name| sender(name, port));
    let lines = run("packets", &[&port.to_string(), "60"]);
    assert_eq!(count(&lines, "packet "), 60, "{lines:#?}");
    for camera in ["left", "right"] {
        assert!(count(&lines, &format!("  {camera}: 20")) >= 10, "a time for most of its frames: {lines:#?}");
    }
}

#[test]
fn pictures() {
    let (cameras, _senders) = rig();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().to_str().expect("it has a plain name");
    let lines = run("pictures", &[path, &cameras[0], &cameras[1]]);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for camera in ["left", "right"] {
        let saved = std::fs::read(dir.path().join(format!("{camera}.ppm"))).expect("it was saved");
        let pixels = saved.strip_prefix(b"P6 320 240 255\n").expect("it has the camera's size");
        assert_eq!(pixels.len(), 320 * 240 * 3);
        let (darkest, brightest) = (pixels.iter().min(), pixels.iter().max());
        assert!(darkest < Some(&40) && brightest > Some(&200), "the test pattern: {darkest:?} {brightest:?}");
    }
}

#[test]
fn consumers() {
    let (cameras, _senders) = rig();
    let lines = run("consumers", &cameras.each_ref().map(String::as_str));
    assert_eq!(count(&lines, "packet "), 5, "{lines:#?}");
    assert_eq!(count(&lines, "pictures: 5 taken, "), 1, "{lines:#?}");
    let times = count(&lines, "  packet ");
    assert!(times > 5, "the slow one does not hold this one up: {lines:#?}");
    assert!(lines.contains(&format!("times: {times} taken, 0 skipped")), "{lines:#?}");
}

#[test]
fn cameras() {
    let (cameras, _senders) = rig();
    let lines = run("cameras", &cameras.each_ref().map(String::as_str));
    let happened: Vec<&str> =
        lines.iter().map(String::as_str).filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(happened, ["left added", "right added", "right removed", "left removed"]);
    assert_eq!(count(&lines, "  left: "), 3, "{lines:#?}");
    assert_eq!(count(&lines, "  right: "), 1, "{lines:#?}");
}

#[test]
fn motion() {
    let port = free_port();
    let _sender = sender("left", port);
    let lines = run("motion", &[&format!("rtp://127.0.0.1:{port}"), "30"]);
    assert_eq!(lines.len(), 30, "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains(" P: ") && !line.contains(" 0 vectors")), "{lines:#?}");
    let of_intra = lines.iter().filter(|line| line.contains(" I: "));
    assert!(of_intra.clone().all(|line| line.contains(" I: 0 vectors, 0.00 pixels")), "{lines:#?}");
}

#[test]
fn synchronizer() {
    let lines = run("synchronizer", &[]);
    assert_eq!(lines.len(), 30, "{lines:#?}");
    for (number, line) in lines.iter().enumerate() {
        let expected = if number % 10 == 9 {
            format!("set {number}, 0ns apart: left {number} right dropped")
        } else {
            format!("set {number}, 12.0ms apart: left {number} right {number}")
        };
        assert_eq!(*line, expected);
    }
}
