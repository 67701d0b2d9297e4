//! RTSP servers that are none, or hostile.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use super::host::{Host, hang};
use super::*;

/// Reads a request; its `CSeq`.
fn request(stream: &TcpStream) -> std::io::Result<String> {
    let mut sequence = String::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("cseq")
        {
            sequence = value.trim().to_owned();
        }
    }
    Ok(sequence)
}

/// A host that answers the first request so, and then waits.
fn answering(headers: &'static str, body: &'static str) -> Host {
    Host::start(move |stream, _| {
        let sequence = request(stream)?;
        let length = if headers.contains("Content-Length") {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        write!(stream, "RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{headers}{length}\r\n{body}")?;
        hang(stream)
    })
}

fn url(host: &Host) -> String {
    format!("rtsp://admin:geheim@127.0.0.1:{}/cam#timeout=2s", host.port)
}

#[test]
fn ten_gigabytes_of_session_description_take_no_memory() {
    let host = Host::start(|stream, _| {
        let sequence = request(stream)?;
        write!(stream, "RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\nContent-Length: 10000000000\r\n\r\n")?;
        loop {
            stream.write_all(&[b'x'; 65_536])?;
        }
    });
    let mut aggregator = aggregator(&[&url(&host)]);
    let down = broken(&mut aggregator, "10000000000 bytes announced");
    assert!(!format!("{down:?}").contains("geheim"));
}

#[test]
fn streams_that_cannot_be_taken_are_named() {
    const SDP: &str = "Content-Type: application/sdp\r\n";
    for (headers, body, why) in [
        (SDP, "v=0\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 8\r\na=control:a\r\n", "a stream without video"),
        (
            SDP,
            "v=0\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=control:v\r\n",
            "video as h265, which is not supported; set the camera to H.264",
        ),
        (SDP, "nonsense", "RTSP: "),
    ] {
        broken(&mut aggregator(&[&url(&answering(headers, body))]), why);
    }
}

#[test]
fn who_says_nothing_or_something_else_is_left() {
    let silent = Host::start(|stream, _| hang(stream));
    broken(&mut aggregator(&[&url(&silent)]), "no picture for 2");
    let other = Host::start(|stream, _| {
        stream.write_all(b"220 mail.example.org ESMTP\r\n\r\n")?;
        hang(stream)
    });
    broken(&mut aggregator(&[&url(&other)]), "RTSP: ");
    let mut dead = aggregator(&["rtsp://127.0.0.1:9/cam"]);
    broken(&mut dead, "cannot connect to 127.0.0.1:9: connection refused");
}
