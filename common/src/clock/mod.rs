//! Clock estimation: where a board's monotonic clock stands in UTC, and how wrong that can be.
//!
//! | module | what |
//! |---|---|
//! | [`ClockMapping`] | the linear model from monotonic time to UTC with its growing bound |
//! | [`ntp`] | the 48-byte packets of RFC 5905 |
//! | [`NtpClient`] | four-timestamp exchanges with several servers, sans-IO |
//! | [`NtpServer`] | the server's side, sans-IO |
//! | [`KernelClock`] | what `adjtimex` says, and what that is worth |
//! | [`SystemClock`] | the operating system's clock as a mapping, from readings the caller takes |
//! | [`ClockChooser`] | the better of two clocks, with hysteresis |
//!
//! Neither sockets nor clock reads live here: the clock shells of the sender and the aggregator have them.

mod choose;
mod client;
mod feasible;
mod filter;
mod kernel;
mod leap;
mod likely;
mod mapping;
pub mod ntp;
mod rate_limit;
mod regression;
mod sample;
mod select;
mod serve;
#[cfg(test)]
mod serve_tests;
mod server;
mod system;

pub use choose::{ClockChoice, ClockChooser, Decision};
pub use client::{NtpClient, NtpConfig, NtpError, NtpStatus, ServerState, ServerStatus, Transmit};
pub use kernel::{KernelClock, UNBUDGETED_ERROR, UNKNOWN_ERROR};
pub use mapping::{ClockMapping, ClockState, RFC5905_PHI_PPB};
pub use sample::Sample;
pub use serve::{HostReading, NtpServer, Refusal, ServeConfig, ServeCounters};
pub use system::{ClockReading, SystemClock};
