//! Where the stream goes and how it is wrapped: `--to` and `--transport`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::Deserialize;

/// How access units are put into datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// MPEG-TS in RTP with RTCP (RFC 2250).
    RtpMpegts,
    /// H.264 in RTP with RTCP (RFC 6184).
    RtpH264,
    /// MPEG-TS in plain UDP.
    UdpMpegts,
}

impl Transport {
    /// Whether there is RTP, and RTCP beside it.
    #[must_use]
    pub const fn has_rtp(self) -> bool {
        matches!(self, Self::RtpMpegts | Self::RtpH264)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RtpMpegts => "rtp-mpegts",
            Self::RtpH264 => "rtp-h264",
            Self::UdpMpegts => "udp-mpegts",
        })
    }
}

/// A host by name or address. Names are looked up when they are used, and again when they fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, an IPv6 address without brackets.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

impl HostPort {
    /// Reads `HOST[:PORT]`; an IPv6 address needs brackets when a port follows.
    ///
    /// # Errors
    /// When the host is empty or no name can look so, or the port is no port.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, TargetError> {
        let error = |what| TargetError::Host { text: text.to_owned(), what };
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => {
                host.parse::<Ipv6Addr>().map_err(|_| error("no IPv6 address in the brackets"))?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').unwrap_or(port)) })
            }
            None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '%');
        if host.is_empty() || host.len() > 255 || !host.chars().all(is_name) {
            return Err(error("the host name is empty or has characters that no host name has"));
        }
        let port = match port {
            Some(port) => port.parse().ok(),
            None => default_port,
        };
        match port {
            Some(port) if port > 0 => Ok(Self { host: host.to_owned(), port }),
            _ => Err(error("a port from 1 to 65535 must follow the host, as in HOST:5000")),
        }
    }

    /// Whether the host is an address that needs no looking up.
    #[must_use]
    pub fn is_address(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Where a stream goes: `rtp://HOST:PORT` or `udp://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether the URL asks for RTP.
    pub rtp: bool,
    /// The receiver.
    pub address: HostPort,
}

impl Target {
    /// The transport to use: `wanted` where it fits the URL, or the URL's default.
    ///
    /// # Errors
    /// When URL and transport contradict each other.
    pub fn transport(&self, wanted: Option<Transport>) -> Result<Transport, TargetError> {
        match wanted {
            Some(transport) if transport.has_rtp() != self.rtp => {
                Err(TargetError::Contradiction { transport, url: self.to_string() })
            }
            Some(transport) => Ok(transport),
            None if self.rtp => Ok(Transport::RtpMpegts),
            None => Ok(Transport::UdpMpegts),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (rtp, rest) = match text.split_once("://") {
            Some(("rtp", rest)) => (true, rest),
            Some(("udp", rest)) => (false, rest),
            _ => return Err(TargetError::Scheme(text.to_owned())),
        };
        Ok(Self { rtp, address: HostPort::parse(rest.trim_end_matches('/'), None)? })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.rtp { "rtp" } else { "udp" }, self.address)
    }
}

/// Why a target is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TargetError {
    /// Neither of the two schemes.
    #[error("\"{0}\" is no target: write rtp://HOST:PORT or udp://HOST:PORT")]
    Scheme(String),
    /// A host or port that is none.
    #[error("\"{text}\": {what}")]
    Host {
        /// The text.
        text: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A transport that the URL excludes.
    #[error(
        "transport {transport} does not go with {url}: use rtp:// for rtp-mpegts and rtp-h264, udp:// for udp-mpegts"
    )]
    Contradiction {
        /// The transport asked for.
        transport: Transport,
        /// The URL.
        url: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_parse_and_print_alike() {
        for text in ["rtp://host.lan:5000", "udp://10.0.0.1:1234", "rtp://[fe80::1]:5000", "rtp://a_b-c:1"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_targets_say_what_would_do() {
        for (text, hint) in [
            ("host:5000", "rtp://HOST:PORT"),
            ("http://host:5000", "rtp://HOST:PORT"),
            ("rtp://host", "port"),
            ("rtp://host:0", "port"),
            ("rtp://host:70000", "port"),
            ("rtp://:5000", "host"),
            ("rtp://ho st:5000", "host"),
            ("rtp://[nonsense]:5000", "IPv6"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn a_transport_must_fit_its_url() {
        let rtp: Target = "rtp://h:1".parse().unwrap();
        let udp: Target = "udp://h:1".parse().unwrap();
        assert_eq!(rtp.transport(None), Ok(Transport::RtpMpegts));
        assert_eq!(rtp.transport(Some(Transport::RtpH264)), Ok(Transport::RtpH264));
        assert_eq!(udp.transport(None), Ok(Transport::UdpMpegts));
        assert!(rtp.transport(Some(Transport::UdpMpegts)).is_err());
        assert!(udp.transport(Some(Transport::RtpH264)).is_err());
    }

    #[test]
    fn hosts_take_a_default_port() {
        let parse = |text| HostPort::parse(text, Some(123)).map(|host| host.to_string());
        assert_eq!(parse("pool.lan"), Ok("pool.lan:123".to_owned()));
        assert_eq!(parse("::1"), Ok("[::1]:123".to_owned()));
        assert_eq!(parse("[::1]:99"), Ok("[::1]:99".to_owned()));
    }
}
