//! The Framelock sender: captures a camera on a board, encodes H.264 and streams it with capture times.
//!
//! Data flows one way: `capture` -> `encode` -> `pipeline` (which joins the stages) -> `net`. The
//! [`clock`] stands beside them and tells what UTC is. The binary is a thin user of this library.

pub mod capture;
pub mod clock;
pub mod encode;
pub mod overlay;
