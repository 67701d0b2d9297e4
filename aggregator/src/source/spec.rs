//! Where a camera's stream comes from, as written on the command line and in the configuration:
//! `rtp://:5000`, `rtp://192.168.1.5:5000`, `udp://:6000`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A source of one or more cameras.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceSpec {
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

/// Why a source is refused. Each says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No `SCHEME://`, or one that nothing here receives.
    #[error("source \"{0}\": unknown kind of source; use rtp://:PORT or udp://:PORT")]
    Scheme(String),
    /// The port is missing or no number from 1 to 65535 (65534 for RTP, whose RTCP is one above).
    #[error("source \"{0}\": needs a port, as in rtp://:5000 (1 to 65535; 1 to 65534 for rtp)")]
    Port(String),
    /// The host is no address of this machine.
    #[error(
        "source \"{0}\": \"{1}\" is not an IP address or a known host name; leave it out to listen everywhere"
    )]
    Host(String, String),
}

impl SourceSpec {
    /// The port on which RTCP arrives beside the main one, for RTP.
    #[must_use]
    pub fn rtcp_port(&self) -> Option<u16> {
        match self.protocol {
            Protocol::Rtp => self.bind.port().checked_add(1),
            Protocol::UdpTs => None,
        }
    }
}

impl FromStr for SourceSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| SpecError::Scheme(text.to_owned()))?;
        let (protocol, last_port) = match scheme {
            "rtp" => (Protocol::Rtp, u16::MAX - 1),
            "udp" => (Protocol::UdpTs, u16::MAX),
            _ => return Err(SpecError::Scheme(text.to_owned())),
        };
        // `udp://@:PORT` is how VLC and ffmpeg users write "listen".
        let rest = rest.strip_prefix('@').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| SpecError::Port(text.to_owned()))?;
        let port: u16 = port.parse().map_err(|_| SpecError::Port(text.to_owned()))?;
        if port == 0 || port > last_port {
            return Err(SpecError::Port(text.to_owned()));
        }
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let ip = if bare.is_empty() || bare == "*" {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            resolve(bare).ok_or_else(|| SpecError::Host(text.to_owned(), bare.to_owned()))?
        };
        Ok(Self { protocol, bind: SocketAddr::new(ip, port) })
    }
}

fn resolve(host: &str) -> Option<IpAddr> {
    host.parse().ok().or_else(|| (host, 0).to_socket_addrs().ok()?.next().map(|address| address.ip()))
}

impl fmt::Display for SourceSpec {
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
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_sources() {
        for (text, shown) in [
            ("rtp://:5000", "rtp://:5000"),
            ("udp://@:6000", "udp://:6000"),
            ("rtp://*:5000", "rtp://:5000"),
            ("rtp://127.0.0.1:5000", "rtp://127.0.0.1:5000"),
            ("udp://[::1]:7000", "udp://[::1]:7000"),
        ] {
            assert_eq!(text.parse::<SourceSpec>().unwrap().to_string(), shown);
        }
        assert_eq!("rtp://:5000".parse::<SourceSpec>().unwrap().rtcp_port(), Some(5001));
    }

    #[test]
    fn refuses_what_it_cannot_receive() {
        for text in
            ["5000", "srt://:5000", "rtp://:0", "rtp://:65535", "udp://:99999", "rtp://host", "rtp://:"]
        {
            assert!(text.parse::<SourceSpec>().is_err(), "{text}");
        }
        assert!(matches!("rtp://no such host:5000".parse::<SourceSpec>(), Err(SpecError::Host(..))));
    }
}
