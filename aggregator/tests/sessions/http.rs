//! JPEG over HTTP from servers that are odd, or hostile.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::host::{Host, hang};
use super::*;

/// Reads a request; its lines.
fn request(stream: &TcpStream) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    Ok(lines)
}

fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())
}

/// A stream of images as cheap cameras send it: HTTP/1.0, no lengths, the boundary's dashes in the header.
fn stream_images(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(
        b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=\"--cam\"\r\n\r\n",
    )?;
    loop {
        stream.write_all(&[b"--cam\r\nContent-Type: image/jpeg\r\n\r\n", &image()[..], b"\r\n"].concat())?;
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn url(host: &Host, rest: &str) -> String {
    format!("http://127.0.0.1:{}/{rest}", host.port)
}

#[test]
fn a_cheap_cameras_stream_gives_frames_and_is_taken_up_again() {
    let host = Host::start(|stream, number| {
        assert_eq!(request(stream)?[0], "GET /video?a=1 HTTP/1.1");
        if number == 0 {
            let one = [b"--x\r\nContent-Type: image/jpeg\r\n\r\n", &image()[..], b"\r\n"].concat();
            let chunked = format!("{:x}\r\n", one.len());
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            return stream.write_all(&[chunked.as_bytes(), &one, b"\r\n0\r\n\r\n"].concat());
        }
        stream_images(stream)
    });
    let mut aggregator = aggregator(&[&url(&host, "video?a=1")]);
    broken(&mut aggregator, "the other end closed the connection");
    let up = status(&mut aggregator, "up again", |status| status.stream.frames.good > 20);
    assert_eq!((up.stream.connects, up.stream.failures, up.stream.frames.damaged), (2, 1, 0));
}

#[test]
fn a_single_image_is_asked_for_again_and_again_on_one_connection() {
    let host = Host::start(|stream, _| {
        loop {
            if request(stream)?.is_empty() {
                return Ok(());
            }
            answer(stream, "200 OK", "Content-Type: image/jpeg\r\n", &image())?;
        }
    });
    let mut aggregator = aggregator(&[&url(&host, "snapshot.jpg#poll=20ms")]);
    let up = status(&mut aggregator, "polling", |status| status.stream.frames.good > 20);
    assert_eq!((up.stream.connects, up.stream.failures, host.connections()), (1, 0, 1));
}

#[test]
fn redirects_are_followed_and_take_no_password_elsewhere() {
    let other = Host::start(|stream, _| {
        let request = request(stream)?;
        assert!(!request.iter().any(|line| line.to_lowercase().starts_with("authorization")), "{request:?}");
        stream_images(stream)
    });
    let target = url(&other, "video");
    let host = Host::start(move |stream, _| {
        let request = request(stream)?;
        if !request.iter().any(|line| line.starts_with("authorization: Basic YTpi")) {
            return answer(stream, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", b"");
        }
        answer(stream, "302 Found", &format!("Location: {target}\r\n"), b"")
    });
    let mut aggregator = aggregator(&[&url(&host, "").replace("http://", "http://a:b@")]);
    until(&mut aggregator, "images from where it was sent", is_okay);
}

#[test]
fn what_is_no_picture_and_who_lets_nobody_in_is_named() {
    for (status, headers, why) in [
        ("404 Not Found", "", "the server answers 404: there is no such stream"),
        (
            "200 OK",
            "Content-Type: text/html\r\n",
            "neither a JPEG image nor a stream of them, but \"text/html\"",
        ),
        ("503 Busy", "", "too many viewers"),
        ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", "refuses this user or password"),
        ("401 Unauthorized", "WWW-Authenticate: Negotiate\r\n", "neither Basic nor Digest"),
        ("302 Found", "Location: gopher://x/\r\n", "the server answers 302"),
    ] {
        let host = Host::start(move |stream, _| {
            request(stream)?;
            answer(stream, status, headers, b"")
        });
        let mut aggregator = aggregator(&[&url(&host, "").replace("http://", "http://admin:geheim@")]);
        let shown = format!("{:?}", broken(&mut aggregator, why));
        assert!(!shown.contains("geheim") && !shown.contains("admin"), "{shown}");
    }
    let host = Host::start(|stream, _| {
        request(stream)?;
        answer(stream, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", b"")
    });
    broken(&mut aggregator(&[&url(&host, "")]), "asks for a user and a password");
    let host = Host::start(|stream, _| stream.write_all(b"SSH-2.0-OpenSSH\r\n"));
    broken(&mut aggregator(&[&url(&host, "")]), "an answer that is not HTTP");
}

#[test]
fn more_than_any_image_has_is_refused_however_it_is_announced() {
    let part = Host::start(|stream, _| {
        request(stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=b\r\n\r\n")?;
        stream.write_all(b"--b\r\nContent-Length: 10000000000\r\n\r\n")?;
        hang(stream)
    });
    broken(&mut aggregator(&[&url(&part, "")]), "10000000000 bytes announced");
    let single = Host::start(|stream, _| {
        request(stream)?;
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 10000000000\r\n\r\n",
        )?;
        hang(stream)
    });
    broken(&mut aggregator(&[&url(&single, "")]), "10000000000 bytes announced");
    // An image that never ends, and a header that never ends.
    let endless = Host::start(|stream, _| {
        request(stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=b\r\n\r\n")?;
        stream.write_all(&[b"--b\r\n\r\n", &image()[..26]].concat())?;
        loop {
            stream.write_all(&[7; 65_536])?;
        }
    });
    broken(&mut aggregator(&[&url(&endless, "")]), "of which at most 16777216 are taken");
    let header = Host::start(|stream, _| {
        request(stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
        loop {
            stream.write_all(&[b'x'; 65_536])?;
        }
    });
    broken(&mut aggregator(&[&url(&header, "")]), "an answer that is not HTTP");
}

#[test]
fn a_server_that_says_nothing_or_drips_is_left() {
    let silent = Host::start(|stream, _| {
        request(stream)?;
        hang(stream)
    });
    let dripping = Host::start(|stream, _| {
        request(stream)?;
        for byte in b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n".iter().cycle() {
            stream.write_all(&[*byte])?;
            std::thread::park_timeout(Duration::from_millis(200));
        }
        Ok(())
    });
    for host in [&silent, &dripping] {
        let mut aggregator = aggregator(&[&url(host, "#timeout=1s")]);
        broken(&mut aggregator, "no picture for 1");
        status(&mut aggregator, "tried again", |status| status.stream.failures >= 2);
    }
}

#[test]
fn without_tls_https_says_so() {
    let host = Host::start(|stream, _| answer(stream, "400 Bad Request", "", b"plain HTTP"));
    let mut aggregator = aggregator(&[&url(&host, "").replace("http:", "https:")]);
    broken(&mut aggregator, "TLS: the other end does not speak it");
}
