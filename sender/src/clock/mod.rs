//! The board's clocks: reading them and estimating UTC from them.

mod board;

pub use board::{BoardClock, Sandwich, SimulatedError};
