//! From encoded frames to the network: wrapping, pacing, reports, and the socket.
//!
//! | module | what |
//! |---|---|
//! | [`stream`] | frames in, datagrams out; reports and feedback (sans-IO) |
//! | [`pacer`] | when each packet of a frame may leave (sans-IO) |
//! | [`link`] | whether the receiver can be reached, when to look it up again (sans-IO) |
//! | `socket` | the UDP socket |
//! | `timer` | the loop's timer |
//! | `shell` | the loop that joins them with timers and channels |

pub mod link;
pub mod pacer;
mod queue;
mod shell;
mod socket;
pub mod stream;
mod timer;

pub use shell::{Inputs, run};
pub(crate) use socket::{connect, resolve};
