//! NTP packets: the 48-byte header of RFC 5905 section 7.3, parsed and built.
//!
//! What to send when, and what to believe, is in [`super::NtpClient`].

use std::fmt;

use thiserror::Error;

use crate::time::{NtpShort, NtpTimestamp, Span};

/// Length of the header; extension fields and a MAC may follow it.
pub const PACKET_LEN: usize = 48;
/// The UDP port of NTP.
pub const PORT: u16 = 123;
const VERSION: u8 = 4;
const MODE_CLIENT: u8 = 3;
const MODE_SERVER: u8 = 4;

/// Why a datagram is not a usable NTP packet.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NtpPacketError {
    /// The datagram cannot hold the header.
    #[error("NTP packet of {0} bytes is shorter than the 48-byte header")]
    TooShort(usize),
    /// The version is not 3 or 4.
    #[error("NTP version {0} is not supported (3 and 4 are)")]
    Version(u8),
    /// The packet's mode is not the one expected here.
    #[error("NTP mode {found} where mode {expected} was expected")]
    Mode {
        /// The mode found.
        found: u8,
        /// The mode that this parser reads.
        expected: u8,
    },
}

/// The leap indicator (RFC 5905 figure 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leap {
    /// No leap second ahead.
    #[default]
    None,
    /// The last minute of the day has 61 seconds.
    Insert,
    /// The last minute of the day has 59 seconds.
    Delete,
    /// The server's clock is not synchronized.
    Unsynchronized,
}

impl Leap {
    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::None,
            1 => Self::Insert,
            2 => Self::Delete,
            _ => Self::Unsynchronized,
        }
    }

    const fn to_bits(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Insert => 1,
            Self::Delete => 2,
            Self::Unsynchronized => 3,
        }
    }
}

/// A kiss-o'-death code: the reference identifier of a stratum 0 packet (RFC 5905 section 7.4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KissCode(pub [u8; 4]);

impl KissCode {
    /// Access denied: stop asking this server.
    pub const DENY: Self = Self(*b"DENY");
    /// Access restricted: stop asking this server.
    pub const RSTR: Self = Self(*b"RSTR");
    /// Asked too often: ask less often.
    pub const RATE: Self = Self(*b"RATE");
}

impl fmt::Display for KissCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for KissCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KissCode({self})")
    }
}

/// A client's request (mode 3).
///
/// It carries nothing but a random transmit timestamp: the server returns it as the origin, which
/// proves that the response answers this request, and it tells nobody what our clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The transmit timestamp; a server returns it untouched.
    pub transmit: NtpTimestamp,
}

impl Request {
    /// The packet for the wire.
    #[must_use]
    pub fn build(&self) -> [u8; PACKET_LEN] {
        let mut out = [0; PACKET_LEN];
        out[0] = VERSION << 3 | MODE_CLIENT;
        out[40..48].copy_from_slice(&self.transmit.to_bits().to_be_bytes());
        out
    }

    /// Reads a request, as a server does. Also gives the version, which the answer should carry.
    ///
    /// # Errors
    /// Anything but a mode 3 packet of version 3 or 4 of at least 48 bytes.
    pub fn parse(datagram: &[u8]) -> Result<(Self, u8), NtpPacketError> {
        let (header, version) = header(datagram, MODE_CLIENT)?;
        Ok((Self { transmit: timestamp(header, 40) }, version))
    }
}

/// A server's response (mode 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The leap indicator; [`Leap::Unsynchronized`] disqualifies the server.
    pub leap: Leap,
    /// 1 for a reference clock, one more for each hop; 0 is a kiss, 16 and above unsynchronized.
    pub stratum: u8,
    /// The server's poll exponent.
    pub poll: i8,
    /// The server's clock resolution as a power of two of seconds.
    pub precision: i8,
    /// Round-trip delay to the reference clock.
    pub root_delay: NtpShort,
    /// Error bound of the server against the reference clock, path delay not counted.
    pub root_dispersion: NtpShort,
    /// What the server is synchronized to, or a kiss code.
    pub reference_id: [u8; 4],
    /// When the server's clock was last set.
    pub reference: NtpTimestamp,
    /// The request's transmit timestamp, returned (T1 of the protocol; for us a nonce).
    pub origin: NtpTimestamp,
    /// When the request reached the server (T2).
    pub receive: NtpTimestamp,
    /// When the response left the server (T3).
    pub transmit: NtpTimestamp,
}

impl Response {
    /// Reads a response. What follows the 48 bytes is ignored.
    ///
    /// # Errors
    /// Anything but a mode 4 packet of version 3 or 4 of at least 48 bytes.
    pub fn parse(datagram: &[u8]) -> Result<Self, NtpPacketError> {
        let (h, _) = header(datagram, MODE_SERVER)?;
        Ok(Self {
            leap: Leap::from_bits(h[0] >> 6),
            stratum: h[1],
            poll: h[2].cast_signed(),
            precision: h[3].cast_signed(),
            root_delay: NtpShort::from_bits(u32::from_be_bytes([h[4], h[5], h[6], h[7]])),
            root_dispersion: NtpShort::from_bits(u32::from_be_bytes([h[8], h[9], h[10], h[11]])),
            reference_id: [h[12], h[13], h[14], h[15]],
            reference: timestamp(h, 16),
            origin: timestamp(h, 24),
            receive: timestamp(h, 32),
            transmit: timestamp(h, 40),
        })
    }

    /// The packet for the wire.
    #[must_use]
    pub fn build(&self) -> [u8; PACKET_LEN] {
        let mut out = [0; PACKET_LEN];
        out[0] = self.leap.to_bits() << 6 | VERSION << 3 | MODE_SERVER;
        out[1] = self.stratum;
        out[2] = self.poll.cast_unsigned();
        out[3] = self.precision.cast_unsigned();
        out[4..8].copy_from_slice(&self.root_delay.to_bits().to_be_bytes());
        out[8..12].copy_from_slice(&self.root_dispersion.to_bits().to_be_bytes());
        out[12..16].copy_from_slice(&self.reference_id);
        for (at, time) in [(16, self.reference), (24, self.origin), (32, self.receive), (40, self.transmit)] {
            out[at..at + 8].copy_from_slice(&time.to_bits().to_be_bytes());
        }
        out
    }

    /// The kiss code, if this is a kiss-o'-death packet.
    #[must_use]
    pub fn kiss(&self) -> Option<KissCode> {
        (self.stratum == 0).then_some(KissCode(self.reference_id))
    }

    /// The server's clock resolution, at most 1 s.
    #[must_use]
    pub fn precision(&self) -> Span {
        let shift = u32::from(self.precision.min(0).unsigned_abs()).min(62);
        Span::from_nanos((1_000_000_000_i64 >> shift).max(1))
    }
}

fn header(datagram: &[u8], expected: u8) -> Result<(&[u8; PACKET_LEN], u8), NtpPacketError> {
    let header = datagram.first_chunk().ok_or(NtpPacketError::TooShort(datagram.len()))?;
    let version = header[0] >> 3 & 7;
    if !(3..=4).contains(&version) {
        return Err(NtpPacketError::Version(version));
    }
    let found = header[0] & 7;
    if found != expected {
        return Err(NtpPacketError::Mode { found, expected });
    }
    Ok((header, version))
}

fn timestamp(header: &[u8; PACKET_LEN], at: usize) -> NtpTimestamp {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&header[at..at + 8]);
    NtpTimestamp::from_bits(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Utc;
    use proptest::prelude::*;

    /// A response of chronyd 4.3 (`local stratum 8`), captured on loopback.
    #[rustfmt::skip]
    const CHRONYD: [u8; 48] = [
        0x24, 0x08, 0x00, 0xe6, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x7f, 0x7f, 0x01, 0x01,
        0xee, 0xaa, 0xc7, 0x7b, 0xb1, 0x74, 0x80, 0x56, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
        0xee, 0xaa, 0xc7, 0x7d, 0x22, 0xeb, 0xd4, 0x1d, 0xee, 0xaa, 0xc7, 0x7d, 0x22, 0xf0, 0x70, 0xa4,
    ];

    #[test]
    fn reads_a_response_of_chronyd() {
        let response = Response::parse(&CHRONYD).unwrap();
        assert_eq!((response.leap, response.stratum, response.poll), (Leap::None, 8, 0));
        assert_eq!(response.precision(), Span::from_nanos(14));
        assert_eq!((response.kiss(), response.reference_id), (None, [127, 127, 1, 1]));
        assert_eq!(response.origin.to_bits(), 0x0123_4567_89ab_cdef);
        let utc = response.receive.to_utc(Utc::from_unix_nanos(0));
        assert_eq!(utc.to_string(), "2026-11-20T13:19:57.136410Z");
        let held = response.transmit.to_utc(utc) - utc;
        assert_eq!(held, Span::from_nanos(70_365));
        assert_eq!(response.build(), CHRONYD);
    }

    #[test]
    fn a_request_reveals_only_its_nonce() {
        let raw = Request { transmit: NtpTimestamp::from_bits(7) }.build();
        assert_eq!(raw[0], 0x23);
        assert!(raw[1..47].iter().all(|&b| b == 0));
        assert_eq!(Request::parse(&raw).unwrap(), (Request { transmit: NtpTimestamp::from_bits(7) }, 4));
    }

    #[test]
    fn refuses_what_is_not_a_response() {
        let good = Response::parse(&[0x24; 48]).unwrap().build();
        assert_eq!(Response::parse(&good[..47]), Err(NtpPacketError::TooShort(47)));
        let mode = Response::parse(&Request { transmit: NtpTimestamp::default() }.build());
        assert_eq!(mode, Err(NtpPacketError::Mode { found: 3, expected: 4 }));
        for version in [0_u8, 1, 2, 5, 6, 7] {
            let mut raw = good;
            raw[0] = version << 3 | 4;
            assert_eq!(Response::parse(&raw), Err(NtpPacketError::Version(version)));
        }
    }

    #[test]
    fn kiss_codes_are_stratum_zero_only() {
        let mut raw = [0_u8; 48];
        raw[0] = 0xe4;
        raw[12..16].copy_from_slice(b"RATE");
        assert_eq!(Response::parse(&raw).unwrap().kiss(), Some(KissCode::RATE));
        raw[1] = 1;
        assert_eq!(Response::parse(&raw).unwrap().kiss(), None);
        assert_eq!(KissCode([0, b'A', 0xff, b'\n']).to_string(), "\\x00A\\xff\\n");
    }

    proptest! {
        #[test]
        fn arbitrary_datagrams_never_panic_and_round_trip(raw in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Request::parse(&raw);
            if let Ok(response) = Response::parse(&raw) {
                prop_assert!(response.precision() > Span::ZERO && response.precision() <= Span::from_secs(1));
                prop_assert_eq!(Response::parse(&response.build()).unwrap(), response);
            }
        }
    }
}
