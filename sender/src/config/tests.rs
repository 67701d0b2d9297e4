//! Settings files, good and bad.

use super::*;

fn parse(text: &str) -> Result<Settings, SettingsError> {
    let options: Options = config::parse(text, Path::new("sender.toml"))?;
    options.settle("board-1")
}

fn refused(text: &str) -> String {
    parse(text).expect_err("must be refused").to_string()
}

const MINIMUM: &str = "source = \"test\"\nto = \"rtp://host:5000\"\n";

#[test]
fn the_minimum_gives_the_defaults() {
    let settings = parse(MINIMUM).unwrap();
    assert_eq!(settings.camera, "board-1");
    assert_eq!(settings.transport, Transport::RtpMpegts);
    assert_eq!(settings.bitrate, 1_500_000);
    assert_eq!(settings.clock, ClockSpec::Auto(Vec::new()));
    assert_eq!(settings.system_trust, Trust::Kernel);
    assert_eq!(settings.keyframe_interval, Span::from_secs(2));
    assert_eq!(settings.phase, None);
    let auto = parse(&format!("{MINIMUM}phase = \"auto\"")).unwrap().phase.unwrap();
    assert_eq!(auto.target, Span::ZERO);
}

#[test]
fn the_shipped_example_is_valid_and_shows_every_key() {
    let text = include_str!("../../../deploy/sender.example.toml");
    parse(text).unwrap();
    // Uncommenting its examples must give a valid configuration too.
    let full: String = text
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    let settings = parse(&full).unwrap();
    assert_eq!(settings.transport, Transport::RtpMpegts);
    for key in [
        "camera",
        "camera-id",
        "source",
        "to",
        "transport",
        "size",
        "fps",
        "bitrate",
        "keyframe-interval",
        "encoder-threads",
        "phase",
        "phase-restart-interval",
        "phase-tolerance",
        "overlay-time",
        "stats",
        "log-format",
        "format",
        "latency",
        "latency-spread",
        "[capture.controls]",
        "servers",
        "trust-system-within",
    ] {
        let written = full.lines().any(|line| line.starts_with(key));
        assert!(written, "{key} is not in the example");
    }
}

#[test]
fn everything_is_read() {
    let settings = parse(
        r#"
        camera = "left"
        camera-id = 7
        source = "v4l2:/dev/video2"
        to = "rtp://10.0.0.1:5000"
        transport = "rtp-h264"
        size = "1280x720"
        fps = 29.97
        bitrate = "3M"
        phase = "-2ms"
        phase-tolerance = "1500us"
        overlay-time = true
        [capture]
        format = "yuyv"
        latency = "4ms"
        latency-spread = "500us"
        [capture.controls]
        exposure_time_absolute = 100
        auto_exposure = "Manual Mode"
        [clock]
        servers = ["10.0.0.1", "10.0.0.2:1123"]
        "#,
    )
    .unwrap();
    assert_eq!(settings.transport, Transport::RtpH264);
    let phase = PhaseConfig {
        target: Span::from_millis(-2),
        restart_interval: Span::from_secs(60),
        tolerance: Some(Span::from_micros(1_500)),
    };
    assert_eq!(settings.phase, Some(phase));
    assert_eq!(settings.fps, FrameRate::new(29_970, 1_000));
    assert_eq!(settings.size, Some(Size::new(1280, 720)));
    assert_eq!(settings.capture.latency, Some(Span::from_millis(4)));
    assert_eq!(settings.capture.latency_spread, Some(Span::from_micros(500)));
    assert_eq!(settings.capture.controls["exposure_time_absolute"], ControlValue::Integer(100));
    let ClockSpec::Auto(servers) = settings.clock else { panic!("auto is the default") };
    assert_eq!(servers[1].to_string(), "10.0.0.2:1123");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, hint) in [
        (
            "source = \"test\"\nbitrat = \"1M\"",
            "sender.toml:2: unknown key \"bitrat\"; did you mean \"bitrate\"?",
        ),
        ("[clock]\nserver = \"x\"", "sender.toml:2: unknown key \"server\""),
        ("to = \"rtp://host\"", "sender.toml:1"),
        ("\nsource = \"webcam\"", "sender.toml:2"),
        ("fps = 0", "sender.toml:1"),
        ("fps = true", "30000/1001"),
        ("size = \"640\"", "640x480"),
        ("transport = \"rtp-mpegtss\"", "did you mean \"rtp-mpegts\"?"),
        ("to = \"rtp://host:5000\"", "--source"),
        ("source = \"test\"", "--to"),
        ("camera = \"\"\nsource = \"test\"\nto = \"rtp://host:5000\"", "camera"),
        ("source = \"test\"\nto = \"udp://host:5000\"\ntransport = \"rtp-h264\"", "udp-mpegts"),
        ("bitrate = 1\nsource = \"test\"\nto = \"rtp://host:5000\"", "10k"),
        ("phase = \"12\"", "sender.toml:1"),
        ("phase = \"1min\"\nsource = \"test\"\nto = \"rtp://host:5000\"", "-10s to 10s"),
        ("phase-restart-interval = \"0s\"\nsource = \"test\"\nto = \"rtp://host:5000\"", "1s to 24h"),
        ("phase-tolerance = \"0s\"\nsource = \"test\"\nto = \"rtp://host:5000\"", "10us to 1s"),
        ("capture.latency = \"1h\"\nsource = \"test\"\nto = \"rtp://host:5000\"", "-1s to 10s"),
        ("capture.latency-spread = \"-1ms\"\nsource = \"test\"\nto = \"rtp://host:5000\"", "0ms to 1s"),
        ("keyframe-interval = \"0s\"\nsource = \"test\"\nto = \"rtp://host:5000\"", "keyframe-interval"),
    ] {
        let error = refused(text);
        assert!(error.contains(hint), "{text:?}: {error}");
        assert!(error.lines().count() <= 2, "{error}");
    }
}
