//! The RTP session state machines of both ends, sans-IO.
//!
//! [`SendSession`] lives on a board: it numbers and counts packets, sends reports that tie the media clock
//! to UTC, and hears requests for key frames. [`ReceiveSession`] lives on the aggregator, one per stream: it
//! validates and reorders packets, finds losses, and reports back.
//!
//! # Contract
//!
//! Feed every datagram and the time to `handle_*`, then call `poll_event` and `poll_rtcp` until they give
//! nothing. When `poll_timeout` is reached, do the same (`ReceiveSession` also wants `handle_timeout`).
//! Nothing here reads a clock, sleeps, or grows without bound.
//!
//! # Report timing
//!
//! The first report goes at once, as RFC 3550 section 6.2 allows in unicast, further ones at a fixed
//! interval. The randomization of that section serves large groups; here a stream has one receiver.

mod receive;
mod reorder;
mod send;
mod sequence;
mod source;

#[cfg(test)]
mod receive_tests;
#[cfg(test)]
mod send_tests;
#[cfg(test)]
mod simulation;

pub use receive::{ReceiveConfig, ReceiveEvent, ReceiveSession, ReceiveStats};
pub use reorder::{Packet, Payload};
pub use send::{SendConfig, SendEvent, SendSession, SendStats};

use crate::time::Span;

/// At most one key frame is asked for, or made on request, in this time: more would fill the link that
/// already loses packets.
pub const KEYFRAME_INTERVAL: Span = Span::from_millis(500);
