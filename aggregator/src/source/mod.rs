//! Sources: what arrives on a port or over a connection, one module per kind, and how it becomes the frames of
//! a camera.
//!
//! | module | what |
//! |---|---|
//! | [`spec`](SourceSpec) | how a source is written |
//! | `rtp_port`, `rtp_stream` | RTP and RTCP of many senders on one port: who owns which camera, sessions, feedback |
//! | `probation` | what an RTP stream must show before it is listened to |
//! | `ts_port` | MPEG-TS straight in UDP |
//! | `unit` | payloads to access units |
//! | [`session`] | sources that keep up a connection: one module each, and what keeps them up (I/O) |
//! | `pipeline`, `gate`, `reorder` | access units and images to frames: good or not, capture time, presentation order |
//! | [`socket`] | UDP sockets (I/O) |
//! | [`pcap`] | datagrams out of a capture file |
//!
//! What is not marked as I/O is sans-IO: datagrams, access units and images come in with their arrival time.

mod gate;
mod owner;
pub mod pcap;
mod pipeline;
mod probation;
mod reorder;
mod rtp_port;
mod rtp_stream;
pub mod session;
pub mod socket;
mod spec;
mod ts_port;
mod unit;

use std::net::SocketAddr;
use std::ops::AddAssign;

use framelock_common::time::{HostTime, Span};

pub(crate) use pipeline::MAX_MACROBLOCKS;
pub use pipeline::{FrameStats, StreamOutput, TimedFrame};
pub use rtp_port::RtpPort;
pub use session::{SessionEvent, SessionPort, SessionSpec};
pub use spec::{PortSpec, Protocol, Redacted, Secret, SourceSpec, SpecError};
pub use ts_port::TsPort;

/// A source from which nothing arrived for this long is `broken`, until its next good frame. It is
/// listened to all the time.
pub const BROKEN_AFTER: Span = Span::from_secs(2);

/// Which of a source's two ports a datagram belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The port itself: RTP with RTCP multiplexed in (RFC 5761), or MPEG-TS.
    Main,
    /// The RTCP port, one above (RFC 3550 section 11).
    Rtcp,
}

/// A datagram that arrived on one of a source's ports.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// On which port.
    pub channel: Channel,
    /// From whom.
    pub from: SocketAddr,
    /// What.
    pub data: &'a [u8],
    /// When, by the kernel's timestamp where there is one.
    pub arrival: HostTime,
}

/// A datagram to send from one of a source's ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// From which port.
    pub channel: Channel,
    /// To whom.
    pub to: SocketAddr,
    /// What.
    pub datagram: Vec<u8>,
}

/// Something that happened on a port.
#[derive(Clone, Debug)]
pub enum PortEvent {
    /// A sender that was not known before becomes the port's next camera, named so.
    Camera(String),
    /// The n-th camera of the port gave something.
    Output(usize, StreamOutput),
    /// The n-th camera of the port went silent or said goodbye.
    Down(usize, DownReason),
    /// The n-th camera of the port has another sender now: times may start anew.
    Taken(usize, SocketAddr),
}

/// Why a camera is down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// The sender said so (RTCP BYE).
    #[error("the sender said goodbye")]
    Goodbye,
    /// Nothing arrived for [`BROKEN_AFTER`], or for three times as long as it took before.
    #[error("nothing arrives")]
    Silent,
    /// The session failed, for this reason; it is tried again and again.
    #[error("{0}")]
    Failed(String),
    /// The file was read to its end.
    #[error("the file ended")]
    Ended,
    /// It failed for this reason, and is not tried again.
    #[error("{0}")]
    Over(String),
}

/// What is known of a camera's stream, for status displays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamStatus {
    /// The sender's address.
    pub address: Option<SocketAddr>,
    /// When its sender was first heard.
    pub since: Option<HostTime>,
    /// Datagrams that arrived; of a session, pieces of its stream: RTP packets, access units or images.
    pub packets: u64,
    /// Their bytes, without headers below RTP.
    pub bytes: u64,
    /// How often a session was connected; 0 where nothing connects.
    pub connects: u64,
    /// How often a session failed.
    pub failures: u64,
    /// RTP packets that never came.
    pub lost: u64,
    /// RTP packets that came twice.
    pub duplicates: u64,
    /// RTP packets that came out of order and were put right.
    pub reordered: u64,
    /// Datagrams that could not be read.
    pub malformed: u64,
    /// Interarrival jitter (RFC 3550 section 6.4.1).
    pub jitter: Span,
    /// What became of the frames.
    pub frames: FrameStats,
    /// Clock reports that neither those before nor those after agreed with.
    pub clock_outliers: u64,
}

/// Counters of a port for what belongs to no camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Datagrams that are neither RTP with a known payload type nor RTCP.
    pub malformed: u64,
    /// Datagrams of senders that have no camera: a second sender, or one above the limit.
    pub unclaimed: u64,
    /// Streams without a camera that were forgotten because there were too many.
    pub forgotten: u64,
}

impl AddAssign for PortCounters {
    fn add_assign(&mut self, other: Self) {
        self.malformed += other.malformed;
        self.unclaimed += other.unclaimed;
        self.forgotten += other.forgotten;
    }
}
