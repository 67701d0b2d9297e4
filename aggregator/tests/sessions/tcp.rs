//! Images with their length before them.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use framelock_aggregator::{Codec, FrameStatus, TimeSource};

use super::host::{Host, hang};
use super::*;

fn framed(image: &[u8]) -> Vec<u8> {
    [&u32::try_from(image.len()).unwrap().to_be_bytes()[..], image].concat()
}

/// Sends an image every 20 ms until the client is gone.
fn stream_images(stream: &mut TcpStream) -> std::io::Result<()> {
    loop {
        stream.write_all(&framed(&image()))?;
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn images_become_frames_and_a_server_that_goes_away_is_connected_to_again() {
    let host = Host::start(|stream, number| {
        if number == 0 {
            for _ in 0..20 {
                stream.write_all(&framed(&image()))?;
                std::thread::park_timeout(Duration::from_millis(20));
            }
            return Ok(());
        }
        stream_images(stream)
    });
    let mut aggregator = aggregator(&[&format!("tcp://127.0.0.1:{}", host.port)]);
    let packet = until(&mut aggregator, "images", is_okay);
    let frame = packet.entries[0].frame.as_ref().unwrap();
    assert_eq!((frame.codec, frame.time_source, frame.key), (Codec::Jpeg, TimeSource::Arrival, true));
    assert_eq!((frame.width, frame.height), (Some(320), Some(240)));
    assert_eq!(frame.data, image());
    assert!(frame.time.uncertainty >= framelock_common::time::Span::from_secs(1), "{:?}", frame.time);
    let down = broken(&mut aggregator, "the other end closed the connection");
    assert_eq!((down.stream.connects, down.stream.failures, down.stream.frames.good), (1, 1, 20));
    until(&mut aggregator, "images again", is_okay);
    let up = status(&mut aggregator, "up again", |status| status.stream.connects == 2);
    assert_eq!(up.reason, None);
}

#[test]
fn a_sender_that_connects_to_us_may_come_and_go() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut aggregator = aggregator(&[&format!("tcp://:{port}")]);
    for _ in 0..2 {
        let sender = std::thread::spawn(move || {
            let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
            let mut stream = loop {
                if let Some(stream) = connect() {
                    break stream;
                }
                std::thread::park_timeout(Duration::from_millis(20));
            };
            for _ in 0..10 {
                stream.write_all(&framed(&image())).unwrap();
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        until(&mut aggregator, "images", is_okay);
        sender.join().unwrap();
        broken(&mut aggregator, "the other end closed the connection");
    }
}

#[test]
fn what_is_no_image_is_a_read_error_and_no_reason_to_hang_up() {
    let host = Host::start(|stream, _| {
        stream.write_all(&framed(b"<html>not found</html>"))?;
        stream.write_all(&framed(&image()[..20]))?;
        stream_images(stream)
    });
    let mut aggregator = aggregator(&[&format!("tcp://127.0.0.1:{}", host.port)]);
    until(&mut aggregator, "images", is_okay);
    let status = status(&mut aggregator, "two damaged", |status| status.stream.frames.damaged == 2);
    assert_eq!(status.stream.failures, 0);
    assert_eq!(host.connections(), 1);
}

#[test]
fn ten_gigabytes_announced_are_refused_and_nothing_else_suffers() {
    let evil = Host::start(|stream, _| {
        stream.write_all(&10_000_000_000_u64.to_be_bytes())?;
        let junk = vec![0; 1 << 20];
        loop {
            stream.write_all(&junk)?;
        }
    });
    let good = Host::start(|stream, _| stream_images(stream));
    let mut aggregator = aggregator(&[
        &format!("tcp://127.0.0.1:{}?length=u64be", evil.port),
        &format!("tcp://127.0.0.1:{}", good.port),
    ]);
    let reason = broken(&mut aggregator, "10000000000 bytes announced").reason.unwrap();
    assert_eq!(reason, "10000000000 bytes announced for one picture, of which at most 16777216 are taken");
    let packet = until(&mut aggregator, "the other camera", |packet| packet.entries[1].frame.is_some());
    assert_eq!(packet.entries[0].status, FrameStatus::Broken);
}

#[test]
fn a_server_that_drips_or_stands_still_is_left_after_the_timeout() {
    let host = Host::start(|stream, number| {
        stream.write_all(&framed(&image()))?;
        if number % 2 == 0 {
            // One byte now and then, for ever: alive, but no use.
            for byte in std::iter::once(&255).chain([0; 100_000].iter()) {
                stream.write_all(&[*byte])?;
                std::thread::park_timeout(Duration::from_millis(200));
            }
        }
        hang(stream)
    });
    let mut aggregator = aggregator(&[&format!("tcp://127.0.0.1:{}?timeout=1s", host.port)]);
    broken(&mut aggregator, "no picture for 1");
    status(&mut aggregator, "tried again", |status| status.stream.connects >= 3);
}

#[test]
fn a_server_that_is_not_there_is_named_and_tried_again() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut aggregator = aggregator(&[&format!("tcp://127.0.0.1:{port}")]);
    let down = broken(&mut aggregator, "connection refused");
    assert_eq!(
        down.reason.unwrap(),
        format!("cannot connect to 127.0.0.1:{port}: connection refused; is the server running?")
    );
    status(&mut aggregator, "tried again", |status| status.stream.failures >= 2);
}
