//! The pace of a steady camera: the line through its last stamps, and how early its next can be.
//!
//! A stamp is off the camera's true pace by its jitter. The next one after a stamp that was late is no later for
//! it, so the line says more of it than the last stamp does. How far off the line it can be, the stamps on
//! it show: the more of them, the better. With few of them chance makes any camera look steady, so
//! that many times the largest distance seen is allowed for.

use framelock_common::time::{Span, Utc};

/// Stamps from which on a line says anything.
const LEAST_STAMPS: usize = 6;
/// A stamp off its place by more than this part of the period is none of a steady camera.
const IRREGULAR: i64 = 4;
/// This part of a period is allowed for besides: clocks are corrected with every report.
const CORRECTIONS: i64 = 1_000;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The last stamp; the line is told from here.
    origin: Utc,
    /// Of the line at the last stamp's place, in ns.
    offset: f64,
    /// In ns.
    period: f64,
    /// By how much the next stamp may be before the line.
    slack: Span,
}

impl Pace {
    /// The pace of ascending stamps that are about `period` apart, or multiples of it where some are missing; `None`
    /// if there are too few or they are not.
    pub(super) fn of(
        stamps: impl DoubleEndedIterator<Item = Utc> + ExactSizeIterator,
        period: Span,
    ) -> Option<Self> {
        let count = stamps.len();
        if count < LEAST_STAMPS || period <= Span::ZERO {
            return None;
        }
        let points = Points::of(stamps, period)?;
        let (offset, slope) = points.line();
        let farthest = points.iter().map(|(n, off)| (off - (offset + slope * n)).abs()).fold(0.0, f64::max);
        let slack = Span::from_secs_f64(farthest * allowance(count) / 1e9) + period / CORRECTIONS;
        let period = exact(period) + slope;
        (period > 0.0).then_some(Self { origin: points.origin, offset, period, slack })
    }

    /// The earliest that the stamp after `heard` can be.
    pub(super) fn after(&self, heard: Utc) -> Utc {
        let since = exact(heard - self.origin) - self.offset;
        let next = (since / self.period).round() + 1.0;
        self.origin + Span::from_secs_f64((self.offset + next * self.period) / 1e9) - self.slack
    }
}

/// Stamps by their places, counted from the last, each with its distance from there by the rough period.
struct Points {
    origin: Utc,
    places: Vec<(f64, f64)>,
}

impl Points {
    fn of(stamps: impl DoubleEndedIterator<Item = Utc> + ExactSizeIterator, period: Span) -> Option<Self> {
        let mut stamps = stamps.rev();
        let origin = stamps.next()?;
        let mut places = Vec::with_capacity(stamps.len() + 1);
        places.push((0.0, 0.0));
        let (mut place, mut later) = (0_i64, origin);
        for stamp in stamps {
            let interval = later - stamp;
            let steps = (interval + period / 2).as_nanos() / period.as_nanos();
            if steps < 1 || (interval - period * steps).abs() > period / IRREGULAR {
                return None;
            }
            place = place.saturating_sub(steps);
            later = stamp;
            places.push((whole(place), exact((stamp - origin) - period * place)));
        }
        Some(Self { origin, places })
    }

    fn iter(&self) -> impl Iterator<Item = (f64, f64)> {
        self.places.iter().copied()
    }

    /// Least squares: the line's value at place 0 and its slope.
    fn line(&self) -> (f64, f64) {
        let count = self.iter().fold(0.0, |count, _| count + 1.0);
        let (x, y) = self.iter().fold((0.0, 0.0), |(x, y), (n, off)| (x + n / count, y + off / count));
        let (sxx, sxy) = self
            .iter()
            .fold((0.0, 0.0), |(sxx, sxy), (n, off)| (sxx + (n - x) * (n - x), sxy + (n - x) * (off - y)));
        let slope = if sxx > 0.0 { sxy / sxx } else { 0.0 };
        (y - slope * x, slope)
    }
}

/// How many times the largest distance of `count` stamps from their line the next can be before it. By simulation
/// with jitter that is uniform and that is normal: less than once in ten thousand it is more.
fn allowance(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    let count = count as f64;
    2.0 + 3_600.0 / (count * count * count)
}

#[expect(clippy::cast_precision_loss, reason = "spans within a window of frames")]
fn exact(span: Span) -> f64 {
    span.as_nanos() as f64
}

#[expect(clippy::cast_precision_loss, reason = "a count of frames")]
fn whole(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Span = Span::from_micros(33_333);

    /// A small generator with a seed (SplitMix64); uniform in -1..1.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        }

        /// Nearly normal, with a standard deviation of 1.
        fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.next()).sum::<f64>() / 2.0
        }
    }

    fn at(n: i64, off_us: f64) -> Utc {
        Utc::from_unix_nanos(1_790_000_000_000_000_000) + PERIOD * n + Span::from_secs_f64(off_us / 1e6)
    }

    #[test]
    fn the_next_stamp_is_hardly_ever_before_the_earliest_and_never_far_after_it() {
        let mut random = Random(1);
        for count in [6, 8, 12, 17, 33] {
            for normal in [false, true] {
                let (mut early, mut slack) = (0, Span::ZERO);
                let rounds = 5_000;
                for _ in 0..rounds {
                    let mut jitter = || if normal { random.normal() * 100.0 } else { random.next() * 200.0 };
                    let stamps: Vec<_> = (0..=count).map(|n| at(n, jitter())).collect();
                    let (next, known) = stamps.split_last().unwrap();
                    let pace = Pace::of(known.iter().copied(), PERIOD).unwrap();
                    let earliest = pace.after(*known.last().unwrap());
                    early += u32::from(*next < earliest);
                    slack += at(count, 0.0) - earliest;
                }
                assert!(early <= 3, "{count} {normal}: {early}");
                let slack = slack / rounds;
                // With a second of frames, about twice the jitter.
                assert!(count < 33 || slack < Span::from_micros(520), "{normal}: {slack}");
            }
        }
    }

    #[test]
    fn missing_frames_and_a_wrong_period_do_not_matter() {
        let stamps = [0, 1, 2, 5, 6, 9, 10, 11].map(|n| at(n, 0.0));
        let pace = Pace::of(stamps.into_iter(), PERIOD + Span::from_micros(20)).unwrap();
        for n in 11..20 {
            let early = at(n + 1, 0.0) - pace.after(at(n, 0.0));
            assert!((Span::ZERO..Span::from_micros(80)).contains(&early), "{n}: {early}");
        }
    }

    #[test]
    fn what_is_not_steady_has_no_pace() {
        let few = (0..5).map(|n| at(n, 0.0));
        assert!(Pace::of(few.collect::<Vec<_>>().into_iter(), PERIOD).is_none());
        let burst = [0.0, 0.0, 0.0, 12_000.0, 0.0, 0.0, 0.0];
        let stamps: Vec<_> = (0..).zip(burst).map(|(n, off)| at(n, off)).collect();
        assert!(Pace::of(stamps.into_iter(), PERIOD).is_none());
        let wild = [i64::MIN, -5, 0, 1, 2, 3, i64::MAX].map(Utc::from_unix_nanos);
        for period in [Span::from_nanos(1), PERIOD, Span::MAX, Span::ZERO] {
            let _ = Pace::of(wild.into_iter(), period).map(|pace| pace.after(Utc::from_unix_nanos(i64::MAX)));
        }
    }
}
