//! How a session source is written. The text gives the address, and options behind `?` where the query is not
//! for the other end, else behind `#`; a configuration file may give them as keys.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;

use framelock_common::config::parse_duration;
use framelock_common::time::Span;

use super::file::{File, FileSpec, Program};
use super::http::{Http, HttpSpec};
use super::rtsp::{Rtsp, RtspSpec};
use super::tcp::{Tcp, TcpSpec};
use super::zmq::{Zmq, ZmqSpec};
use super::{Session, SessionError, Sink};
use crate::source::SpecError;
use crate::source::spec::{Parts, Redacted, options};

/// How long a session may give no picture before it is begun anew, unless set.
const TIMEOUT: Span = Span::from_secs(10);

/// A session source: of what kind, where, and its options. What it shows has no credentials in it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionSpec {
    kind: Box<Kind>,
    timeout: Span,
    shown: Redacted,
}

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Rtsp(RtspSpec),
    Http(HttpSpec),
    Zmq(ZmqSpec),
    Tcp(TcpSpec),
    File(FileSpec),
}

/// A kind of session source, as written.
pub(super) trait SessionKind: Sized {
    /// The names of its options.
    const OPTIONS: &'static str;
    /// Whether what is behind `?` is for us and not for the other end.
    const QUERY_IS_OURS: bool;

    /// Reads the address.
    fn parse(parts: &Parts<'_>) -> Result<Self, SpecError>;

    /// Sets an option; `None` if there is none of that name, and what it must be if it is not that.
    fn set(&mut self, key: &str, value: &str) -> Option<Result<(), &'static str>>;
}

impl SessionSpec {
    /// The kinds there are, for messages.
    pub const KNOWN: &str = "rtsp://HOST/PATH, rtsps://, http://HOST/PATH, https://, zmq+tcp://HOST:PORT, \
                             tcp://HOST:PORT, file:PATH";

    /// Reads `text` and `options`; `None` if its scheme is that of no session.
    pub(in crate::source) fn parse(text: &str, options: &[(&str, &str)]) -> Option<Result<Self, SpecError>> {
        let parts = Parts::of(text)?;
        let read = match parts.scheme {
            "rtsp" | "rtsps" => read(&parts, options, Kind::Rtsp),
            "http" | "https" => read(&parts, options, Kind::Http),
            "zmq+tcp" => read(&parts, options, Kind::Zmq),
            "tcp" => read(&parts, options, Kind::Tcp),
            "file" => read_file(&parts, options),
            _ => return None,
        };
        Some(read.map(|(kind, timeout)| Self { kind: Box::new(kind), timeout, shown: parts.shown() }))
    }

    /// The address on which it listens, if it does.
    pub(in crate::source) fn listens(&self) -> Option<SocketAddr> {
        match &*self.kind {
            Kind::Zmq(zmq) => zmq.listens(),
            Kind::Tcp(tcp) => tcp.listens(),
            Kind::Rtsp(_) | Kind::Http(_) | Kind::File(_) => None,
        }
    }

    /// Whether it is a file that is read as fast as possible: it waits for consumers, and its time is its own.
    pub(in crate::source) fn waits(&self) -> bool {
        matches!(&*self.kind, Kind::File(file) if file.is_fast())
    }

    /// Whether a session that ended so is not to be tried again.
    pub(super) fn is_over(&self, error: &SessionError) -> bool {
        matches!(error, SessionError::Ended) || self.waits()
    }

    /// How long it may give no picture.
    pub(super) fn timeout(&self) -> Span {
        self.timeout
    }

    /// What runs it as the source with this number; `program` is for files.
    pub(super) fn open(&self, number: usize, program: &Program) -> Running {
        match &*self.kind {
            Kind::Rtsp(rtsp) => Running::Rtsp(Rtsp::new(rtsp.clone())),
            Kind::Http(http) => Running::Http(Http::new(http.clone())),
            Kind::Zmq(zmq) => Running::Zmq(Zmq::new(zmq.clone())),
            Kind::Tcp(tcp) => Running::Tcp(Tcp::new(tcp.clone())),
            Kind::File(file) => Running::File(File::new(file.clone(), program.seat(number, file.is_fast()))),
        }
    }
}

impl fmt::Display for SessionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.fmt(f)
    }
}

impl fmt::Debug for SessionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionSpec({self})")
    }
}

fn read<K: SessionKind>(
    parts: &Parts<'_>,
    apart: &[(&str, &str)],
    kind: fn(K) -> Kind,
) -> Result<(Kind, Span), SpecError> {
    let mut spec = K::parse(parts)?;
    let mut timeout = TIMEOUT;
    let query = parts.query.filter(|_| K::QUERY_IS_OURS);
    for (key, value) in options(query).chain(options(parts.fragment)).chain(apart.iter().copied()) {
        let set = match key {
            "timeout" => read_timeout(value).map(|read| timeout = read),
            _ => spec.set(key, value).ok_or_else(|| parts.unknown_option(key, K::OPTIONS))?,
        };
        set.map_err(|expected| parts.bad_option(key, expected))?;
    }
    Ok((kind(spec), timeout))
}

/// Reads a file's path; its options are in the text, and a path may have any character in it.
fn read_file(parts: &Parts<'_>, apart: &[(&str, &str)]) -> Result<(Kind, Span), SpecError> {
    match apart.first() {
        Some((key, _)) => {
            Err(parts.unknown_option(key, "none; write them as file:PATH,fast or file:PATH,loop"))
        }
        None => Ok((Kind::File(FileSpec::parse(parts)?), TIMEOUT)),
    }
}

fn read_timeout(value: &str) -> Result<Span, &'static str> {
    let possible = Span::from_secs(1)..=Span::from_secs(600);
    let read = parse_duration(value).ok().filter(|timeout| possible.contains(timeout));
    read.ok_or("1s to 10min, for example 10s")
}

/// A session of any kind.
#[derive(Debug)]
pub(super) enum Running {
    Rtsp(Rtsp),
    Http(Http),
    Zmq(Zmq),
    Tcp(Tcp),
    File(File),
}

impl Session for Running {
    async fn run(&mut self, sink: &mut Sink) -> Result<Infallible, SessionError> {
        match self {
            Self::Rtsp(session) => session.run(sink).await,
            Self::Http(session) => session.run(sink).await,
            Self::Zmq(session) => session.run(sink).await,
            Self::Tcp(session) => session.run(sink).await,
            Self::File(session) => session.run(sink).await,
        }
    }
}
