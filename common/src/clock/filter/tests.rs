use super::*;
use crate::time::Utc;

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
    let mut filter = Filter::new(1_000);
    for &sample in samples {
        assert_eq!(filter.handle_sample(sample), Verdict::Accepted);
    }
    filter
}

fn at_ms(ms: i64) -> BoardTime {
    BoardTime::from_nanos(0) + Span::from_millis(ms)
}

fn near(found: Span, wanted: Span, tolerance_us: i64) -> bool {
    (found - wanted).abs() <= Span::from_micros(tolerance_us)
}

#[test]
fn one_sample_is_bounded_by_half_its_round_trip() {
    let mapping = filter(&[sample(0, 0, 100, 0)]).mapping(at_ms(0)).unwrap();
    assert!(near(mapping.uncertainty, Span::from_micros(60), 1), "{mapping:?}");
    assert_eq!(mapping.rate_ppb, 0);
    // The rate is not known: 120 ppm for a second.
    let later = mapping.utc_at(at_ms(1_000)).uncertainty;
    assert!(later >= Span::from_micros(180) && later < Span::from_micros(182), "{later}");
}

#[test]
fn queueing_in_either_direction_is_removed() {
    // Free path 100 us each way; one request waited for 400 us, one answer for 600 us, none was free both ways.
    let filter = filter(&[sample(0, 200, 600, 0), sample(100, -300, 800, 0)]);
    let mapping = filter.mapping(at_ms(100)).unwrap();
    assert!(near(mapping.utc_at(at_ms(100)).utc - UTC, Span::from_millis(100), 15), "{mapping:?}");
    // The free path's half and root, and 120 ppm of 100 ms.
    assert!(mapping.uncertainty <= Span::from_micros(100 + 10 + 25), "{mapping:?}");
}

#[test]
fn the_rate_is_fitted_and_bounded() {
    let samples: Vec<_> = (0..40).map(|i| sample(i * 1_000, 0, 100, 40_000)).collect();
    let filter = filter(&samples);
    let skew = filter.skew().unwrap();
    let mapping = filter.mapping(at_ms(39_000)).unwrap();
    assert!((skew - 40_000).abs() < 500, "{skew}");
    assert!((skew - 40_000).abs() < mapping.drift_ppb && mapping.drift_ppb < 8_000, "{mapping:?}");
    let then = mapping.utc_at(at_ms(49_000)).utc;
    assert!(near(then - UTC, Span::from_secs(49) + Span::from_micros(1_960), 10), "{}", then - UTC);
}

#[test]
fn the_bound_grows_faster_the_longer_nothing_is_heard() {
    let samples: Vec<_> = (0..40).map(|i| sample(i * 1_000, 0, 100, 40_000)).collect();
    let filter = filter(&samples);
    let [fresh, old] = [at_ms(39_000), at_ms(339_000)].map(|at| filter.mapping(at).unwrap());
    // 50 ppb a second for 300 s: 2.25 ms, and the rate's own bound.
    assert!(old.uncertainty > Span::from_micros(2_250), "{old:?}");
    assert!(old.uncertainty < Span::from_micros(5_000), "{old:?}");
    assert!(old.drift_ppb >= fresh.drift_ppb + 15_000, "{old:?}");
}

#[test]
fn no_more_than_the_stages_are_kept() {
    let filter = filter(&(0..200).map(|i| sample(i * 100, 0, 100, 0)).collect::<Vec<_>>());
    assert_eq!(filter.samples.len(), STAGES);
    assert_eq!(filter.samples[0].mono, at_ms((200 - 64) * 100));
}

#[test]
fn what_the_newest_contradicts_is_forgotten() {
    // A server slewed by 490 ppm after a long time of none.
    let mut samples: Vec<_> = (0..20).map(|i| sample(i * 1_000, 0, 20, 0)).collect();
    samples.extend((0..5).map(|i| sample(20_000 + i * 1_000, i * 490, 20, 0)));
    let filter = filter(&samples);
    let mapping = filter.mapping(at_ms(24_000)).unwrap();
    assert!(filter.samples.len() < 8, "{}", filter.samples.len());
    let error = mapping.utc_at(at_ms(24_000)).utc - UTC - Span::from_millis(24_000);
    assert!(near(error, Span::from_micros(4 * 490), 20), "{error}");
}

#[test]
fn one_outlier_is_ignored_and_three_are_a_step() {
    let mut filter = filter(&[sample(0, 0, 100, 0)]);
    let away = Span::from_millis(50);
    assert_eq!(filter.handle_sample(sample(500, 50_000, 100, 0)), Verdict::Outlier(away));
    assert_eq!(filter.handle_sample(sample(1_000, 50_000, 100, 0)), Verdict::Outlier(away));
    assert_eq!(filter.handle_sample(sample(1_500, 0, 100, 0)), Verdict::Accepted);
    assert!(matches!(filter.handle_sample(sample(2_000, 50_000, 100, 0)), Verdict::Outlier(_)));
    let back = filter.handle_sample(sample(2_500, -50_000, 100, 0));
    assert!(matches!(back, Verdict::Outlier(_)), "the last one was not confirmed");
    assert!(matches!(filter.handle_sample(sample(3_000, -50_000, 100, 0)), Verdict::Outlier(_)));
    assert_eq!(filter.handle_sample(sample(3_500, -50_000, 100, 0)), Verdict::Step);
    let now = at_ms(3_500);
    let moved = filter.mapping(now).unwrap().utc_at(now).utc - UTC;
    assert!(near(moved, Span::from_millis(3_450), 5), "{moved}");
}

#[test]
fn an_announced_shift_moves_everything() {
    let mut filter = filter(&[sample(0, 0, 100, 0), sample(500, 0, 100, 0)]);
    let before = filter.mapping(at_ms(600)).unwrap();
    filter.shift(Span::from_secs(-1));
    let after = filter.mapping(at_ms(600)).unwrap();
    assert_eq!(after, ClockMapping { utc0: before.utc0 - Span::from_secs(1), ..before });
    assert_eq!(filter.handle_sample(sample(1_000, -1_000_000, 100, 0)), Verdict::Accepted);
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
        for at in [0, 1, i64::MAX, i64::MIN] {
            let mut filter = Filter::new(15_000);
            filter.handle_sample(wild(0, 0));
            filter.handle_sample(wild(at, jump));
            let now = BoardTime::from_nanos(at);
            let _ = (filter.mapping(now), filter.mapping(BoardTime::from_nanos(0)), filter.patience());
        }
    }
}
