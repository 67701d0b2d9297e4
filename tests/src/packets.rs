//! The JSON lines of `framelock-aggregator packets`, as a consumer written by somebody else reads them.

use serde::Deserialize;

use crate::process::Process;

/// One frame packet, as `interfaces.md` of the design fixes it.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "named after the JSON fields")]
pub struct Packet {
    pub packet: u64,
    pub time_ns: Option<i64>,
    pub spread_ns: Option<i64>,
    pub spread_bound_ns: Option<i64>,
    pub complete: bool,
    pub frames: Vec<Frame>,
}

/// One camera's entry in a packet; all but the first two fields only where the status is `okay`.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[expect(missing_docs, reason = "named after the JSON fields")]
pub struct Frame {
    pub camera: String,
    pub status: String,
    pub time_ns: Option<i64>,
    pub uncertainty_ns: Option<i64>,
    pub time_source: Option<String>,
    pub frame_type: Option<String>,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub bytes: Option<u64>,
    pub latency_ns: Option<i64>,
}

impl Packet {
    /// Reads one line.
    ///
    /// # Panics
    /// When the line is not a packet.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("not a packet ({error}): {line}"))
    }

    /// The status of `camera`.
    ///
    /// # Panics
    /// When the packet has no entry for it: every configured camera appears once.
    #[must_use]
    pub fn status(&self, camera: &str) -> &str {
        let mut entries = self.frames.iter().filter(|frame| frame.camera == camera);
        let entry = entries.next().unwrap_or_else(|| panic!("no entry for {camera} in {self:?}"));
        assert!(entries.next().is_none(), "two entries for {camera} in {self:?}");
        &entry.status
    }
}

/// The next packet that `aggregator` prints for which `wanted` holds.
///
/// # Panics
/// When none comes in time.
pub fn next_where(aggregator: &mut Process, what: &str, mut wanted: impl FnMut(&Packet) -> bool) -> Packet {
    Packet::parse(&aggregator.line_where(what, |line| wanted(&Packet::parse(line))))
}
