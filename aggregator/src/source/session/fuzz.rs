//! What the fuzz targets in `tests/fuzz` call: the parsers of sessions, without a connection. Nothing else uses
//! them.

use framelock_common::time::HostTime;
use futures_util::FutureExt;

use super::event::{Progress, What};
use super::http::{self, Multipart};
use super::rtsp::Guard;
use super::zmq::{self, Subscriber};
use super::{Sink, tcp};
use crate::source::spec::Parts;

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

/// Takes `stream` for what a ZeroMQ publisher sends, given in pieces of `size`; returns how many messages with
/// an image it had.
#[must_use]
pub fn zmtp(stream: &[u8], size: usize) -> usize {
    let (mut subscriber, mut images) = (Subscriber::new(""), 0);
    for piece in stream.chunks(size.max(1)) {
        let handled = subscriber.handle(piece);
        while let Some(message) = subscriber.poll_message() {
            images += usize::from(zmq_image(message).is_some());
        }
        let _sent = subscriber.poll_output();
        if handled.is_err() {
            break;
        }
    }
    images
}

/// The image that a ZeroMQ message of these frames is taken for, if it has any.
#[must_use]
pub fn zmq_image(frames: Vec<Vec<u8>>) -> Option<Vec<u8>> {
    Some(zmq::image(frames).into_owned()).filter(|image| image.starts_with(&[0xff, 0xd8]))
}

/// Takes `stream` for images behind lengths of the `length`th kind; returns how many it had.
#[must_use]
pub fn length_prefixed(length: usize, stream: &[u8]) -> usize {
    // Bytes in memory are never waited for.
    tcp::hear(length, stream).now_or_never().unwrap_or_default()
}

/// Takes `answers` for what an HTTP server says to one request for `url` after the other; returns how many images
/// they had.
#[must_use]
pub fn http(url: &str, answers: &[&[u8]]) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let (Some(parts), Ok(runtime)) = (Parts::of(url), runtime) else { return 0 };
    runtime.block_on(async {
        let (events, mut heard) = tokio::sync::mpsc::channel(1);
        let mut sink = Sink::new(0, events, Progress::new(HostTime::from_nanos(0)));
        let hear = async move { http::hear(&parts, answers, &mut sink).await };
        let count = async {
            let mut images = 0;
            while let Some((_, event)) = heard.recv().await {
                images += usize::from(matches!(event.what, What::Image(_)));
            }
            images
        };
        tokio::join!(hear, count).1
    })
}

/// Takes `stream` for what an RTSP server sends; whether all of it was within bounds.
#[must_use]
pub fn rtsp_framing(stream: &[u8], size: usize) -> bool {
    let mut guard = Guard::default();
    stream.chunks(size.max(1)).all(|piece| guard.check(piece).is_ok())
}
