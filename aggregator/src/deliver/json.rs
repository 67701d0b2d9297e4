//! The JSON form of a packet: one object a line. The field names and their order are a public interface.

use std::io::{self, Write};

use framelock_common::time::{Span, Utc};
use serde::Serialize;

use super::{CodedFrame, FrameStatus, FrameType, TimeSource};

/// What the JSON form says of a packet beside its entries.
#[derive(Clone, Copy, Debug)]
pub struct PacketInfo {
    /// Counts packets, from 0.
    pub number: u64,
    /// The instant the set stands for.
    pub time: Utc,
    /// Latest minus earliest capture time.
    pub spread: Span,
    /// What `spread` is at most (see [`Packet::spread_bound`](super::Packet::spread_bound)), where the capture
    /// times have bounds.
    pub spread_bound: Option<Span>,
    /// Whether every camera has a frame in it.
    pub complete: bool,
}

/// What the JSON form says of a frame. What is not known is written as `null`.
#[derive(Clone, Copy, Debug)]
pub struct FrameInfo {
    /// When it was captured.
    pub time: Utc,
    /// Bound on the error of `time`.
    pub uncertainty: Option<Span>,
    /// Where `time` comes from.
    pub time_source: Option<TimeSource>,
    /// How the frame is coded.
    pub frame_type: Option<FrameType>,
    /// Pixels in a row.
    pub width: Option<u32>,
    /// Rows.
    pub height: Option<u32>,
    /// Size of the compressed frame.
    pub bytes: Option<u64>,
    /// From capture to delivery.
    pub latency: Span,
}

impl FrameInfo {
    /// What is said of `frame` when it is delivered at `delivered`.
    #[must_use]
    pub fn of(frame: &CodedFrame, delivered: Utc) -> Self {
        Self {
            time: frame.time.utc,
            uncertainty: Some(frame.time.uncertainty),
            time_source: Some(frame.time_source),
            frame_type: frame.frame_type,
            width: frame.width,
            height: frame.height,
            bytes: Some(frame.data.len() as u64),
            latency: delivered - frame.time.utc,
        }
    }
}

#[derive(Serialize)]
struct PacketLine<'a> {
    packet: u64,
    time_ns: i64,
    spread_ns: i64,
    spread_bound_ns: Option<i64>,
    complete: bool,
    frames: Vec<EntryLine<'a>>,
}

#[derive(Serialize)]
struct EntryLine<'a> {
    camera: &'a str,
    status: &'static str,
    #[serde(flatten)]
    frame: Option<FrameLine>,
}

#[derive(Serialize)]
struct FrameLine {
    time_ns: i64,
    uncertainty_ns: Option<i64>,
    time_source: Option<&'static str>,
    frame_type: Option<&'static str>,
    width: Option<u32>,
    height: Option<u32>,
    bytes: Option<u64>,
    latency_ns: i64,
}

impl From<FrameInfo> for FrameLine {
    fn from(info: FrameInfo) -> Self {
        Self {
            time_ns: info.time.as_unix_nanos(),
            uncertainty_ns: info.uncertainty.map(Span::as_nanos),
            time_source: info.time_source.map(TimeSource::as_str),
            frame_type: info.frame_type.map(FrameType::as_str),
            width: info.width,
            height: info.height,
            bytes: info.bytes,
            latency_ns: info.latency.as_nanos(),
        }
    }
}

/// Writes one packet as one line of JSON, newline included, in a single `write`.
///
/// # Errors
/// Whatever `out` fails with.
pub fn write_packet<'a>(
    packet: &PacketInfo,
    entries: impl IntoIterator<Item = (&'a str, FrameStatus, Option<FrameInfo>)>,
    out: &mut impl Write,
) -> io::Result<()> {
    let frames = entries
        .into_iter()
        .map(|(camera, status, frame)| EntryLine {
            camera,
            status: status.as_str(),
            frame: frame.filter(|_| status == FrameStatus::Okay).map(FrameLine::from),
        })
        .collect();
    let line = PacketLine {
        packet: packet.number,
        time_ns: packet.time.as_unix_nanos(),
        spread_ns: packet.spread.as_nanos(),
        spread_bound_ns: packet.spread_bound.map(Span::as_nanos),
        complete: packet.complete,
        frames,
    };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    out.write_all(&text)
}
