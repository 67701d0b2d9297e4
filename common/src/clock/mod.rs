//! Clock estimation: where a board's monotonic clock stands in UTC, and how wrong that can be.
//!
//! | module | what |
//! |---|---|
//! | [`ClockMapping`] | the linear model from monotonic time to UTC with its growing bound |
//! | [`ntp`] | the 48-byte packets of RFC 5905 |
//! | [`NtpClient`] | four-timestamp exchanges with several servers, sans-IO |
//! | [`SystemClock`] | the operating system's clock as a mapping, from readings the caller takes |
//!
//! Neither sockets nor clock reads live here: the sender's clock shell has them.

mod client;
mod feasible;
mod filter;
mod leap;
mod mapping;
pub mod ntp;
mod regression;
mod sample;
mod select;
mod server;
mod system;

pub use client::{NtpClient, NtpConfig, NtpError, NtpStatus, ServerState, ServerStatus, Transmit};
pub use mapping::{ClockMapping, ClockState, RFC5905_PHI_PPB};
pub use sample::Sample;
pub use system::{ClockReading, SystemClock};
