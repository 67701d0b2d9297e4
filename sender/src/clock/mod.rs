//! The board's clocks: reading them, and estimating UTC from them or from NTP servers.
//!
//! The estimators themselves are in `common::clock`; here are the clock reads, sockets and timers
//! around them. Nothing here ever sets a clock.

mod board;
mod measure;
mod ntp;
mod source;
mod stamps;
mod system;

pub use board::{BoardClock, SimulatedError};
pub use measure::{Measurement, measure};
pub(crate) use ntp::random;
pub use source::{ClockWatch, board_clock, start, wait_for_utc};
pub use system::Trust;
