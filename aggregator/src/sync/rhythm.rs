//! What a camera's past frames say about its next one: period, jitter, reordering and delay. Measured,
//! because a camera that declares 25 frames a second may well deliver 21.

use std::collections::VecDeque;
use std::ops::Range;

use framelock_common::time::{HostTime, Span, Utc};

use super::pace::Pace;

/// How many frames are looked back at.
const WINDOW: usize = 33;
/// Measured intervals after which a declared period is not believed any more.
const TRUSTED_INTERVALS: usize = 8;
/// Fewer measured intervals than this say nothing: one may be a gap.
const LEAST_INTERVALS: usize = 2;
/// How many frames the smallest delay is taken over.
const DELAY_WINDOW: usize = 8;

/// A camera's delay: arrival by the aggregator's clock minus capture in UTC. The two clocks have different
/// zeros, so only the difference of two delays means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Delay(i64);

impl Delay {
    /// The delay of a frame captured at `time` that arrived at `arrival`.
    pub(super) const fn of(time: Utc, arrival: HostTime) -> Self {
        Self(arrival.as_nanos().saturating_sub(time.as_unix_nanos()))
    }

    /// The delay of a frame that was captured `shift` later than was thought.
    const fn after_shift(self, shift: Span) -> Self {
        Self(self.0.saturating_sub(shift.as_nanos()))
    }

    /// When a frame that is captured at `time` arrives with this delay.
    pub(super) const fn arrival(self, time: Utc) -> HostTime {
        HostTime::from_nanos(time.as_unix_nanos().saturating_add(self.0))
    }

    /// How much longer this delay is than `other`.
    pub(super) const fn longer_than(self, other: Self) -> Span {
        Span::from_nanos(self.0.saturating_sub(other.0))
    }
}

/// The rhythm of one camera's frames.
#[derive(Debug)]
pub(super) struct Rhythm {
    /// Capture times of the last frames, ascending.
    times: VecDeque<Utc>,
    /// For each of the last frames, how far it was behind the newest when it came.
    behind: VecDeque<Span>,
    delays: VecDeque<Delay>,
    declared: Option<Span>,
    measured: Option<Measured>,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    period: Span,
    least: Span,
    jitter: Span,
    intervals: usize,
    /// If it is steady.
    pace: Option<Pace>,
}

impl Rhythm {
    pub(super) fn new(declared: Option<Span>) -> Self {
        let declared = declared.filter(|period| *period > Span::ZERO);
        Self {
            times: VecDeque::new(),
            behind: VecDeque::new(),
            delays: VecDeque::new(),
            declared,
            measured: None,
        }
    }

    /// Takes note of a frame.
    pub(super) fn note(&mut self, time: Utc, arrival: HostTime) {
        let newest = self.times.back().copied().unwrap_or(time);
        push(&mut self.behind, (newest - time).max(Span::ZERO), WINDOW);
        push(&mut self.delays, Delay::of(time, arrival), DELAY_WINDOW);
        let at = self.times.partition_point(|other| *other < time);
        if self.times.get(at) != Some(&time) {
            self.times.insert(at, time);
        }
        if self.times.len() > WINDOW {
            self.times.pop_front();
        }
        self.measure();
    }

    /// Forgets the past frames after a clock step; the period stays, for cameras rarely change it.
    pub(super) fn restart(&mut self) {
        self.times.clear();
        self.behind.clear();
        self.delays.clear();
    }

    /// The camera's clock is known better now: the frames in `moved` were captured at the second time and not at
    /// the first, all others `shift` later than noted.
    pub(super) fn retime(&mut self, shift: Span, moved: &[(Utc, Utc)]) {
        let new = |time: Utc| {
            let known = moved.binary_search_by_key(&time, |(before, _)| *before);
            known.map_or(time + shift, |at| moved[at].1)
        };
        let times = self.times.make_contiguous();
        times.iter_mut().for_each(|time| *time = new(*time));
        times.sort_unstable();
        let mut last = None;
        self.times.retain(|time| last.replace(*time) != Some(*time));
        for delay in &mut self.delays {
            *delay = delay.after_shift(shift);
        }
        self.measure();
    }

    /// The usual time between two frames.
    pub(super) fn period(&self) -> Option<Span> {
        match (self.measured, self.declared) {
            (Some(measured), Some(declared)) if measured.intervals < TRUSTED_INTERVALS => Some(declared),
            (Some(measured), _) => Some(measured.period),
            (None, declared) => declared,
        }
    }

    /// The earliest capture time that a frame still to come can have, after one of `heard`.
    pub(super) fn expected(&self, heard: Utc, tolerance_permille: u16) -> Utc {
        let least = self.least_interval(tolerance_permille);
        let reordering = self.reordering();
        if reordering == Span::ZERO {
            return self.next_after(heard, least);
        }
        // Frames may come as far back as they did lately, where there is still room for one.
        let period = self.period().unwrap_or(reordering);
        let floor = heard - reordering - (period - least);
        let mut known = self.times.iter().copied().filter(|time| *time >= floor);
        let Some(mut last) = known.next().filter(|first| *first < floor + period) else { return floor };
        for time in known {
            if time - last > period + period / 2 {
                break;
            }
            last = time;
        }
        self.next_after(last, least)
    }

    /// The earliest frame after that of `last`: `least` later, or if the camera has shown to be steadier, when it can
    /// be by its pace.
    fn next_after(&self, last: Utc, least: Span) -> Utc {
        let pace = self.measured.and_then(|measured| measured.pace).filter(|_| least > Span::ZERO);
        let earliest = last + least.max(Span::from_nanos(1));
        pace.map_or(earliest, |pace| earliest.max(pace.after(last)))
    }

    /// The shortest time after a frame in which the next can come: the period less `tolerance_permille` of it; zero if
    /// no period is known. A camera that loses so many frames that gaps are usual has a shorter one.
    fn least_interval(&self, tolerance_permille: u16) -> Span {
        let least = self.measured.map(|measured| measured.least).into_iter().chain(self.period()).min();
        let Some(least) = least else { return Span::ZERO };
        least - least.mul_div(i64::from(tolerance_permille.min(1_000)), 1_000)
    }

    /// How far most intervals stay within of the period; zero until enough of them are known.
    pub(super) fn jitter(&self) -> Span {
        let known = self.measured.filter(|measured| measured.intervals >= TRUSTED_INTERVALS);
        known.map_or(Span::ZERO, |measured| measured.jitter)
    }

    /// How far behind the newest frame a frame may still come, as seen lately.
    pub(super) fn reordering(&self) -> Span {
        self.behind.iter().copied().max().unwrap_or(Span::ZERO)
    }

    /// The smallest delay of late.
    pub(super) fn delay(&self) -> Option<Delay> {
        self.delays.iter().copied().min()
    }

    /// The lower quartile first: some intervals may be bursts and up to three in four may be gaps. Then the
    /// mean of what lies around it, because a single interval carries the jitter of two frames; and once
    /// more around that, because jitter pulls the quartile down.
    fn measure(&mut self) {
        let mut intervals = [Span::ZERO; WINDOW - 1];
        let mut count = 0;
        for (earlier, later) in self.times.iter().zip(self.times.iter().skip(1)) {
            intervals[count] = *later - *earlier;
            count += 1;
        }
        if count < LEAST_INTERVALS {
            return;
        }
        let intervals = &mut intervals[..count];
        intervals.sort_unstable();
        let low = intervals[count / 8];
        let quartile = intervals[count / 4];
        let around_quartile = mean(&intervals[around(intervals, quartile)]).unwrap_or(quartile);
        let usual = around(intervals, around_quartile);
        let usual = &mut intervals[usual];
        let period = mean(usual).unwrap_or(around_quartile);
        for interval in usual.iter_mut() {
            *interval = (*interval - period).abs();
        }
        usual.sort_unstable();
        let jitter = usual.get(usual.len() * 7 / 8).copied().unwrap_or(Span::ZERO);
        let period = period.max(Span::from_nanos(1));
        // Shorter by jitter is still the period; by a third it is another one.
        let least = if low < period.mul_div(2, 3) { low } else { period };
        let steady = least == period;
        let pace = steady.then(|| Pace::of(self.times.iter().copied(), period)).flatten();
        self.measured = Some(Measured { period, least, jitter, intervals: count, pace });
    }
}

/// The usual time between the first frames of a camera, from their capture times in any order; `None` with
/// fewer than three. For recordings, whose cameras' periods can be known from the start.
#[must_use]
pub fn usual_period(times: impl IntoIterator<Item = Utc>) -> Option<Span> {
    let mut rhythm = Rhythm::new(None);
    for time in times.into_iter().take(WINDOW) {
        rhythm.note(time, HostTime::from_nanos(0));
    }
    rhythm.period()
}

/// The places of the ascending `intervals` that are nearer to `middle` than half of it.
fn around(intervals: &[Span], middle: Span) -> Range<usize> {
    let first = intervals.partition_point(|interval| *interval <= middle / 2);
    let end = intervals.partition_point(|interval| *interval < middle + middle / 2);
    first..end.max(first)
}

fn mean(intervals: &[Span]) -> Option<Span> {
    let total = intervals.iter().fold(Span::ZERO, |sum, interval| sum + *interval);
    i64::try_from(intervals.len()).ok().filter(|count| *count > 0).map(|count| total / count)
}

fn push<T>(ring: &mut VecDeque<T>, item: T, limit: usize) {
    if ring.len() == limit {
        ring.pop_front();
    }
    ring.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rhythm(declared: Option<Span>, times_ms: impl IntoIterator<Item = i64>) -> Rhythm {
        let mut rhythm = Rhythm::new(declared);
        for ms in times_ms {
            rhythm.note(Utc::from_unix_nanos(ms * 1_000_000), HostTime::from_nanos(ms * 1_000_000));
        }
        rhythm
    }

    #[test]
    fn a_period_needs_two_intervals_and_ignores_gaps() {
        assert_eq!(rhythm(None, [0, 40]).period(), None);
        assert_eq!(rhythm(None, [0, 40, 80]).period(), Some(Span::from_millis(40)));
        let with_gaps = [0, 40, 120, 160, 200, 400, 440, 480, 10_000, 10_040];
        assert_eq!(rhythm(None, with_gaps).period(), Some(Span::from_millis(40)));
    }

    #[test]
    fn what_is_delivered_beats_what_is_declared() {
        let declared = Some(Span::from_millis(40));
        assert_eq!(rhythm(declared, []).period(), declared);
        assert_eq!(rhythm(declared, [0, 48, 95]).period(), declared);
        let period = rhythm(declared, (0..12).map(|n| n * 1_000 / 21)).period().unwrap();
        assert!((period - Span::from_secs(1) / 21).abs() < Span::from_micros(100), "{period}");
    }

    #[test]
    fn reordered_frames_give_the_same_period_and_show_how_far_back_they_come() {
        let decode_order = (0..12).flat_map(|n| [0, 30, 10, 20].map(|ms| n * 40 + ms));
        let mut rhythm = rhythm(None, decode_order);
        assert_eq!(rhythm.period(), Some(Span::from_millis(10)));
        assert_eq!(rhythm.reordering(), Span::from_millis(20));
        let expected = |rhythm: &Rhythm, ms: i64| {
            rhythm.expected(Utc::from_unix_nanos(ms * 1_000_000), 0).as_unix_nanos() / 1_000_000
        };
        // Everything up to 470 is there.
        assert_eq!(expected(&rhythm, 470), 480);
        // 500 comes first: there is room from 480 on.
        rhythm.note(Utc::from_unix_nanos(500_000_000), HostTime::from_nanos(0));
        assert_eq!(expected(&rhythm, 500), 480);
    }
}
