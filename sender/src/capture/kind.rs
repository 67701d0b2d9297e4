//! What a capture timestamp is of.

/// What a capture timestamp is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CaptureKind {
    /// Not known.
    #[default]
    Unknown,
    /// The start of the exposure.
    StartOfExposure,
    /// The end of the frame.
    EndOfFrame,
    /// The arrival of the frame's first payload at the host.
    FirstPayload,
    /// Made by a test source.
    Synthetic,
    /// Computed from a file's timestamps.
    File,
}
