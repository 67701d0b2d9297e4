//! Session sources: those that keep up a connection (or read a file) instead of waiting for datagrams.
//!
//! | module | what |
//! |---|---|
//! | `spec` | how a session source is written |
//! | `supervisor`, `backoff` | keeps a session up: connects again after it failed, and knows when it hangs |
//! | `error` | why a session failed, in words for a status display |
//! | `event` | what a session tells the engine |
//! | `port` | what was told becomes a camera's frames (sans-IO) |
//! | `net`, `tls`, `web` | connections to hosts; what URLs have in common |
//! | `rtsp` | RTSP cameras: H.264, JPEG or MPEG-TS |
//! | `http` | JPEG over HTTP: streams, and single images asked for again and again |
//! | `zmq` | JPEG from ZeroMQ publishers |
//! | `tcp` | images with their length before them, over TCP |
//! | `file` | MP4 and MPEG-TS files with H.264, in real time or as fast as possible |
//!
//! A session is an asynchronous task beside the receive loop; what it has goes through one short queue, so
//! that a sender that is too fast has to wait, and nothing piles up here. To add a kind of source, implement
//! `Session` and name it in `spec`.

mod backoff;
mod error;
mod event;
mod file;
pub mod fuzz;
mod http;
mod net;
mod port;
mod rtsp;
mod spec;
mod supervisor;
mod tcp;
mod tls;
mod web;
mod zmq;

use std::convert::Infallible;
use std::future::Future;

pub use error::SessionError;
pub(super) use event::Image;
pub use event::{SessionEvent, Sink};
pub use port::SessionPort;
pub use spec::SessionSpec;
pub(crate) use supervisor::Sessions;

/// The largest image taken: that of a 50-megapixel camera. What announces more is not even begun with.
const MAX_IMAGE: usize = 16 << 20;

/// One kind of session source.
trait Session: Send {
    /// Connects and hands everything that comes to `sink`, until it fails or ends; it may be called again then. It may
    /// be dropped at any time. Whether it hangs is not its business: whoever runs it watches what comes out.
    fn run(&mut self, sink: &mut Sink) -> impl Future<Output = Result<Infallible, SessionError>> + Send;
}
