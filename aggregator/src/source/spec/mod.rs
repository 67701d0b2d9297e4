//! Where a camera's stream comes from, as written on the command line and in the configuration:
//! `rtp://:5000`, `udp://:6000`, `rtsp://camera/stream`, `tcp://192.168.1.5:9000?length=u32le`, `file:clip.mp4`.
//!
//! What a kind of session takes beside its address is its own module's business.

mod text;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

pub(super) use text::{Address, Parts, options};
pub use text::{Redacted, Secret};

use super::session::SessionSpec;

/// A source of one or more cameras. What it shows ([`Display`](fmt::Display) and [`Debug`]) has no
/// credentials in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// Datagrams that arrive on a port of this machine.
    Port(PortSpec),
    /// A connection that is kept up, or a file.
    Session(SessionSpec),
}

/// A port of this machine and what is expected on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortSpec {
    /// The protocol expected on the port.
    pub protocol: Protocol,
    /// The local address to bind; the unspecified address means every interface.
    pub bind: SocketAddr,
}

/// What arrives on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RTP with RTCP on the same port (RFC 5761) and on the next one (RFC 3550 section 11).
    Rtp,
    /// MPEG-TS packets straight in UDP datagrams.
    UdpTs,
}

/// Why a source is refused. Each says what would be right, and none shows credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No scheme, or one that nothing here receives.
    #[error(
        "source \"{0}\": unknown kind of source; use rtp://:PORT, udp://:PORT, {known}",
        known = SessionSpec::KNOWN
    )]
    Scheme(Redacted),
    /// The port is missing or no number from 1 to 65535 (65534 for RTP, whose RTCP is one above).
    #[error("source \"{0}\": needs a port, as in rtp://:5000 (1 to 65535; 1 to 65534 for rtp)")]
    Port(Redacted),
    /// The host is no address of this machine.
    #[error(
        "source \"{0}\": \"{1}\" is not an IP address or a known host name; leave it out to listen everywhere"
    )]
    Host(Redacted, String),
    /// The address is not one.
    #[error("source \"{0}\": {1}")]
    Address(Redacted, &'static str),
    /// An option that this kind of source does not have.
    #[error("source \"{0}\": there is no option \"{1}\" here; known are {2}")]
    UnknownOption(Redacted, String, &'static str),
    /// An option's value that cannot be.
    #[error("source \"{0}\": {1} must be {2}")]
    BadOption(Redacted, String, &'static str),
}

impl SourceSpec {
    /// Reads a source with `options` that were given apart from its text; they count before those in it.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn parse(text: &str, options: &[(&str, &str)]) -> Result<Self, SpecError> {
        let unknown = || SpecError::Scheme(Redacted::of(text));
        let (scheme, _) = text.split_once(':').ok_or_else(unknown)?;
        if scheme == "rtp" || scheme == "udp" {
            if let Some((key, _)) = options.first() {
                return Err(SpecError::UnknownOption(Redacted::of(text), (*key).to_owned(), "none"));
            }
            return PortSpec::parse(text).map(Self::Port);
        }
        SessionSpec::parse(text, options).unwrap_or_else(|| Err(unknown())).map(Self::Session)
    }

    /// The port of this machine that datagrams arrive on; `None` for a session.
    #[must_use]
    pub fn port(&self) -> Option<PortSpec> {
        match self {
            Self::Port(port) => Some(*port),
            Self::Session(_) => None,
        }
    }

    /// Whether it is a file that is read as fast as possible: it waits for consumers, and its time is its own, so
    /// that nothing live can be beside it.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(self, Self::Session(session) if session.waits())
    }

    /// The protocol (`"UDP"` or `"TCP"`) and address on which this source listens, if it does.
    #[must_use]
    pub fn listens(&self) -> Option<(&'static str, SocketAddr)> {
        match self {
            Self::Port(port) => Some(("UDP", port.bind)),
            Self::Session(session) => Some(("TCP", session.listens()?)),
        }
    }
}

impl PortSpec {
    /// The port on which RTCP arrives beside the main one, for RTP.
    #[must_use]
    pub fn rtcp_port(&self) -> Option<u16> {
        match self.protocol {
            Protocol::Rtp => self.bind.port().checked_add(1),
            Protocol::UdpTs => None,
        }
    }

    fn parse(text: &str) -> Result<Self, SpecError> {
        let shown = || Redacted::of(text);
        let (scheme, rest) = text.split_once("://").ok_or_else(|| SpecError::Scheme(shown()))?;
        let (protocol, last_port) = match scheme {
            "rtp" => (Protocol::Rtp, u16::MAX - 1),
            _ => (Protocol::UdpTs, u16::MAX),
        };
        // `udp://@:PORT` is how VLC and ffmpeg users write "listen".
        let rest = rest.strip_prefix('@').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| SpecError::Port(shown()))?;
        let port: u16 = port.parse().map_err(|_| SpecError::Port(shown()))?;
        if port == 0 || port > last_port {
            return Err(SpecError::Port(shown()));
        }
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let unknown = || SpecError::Host(shown(), bare.rsplit('@').next().unwrap_or_default().to_owned());
        let ip = local_ip(bare).ok_or_else(unknown)?;
        Ok(Self { protocol, bind: SocketAddr::new(ip, port) })
    }
}

/// The address of this machine to listen on that `host` means: everywhere if it is empty or `*`.
pub(super) fn local_ip(host: &str) -> Option<IpAddr> {
    if host.is_empty() || host == "*" {
        return Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    }
    host.parse().ok().or_else(|| (host, 0).to_socket_addrs().ok()?.next().map(|address| address.ip()))
}

impl FromStr for SourceSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::parse(text, &[])
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Session(session) => session.fmt(f),
        }
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Rtp => "rtp",
            Protocol::UdpTs => "udp",
        };
        match self.bind.ip() {
            ip if ip.is_unspecified() => write!(f, "{scheme}://:{}", self.bind.port()),
            _ => write!(f, "{scheme}://{}", self.bind),
        }
    }
}

#[cfg(test)]
mod tests;
