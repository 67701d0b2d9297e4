//! The clock filter of one server: its last samples, and what they say together.
//!
//! Two questions are answered apart, because they need different assumptions.
//!
//! **What can be ruled out?** Nothing about delays is assumed but that they are not negative. Then each
//! sample confines UTC to half its round trip, and all of them together confine offset and rate to a
//! [`Region`]. Its distance from the estimate is the bound. No filter can do better: an
//! asymmetry of the path's fixed delay changes no timestamp relation that a client can see, so an
//! error of up to half the least round trip can never be excluded by measurement. What the region
//! does remove is everything beyond that: queueing in either direction, as soon as each
//! direction was free once, whether or not in the same exchange.
//!
//! **What is most likely?** The [`likely`] course between the fastest requests and the fastest answers is the
//! estimate: for delays that are one-sided and long-tailed it converges faster than any mean. How well its rate
//! is known says a weighted regression, in which samples count by how near they are to the least delay.
//!
//! The one assumption about the board is [`WANDER_PPB_PER_S`], how quickly its rate may change.

use std::collections::VecDeque;

use super::feasible::{self, Constraint, Region};
use super::likely::{self, Course, Exchange};
use super::regression::{self, Line, Point};
use super::{ClockMapping, Sample};
use crate::time::{BoardTime, Span};

/// Samples kept. At the shortest interval of a settled clock they span a minute; with a wandering
/// oscillator, older ones say little.
const STAGES: usize = 64;
/// How far off a board's oscillator may be while nothing is measured. Crystals are sold as 20 to 50 ppm;
/// heat and a badly calibrated counter come on top.
pub(super) const UNKNOWN_SKEW_PPB: i64 = 120_000;
/// No oscillator is further off, and no kernel slews faster (`MAXFREQ` of Linux): what differs by more
/// is a step.
const MAX_SKEW_PPB: i64 = 500_000;
/// How quickly a board's rate may change, in parts per 10^9 a second. A crystal changes by 0.1 to 0.3 ppm
/// a kelvin away from its turning point, and a small board that starts to work warms by 20 K in a minute
/// or two.
const WANDER_PPB_PER_S: f64 = 50.0;
/// Standard errors of a fitted rate that are taken for certain.
const RATE_SIGMAS: f64 = 4.0;
/// Samples in the fit before its standard error means anything.
const FIT_SAMPLES: usize = 8;
/// A mapping must hold until the next is made: no longer than this.
pub(super) const REFRESH: Span = Span::from_secs(16);
/// So many samples in a row that agree with each other and not with the ones before prove a step.
const STEP_CONFIRMATIONS: usize = 3;

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
    /// The least growth of the bound, in parts per 10^9.
    drift_ppb: i64,
    /// Oldest first.
    samples: VecDeque<Sample>,
    suspects: Vec<Sample>,
    estimate: Option<Estimate>,
}

/// What the samples say together, at the middle of the newest.
#[derive(Clone, Copy, Debug)]
struct Estimate {
    /// UTC then is that of the newest sample plus this.
    correction: Span,
    /// Bound on the error against the server's clock.
    path_bound: Span,
    /// Bound on the server's own error.
    root: Span,
    rate_ppb: i64,
    /// Bound on the error of the rate.
    rate_bound_ppb: i64,
    /// The least delay among the samples.
    delay: Span,
}

impl Filter {
    /// An empty filter whose bounds grow by at least `drift_ppb`.
    pub(super) fn new(drift_ppb: i64) -> Self {
        Self {
            drift_ppb,
            samples: VecDeque::with_capacity(STAGES),
            suspects: Vec::with_capacity(STEP_CONFIRMATIONS),
            estimate: None,
        }
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
            self.solve();
        }
        verdict
    }

    fn judge(&mut self, sample: Sample) -> Verdict {
        let Some(newest) = self.samples.back() else { return Verdict::Accepted };
        let away = self.difference(newest, &sample);
        if away.abs() <= slack(newest, &sample) {
            return Verdict::Accepted;
        }
        let confirms = |last: &Sample| self.difference(last, &sample).abs() <= slack(last, &sample);
        if !self.suspects.last().is_some_and(confirms) {
            self.suspects.clear();
        }
        self.suspects.push(sample);
        if self.suspects.len() < STEP_CONFIRMATIONS {
            return Verdict::Outlier(away);
        }
        self.samples.clear();
        self.samples.extend(self.suspects.drain(..STEP_CONFIRMATIONS - 1));
        Verdict::Step
    }

    /// Forgets everything if the newest sample is from before `oldest`. Until then the old ones stay: the
    /// rate that they tell is what a clock on its own lives on.
    pub(super) fn expire(&mut self, oldest: BoardTime) {
        if self.newest().is_some_and(|newest| newest < oldest) {
            self.clear();
        }
        self.suspects.retain(|s| s.mono >= oldest);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.samples.clear();
        self.suspects.clear();
        self.estimate = None;
    }

    /// The server's clock is about to be set by `by`, as announced.
    pub(super) fn shift(&mut self, by: Span) {
        for sample in self.samples.iter_mut().chain(&mut self.suspects) {
            sample.utc = sample.utc + by;
        }
    }

    /// When the newest sample was taken.
    pub(super) fn newest(&self) -> Option<BoardTime> {
        self.samples.back().map(|s| s.mono)
    }

    /// Rate of UTC against the board's clock, once anything is known of it.
    pub(super) fn skew(&self) -> Option<i64> {
        self.estimate.filter(|e| e.rate_bound_ppb < UNKNOWN_SKEW_PPB).map(|e| e.rate_ppb)
    }

    /// The least delay among the samples.
    pub(super) fn delay(&self) -> Option<Span> {
        self.estimate.map(|e| e.delay)
    }

    /// After how long without a sample the bound has grown by a 128th of what it is at best.
    pub(super) fn patience(&self) -> Option<Span> {
        self.estimate.map(|e| (e.path_bound / 128).mul_div(1_000_000_000, self.growth(&e)))
    }

    fn growth(&self, estimate: &Estimate) -> i64 {
        estimate.rate_bound_ppb.max(self.drift_ppb).max(1)
    }

    /// The mapping for use at `now` and until [`REFRESH`] later; its epoch is the caller's business.
    pub(super) fn mapping(&self, now: BoardTime) -> Option<ClockMapping> {
        let (newest, estimate) = (self.samples.back()?, self.estimate?);
        let age = (now - newest.mono).max(Span::ZERO);
        let growth = self.growth(&estimate);
        let measured = ClockMapping {
            mono0: newest.mono,
            utc0: newest.utc + estimate.correction,
            rate_ppb: estimate.rate_ppb,
            uncertainty: estimate.path_bound + estimate.root + wander(age),
            drift_ppb: growth,
            epoch: 0,
        };
        let mono0 = newest.mono + age;
        let then = measured.utc_at(mono0);
        // Past `now` the rate has wandered for `age` already, and wanders on.
        let wandered = (age + REFRESH / 2).as_secs_f64() * WANDER_PPB_PER_S;
        let drift_ppb = growth.saturating_add(to_int(wandered));
        Some(ClockMapping { mono0, utc0: then.utc, uncertainty: then.uncertainty, drift_ppb, ..measured })
    }

    /// How far `b` is from what `a` predicts.
    fn difference(&self, a: &Sample, b: &Sample) -> Span {
        let elapsed = b.mono - a.mono;
        let rate = self.skew().unwrap_or(0);
        (b.utc - a.utc) - elapsed - elapsed.mul_div(rate, 1_000_000_000)
    }

    /// Makes the estimate anew. Samples that contradict the newest are forgotten: the server's clock was
    /// slewed, or ours drifts faster than assumed.
    fn solve(&mut self) {
        self.estimate = None;
        let Some(&newest) = self.samples.back() else { return };
        let all: Vec<Constraint> = self.samples.iter().map(|s| constraint(s, &newest)).collect();
        let (usual, widest) = (to_float(UNKNOWN_SKEW_PPB), to_float(MAX_SKEW_PPB));
        let whole = Region::of(&all, usual).or_else(|| Region::of(&all, widest)).map(|region| (0, region));
        let Some((first, region)) = whole.or_else(|| longest_suffix(&all, widest)) else { return };
        self.samples.drain(..first);
        self.estimate = Some(self.estimate(&newest, &all[first..], region));
    }

    fn estimate(&self, newest: &Sample, constraints: &[Constraint], region: Region) -> Estimate {
        let delay = self.samples.iter().map(|s| s.delay).min().unwrap_or(newest.delay);
        let points: Vec<Point> = self.samples.iter().map(|s| point(s, newest, delay)).collect();
        let line = regression::fit(&points);
        let (fitted, fitted_bound) = (line.rate, fitted_bound(&line, &points));
        let (rate, offset) = feasible::deepest(constraints, region.slow, region.fast, fitted);
        let deepest = Course { rate, offset };
        let exchanges: Vec<Exchange> = self.samples.iter().map(|s| exchange(s, newest)).collect();
        let likely = likely::course(&exchanges, deepest).unwrap_or(deepest);
        let rate = likely.rate.clamp(region.slow, region.fast);
        let offset = likely.offset.clamp(region.low, region.high);
        let strict = (region.fast - rate).max(rate - region.slow);
        Estimate {
            correction: Span::from_nanos(to_int(offset)),
            // One more for the rounding of the estimate.
            path_bound: Span::from_nanos(to_int((region.high - offset).max(offset - region.low).ceil()) + 1),
            root: self.samples.iter().map(|s| s.root).max().unwrap_or(newest.root),
            rate_ppb: to_int(rate),
            rate_bound_ppb: to_int(strict.min((rate - fitted).abs() + fitted_bound).ceil()) + 1,
            delay,
        }
    }
}

/// Whether `new` is a step away from `old`, which was last confirmed at `heard`: further at `now` than both
/// bounds and the fastest slew since then explain.
pub(super) fn is_step(old: &ClockMapping, new: &ClockMapping, heard: BoardTime, now: BoardTime) -> bool {
    let slewed = (now - heard).abs().mul_div(MAX_SKEW_PPB, 1_000_000_000);
    !ClockMapping { uncertainty: old.uncertainty + slewed, ..*old }.agrees_with(new, now)
}

/// How far two samples of one server may be apart: their paths' bounds, and the fastest slew in between.
/// The root error is common to both.
fn slack(a: &Sample, b: &Sample) -> Span {
    a.path_bound() + b.path_bound() + (b.mono - a.mono).abs().mul_div(MAX_SKEW_PPB, 1_000_000_000)
}

/// The longest part of `constraints` up to the newest that does not contradict itself, by its first index.
fn longest_suffix(constraints: &[Constraint], max_rate: f64) -> Option<(usize, Region)> {
    let (mut contradictory, mut first) = (0, constraints.len().checked_sub(1)?);
    let mut region = Region::of(&constraints[first..], max_rate)?;
    while first - contradictory > 1 {
        let middle = usize::midpoint(contradictory, first);
        match Region::of(&constraints[middle..], max_rate) {
            Some(found) => (first, region) = (middle, found),
            None => contradictory = middle,
        }
    }
    Some((first, region))
}

/// How far a rate that wanders takes the clock from a straight line in `age`.
fn wander(age: Span) -> Span {
    let seconds = age.as_secs_f64();
    Span::from_nanos(to_int(WANDER_PPB_PER_S * seconds * seconds / 2.0))
}

/// Bound on the error of a fitted rate at the newest of `points`; none for so few that their scatter means
/// nothing.
fn fitted_bound(line: &Line, points: &[Point]) -> f64 {
    if line.used < FIT_SAMPLES {
        return f64::INFINITY;
    }
    let span = -points[points.len() - line.used].x;
    RATE_SIGMAS * line.rate_error + WANDER_PPB_PER_S * span / 2.0
}

/// Position of `sample` from `newest`: seconds, and the offset's change in ns.
fn relative(sample: &Sample, newest: &Sample) -> (f64, f64) {
    let elapsed = sample.mono - newest.mono;
    (elapsed.as_secs_f64(), to_float(((sample.utc - newest.utc) - elapsed).as_nanos()))
}

/// What `sample` rules out at `newest`.
fn constraint(sample: &Sample, newest: &Sample) -> Constraint {
    let (x, y) = relative(sample, newest);
    let half = to_float(sample.path_bound().as_nanos()) + WANDER_PPB_PER_S * x * x / 2.0;
    Constraint { x, low: y - half, high: y + half }
}

fn exchange(sample: &Sample, newest: &Sample) -> Exchange {
    let (x, y) = relative(sample, newest);
    Exchange { x, y, delay: to_float(sample.delay.as_nanos()) }
}

/// The delay beyond the least one was spent in either direction: this is how far off the sample is likely
/// to be.
fn point(sample: &Sample, newest: &Sample, least: Span) -> Point {
    let (x, y) = relative(sample, newest);
    // A tenth of the path itself: what the least delay of so few samples leaves open.
    let floor = sample.residual + least / 20;
    let sigma = to_float(((sample.delay - least) / 2 + floor).as_nanos()).max(1.0);
    Point { x, y, sigma }
}

#[expect(clippy::cast_precision_loss, reason = "inside a filter, relative to a near reference")]
pub(super) fn to_float(ns: i64) -> f64 {
    ns as f64
}

#[expect(clippy::cast_possible_truncation, reason = "float to int casts saturate")]
fn to_int(value: f64) -> i64 {
    value as i64
}

#[cfg(test)]
mod tests;
