//! The H.264 payload format (RFC 6184), packetization mode 1: single NAL units, STAP-A, FU-A.
//!
//! [`Packetizer`] and [`Depacketizer`] know NAL units only; [`AccessUnitAssembler`] puts what the
//! depacketizer gives together into access units and knows which of them are whole. Slices, parameter
//! sets and SEI are parsed elsewhere (`crate::h264`).

mod assemble;
mod depacketize;
mod packetize;

pub use assemble::{AccessUnit, AccessUnitAssembler};
pub use depacketize::{Depacketizer, DepayError};
pub use packetize::Packetizer;

/// NAL unit types that matter here (ITU-T H.264 table 7-1, RFC 6184 table 1).
mod nal {
    pub(super) const TYPE_MASK: u8 = 0x1f;
    pub(super) const SLICE: u8 = 1;
    pub(super) const SEI: u8 = 6;
    pub(super) const SPS: u8 = 7;
    pub(super) const PPS: u8 = 8;
    pub(super) const ACCESS_UNIT_DELIMITER: u8 = 9;
    pub(super) const LAST_SINGLE: u8 = 23;
    pub(super) const STAP_A: u8 = 24;
    pub(super) const FU_A: u8 = 28;
    pub(super) const FU_START: u8 = 0x80;
    pub(super) const FU_END: u8 = 0x40;
}
