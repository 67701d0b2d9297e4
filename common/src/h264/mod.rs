//! H.264 as it travels: NAL units, what a receiver must know of an access unit, capture time in SEI.
//!
//! Everything here works on *Annex B* byte streams (ITU-T H.264 Annex B: NAL units behind start
//! codes). Bit-level parsing of parameter sets and SEI is `h264-reader`'s; it is trusted to return
//! an error on any input and to bound its own allocations, and what it returns is bounded again
//! here before it is handed on. Finding NAL units, frame boundaries and frame types is ours.
//!
//! Decoding and encoding pictures do not live here, nor does RTP packetization (see `rtp::h264`).

mod avcc;
mod inspect;
mod nal;
mod parameter_sets;
pub mod sei;

pub use avcc::{annex_b, decoder_configuration};
pub use inspect::{AccessUnitInfo, FrameRate, FrameType, Inspector, SpsInfo, inspect};
pub use nal::{NalType, NalUnits, START_CODE, nal_units};
pub use parameter_sets::{Complete, ParameterSets};
pub use sei::{SeiTime, insert_sei};

/// The largest access unit this crate assembles; a longer one is dropped and counted.
///
/// A level 6.2 picture may be larger in theory. A camera's is not: 4 MiB is a 4K key frame at more
/// than 1 Gbit/s.
pub const MAX_ACCESS_UNIT: usize = 4 << 20;
