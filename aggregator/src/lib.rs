//! The Framelock aggregator: receives every board's stream, puts the frames of the same instant together
//! and hands them out as frame packets.
//!
//! Data flows one way; a module uses only what comes before it in this table.
//!
//! | module | what |
//! |---|---|
//! | [`source`] | what arrives on a port becomes the frames of a camera |
//! | [`timestamp`] | when a frame was captured, and how sure that is |
//! | [`sync`] | frames of many cameras become sets of one instant |
//! | [`deliver`] | [`Packet`], [`Frame`] and their JSON form |
//! | [`decode`] | pictures, where asked for |
//! | [`engine`] | all of it without sockets, live and over capture files |
//! | [`ntp`] | this host's clock for the boards |
//! | [`Aggregator`] | the running thing, with its builder |
//!
//! [`replay`] runs recorded timing through the synchronizer alone. [`config`] holds the settings. [`cli`]
//! and [`demo`] are the command line; the binary calls [`cli::main`] and does nothing else.

mod aggregator;
pub mod cli;
mod clock;
pub mod config;
pub mod decode;
pub mod deliver;
pub mod demo;
pub mod engine;
pub mod ntp;
pub mod replay;
pub mod source;
pub mod sync;
pub mod timestamp;

pub use aggregator::{Aggregator, AggregatorBuilder, AggregatorError};
pub use deliver::{
    CameraName, Codec, CodedFrame, Consumer, ConsumerCounters, ConsumerError, Entry, Frame, FrameStatus,
    FrameType, MotionVector, Packet, Picture, PixelFormat, Pixels, Queue, Subscription, TimeSource,
};
pub use engine::{CameraStatus, RemoveError};
pub use source::PortCounters;
pub use sync::{Policy, Rate, Synchronizer};
