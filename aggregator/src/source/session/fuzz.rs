//! What the fuzz targets in `tests/fuzz` call: the parsers of sessions, without a connection. Nothing else uses
//! them.

use framelock_common::time::HostTime;

use super::http::Multipart;
use super::rtsp::Guard;
use super::zmq::Subscriber;

/// Takes `stream` apart as a stream of images behind `boundary`, given in pieces of `size`; returns how many
/// parts it had.
#[must_use]
pub fn multipart(boundary: &str, stream: &[u8], size: usize) -> usize {
    let (mut multipart, mut parts) = (Multipart::new(boundary), 0);
    let now = HostTime::from_nanos(0);
    for piece in stream.chunks(size.max(1)) {
        multipart.push(piece, now);
        loop {
            match multipart.poll(now) {
                Ok(Some(_)) => parts += 1,
                Ok(None) => break,
                Err(_) => return parts,
            }
        }
    }
    parts
}

/// Takes `stream` for what a ZeroMQ publisher sends, given in pieces of `size`; returns how many messages it had.
#[must_use]
pub fn zmtp(stream: &[u8], size: usize) -> usize {
    let (mut subscriber, mut messages) = (Subscriber::new(""), 0);
    for piece in stream.chunks(size.max(1)) {
        let handled = subscriber.handle(piece);
        while subscriber.poll_message().is_some() {
            messages += 1;
        }
        let _sent = subscriber.poll_output();
        if handled.is_err() {
            break;
        }
    }
    messages
}

/// Takes `stream` for what an RTSP server sends; whether all of it was within bounds.
#[must_use]
pub fn rtsp_framing(stream: &[u8], size: usize) -> bool {
    let mut guard = Guard::default();
    stream.chunks(size.max(1)).all(|piece| guard.check(piece).is_ok())
}
