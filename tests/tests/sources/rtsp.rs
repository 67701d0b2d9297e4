//! RTSP: GStreamer's server.

use framelock_aggregator::{Codec, TimeSource};
use framelock_tests::peers::Peer;

use super::*;

/// The most by which a time by sender report may be off: the encoder takes less, and the clock is the same.
const LIMIT: Span = Span::from_millis(5);

/// Takes `count` frames with a time by sender report; how far off each is.
fn errors(aggregator: &mut Aggregator, count: usize) -> Vec<Span> {
    let mut errors = Vec::new();
    until(aggregator, "times by sender report", |packet| {
        if let Some(frame) = &packet.entries[0].frame {
            let off = error(&packet.entries[0]);
            if frame.time_source == TimeSource::SenderReport {
                errors.push(off);
            } else {
                assert_eq!(frame.time_source, TimeSource::Arrival, "until the first report");
            }
        }
        errors.len() >= count
    });
    errors
}

#[test]
fn times_by_sender_report_are_those_in_the_picture() {
    let server = Peer::rtsp("--user admin --password s3cret");
    for transport in ["tcp", "udp"] {
        let url = format!("rtsp://admin:s3cret@127.0.0.1:{}/cam?transport={transport}", server.port);
        let mut aggregator = aggregator(&[("cam", url)]);
        let errors = errors(&mut aggregator, 100);
        assert!(errors.iter().all(|error| error.abs() <= LIMIT), "{transport}: {errors:?}");
        let status = &aggregator.status()[0];
        assert_eq!((status.stream.failures, status.stream.frames.damaged), (0, 0), "{transport}: {status:?}");
    }
}

#[test]
fn jpeg_over_rtsp_has_times_by_sender_report_too() {
    let server = Peer::rtsp("--codec jpeg");
    let mut aggregator = aggregator(&[("cam", format!("rtsp://127.0.0.1:{}/cam", server.port))]);
    let errors = errors(&mut aggregator, 25);
    assert!(errors.iter().all(|error| error.abs() <= LIMIT), "{errors:?}");
    let packet = until(&mut aggregator, "an image", |packet| is_okay(packet, 0));
    assert_eq!(packet.entries[0].frame.as_ref().map(|frame| frame.codec), Some(Codec::Jpeg));
}

#[test]
fn with_tls_whom_we_do_not_trust_is_named_and_whom_we_do_is_taken() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=camera"])
        .args(["-keyout", &key, "-out", &cert])
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = Peer::rtsp(&format!("--cert {cert} --key {key} --user admin --password s3cret"));
    let url = format!("rtsps://admin:s3cret@127.0.0.1:{}/cam", server.port);
    let stranger = &mut aggregator(&[("cam", url.clone())]);
    broken(stranger, 0, "TLS: the certificate is not trusted; name it or its authority with ca=FILE");
    for trust in [format!("ca={cert}"), "tls=unverified".to_owned()] {
        let mut aggregator = aggregator(&[("cam", format!("{url}#{trust}"))]);
        let errors = errors(&mut aggregator, 10);
        assert!(errors.iter().all(|error| error.abs() <= LIMIT), "{trust}: {errors:?}");
    }
    let plain = &mut aggregator(&[("cam", url.replace("rtsps:", "rtsp:") + "#timeout=2s")]);
    broken(plain, 0, "");
}

#[test]
fn who_is_let_in_and_what_can_be_taken() {
    for method in ["", "--basic"] {
        let server = Peer::rtsp(&format!("--user admin --password s3cret {method}"));
        let url = |user: &str| format!("rtsp://{user}127.0.0.1:{}/cam", server.port);
        let wrong =
            broken(&mut aggregator(&[("cam", url("admin:geheim@"))]), 0, "refuses this user or password");
        assert!(!format!("{wrong:?}").contains("geheim"), "{wrong:?}");
        broken(&mut aggregator(&[("cam", url(""))]), 0, "asks for a user and a password");
        let mut right = aggregator(&[("cam", url("admin:s3cret@"))]);
        until(&mut right, "pictures for who is let in", |packet| is_okay(packet, 0));
    }
    let h265 = Peer::rtsp("--codec h265");
    let source = format!("rtsp://127.0.0.1:{}/cam", h265.port);
    broken(&mut aggregator(&[("cam", source)]), 0, "video as h265, which is not supported");
    let audio = Peer::rtsp("--codec audio");
    let source = format!("rtsp://127.0.0.1:{}/cam", audio.port);
    broken(&mut aggregator(&[("cam", source)]), 0, "a stream without video");
    let source = format!("rtsp://127.0.0.1:{}/nowhere", audio.port);
    broken(&mut aggregator(&[("cam", source)]), 0, "404: there is no such stream");
}
