//! Rates of the cameras' counters between two looks, for status lines and tables.

use framelock_common::time::{HostTime, Span};

use crate::engine::CameraStatus;

/// Remembers the last look.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    last: Vec<(HostTime, Counters)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    bytes: u64,
    good: u64,
}

/// What a camera did since the last look.
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
        let counters =
            |camera: &CameraStatus| Counters { bytes: camera.stream.bytes, good: camera.stream.frames.good };
        let of = |(index, camera): (usize, &CameraStatus)| {
            let now_counted = counters(camera);
            let Some(&(then, before)) = self.last.get(index) else { return CameraRates::default() };
            let seconds = (camera.at - then).max(Span::from_millis(1)).as_secs_f64();
            // A new sender counts from zero.
            let rate = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now) as f64 / seconds;
            CameraRates {
                fps: rate(now_counted.good, before.good),
                bitrate: rate(now_counted.bytes, before.bytes) * 8.0,
            }
        };
        let rates = cameras.iter().enumerate().map(of).collect();
        self.last = cameras.iter().map(|camera| (camera.at, counters(camera))).collect();
        rates
    }
}
