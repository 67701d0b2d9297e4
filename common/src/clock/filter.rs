//! The clock filter of one server: which of its last answers to believe, and how fast the board's
//! clock runs against it.
//!
//! After RFC 5905 section 10: of the last eight samples the one with the smallest bound *now* is used,
//! that is the minimum-delay sample as long as it is fresh.

use std::collections::VecDeque;

use super::ClockMapping;
use crate::time::{BoardTime, Span, Utc};

/// Samples kept (RFC 5905 section 10, NSTAGE).
const STAGES: usize = 8;
/// How far off a board's oscillator may be while nothing is measured. Crystals are sold as 20 to 50 ppm;
/// heat and a badly calibrated counter come on top.
pub(super) const UNKNOWN_SKEW_PPB: i64 = 100_000;
/// How far a measured rate may have wandered since it was measured.
const WANDER_PPB: i64 = 5_000;
/// No oscillator is further off, and no kernel slews faster (`MAXFREQ` of Linux): what differs by more
/// is a step.
const MAX_SKEW_PPB: i64 = 500_000;
/// So many samples in a row that agree with each other and not with the ones before prove a step.
const STEP_CONFIRMATIONS: usize = 3;

/// One four-timestamp exchange, reduced to what the filter needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The middle of the exchange on the board's monotonic clock.
    pub mono: BoardTime,
    /// UTC at `mono` if the path is symmetric.
    pub utc: Utc,
    /// Round-trip delay without the server's own time.
    pub delay: Span,
    /// Bound on the timestamps' own errors: the server's precision and our clock's drift meanwhile.
    pub residual: Span,
    /// Root dispersion plus half the root delay of the server.
    pub root: Span,
}

impl Sample {
    /// Bound on the error of `utc` against the server's clock, whatever the asymmetry of the path.
    #[must_use]
    pub fn path_bound(&self) -> Span {
        // Half the delay, rounded up.
        (self.delay + Span::from_nanos(1)) / 2 + self.residual
    }

    /// Bound on the error of `utc` against true UTC.
    #[must_use]
    pub fn bound(&self) -> Span {
        self.path_bound() + self.root
    }
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in use.
    Accepted,
    /// It is so far from what was expected that it is not believed until confirmed.
    Outlier(Span),
    /// It confirmed the outliers before it: the server's clock (or ours) was stepped.
    Step,
}

/// The last samples of a server.
#[derive(Debug)]
pub(super) struct Filter {
    /// The least growth of the bound.
    drift_ppb: i64,
    /// Oldest first.
    samples: VecDeque<Sample>,
    suspects: Vec<Sample>,
    skew: Option<Skew>,
}

/// Rate of UTC against the board's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Skew {
    rate_ppb: i64,
    /// Bound on its error when it was measured.
    error_ppb: i64,
}

impl Filter {
    /// An empty filter whose bounds grow by at least `drift_ppb`.
    pub(super) fn new(drift_ppb: i64) -> Self {
        Self { drift_ppb, samples: VecDeque::with_capacity(STAGES), suspects: Vec::new(), skew: None }
    }

    /// Takes a sample.
    pub(super) fn handle_sample(&mut self, sample: Sample) -> Verdict {
        let verdict = self.judge(sample);
        if !matches!(verdict, Verdict::Outlier(_)) {
            self.suspects.clear();
            if self.samples.len() == STAGES {
                self.samples.pop_front();
            }
            // On a long path answers may overtake each other.
            let at = self.samples.partition_point(|s| s.mono <= sample.mono);
            self.samples.insert(at, sample);
            self.skew = self.measure_skew();
        }
        verdict
    }

    fn judge(&mut self, sample: Sample) -> Verdict {
        let Some(newest) = self.samples.back() else { return Verdict::Accepted };
        let away = self.difference(newest, &sample);
        if away.abs() <= self.slack(newest, &sample, MAX_SKEW_PPB) {
            return Verdict::Accepted;
        }
        let confirms = self.suspects.last().is_some_and(|last| {
            self.difference(last, &sample).abs() <= self.slack(last, &sample, MAX_SKEW_PPB)
        });
        if !confirms {
            self.suspects.clear();
        }
        self.suspects.push(sample);
        if self.suspects.len() < STEP_CONFIRMATIONS {
            return Verdict::Outlier(away);
        }
        self.samples.clear();
        self.samples.extend(self.suspects.drain(..STEP_CONFIRMATIONS - 1));
        self.skew = None;
        Verdict::Step
    }

    /// Forgets samples from before `oldest`.
    pub(super) fn expire(&mut self, oldest: BoardTime) {
        self.samples.retain(|s| s.mono >= oldest);
        self.suspects.retain(|s| s.mono >= oldest);
        if self.samples.is_empty() {
            self.skew = None;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.samples.clear();
        self.suspects.clear();
        self.skew = None;
    }

    /// When the newest sample was taken.
    pub(super) fn newest(&self) -> Option<BoardTime> {
        self.samples.back().map(|s| s.mono)
    }

    /// Rate of UTC against the board's clock, once anything is known of it.
    pub(super) fn skew(&self) -> Option<i64> {
        self.skew.map(|skew| skew.rate_ppb)
    }

    /// How fast the bound grows with a sample's age, in parts per 10^9.
    pub(super) fn growth(&self) -> i64 {
        self.skew.map_or(UNKNOWN_SKEW_PPB, |skew| skew.error_ppb + WANDER_PPB).max(self.drift_ppb)
    }

    /// The sample in use: that with the smallest bound at `now`.
    ///
    /// Samples that the newest contradicts are passed over: the server's clock was slewed, or ours
    /// drifts faster than assumed.
    pub(super) fn best(&self, now: BoardTime) -> Option<&Sample> {
        let newest = self.samples.back()?;
        self.samples
            .iter()
            .filter(|s| self.difference(s, newest).abs() <= self.slack(s, newest, self.growth()))
            .min_by_key(|s| self.model(s).utc_at(now).uncertainty)
    }

    /// The sample taken at `mono`.
    pub(super) fn sample_at(&self, mono: BoardTime) -> Option<&Sample> {
        self.samples.iter().find(|s| s.mono == mono)
    }

    /// The mapping by the sample in use; its epoch is the caller's business.
    pub(super) fn mapping(&self, now: BoardTime) -> Option<ClockMapping> {
        self.best(now).map(|sample| self.model(sample))
    }

    fn model(&self, sample: &Sample) -> ClockMapping {
        ClockMapping {
            mono0: sample.mono,
            utc0: sample.utc,
            rate_ppb: self.skew().unwrap_or(0),
            uncertainty: sample.bound(),
            drift_ppb: self.growth(),
            epoch: 0,
        }
    }

    /// How far `b` is from what `a` predicts.
    fn difference(&self, a: &Sample, b: &Sample) -> Span {
        b.utc - self.model(a).utc_at(b.mono).utc
    }

    /// How far two samples of one server may be apart: their paths' bounds, and `drift_ppb` in between.
    /// The root error is common to both.
    fn slack(&self, a: &Sample, b: &Sample, drift_ppb: i64) -> Span {
        a.path_bound() + b.path_bound() + (b.mono - a.mono).abs().mul_div(drift_ppb, 1_000_000_000)
    }

    /// The slope between the two samples that pin it down best; `None` if they do not do better than
    /// what is known of any oscillator.
    fn measure_skew(&self) -> Option<Skew> {
        let pairs =
            self.samples.iter().enumerate().flat_map(|(i, b)| self.samples.range(..i).map(move |a| (a, b)));
        pairs
            .filter_map(|(a, b)| {
                let elapsed = b.mono - a.mono;
                let error_ppb = ppb(a.path_bound() + b.path_bound(), elapsed)?;
                let rate_ppb = ppb((b.utc - a.utc) - elapsed, elapsed)?;
                Some(Skew { rate_ppb, error_ppb })
            })
            .filter(|skew| {
                skew.error_ppb.saturating_add(WANDER_PPB) < UNKNOWN_SKEW_PPB
                    && (-MAX_SKEW_PPB..=MAX_SKEW_PPB).contains(&skew.rate_ppb)
            })
            .min_by_key(|skew| skew.error_ppb)
    }
}

/// Whether `new` is a step away from `old`: further at `mono` than both bounds and the fastest slew
/// since `old` explain.
pub(super) fn is_step(old: &ClockMapping, new: &ClockMapping, mono: BoardTime) -> bool {
    let slewed = ClockMapping { drift_ppb: old.drift_ppb.saturating_add(MAX_SKEW_PPB), ..*old };
    !slewed.agrees_with(new, mono)
}

fn ppb(part: Span, whole: Span) -> Option<i64> {
    (whole > Span::ZERO).then(|| part.mul_div(1_000_000_000, whole.as_nanos()).as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTC: Utc = Utc::from_unix_nanos(1_790_000_000_000_000_000);

    /// A sample at `ms`, `error_us` off, of `delay_us`, seen by a clock that is `skew_ppb` too slow.
    fn sample(ms: i64, error_us: i64, delay_us: i64, skew_ppb: i64) -> Sample {
        let elapsed = Span::from_millis(ms);
        Sample {
            mono: BoardTime::from_nanos(0) + elapsed,
            utc: UTC + elapsed + elapsed.mul_div(skew_ppb, 1_000_000_000) + Span::from_micros(error_us),
            delay: Span::from_micros(delay_us),
            residual: Span::ZERO,
            root: Span::from_micros(10),
        }
    }

    fn filter(samples: &[Sample]) -> Filter {
        let mut filter = Filter::new(15_000);
        for &sample in samples {
            assert_eq!(filter.handle_sample(sample), Verdict::Accepted);
        }
        filter
    }

    #[test]
    fn the_shortest_path_wins_while_it_is_fresh() {
        let filter = filter(&[sample(0, 400, 1_000, 0), sample(500, 5, 100, 0), sample(1_000, -300, 800, 0)]);
        let now = BoardTime::from_nanos(1_000_000_000);
        assert_eq!(filter.best(now), Some(&sample(500, 5, 100, 0)));
        assert_eq!(filter.mapping(now).unwrap().uncertainty, Span::from_micros(60));
    }

    #[test]
    fn a_fresh_sample_beats_a_shorter_path_of_long_ago() {
        // 300 us of path are worth 20 s of growth at 15 ppm.
        for (ms, best) in [(15_000, 0), (25_000, 25_000)] {
            let filter = filter(&[sample(0, 0, 100, 0), sample(ms, 0, 700, 0)]);
            let filter = Filter { skew: Some(Skew { rate_ppb: 0, error_ppb: 1_000 }), ..filter };
            let now = BoardTime::from_nanos(ms * 1_000_000);
            assert_eq!(filter.best(now).unwrap().mono, BoardTime::from_nanos(best * 1_000_000));
        }
    }

    #[test]
    fn only_the_last_eight_count() {
        let filter = filter(&(0..9).map(|i| sample(i, 0, 100 + i, 0)).collect::<Vec<_>>());
        assert_eq!(filter.best(BoardTime::from_nanos(8_000_000)), Some(&sample(1, 0, 101, 0)));
    }

    #[test]
    fn skew_is_used_once_it_is_known_better_than_nothing() {
        // 100 us of path over 1 s: anything from -60 to 140 ppm.
        let short = filter(&[sample(0, 0, 100, 40_000), sample(1_000, 0, 100, 40_000)]);
        assert_eq!((short.skew(), short.growth()), (None, UNKNOWN_SKEW_PPB));
        let better = filter(&[sample(0, 0, 100, 40_000), sample(4_000, 0, 100, 40_000)]);
        assert_eq!((better.skew(), better.growth()), (Some(40_000), 25_000 + WANDER_PPB));
        let long = filter(&[sample(0, 0, 100, 40_000), sample(20_000, 0, 100, 40_000)]);
        assert_eq!((long.skew(), long.growth()), (Some(40_000), 15_000));
        let at =
            long.mapping(BoardTime::from_nanos(0)).unwrap().utc_at(BoardTime::from_nanos(20_000_000_000));
        assert_eq!(at.utc, UTC + Span::from_secs(20) + Span::from_micros(800));
    }

    #[test]
    fn a_server_that_slews_faster_than_any_drift_passes_over_old_samples_and_is_no_step() {
        let filter = filter(&[sample(0, 0, 20, 0), sample(1_000, 0, 20, 0), sample(2_000, 400, 90, 0)]);
        assert_eq!(filter.best(BoardTime::from_nanos(2_000_000_000)), Some(&sample(2_000, 400, 90, 0)));
    }

    #[test]
    fn one_outlier_is_ignored_and_three_are_a_step() {
        let mut filter = filter(&[sample(0, 0, 100, 0)]);
        let away = Span::from_millis(50);
        assert_eq!(filter.handle_sample(sample(500, 50_000, 100, 0)), Verdict::Outlier(away));
        assert_eq!(filter.handle_sample(sample(1_000, 50_000, 100, 0)), Verdict::Outlier(away));
        assert_eq!(filter.handle_sample(sample(1_500, 0, 100, 0)), Verdict::Accepted);
        assert_eq!(filter.handle_sample(sample(2_000, 50_000, 100, 0)), Verdict::Outlier(away));
        let back = filter.handle_sample(sample(2_500, -50_000, 100, 0));
        assert_eq!(back, Verdict::Outlier(-away), "the last one was not confirmed");
        assert_eq!(filter.handle_sample(sample(3_000, -50_000, 100, 0)), Verdict::Outlier(-away));
        assert_eq!(filter.handle_sample(sample(3_500, -50_000, 100, 0)), Verdict::Step);
        let now = BoardTime::from_nanos(3_500_000_000);
        assert_eq!(filter.mapping(now).unwrap().utc_at(now).utc, UTC + Span::from_millis(3_450));
    }

    #[test]
    fn hostile_samples_overflow_nothing() {
        // Twenty seconds of delay believe any jump; within a nanosecond it is a rate beyond all numbers.
        let wild = |ns, jump_s| Sample {
            mono: BoardTime::from_nanos(ns),
            utc: UTC + Span::from_secs(jump_s),
            ..sample(0, 0, 20_000_000, 0)
        };
        for jump in [-15, 15] {
            let filter = filter(&[wild(0, 0), wild(1, jump), wild(2, 2 * jump)]);
            assert_eq!(filter.skew(), None);
        }
    }

    #[test]
    fn equal_instants_do_not_divide_by_zero() {
        let same = sample(0, 0, 0, 0);
        assert_eq!(filter(&[same, same]).skew(), None);
    }
}
