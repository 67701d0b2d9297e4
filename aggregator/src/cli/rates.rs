//! Rates of the cameras' counters between two looks, for status lines and tables.

use framelock_common::time::{HostTime, Span};

use crate::engine::CameraStatus;
use crate::source::StreamStatus;

/// Remembers the last look.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    last: Vec<(HostTime, StreamStatus)>,
}

/// What a camera did since the last look, or since its sender began if that was later.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CameraRates {
    /// Good frames a second.
    pub(crate) fps: f64,
    /// Received bits a second.
    pub(crate) bitrate: f64,
}

impl Rates {
    /// Looks at `cameras`.
    pub(crate) fn look(&mut self, cameras: &[CameraStatus]) -> Vec<CameraRates> {
        let of = |(index, camera): (usize, &CameraStatus)| {
            // A new sender counts from zero.
            let before = self.last.get(index).filter(|(_, before)| before.since == camera.stream.since);
            CameraRates {
                fps: fps(before.map(|(_, before)| before), camera),
                bitrate: 8.0 * bytes(before, camera),
            }
        };
        let rates = cameras.iter().enumerate().map(of).collect();
        self.last = cameras.iter().map(|camera| (camera.at, camera.stream.clone())).collect();
        rates
    }
}

/// From frame to frame and not from look to look: a look falls somewhere between two frames.
fn fps(before: Option<&StreamStatus>, camera: &CameraStatus) -> f64 {
    let now = &camera.stream.frames;
    let (Some(first), Some(last)) = (now.first, now.last) else { return 0.0 };
    let known = before.and_then(|before| Some((before.frames.last?, before.frames.good)));
    let (from, counted) = known.unwrap_or((first, 1));
    let frames = now.good.saturating_sub(counted);
    let between = last - from;
    // Where the next frames are overdue, the time without them counts too.
    let missing = camera.at - last;
    let overdue = i64::try_from(frames).is_ok_and(|frames| missing * frames > between * 2);
    per_second(frames, if overdue { between + missing } else { between })
}

fn bytes(before: Option<&(HostTime, StreamStatus)>, camera: &CameraStatus) -> f64 {
    let Some(since) = camera.stream.since else { return 0.0 };
    let (from, counted) = before.map_or((since, 0), |(at, before)| (*at, before.bytes));
    per_second(camera.stream.bytes.saturating_sub(counted), camera.at - from)
}

fn per_second(count: u64, time: Span) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for display")]
    let count = count as f64;
    if time > Span::ZERO { count / time.as_secs_f64() } else { 0.0 }
}
