//! Framelock.

pub mod deliver;
pub mod replay;
pub mod sync;
