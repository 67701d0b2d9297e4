//! What is wrong with settings, as people are told.

use framelock_common::config::ConfigError;

use crate::deliver::CameraName;
use crate::source::{SourceSpec, SpecError};
use crate::sync::SyncConfigError;

/// What is wrong with settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read, or is not what it should be.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// Nothing to receive from.
    #[error(
        "no camera: add one with --camera NAME=SOURCE, for example --camera left=rtp://:5000, or in the configuration file"
    )]
    NoCamera,
    /// A camera is not written as NAME=SOURCE.
    #[error("camera \"{0}\": write it as NAME=SOURCE, for example left=rtp://:5000")]
    CameraSyntax(String),
    /// A camera name that cannot be one.
    #[error("camera name {0:?}: use 1 to 64 printable characters")]
    Name(String),
    /// `*` where only one camera can be.
    #[error("camera \"*\" needs an rtp:// source: {0} has no way to name its senders")]
    Wildcard(SourceSpec),
    /// Two cameras of one name.
    #[error("two cameras are called \"{0}\"; give each its own name")]
    DuplicateName(CameraName),
    /// Two sources on one port.
    #[error(
        "two cameras use {protocol} port {port}; give each its own{}",
        if *.protocol == "UDP" { format!(", or take every sender of one port with *=rtp://:{port}") } else { String::new() }
    )]
    DuplicatePort {
        /// `"UDP"` or `"TCP"`.
        protocol: &'static str,
        /// The port.
        port: u16,
    },
    /// A file that is read as fast as possible, beside what is not.
    #[error("{fast} is read as fast as possible and cannot be put together with {live}; leave \",fast\" out")]
    FastBesideLive {
        /// The file.
        fast: Box<SourceSpec>,
        /// The other source.
        live: Box<SourceSpec>,
    },
    /// A source that cannot be.
    #[error(transparent)]
    Source(#[from] SpecError),
    /// A policy or rate that cannot be.
    #[error(transparent)]
    Sync(#[from] SyncConfigError),
    /// A number out of its range.
    #[error("{key} must be {range}")]
    Range {
        /// The key.
        key: &'static str,
        /// What is possible.
        range: &'static str,
    },
}
