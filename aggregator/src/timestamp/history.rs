//! The history of (media time, UTC) pairs of one stream: outliers, steps, interpolation.
//!
//! A pair comes from a sender report, an RFC 6051 extension or an SEI message; one history holds
//! pairs of one kind. What the pair is worth (the sender's own uncertainty) is not known here.

use std::collections::VecDeque;

use framelock_common::time::{MediaTime, Span, Utc};

/// Pairs kept: half a minute of reports at one a second.
const CAPACITY: usize = 32;
/// A pair this far from the prediction is not a correction but a step, or nonsense.
const TOLERANCE: Span = Span::from_millis(20);
/// How far the board's crystal may be off, which widens the tolerance with the age of the last pair.
const CRYSTAL_PPM: i64 = 200;
/// A rate beyond this is not a crystal's and not used.
const MAX_RATE_PPB: i64 = 500_000;
/// The shortest history from which a rate is taken.
const MIN_BASELINE: Span = Span::from_secs(4);
/// Growth of the uncertainty away from a pair once the board's rate is taken from the history: PHI of RFC 5905
/// section 7.2.
const DRIFT_PPM: i64 = 15;
/// The same while the rate is unknown: crystals are sold as 20 to 50 ppm, and heat adds to that.
const UNKNOWN_RATE_PPM: i64 = 120;
/// One tick of the media clock: what rounding to RTP ticks may cost.
const TICK: Span = Span::from_nanos(11_112);

/// At `media` on the stream's media clock, UTC was `utc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The media time, unwrapped.
    pub media: MediaTime,
    /// The UTC instant.
    pub utc: Utc,
}

/// What became of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It agrees with the history and is now part of it.
    Accepted,
    /// It says what a pair of the history already says (two reports with equal times).
    Duplicate,
    /// It disagrees; held until the next pair tells whether the clock stepped or it was an outlier.
    Suspect,
    /// The clock stepped by this much: the history now starts with the pairs after the step.
    Step(Span),
}

impl Verdict {
    /// Whether times that were given before may be better now.
    pub(super) const fn is_news(self) -> bool {
        matches!(self, Self::Accepted | Self::Step(_))
    }
}

/// Pairs of one stream, oldest first.
#[derive(Clone, Debug, Default)]
pub struct PairHistory {
    pairs: VecDeque<Pair>,
    suspect: Option<Pair>,
    outliers: u64,
}

impl PairHistory {
    /// Whether there is no pair to map with.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Pairs that were rejected because neither the pairs before nor those after agree with them.
    #[must_use]
    pub fn outliers(&self) -> u64 {
        self.outliers
    }

    /// Forgets everything but the count of outliers.
    pub fn clear(&mut self) {
        self.pairs.clear();
        self.suspect = None;
    }

    /// Takes a pair in.
    pub fn push(&mut self, pair: Pair) -> Verdict {
        if self.pairs.iter().any(|known| known.media == pair.media || known.utc == pair.utc)
            && self.deviation(pair).is_some_and(|d| d.abs() <= TOLERANCE)
        {
            return Verdict::Duplicate;
        }
        match self.deviation(pair) {
            None => {
                self.pairs.push_back(pair);
                Verdict::Accepted
            }
            Some(deviation) if self.tolerates(deviation, pair) => {
                self.outliers += u64::from(self.suspect.take().is_some());
                self.insert(pair);
                Verdict::Accepted
            }
            Some(deviation) => {
                if let Some(step) = self.confirm(pair) {
                    self.insert(pair);
                    return Verdict::Step(step);
                }
                self.outliers += u64::from(self.suspect.replace(pair).is_some());
                tracing::trace!(%deviation, "suspect clock pair");
                Verdict::Suspect
            }
        }
    }

    /// If `witness`, a pair of any kind, agrees with the suspect one, the clock did step: the
    /// history starts anew with the suspect and the step is returned.
    pub fn confirm(&mut self, witness: Pair) -> Option<Span> {
        let suspect = self.suspect?;
        let apart = witness.utc - (suspect.utc + (witness.media - suspect.media));
        if apart.abs() > tolerance(witness.media - suspect.media) || witness == suspect {
            return None;
        }
        let step = self.deviation(suspect)?;
        self.pairs.clear();
        self.pairs.push_back(suspect);
        self.suspect = None;
        Some(step)
    }

    /// UTC at `media`: interpolated between pairs, extrapolated beyond them. The second value bounds
    /// what the mapping itself adds to the sender's uncertainty; while a step is suspected it holds
    /// both sides of it.
    #[must_use]
    pub fn utc_at(&self, media: MediaTime) -> Option<(Utc, Span)> {
        let utc = self.map(media)?;
        let away = self.pairs.iter().map(|pair| (media - pair.media).abs()).min()?;
        let growth = if self.rate_ppb().is_some() { DRIFT_PPM } else { UNKNOWN_RATE_PPM };
        let mut bound = TICK + away.mul_div(growth, 1_000_000);
        if let Some(deviation) = self.suspect.and_then(|suspect| self.deviation(suspect)) {
            bound += deviation.abs();
        }
        Some((utc, bound))
    }

    fn map(&self, media: MediaTime) -> Option<Utc> {
        let after = self.pairs.partition_point(|pair| pair.media <= media);
        let (Some(first), Some(last)) = (self.pairs.front(), self.pairs.back()) else { return None };
        if after == 0 {
            return Some(self.extrapolate(*first, media));
        }
        if after == self.pairs.len() {
            return Some(self.extrapolate(*last, media));
        }
        let (a, b) = (self.pairs[after - 1], self.pairs[after]);
        // Pairs of one history have distinct media times: see `insert`.
        let part = (b.utc - a.utc).mul_div((media - a.media).as_nanos(), (b.media - a.media).as_nanos());
        Some(a.utc + part)
    }

    fn extrapolate(&self, from: Pair, media: MediaTime) -> Utc {
        let span = media - from.media;
        from.utc + span + span.mul_div(self.rate_ppb().unwrap_or(0), 1_000_000_000)
    }

    /// How much faster UTC runs than the media clock, from the ends of the history, if that is known.
    fn rate_ppb(&self) -> Option<i64> {
        let (first, last) = (self.pairs.front()?, self.pairs.back()?);
        let media = last.media - first.media;
        if media < MIN_BASELINE {
            return None;
        }
        let gain = (last.utc - first.utc) - media;
        let rate = gain.mul_div(1_000_000_000, media.as_nanos()).as_nanos();
        (rate.abs() <= MAX_RATE_PPB).then_some(rate)
    }

    fn deviation(&self, pair: Pair) -> Option<Span> {
        Some(pair.utc - self.map(pair.media)?)
    }

    fn tolerates(&self, deviation: Span, pair: Pair) -> bool {
        let age = self.pairs.back().map_or(Span::ZERO, |last| pair.media - last.media);
        deviation.abs() <= tolerance(age)
    }

    fn insert(&mut self, pair: Pair) {
        let at = self.pairs.partition_point(|known| known.media < pair.media);
        if self.pairs.get(at).is_some_and(|known| known.media == pair.media) {
            self.pairs[at] = pair;
            return;
        }
        self.pairs.insert(at, pair);
        if self.pairs.len() > CAPACITY {
            self.pairs.pop_front();
        }
    }
}

fn tolerance(age: Span) -> Span {
    TOLERANCE + age.abs().mul_div(CRYSTAL_PPM, 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Utc = Utc::from_unix_nanos(1_790_000_000_000_000_000);

    fn pair(seconds: i64, utc_offset: Span) -> Pair {
        Pair {
            media: MediaTime::from_ticks(seconds * 90_000),
            utc: EPOCH + Span::from_secs(seconds) + utc_offset,
        }
    }

    fn at(history: &PairHistory, ms: i64) -> Span {
        history.utc_at(MediaTime::from_ticks(ms * 90)).unwrap().0 - EPOCH
    }

    #[test]
    fn a_frame_older_than_its_report_is_a_little_older() {
        let mut history = PairHistory::default();
        history.push(pair(0, Span::ZERO));
        assert_eq!(at(&history, -33), Span::from_millis(-33));
        assert_eq!(at(&history, 40), Span::from_millis(40));
    }

    #[test]
    fn equal_reports_divide_nothing_by_zero() {
        let mut history = PairHistory::default();
        assert_eq!(history.push(pair(1, Span::ZERO)), Verdict::Accepted);
        assert_eq!(history.push(pair(1, Span::ZERO)), Verdict::Duplicate);
        // Equal NTP time, another RTP time: a frozen sender clock (mediamtx #4476).
        let frozen = Pair { media: MediaTime::from_ticks(90_000 + 90), utc: pair(1, Span::ZERO).utc };
        assert_eq!(history.push(frozen), Verdict::Duplicate);
        // Equal RTP time, another NTP time.
        let same_rtp = Pair { media: MediaTime::from_ticks(90_000), utc: pair(1, Span::from_millis(3)).utc };
        assert_eq!(history.push(same_rtp), Verdict::Duplicate);
        assert_eq!(at(&history, 1_000), Span::from_secs(1));
    }

    #[test]
    fn interpolates_between_and_extrapolates_with_the_rate() {
        let mut history = PairHistory::default();
        for s in 0..=10 {
            // UTC gains 50 us a second on the media clock: 50 ppm.
            assert_eq!(history.push(pair(s, Span::from_micros(50 * s))), Verdict::Accepted);
        }
        assert_eq!(at(&history, 2_500), Span::from_millis(2_500) + Span::from_micros(125));
        assert_eq!(at(&history, 20_000), Span::from_secs(20) + Span::from_micros(1_000));
        assert_eq!(at(&history, -2_000), Span::from_secs(-2) - Span::from_micros(100));
    }

    /// A board's clock may run 80 ppm fast before anybody has had the time to measure that.
    #[test]
    fn the_bound_admits_a_rate_that_is_not_known_yet() {
        let mut history = PairHistory::default();
        for s in 0..=10 {
            history.push(pair(s, Span::from_micros(80 * s)));
            let ahead = 90_000 * (s + 1);
            let (utc, bound) = history.utc_at(MediaTime::from_ticks(ahead)).unwrap();
            let truth = pair(s + 1, Span::from_micros(80 * (s + 1))).utc;
            assert!((truth - utc).abs() <= bound, "after {s} s: {} and {bound}", truth - utc);
        }
        let (_, bound) = history.utc_at(MediaTime::from_ticks(90_000 * 11)).unwrap();
        assert!(bound < Span::from_micros(30), "a measured rate makes it small: {bound}");
    }

    #[test]
    fn one_wild_report_is_an_outlier() {
        let mut history = PairHistory::default();
        history.push(pair(0, Span::ZERO));
        history.push(pair(1, Span::ZERO));
        assert_eq!(history.push(pair(2, Span::from_secs(30))), Verdict::Suspect);
        assert_eq!(at(&history, 2_100), Span::from_millis(2_100), "frames keep the old mapping");
        let (_, bound) = history.utc_at(MediaTime::from_ticks(2 * 90_000)).unwrap();
        assert!(bound >= Span::from_secs(30), "and the bound admits the doubt: {bound}");
        assert_eq!(history.push(pair(3, Span::ZERO)), Verdict::Accepted);
        assert_eq!(history.outliers(), 1);
        let (_, bound) = history.utc_at(MediaTime::from_ticks(3 * 90_000)).unwrap();
        assert!(bound < Span::from_millis(1), "{bound}");
    }

    #[test]
    fn two_reports_that_agree_are_a_step() {
        let mut history = PairHistory::default();
        history.push(pair(0, Span::ZERO));
        let step = Span::from_millis(-700);
        assert_eq!(history.push(pair(1, step)), Verdict::Suspect);
        assert_eq!(history.push(pair(2, step)), Verdict::Step(step));
        assert_eq!(at(&history, 2_500), Span::from_millis(1_800));
    }

    #[test]
    fn a_witness_of_another_kind_confirms_a_step_at_once() {
        let mut history = PairHistory::default();
        history.push(pair(0, Span::ZERO));
        let step = Span::from_millis(250);
        history.push(pair(1, step));
        let witness = Pair { media: MediaTime::from_ticks(90_090), ..pair(1, step + Span::from_millis(1)) };
        assert_eq!(history.confirm(witness), Some(step));
        assert_eq!(at(&history, 1_000), Span::from_millis(1_250));
    }

    #[test]
    fn stays_bounded() {
        let mut history = PairHistory::default();
        for s in 0..1_000 {
            history.push(pair(s, Span::ZERO));
        }
        assert_eq!(history.pairs.len(), CAPACITY);
    }
}
