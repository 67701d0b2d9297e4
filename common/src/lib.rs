//! What the Framelock sender and aggregator share: time types, RTP, RTCP, MPEG-TS, MP4, H.264, JPEG, clock
//! estimation and the timecode strip.
//!
//! Everything here is *sans-IO*: no socket, no thread, no clock is touched. Whoever calls tells the
//! time (`now`) and moves the bytes, so every protocol state machine runs the same in a test with a
//! simulated clock and network as on a board. State machines have one shape: `handle_*` takes
//! input, `poll_*` gives output, `poll_timeout` says when to call again.
//!
//! Sockets, devices and clock reads live in the sender and the aggregator, in their I/O modules. Three modules
//! serve the programs themselves: [`cli`] and [`logging`] write to stderr, [`config`] reads a file.

pub mod cli;
pub mod clock;
pub mod config;
pub mod container;
pub mod h264;
pub mod jpeg;
pub mod logging;
pub mod mpegts;
pub mod rtcp;
pub mod rtp;
pub mod time;
pub mod timecode;
