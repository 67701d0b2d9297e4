//! From encoded frames to the network: wrapping, pacing, reports, and the socket.
//!
//! | module | what |
//! |---|---|
//! | [`stream`] | frames in, datagrams out; reports and feedback (sans-IO) |
//! | [`pacer`] | when each packet of a frame may leave (sans-IO) |
//! | [`link`] | whether the receiver can be reached, when to look it up again (sans-IO) |
//! | `socket` | the UDP socket |
//! | `timer` | the loop's timer |
//! | `uplink` | joins them; sends each frame on the thread that made it |
//! | `shell` | the loop beside it: looks up, receives, waits |

pub mod link;
pub mod pacer;
mod queue;
mod shell;
mod socket;
pub mod stream;
mod timer;
mod uplink;

pub use shell::{Network, start};
pub(crate) use socket::{connect, resolve};
pub use uplink::{FrameSender, Inputs};
