//! The synchronizer under simulated cameras, clocks and networks. Nothing here sleeps or reads a clock:
//! every run with the same seed is the same run.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod approximate_time;
mod clocks;
mod faults;
mod policies;
mod quiet;
mod rates;
mod simulate;
mod start;
mod tightest;
mod timing;
