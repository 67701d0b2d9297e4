use super::*;

#[test]
fn reads_and_writes_sources() {
    for (text, shown) in [
        ("rtp://:5000", "rtp://:5000"),
        ("udp://@:6000", "udp://:6000"),
        ("rtp://*:5000", "rtp://:5000"),
        ("rtp://127.0.0.1:5000", "rtp://127.0.0.1:5000"),
        ("udp://[::1]:7000", "udp://[::1]:7000"),
        ("tcp://:9000", "tcp://:9000"),
        ("tcp://camera.lan:9000?length=u64le", "tcp://camera.lan:9000?…"),
        ("tcp://[::1]:9000", "tcp://[::1]:9000"),
        ("file:clips/a, b.mp4,loop", "file:clips/a, b.mp4,loop"),
    ] {
        assert_eq!(text.parse::<SourceSpec>().unwrap().to_string(), shown);
    }
    let rtp: SourceSpec = "rtp://:5000".parse().unwrap();
    assert_eq!(rtp.port().unwrap().rtcp_port(), Some(5001));
}

#[test]
fn refuses_what_it_cannot_receive() {
    for text in
        ["5000", "srt://:5000", "rtp://:0", "rtp://:65535", "udp://:99999", "rtp://host", "rtp://:", "tcp:"]
    {
        assert!(text.parse::<SourceSpec>().is_err(), "{text}");
    }
    assert!(matches!("rtp://no such host:5000".parse::<SourceSpec>(), Err(SpecError::Host(..))));
}

#[test]
fn files_have_their_options_behind_any_path() {
    let waits = |text: &str| text.parse::<SourceSpec>().unwrap().waits();
    for (text, expected) in [
        ("file:a.mp4", false),
        ("file:a.mp4,loop", false),
        ("file:a.mp4,fast", true),
        ("file:/a,b/c#d?e.ts,fast,loop", true),
        ("file:a.mp4,loop,fast", true),
        ("file:fast", false),
        ("file:a.mp4,faster", false),
    ] {
        assert_eq!(waits(text), expected, "{text}");
    }
    for text in ["file:", "file:,fast", "file:,loop,fast"] {
        let error = text.parse::<SourceSpec>().unwrap_err().to_string();
        assert!(error.contains("write it as file:PATH"), "{error}");
    }
    assert!(SourceSpec::parse("file:a.mp4", &[("timeout", "5s")]).is_err());
}

#[test]
fn options_are_checked_by_name_and_value() {
    let why = |text: &str, options: &[(&str, &str)]| {
        SourceSpec::parse(text, options).unwrap_err().to_string().split_once(": ").unwrap().1.to_owned()
    };
    assert_eq!(why("rtp://:5000", &[("user", "a")]), "there is no option \"user\" here; known are none");
    assert_eq!(
        why("tcp://a:1?lenght=u32le", &[]),
        "there is no option \"lenght\" here; known are length, timeout"
    );
    assert!(why("tcp://a:1?length=5", &[]).starts_with("length must be u16be, "));
    assert!(why("tcp://a:1", &[("timeout", "never")]).starts_with("timeout must be "));
    assert!(why("tcp://a:1#timeout=1h", &[]).starts_with("timeout must be "));
}

#[test]
fn what_is_shown_has_no_secret_in_it() {
    for (text, shown) in [
        ("rtsp://admin:geheim@cam/stream", "rtsp://cam/stream"),
        ("rtsp://admin:ge@he/im?#@cam/stream", "rtsp://cam/stream"),
        ("http://cam/video.cgi?user=admin&pwd=geheim", "http://cam/video.cgi?…"),
        ("rtsp://cam/user=admin_password=geheim_channel=1.sdp", "rtsp://cam/…"),
        ("what://admin:geheim@", "what://"),
        ("tcp://cam:1#password=geheim", "tcp://cam:1#…"),
        ("udp://@:6000", "udp://@:6000"),
        ("nonsense", "nonsense"),
    ] {
        assert_eq!(Redacted::of(text).to_string(), shown);
        for error in [SourceSpec::parse(text, &[]), SourceSpec::parse(text, &[("nonsense", "geheim")])] {
            let shown =
                format!("{error:?} {}", error.as_ref().err().map(ToString::to_string).unwrap_or_default());
            assert!(!shown.contains("geheim") && !shown.contains("ge@he"), "{shown}");
        }
    }
    assert_eq!(format!("{:?}", Secret::new("geheim".to_owned())), "***");
}
