//! Why a session failed: short, for a status display, and never with a credential or anything else in it that
//! the other end could have made up to be printed.

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
    /// The other end does not keep to the protocol.
    #[error("not what was expected: {0}")]
    Protocol(&'static str),
}

/// The kinds of error that people meet, in their words, without what only this machine's library says.
fn describe(error: &io::Error) -> String {
    let known = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused; is the server running?",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "closed without a goodbye",
        io::ErrorKind::TimedOut => "no answer",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "no way to get there",
        io::ErrorKind::AddrInUse => "in use by another program",
        io::ErrorKind::PermissionDenied => "not allowed",
        io::ErrorKind::UnexpectedEof => "ended in the middle",
        _ => return error.kind().to_string(),
    };
    known.to_owned()
}
