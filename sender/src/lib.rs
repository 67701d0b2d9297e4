//! The Framelock sender: captures a camera on a board, encodes H.264 and streams it with capture times.
//!
//! Data flows one way: [`capture`] -> [`encode`] -> [`net`]; [`pipeline`] joins the stages. The [`clock`]
//! stands beside them and tells what UTC is; [`phase`] moves the camera onto a grid of it. The binary is a thin user of this library.

pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod encode;
pub mod net;
pub mod overlay;
pub mod phase;
pub mod pipeline;
pub mod stats;
