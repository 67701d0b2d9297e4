//! What Framelock's end-to-end tests share: the real programs as child processes, a seeded network
//! that loses and reorders, and the emulated board rig.
//!
//! The tests themselves are in `tests/tests`, the benches in `tests/benches`, the fuzz targets in
//! `tests/fuzz`. Nothing here is shipped.

pub mod ntp;
pub mod packets;
pub mod peers;
pub mod phase;
pub mod process;
pub mod relay;
pub mod rig;
pub mod tcp_relay;
pub mod usage;
pub mod video;
pub mod webcam;
