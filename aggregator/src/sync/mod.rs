//! The synchronizer: frames of many cameras in, sets of frames of one instant out. Sans-IO: it is told
//! the time and never reads a clock, so the same code runs live, in `replay` and under simulated clocks.
//!
//! Here live the per-camera jitter buffer, the three grouping policies and the bounded queue of finished
//! packets. Where capture times come from does not: see `timestamp`.

mod anchored;
mod camera;
mod config;
mod fronts;
mod pace;
mod queue;
mod quiet;
mod reference;
mod rhythm;
mod set;
mod synchronizer;
mod tightest;

pub use config::{Hertz, Policy, Rate, SyncConfig, SyncConfigError};
pub use queue::{PacketQueue, QueueCounters};
pub use rhythm::usual_period;
pub use set::{
    CameraIndex, CameraStats, FrameSet, SetEntry, SetStatus, SourceState, SyncCamera, SyncEvent, SyncFrame,
    TimeBasis,
};
pub use synchronizer::Synchronizer;
pub(crate) use synchronizer::median;
