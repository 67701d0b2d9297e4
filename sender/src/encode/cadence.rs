//! How often pictures really come, and when the next key frame is due.
//!
//! A camera that declares 25 frames a second may deliver 21, or half as many in the dark, and a board may
//! be too slow for all of them. An encoder that believes the declared rate then misses its bitrate by as
//! much, and one that counts frames from key frame to key frame misses that interval. So both go by the
//! pictures' capture times. Told the time, like everything that decides; the encoder is its only user.

use framelock_common::time::{BoardTime, Span};

use crate::capture::FrameRate;

/// Pictures are counted over windows of this length.
const WINDOW: Span = Span::from_secs(1);
/// No pictures for this long, and for [`OUTAGE_PERIODS`], is a camera that was gone and not a slow one.
const OUTAGE: Span = Span::from_secs(2);
const OUTAGE_PERIODS: i64 = 10;
/// Two windows in a row that differ by more than this from the known rate, both up or both down, are a new
/// rate, in thousandths. One picture lost in one window is none.
const DIFFERS: u64 = 20;
/// A single window with this much more is a new rate already: too many bits harm sooner than too few.
const RISES: u64 = 200;

/// Pictures counted over a time.
#[derive(Clone, Copy, Debug)]
struct Count {
    /// Intervals between pictures.
    intervals: u64,
    span: Span,
}

impl Count {
    /// Pictures in 1000 s; `None` without a time to count over.
    fn millihertz(self) -> Option<u64> {
        let span = u128::try_from(self.span.as_nanos()).ok().filter(|&span| span > 0)?;
        u64::try_from(u128::from(self.intervals) * 1_000_000_000_000 / span).ok()
    }
}

/// The measured rate of a stream of pictures and the clock of its key frames.
#[derive(Clone, Debug)]
pub(super) struct Cadence {
    declared: FrameRate,
    key_interval: Span,
    /// The rate that is acted upon.
    rate: FrameRate,
    /// The last picture.
    last: Option<BoardTime>,
    /// The window that is being counted; it ends at `last`.
    window: Count,
    /// The window before, if its rate differed.
    suspect: Option<Count>,
    last_key: Option<BoardTime>,
}

impl Cadence {
    /// A stream that is said to come at `declared`, with a key frame every `key_interval`.
    pub(super) const fn new(declared: FrameRate, key_interval: Span) -> Self {
        Self {
            declared,
            key_interval,
            rate: declared,
            last: None,
            window: Count { intervals: 0, span: Span::ZERO },
            suspect: None,
            last_key: None,
        }
    }

    /// A picture taken at `mono`; gives the rate if that is now known to be another one.
    pub(super) fn handle_picture(&mut self, mono: BoardTime) -> Option<FrameRate> {
        let interval = self.last.replace(mono).map(|last| mono - last)?;
        let outage = OUTAGE.max(self.declared.time_of(OUTAGE_PERIODS));
        if interval <= Span::ZERO || interval > outage {
            self.window = Count { intervals: 0, span: Span::ZERO };
            self.suspect = None;
            return None;
        }
        self.window.intervals += 1;
        self.window.span += interval;
        if self.window.span < WINDOW {
            return None;
        }
        let window = std::mem::replace(&mut self.window, Count { intervals: 0, span: Span::ZERO });
        self.judge(window)
    }

    /// Whether the picture taken at `mono` has to be a key frame. Of the two pictures about the end of the
    /// interval, the nearer one is. Times that jump either way hold up no key frame.
    pub(super) fn is_key_due(&self, mono: BoardTime) -> bool {
        let half_period = Span::from_nanos(self.rate.period().as_nanos() / 2);
        self.last_key.is_none_or(|last| (mono - last).abs() + half_period >= self.key_interval)
    }

    /// The picture taken at `mono` became a key frame, for whatever reason.
    pub(super) const fn handle_key(&mut self, mono: BoardTime) {
        self.last_key = Some(mono);
    }

    fn judge(&mut self, window: Count) -> Option<FrameRate> {
        let before = self.suspect.take();
        let direction = self.direction(window, DIFFERS)?;
        let confirmed = before.filter(|&before| self.direction(before, DIFFERS) == Some(direction));
        let count = match confirmed {
            _ if self.direction(window, RISES) == Some(Direction::Up) => window,
            Some(before) => {
                Count { intervals: before.intervals + window.intervals, span: before.span + window.span }
            }
            None => {
                self.suspect = Some(window);
                return None;
            }
        };
        let millihertz = u32::try_from(count.millihertz()?).ok()?;
        self.rate = FrameRate::new(millihertz, 1_000)?;
        Some(self.rate)
    }

    /// Where the rate of `count` lies, if it differs by more than so many thousandths from the known one.
    fn direction(&self, count: Count, thousandths: u64) -> Option<Direction> {
        let known = u64::from(self.rate.numerator()) * 1_000 / u64::from(self.rate.denominator());
        let counted = count.millihertz()?;
        let differs = counted.abs_diff(known).saturating_mul(1_000) > known.saturating_mul(thousandths);
        differs.then_some(if counted > known { Direction::Up } else { Direction::Down })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cadence(hz: u32) -> Cadence {
        Cadence::new(FrameRate::from_hz(hz), Span::from_secs(2))
    }

    /// Pictures at these times in microseconds; the changes of rate, in Hz, and after which picture.
    fn changes(cadence: &mut Cadence, times: impl IntoIterator<Item = i64>) -> Vec<(usize, f64)> {
        let picture =
            |(number, us)| Some((number, cadence.handle_picture(BoardTime::from_nanos(us * 1_000))?.as_hz()));
        times.into_iter().enumerate().filter_map(picture).collect()
    }

    /// `count` pictures from `start`, `period` apart, in microseconds.
    fn steady(start: i64, period: i64, count: i64) -> impl Iterator<Item = i64> {
        (0..count).map(move |number| start + number * period)
    }

    #[test]
    fn a_camera_that_keeps_its_word_changes_nothing() {
        let jittered = steady(0, 40_000, 2_000).enumerate().map(|(n, us)| us + [0, 9_000, -9_000][n % 3]);
        assert_eq!(changes(&mut cadence(25), jittered), []);
    }

    #[test]
    fn the_true_rate_is_known_after_two_windows_and_then_for_good() {
        let mut cadence = cadence(25);
        let changes = changes(&mut cadence, steady(0, 47_619, 2_000));
        assert_eq!(changes.len(), 1, "{changes:?}");
        let (after, hz) = changes[0];
        assert!(after <= 44 && (hz - 21.0).abs() < 0.01, "{changes:?}");
    }

    #[test]
    fn a_rate_that_halves_and_comes_back_is_followed() {
        let mut cadence = cadence(30);
        assert_eq!(changes(&mut cadence, steady(0, 33_333, 90)), []);
        let dark = changes(&mut cadence, steady(90 * 33_333, 66_667, 60));
        assert!(dark.len() <= 2 && dark[0].0 <= 45, "{dark:?}");
        assert!((cadence.rate.as_hz() - 15.0).abs() < 0.3, "{dark:?}");
        // Twice the bits are noticed in one window; the second may straddle the change.
        let light = changes(&mut cadence, steady(90 * 33_333 + 60 * 66_667, 33_333, 120));
        assert!(light[0].0 <= 60, "{light:?}");
        assert!((cadence.rate.as_hz() - 30.0).abs() < 0.6, "{light:?}");
    }

    #[test]
    fn one_lost_picture_and_one_outage_are_no_new_rate() {
        let mut cadence = cadence(30);
        let lossy = steady(0, 33_333, 3_040).enumerate().filter(|(n, _)| n % 100 != 50).map(|(_, us)| us);
        assert_eq!(changes(&mut cadence, lossy), []);
        // Gone for a second, and for a minute.
        for start in [102_300_000, 106_300_000, 169_300_000] {
            assert_eq!(changes(&mut cadence, steady(start, 33_333, 91)), []);
        }
    }

    #[test]
    fn slow_cameras_are_measured_too() {
        // One picture in five seconds is no outage where that was declared.
        let mut cadence = Cadence::new(FrameRate::new(1, 4).unwrap(), Span::from_secs(2));
        changes(&mut cadence, steady(0, 5_000_000, 10));
        assert!((cadence.rate.as_hz() - 0.2).abs() < 0.001, "{}", cadence.rate);
    }

    /// The numbers of the pictures that became key frames.
    fn keys(cadence: &mut Cadence, times: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let mut keys = Vec::new();
        for us in times {
            let mono = BoardTime::from_nanos(us * 1_000);
            cadence.handle_picture(mono);
            if cadence.is_key_due(mono) {
                cadence.handle_key(mono);
                keys.push(us);
            }
        }
        keys
    }

    #[test]
    fn key_frames_go_by_time_whatever_the_rate() {
        for period in [33_333, 40_000, 47_619, 66_667, 130_000] {
            let keys = keys(&mut cadence(30), steady(0, period, 600));
            assert!(keys.len() > 9);
            for pair in keys.windows(2) {
                let gap = pair[1] - pair[0];
                assert!((gap - 2_000_000).abs() <= period / 2 + 17_000, "period {period}: {gap}");
            }
        }
    }

    #[test]
    fn a_clock_that_jumps_holds_up_no_key_frame() {
        let mut cadence = cadence(10);
        keys(&mut cadence, steady(50_000_000, 100_000, 30));
        assert_eq!(keys(&mut cadence, steady(0, 100_000, 21)), [0, 2_000_000]);
    }

    proptest! {
        #[test]
        fn no_sequence_of_times_breaks_it(times in prop::collection::vec(any::<i64>(), 0..50)) {
            let mut cadence = cadence(30);
            for ns in times {
                let mono = BoardTime::from_nanos(ns);
                cadence.handle_picture(mono);
                if cadence.is_key_due(mono) {
                    cadence.handle_key(mono);
                }
            }
        }

        #[test]
        fn a_jittered_rate_is_found(
            declared in 5_u32..60, period in 20_000_i64..200_000, jitter in prop::collection::vec(-100_i64..=100, 300),
        ) {
            let mut cadence = cadence(declared);
            // Up to a tenth of a period early or late.
            let times = jitter.iter().zip(0..).map(|(jitter, number)| number * period + jitter * period / 1_000);
            changes(&mut cadence, times);
            let true_hz = 1e6 / period as f64;
            let error = (cadence.rate.as_hz() / true_hz - 1.0).abs();
            // What is not acted upon, and the jitter of the two ends of a window.
            prop_assert!(error < 0.021 + 0.2 * period as f64 / 1e6, "{true_hz} Hz, taken for {}", cadence.rate);
        }
    }
}
