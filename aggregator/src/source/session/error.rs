//! Why a session failed: short, for a status display, and never with a credential in it. What the other end said
//! is cut to a line.

use std::io;

use framelock_common::time::Span;

/// Why a session failed. What each says fits in a line.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The host's name is not known.
    #[error("no address known for host {0}")]
    UnknownHost(String),
    /// Nobody answers there, or the network does not get there.
    #[error("cannot connect to {to}: {}", describe(source))]
    Connect {
        /// Host and port.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// A port of this machine cannot be listened on.
    #[error("cannot listen on TCP port {port}: {}", describe(source))]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke: {}", describe(.0))]
    Io(#[from] io::Error),
    /// The other end closed the connection.
    #[error("the other end closed the connection")]
    Closed,
    /// Nothing useful came for a while; the connection may look alive.
    #[error("no picture for {0}")]
    Stalled(Span),
    /// More was announced than is taken.
    #[error("{announced} bytes announced for one picture, of which at most {limit} are taken")]
    TooLarge {
        /// What was announced.
        announced: u64,
        /// What would have been taken.
        limit: usize,
    },
    /// No TLS could be agreed on, or the certificate is not to be trusted.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server wants to know who asks.
    #[error("the server asks for a user and a password, and none are set")]
    NeedsCredentials,
    /// The server does not let this user in.
    #[error("the server refuses this user or password")]
    Refused,
    /// The server answers, but not with what was asked for.
    #[error("the server answers {}", status(*.0))]
    Status(u16),
    /// A file was read to its end.
    #[error("the file ended")]
    Ended,
    /// A file cannot be read.
    #[error("{path}: {what}")]
    File {
        /// Which.
        path: String,
        /// Why.
        what: String,
    },
    /// There is no video in what the server has.
    #[error("a stream without video")]
    NoVideo,
    /// Video that nothing here decodes.
    #[error("video as {0}, which is not supported; set the camera to H.264 or JPEG")]
    Codec(String),
    /// Not a stream of pictures, but this media type.
    #[error("neither a JPEG image nor a stream of them, but \"{0}\"")]
    MediaType(String),
    /// The RTSP session failed.
    #[error("RTSP: {0}")]
    Rtsp(String),
    /// The other end does not keep to the protocol.
    #[error("not what was expected: {0}")]
    Protocol(&'static str),
}

/// A status code of HTTP or RTSP.
fn status(code: u16) -> String {
    match code {
        404 => "404: there is no such stream".to_owned(),
        453 | 503 => format!("{code}: it has too many viewers, or is busy"),
        _ => code.to_string(),
    }
}

/// `text` of the other end as it may be shown: its first line, and of that what can be printed.
pub(super) fn printable(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    first.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// The kinds of error that people meet, in their words, without what only this machine's library says.
pub(super) fn describe(error: &io::Error) -> String {
    let known = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused; is the server running?",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "closed without a goodbye",
        io::ErrorKind::TimedOut => "no answer",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "no way to get there",
        io::ErrorKind::NotFound => "there is no such file",
        io::ErrorKind::AddrInUse => "in use by another program",
        io::ErrorKind::PermissionDenied => "not allowed",
        io::ErrorKind::UnexpectedEof => "ended in the middle",
        _ => return error.kind().to_string(),
    };
    known.to_owned()
}
