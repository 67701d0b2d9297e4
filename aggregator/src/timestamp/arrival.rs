//! When a frame of a sender that says nothing about UTC was captured: from its arrival.
//!
//! Every frame arrives some delay after its capture: a constant part (camera, encoder, network)
//! and jitter that only ever adds. The timestamps of the stream pace the frames exactly, so the
//! *smallest* delay seen, as a straight line over the last half minute (the two clocks drift),
//! takes the jitter out. The constant part stays in: nothing on the wire tells it.

use std::collections::VecDeque;

use framelock_common::time::{HostTime, MediaTime, Span};

/// Length of one bucket, of which the smallest delay is kept.
const BUCKET: Span = Span::from_secs(1);
/// Buckets kept.
const BUCKETS: usize = 30;
/// Buckets from which on the drift between the clocks is estimated.
const MIN_FIT: usize = 8;
/// A drift beyond this is not a crystal's.
const MAX_SLOPE: f64 = 500e-6;
/// An arrival this far from the pace means that the stream's timestamps jumped: start anew.
const JUMP: Span = Span::from_secs(5);

#[derive(Clone, Copy, Debug)]
struct Point {
    media: MediaTime,
    /// Arrival minus media time; only differences between points mean anything.
    offset: Span,
}

/// Estimates the least delay of one stream; see the module.
#[derive(Clone, Debug, Default)]
pub struct ArrivalEstimator {
    buckets: VecDeque<Point>,
    bucket_start: Option<MediaTime>,
    origin: Option<(MediaTime, HostTime)>,
    slope: f64,
    /// The envelope's offset at `buckets.front()`.
    level: Span,
}

impl ArrivalEstimator {
    /// Takes the arrival of the frame stamped `media` and returns when it would have arrived with
    /// the least delay, which is never later than it did.
    pub fn handle(&mut self, media: MediaTime, arrival: HostTime) -> HostTime {
        if let Some(expected) = self.expected(media)
            && (arrival - expected).abs() > JUMP
        {
            *self = Self::default();
        }
        let &mut (media0, host0) = self.origin.get_or_insert((media, arrival));
        let offset = (arrival - host0) - (media - media0);
        self.add(Point { media, offset });
        self.expected(media).map_or(arrival, |expected| expected.min(arrival))
    }

    fn expected(&self, media: MediaTime) -> Option<HostTime> {
        let (media0, host0) = self.origin?;
        let first = self.buckets.front()?;
        let drift = Span::from_secs_f64(self.slope * (media - first.media).as_secs_f64());
        Some(host0 + (media - media0) + self.level + drift)
    }

    fn add(&mut self, point: Point) {
        let fresh = self.bucket_start.is_none_or(|start| point.media - start >= BUCKET);
        if fresh {
            self.bucket_start = Some(point.media);
            self.buckets.push_back(point);
            if self.buckets.len() > BUCKETS {
                self.buckets.pop_front();
            }
            self.fit();
        } else if let Some(last) = self.buckets.back_mut()
            && point.offset < last.offset
        {
            *last = point;
            self.fit();
        }
    }

    /// A least-squares slope through the buckets' minima, lowered until no point lies below.
    fn fit(&mut self) {
        let Some(&first) = self.buckets.front() else { return };
        let points: Vec<(f64, f64)> = self
            .buckets
            .iter()
            .map(|p| ((p.media - first.media).as_secs_f64(), p.offset.as_secs_f64()))
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "at most 30 points")]
        let n = points.len() as f64;
        let (mean_x, mean_y) =
            (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
        let sxx: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
        let sxy: f64 = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
        self.slope =
            if points.len() < MIN_FIT || sxx <= 0.0 { 0.0 } else { (sxy / sxx).clamp(-MAX_SLOPE, MAX_SLOPE) };
        let level = points.iter().map(|p| p.1 - self.slope * p.0).fold(f64::INFINITY, f64::min);
        self.level = Span::from_secs_f64(level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(ms: i64) -> MediaTime {
        MediaTime::from_ticks(ms * 90)
    }

    /// A small generator with a seed, so that a failure repeats.
    fn noise(state: &mut u64) -> i64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((*state >> 33) % 40_000_000).unwrap()
    }

    #[test]
    fn takes_the_jitter_out_and_follows_the_drift() {
        let mut estimator = ArrivalEstimator::default();
        let mut state = 7;
        for frame in 0..3_000_i64 {
            let ms = frame * 40;
            // The board's clock is 80 ppm slow; up to 40 ms of jitter, none on every 20th frame.
            let ideal = HostTime::from_nanos(5_000_000_000 + ms * 1_000_000 + ms * 80);
            let jitter = if frame % 20 == 0 { 0 } else { noise(&mut state) };
            let estimate = estimator.handle(media(ms), ideal + Span::from_nanos(jitter));
            if ms > 10_000 {
                let error = (estimate - ideal).abs();
                assert!(error < Span::from_micros(500), "{ms} ms: {error}");
            }
        }
    }

    #[test]
    fn a_jump_of_the_timestamps_starts_anew() {
        let mut estimator = ArrivalEstimator::default();
        for frame in 0..100 {
            estimator.handle(media(frame * 40), HostTime::from_nanos(frame * 40_000_000));
        }
        let arrival = HostTime::from_nanos(4_000_000_000);
        assert_eq!(estimator.handle(media(9_000_000), arrival), arrival);
    }
}
