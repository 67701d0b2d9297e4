//! Exit codes and messages of the real program: 0 done, 1 failed while running, 2 wrong input.

use crate::support::{file, output};

/// What the program says on stderr, with its exit code.
fn complaint(args: &[&str]) -> (i32, String) {
    let output = output(args);
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    (output.status.code().expect("an exit, not a signal"), text)
}

#[test]
fn wrong_arguments_are_named_and_end_with_2() {
    let to = ["--to", "rtp://127.0.0.1:5000"];
    for (args, hint) in [
        (vec!["run"], "--source"),
        (vec!["run", "--source", "test"], "--to"),
        (vec!["run", "--source", "webcam", to[0], to[1]], "v4l2:/dev/video0"),
        (vec!["run", "--source", "test", "--to", "http://x"], "rtp://HOST:PORT"),
        (vec!["run", "--source", "test", to[0], to[1], "--transport", "udp-mpegts"], "udp://"),
        (vec!["run", "--source", "test", to[0], to[1], "--size", "641x480"], "even"),
        (vec!["run", "--source", "test", to[0], to[1], "--fps", "0"], "30"),
        (vec!["run", "--source", "test", to[0], to[1], "--bitrate", "fast"], "1500k"),
        (vec!["run", "--source", "test", to[0], to[1], "--clock", "gps"], "ntp:HOST"),
        (vec!["run", "--source", "test", to[0], to[1], "--frames", "0"], "frames"),
        (vec!["run", "--source", "test", to[0], to[1], "--camera", "a\nb"], "camera"),
        (vec!["run", "--sourc", "test"], "--source"),
        (vec!["clock", "--server", "", "--samples", "1"], "host"),
        (vec!["fly"], "fly"),
    ] {
        let (code, text) = complaint(&args);
        assert_eq!(code, 2, "{args:?}: {text}");
        assert!(text.contains(hint), "{args:?}: {text}");
        assert!(text.lines().count() <= 2, "{args:?}: {text}");
    }
    // Who asks for nothing is told all there is.
    let (code, text) = complaint(&[]);
    assert!(code == 2 && text.contains("Usage") && text.contains("devices"), "{text}");
}

#[test]
fn a_configuration_is_validated_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let good = file(dir.path(), "good.toml", "source = \"test\"\nto = \"rtp://host:5000\"\n");
    let done = output(&["validate", &good]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("okay"));
    let bad = file(dir.path(), "bad.toml", "source = \"test\"\nbitrat = 1\n");
    let (code, text) = complaint(&["validate", &bad]);
    assert_eq!(code, 2);
    assert!(text.contains("bad.toml:2: unknown key \"bitrat\"; did you mean \"bitrate\"?"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let (code, text) = complaint(&["run", "--config", &bad]);
    assert_eq!(code, 2, "{text}");
    assert_eq!(complaint(&["validate", "/no/such.toml"]).0, 2);
    // The example that is shipped.
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/sender.example.toml");
    assert_eq!(complaint(&["validate", example]), (0, String::new()));
}

#[test]
fn what_fails_later_ends_with_1_in_one_line() {
    let to = ["--to", "rtp://127.0.0.1:5000"];
    for source in ["v4l2:/dev/no-such-camera", "file:/no/such.mp4"] {
        let (code, text) = complaint(&["run", "--source", source, to[0], to[1]]);
        assert_eq!(code, 1, "{source}: {text}");
        assert!(text.contains("/no"), "{text}");
        assert!(text.matches("os error").count() <= 1, "a cause is said once: {text}");
        assert!(text.lines().count() <= 2, "{text}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for args in [vec!["--help"], vec!["run", "--help"], vec!["--version"]] {
        let output = output(&args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("framelock-sender"), "{args:?}");
        assert!(output.stderr.is_empty());
    }
}
