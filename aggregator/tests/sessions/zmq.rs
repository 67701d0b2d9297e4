//! ZeroMQ peers that are none, or hostile.

use std::io::Write;

use super::host::{Host, hang};
use super::*;

/// The greeting and handshake of a publisher.
fn publisher() -> Vec<u8> {
    let mut all = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1];
    all.extend(b"NULL");
    all.resize(64, 0);
    all.extend(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB");
    all
}

#[test]
fn who_does_not_speak_it_or_announces_too_much_is_left() {
    for (said, why) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "the greeting of ZeroMQ"),
        ([publisher(), vec![2, 0, 0, 0, 2, 0x54, 0x0b, 0xe4, 0]].concat(), "10000000000 bytes announced"),
        (publisher(), "no picture for 1"),
    ] {
        let host = Host::start(move |stream, _| {
            stream.write_all(&said)?;
            hang(stream)
        });
        broken(&mut aggregator(&[&format!("zmq+tcp://127.0.0.1:{}?timeout=1s", host.port)]), why);
    }
}
