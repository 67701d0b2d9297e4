//! RTCP (RFC 3550 section 6): compound packets in and out, built on `rtcp-types`.
//!
//! [`parse`] checks a whole datagram and gives [`RtcpPacket`]s that own their data; [`write()`] is its
//! inverse. [`ClockInfo`] is our own APP packet `FLCK`. When reports are sent and what they say is the
//! business of [`crate::rtp::session`].

mod clock_info;
mod parse;
mod write;

use rtcp_types::RtcpParseError;
use thiserror::Error;

use crate::time::{NtpShort, NtpTimestamp, RtpTimestamp};

#[cfg(test)]
mod tests;

pub use clock_info::{CaptureKind, ClockInfo};
pub use parse::parse;
pub use write::write;

/// The most packets that one compound may hold. Real ones have two to five.
pub const MAX_COMPOUND: usize = 64;

/// The most bytes that a CNAME may have, from its 8-bit length (RFC 3550 section 6.5).
pub const MAX_CNAME: usize = 255;

/// Why a datagram is not valid RTCP; nothing of it is used then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RtcpError {
    /// A header or the length it announces reaches past the end.
    #[error("RTCP packet at byte {at} needs {need} bytes, {have} are left")]
    Truncated {
        /// Where the packet starts in the datagram.
        at: usize,
        /// Bytes it needs.
        need: usize,
        /// Bytes left from `at`.
        have: usize,
    },
    /// Another version than 2.
    #[error("RTCP packet at byte {at} has version {version}, not 2")]
    Version {
        /// Where the packet starts in the datagram.
        at: usize,
        /// The version found.
        version: u8,
    },
    /// The first packet of a compound must be a sender or receiver report (RFC 3550 appendix A.2).
    #[error("RTCP compound starts with packet type {packet_type}, not with a sender or receiver report")]
    FirstNotReport {
        /// The type found.
        packet_type: u8,
    },
    /// Padding before the last packet, or a padding count that does not fit.
    #[error("RTCP packet at byte {at} has bad padding")]
    Padding {
        /// Where the packet starts in the datagram.
        at: usize,
    },
    /// A packet whose contents do not fit its length.
    #[error("RTCP packet of type {packet_type} at byte {at} contradicts its own length")]
    Malformed {
        /// Where the packet starts in the datagram.
        at: usize,
        /// Its type.
        packet_type: u8,
    },
    /// More than [`MAX_COMPOUND`] packets.
    #[error("RTCP compound of more than {MAX_COMPOUND} packets")]
    TooMany,
}

impl RtcpError {
    fn malformed(at: usize, packet_type: u8) -> impl FnOnce(RtcpParseError) -> Self {
        move |_| Self::Malformed { at, packet_type }
    }
}

/// One packet of a compound, checked and owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RtcpPacket {
    /// SR (RFC 3550 section 6.4.1).
    SenderReport {
        /// Who sends, and its clocks.
        report: SenderReport,
        /// What it receives from others.
        blocks: Vec<ReportBlock>,
    },
    /// RR (RFC 3550 section 6.4.2).
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// What it receives.
        blocks: Vec<ReportBlock>,
    },
    /// The CNAMEs of SDES (RFC 3550 section 6.5.1); other items are not kept.
    SourceDescription(Vec<Cname>),
    /// BYE (RFC 3550 section 6.6).
    Goodbye {
        /// The sources that leave.
        sources: Vec<u32>,
    },
    /// APP `FLCK`: what the sender knows of its clock.
    ClockInfo {
        /// Whose clock.
        ssrc: u32,
        /// What is known.
        info: ClockInfo,
    },
    /// PLI, picture loss indication (RFC 4585 section 6.3.1).
    PictureLoss {
        /// Who asks.
        sender: u32,
        /// Whose picture.
        media: u32,
    },
    /// FIR, full intra request (RFC 5104 section 4.3.1).
    FullIntraRequest {
        /// Who asks.
        sender: u32,
        /// Of whom, with the request's sequence number.
        entries: Vec<(u32, u8)>,
    },
    /// Well formed, but of no use to us: other types, APP of other names or versions, other feedback.
    Other {
        /// The packet type.
        packet_type: u8,
    },
}

/// The sender's part of an SR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// The sender.
    pub ssrc: u32,
    /// UTC at the report's instant; zero from a sender without a wall clock (RFC 3550 section 6.4.1).
    pub ntp: NtpTimestamp,
    /// The media clock at the same instant. Zero is a value like any other.
    pub rtp: RtpTimestamp,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Payload octets sent, modulo 2^32.
    pub octets: u32,
}

/// What a receiver says of one source (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source reported on.
    pub ssrc: u32,
    /// The share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start, 24 bits signed; duplicates make it negative.
    pub cumulative_lost: i32,
    /// The highest sequence number received with its count of wraps above.
    pub highest_sequence: u32,
    /// Interarrival jitter in RTP ticks.
    pub jitter: u32,
    /// The middle 32 bits of the last SR's NTP timestamp; zero for none.
    pub last_sr: u32,
    /// From the arrival of that SR to this report.
    pub delay_since_last_sr: NtpShort,
}

/// A source's canonical name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cname {
    /// The source.
    pub ssrc: u32,
    /// Its name, never empty. It is data from the network: bytes that are not UTF-8 and control characters
    /// are replaced by U+FFFD. Never use it as a path.
    pub name: String,
}
