//! RTP (RFC 3550): packet view and builder, the payload formats MP2T (RFC 2250) and H.264 (RFC 6184),
//! the RFC 6051 header extension, and the session state machines of both ends.
//!
//! | module | what |
//! |---|---|
//! | this one | [`RtpPacket`] reads a datagram in place, [`write_packet`] writes one |
//! | [`mp2t`] | how transport stream packets share a datagram |
//! | [`h264`] | NAL units to payloads and back to access units |
//! | [`session`] | sequence validation, reordering, loss, jitter, reports: both ends, sans-IO |
//!
//! RTCP packets themselves live in [`crate::rtcp`]; the mapping of RTP timestamps to UTC lives in the
//! aggregator.

pub mod h264;
pub mod mp2t;
mod packet;
pub mod session;

pub use packet::{
    Extension, MAX_HEADER, MIN_HEADER, NTP64_EXTENSION_ID, RtpError, RtpHeader, RtpPacket, is_rtcp, ntp64,
    write_packet,
};

/// The static payload type of MPEG-2 transport streams (RFC 3551 table 5).
pub const PT_MP2T: u8 = 33;

/// The dynamic payload type we send H.264 with (RFC 3551 section 6 leaves 96 to 127 to agreement).
pub const PT_H264: u8 = 96;

/// The largest payload we send, in bytes: seven transport stream packets. With RTP, UDP and IP headers
/// it stays well below an Ethernet frame's 1500.
pub const MAX_PAYLOAD: usize = mp2t::PACKETS_PER_DATAGRAM * crate::mpegts::TS_PACKET;
