//! Time types. Clock domains are types: a board's monotonic instant minus the aggregator's does not
//! compile, and no bare integer timestamp crosses a module boundary.
//!
//! | type | clock | unit |
//! |---|---|---|
//! | [`Mono<D>`] ([`BoardTime`], [`HostTime`]) | a machine's `CLOCK_MONOTONIC` | ns |
//! | [`Utc`], [`UtcEstimate`] | UTC, estimated, with a bound | ns since the Unix epoch |
//! | [`NtpTimestamp`], [`NtpShort`] | UTC on the wire (RFC 5905 section 6) | 2^-32 s, 2^-16 s |
//! | [`RtpTimestamp`], [`MediaTime`] | a board's media clock, wrapped and unwrapped | 1/90000 s |
//!
//! Reading clocks does not live here: see the I/O modules of the sender and the aggregator.

mod media;
mod mono;
mod ntp;
mod span;
mod utc;

pub use media::{MEDIA_CLOCK_HZ, MediaClock, MediaTime, RtpTimestamp, Unwrapper};
pub use mono::{Board, BoardTime, Host, HostTime, Mono};
pub use ntp::{NtpShort, NtpTimestamp};
pub use span::Span;
pub use utc::{Utc, UtcEstimate};
