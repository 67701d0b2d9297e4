//! MPEG transport streams with one H.264 video (ITU-T H.222.0 | ISO/IEC 13818-1).
//!
//! [`Muxer`] writes access units as whole 188-byte packets; [`Demuxer`] reads them back, ours and
//! those of foreign muxers, out of datagrams or files.
//!
//! What the crates below are trusted with:
//!
//! - `mpeg2ts` lays out packets, PSI tables and PES headers that *we* fill in. Its reader is not
//!   used: it never recovers from joining a stream in its middle.
//! - `mpeg2ts-reader` reads single structures out of bytes that are already aligned: TS packet
//!   header and adaptation field, PSI sections with their CRC, PAT and PMT entries, PES header. Its
//!   `Demultiplex` is not used: a table that breaks on the way is remembered by its version number
//!   and never read again, a PMT may replace the filter of the PAT, a repeated packet counts as a
//!   loss, and a PES packet's length is not followed.
//!
//! So alignment, PID routing, continuity, assembly of access units, limits and times are ours.
//!
//! Sockets and RTP do not live here, nor does the meaning of a PTS in UTC.

mod demux;
mod end_mark;
mod mux;
mod pes;
mod psi;
mod sync;
#[cfg(test)]
mod tests;

pub use demux::{DemuxStats, Demuxer, PacketMeta, TsEvent, TsProblem};
pub use mux::{MuxConfig, Muxer, PCR_INTERVAL, PSI_INTERVAL};

/// Length of a transport stream packet in bytes.
pub const TS_PACKET: usize = 188;

/// The byte that every transport stream packet begins with.
pub const SYNC_BYTE: u8 = 0x47;
