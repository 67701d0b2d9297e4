//! `tightest` against brute force, and its average against the theory of free-running cameras.

use framelock_aggregator::sync::SyncConfig;
use framelock_common::time::Span;
use proptest::prelude::*;

use crate::simulate::{Camera, MS, Random, Set, Streams, run, streams};

/// Waits as long as it takes, so that what is delivered is what is best.
fn patient() -> SyncConfig {
    SyncConfig { max_wait: Some(Span::from_secs(5)), ..SyncConfig::default() }
}

fn declared(cameras: &[Camera]) -> Vec<Option<i64>> {
    cameras.iter().map(|camera| Some(camera.period)).collect()
}

/// Tries every combination of one frame of each camera: the smallest spread with the anchor.
fn brute_force(candidates: &[Vec<i64>], low: i64, high: i64) -> i64 {
    let Some((camera, rest)) = candidates.split_first() else { return high - low };
    camera.iter().map(|time| brute_force(rest, low.min(*time), high.max(*time))).min().unwrap()
}

/// Every set must be the best of all that hold its anchor and one unused frame of each of its cameras. A
/// camera may only be missing if it has no unused frame within a period, or if its frame clearly belongs to
/// the next anchor.
fn assert_optimal(sets: &[Set], streams: &Streams, period: i64, jitter: i64) -> Result<(), TestCaseError> {
    let mut last = vec![i64::MIN; streams.len()];
    for set in sets {
        let (reference, anchor) = (set.anchor.unwrap(), set.anchor_time());
        let near = |camera: usize, reach: i64| -> Vec<i64> {
            let unused = streams[camera].iter().map(|frame| frame.time).filter(|time| *time > last[camera]);
            unused.filter(|t| (*t - anchor).abs() < reach || set.times[camera] == Some(*t)).collect()
        };
        // Estimated periods are a little off.
        let reach = period - 2 * jitter - MS / 10;
        let others: Vec<_> = (0..streams.len()).filter(|camera| *camera != reference).collect();
        let (inside, missing): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|camera| set.times[*camera].is_some());
        let mut candidates: Vec<_> = inside.iter().map(|camera| near(*camera, reach)).collect();
        prop_assert_eq!(set.spread, brute_force(&candidates, anchor, anchor), "{:?}", set);
        let kept: Vec<_> = missing.iter().map(|camera| near(*camera, reach)).collect();
        let kept: Vec<_> = kept.into_iter().filter(|frames| !frames.is_empty()).collect();
        if !kept.is_empty() {
            let with_lost = candidates.iter().cloned().chain(kept.iter().map(|f| vec![f[0], f[0] - period]));
            let ideal = brute_force(&with_lost.collect::<Vec<_>>(), anchor, anchor);
            candidates.extend(kept);
            let taken = brute_force(&candidates, anchor, anchor);
            prop_assert!(taken - ideal > period / 16 - 2 * jitter - MS / 10, "{set:?}: {taken} {ideal}");
        }
        used_up(&mut last, set);
    }
    Ok(())
}

/// Moves each camera's last used stamp on to what `set` uses.
fn used_up(last: &mut [i64], set: &Set) {
    for (last, time) in last.iter_mut().zip(&set.times) {
        *last = time.unwrap_or(*last);
    }
}

/// Up to five cameras of about one rate or of mixed rates, with jitter, drops, gaps and network delays.
fn rig() -> impl Strategy<Value = (Vec<Camera>, i64, u64)> {
    let camera = |period: i64, jitter: i64| {
        // The slowest rate, one a little above it, and up to four times as fast.
        let rate = prop_oneof![4 => Just((1, 1)), 1 => Just((9, 10)), 1 => Just((1, 2)), 1 => Just((1, 4))];
        (rate, 0..period, 0_i64..=jitter, prop_oneof![Just(0_i64), 0_i64..250], 0_i64..30, 0_i64..30)
            .prop_map(move |((num, den), phase, jitter, drop_permille, delay, more)| Camera {
                jitter: jitter * num / den,
                drop_permille,
                delay: (delay * MS, (delay + more) * MS),
                ..Camera::new(period * num / den, phase, 3_000 * MS)
            })
    };
    // Two stamps may each be off; the estimate of the period is, too. Stay inside the 10 % of the default.
    (20 * MS..120 * MS).prop_flat_map(move |period| {
        let jitter = period / 30;
        (proptest::collection::vec(camera(period, jitter), 1..=5), Just(period), any::<u64>())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_set_is_the_best_of_all_that_hold_its_anchor((cameras, _, seed) in rig()) {
        let streams = streams(&cameras, seed);
        let period = cameras.iter().map(|camera| camera.period).max().unwrap();
        let sets = run(&patient(), &declared(&cameras), &streams);
        assert_optimal(&sets, &streams, period, period / 30)?;
    }

    #[test]
    fn every_frame_of_the_slowest_camera_anchors_one_set((cameras, _, seed) in rig()) {
        // With drops an estimate may take another camera for the slowest.
        let cameras: Vec<_> = cameras.into_iter().map(|c| Camera { drop_permille: 0, ..c }).collect();
        let streams = streams(&cameras, seed);
        let slowest = cameras.iter().map(|camera| camera.period).max().unwrap();
        let reference = cameras.iter().position(|camera| camera.period == slowest).unwrap();
        let sets = run(&patient(), &declared(&cameras), &streams);
        let anchors: Vec<_> = sets.iter().map(|set| (set.anchor.unwrap(), set.anchor_time())).collect();
        let frames: Vec<_> = streams[reference].iter().map(|frame| (reference, frame.time)).collect();
        prop_assert_eq!(anchors, frames);
    }

    #[test]
    fn with_full_tolerance_any_jitter_gives_the_best_set((cameras, period, seed) in rig(), wild in 1_i64..25) {
        // A reference that is clearly the slowest: with such jitter, estimates of equal periods differ.
        let reference = Camera::new(2 * period, 0, 3_000 * MS);
        let cameras: Vec<_> = [reference].into_iter().chain(cameras).collect();
        let cameras: Vec<_> = cameras
            .into_iter()
            .map(|c| Camera { jitter: c.period * wild / 100, drop_permille: c.drop_permille / 3, ..c })
            .collect();
        let streams = streams(&cameras, seed);
        let config = SyncConfig { tolerance_permille: 1_000, ..patient() };
        let sets = run(&config, &declared(&cameras), &streams);
        let mut last = vec![i64::MIN; streams.len()];
        for set in &sets {
            prop_assert_eq!(set.anchor, Some(0));
            let anchor = set.anchor_time();
            let candidates: Vec<Vec<i64>> = (0..streams.len())
                .filter(|camera| set.times[*camera].is_some() && Some(*camera) != set.anchor)
                .map(|camera| {
                    // How near a frame must be depends on the estimate of the period.
                    let near = |time: i64| (time - anchor).abs() < period * 7 / 10;
                    let times = streams[camera].iter().map(|frame| frame.time);
                    times.filter(|t| *t > last[camera] && (near(*t) || set.times[camera] == Some(*t))).collect()
                })
                .collect();
            prop_assert_eq!(set.spread, brute_force(&candidates, anchor, anchor), "{:?}", set);
            used_up(&mut last, set);
        }
    }
}

/// Mean and standard error of the mean of the spread over many rigs of `count` free-running cameras with
/// uniformly random phases.
fn mean_spread(count: usize, trials: u64, drift_ppm: i64) -> (f64, f64, f64) {
    let period = 30 * MS;
    let (mut means, mut incomplete, mut total) = (Vec::new(), 0, 0);
    for seed in 0..trials {
        let mut random = Random(seed * 1_000 + count as u64);
        let cameras: Vec<_> = (0..count)
            .map(|_| {
                let drift = random.between(-drift_ppm, drift_ppm) * period / 1_000_000;
                Camera::new(
                    period + drift,
                    random.between(0, period - 1),
                    if drift_ppm > 0 { 90_000 * MS } else { 900 * MS },
                )
            })
            .collect();
        let sets = run(&SyncConfig::default(), &declared(&cameras), &streams(&cameras, seed));
        // The first sets begin and the last sets end in the middle of the cameras' frames.
        let sets = &sets[2..sets.len() - 2];
        means.push(sets.iter().map(|set| set.spread as f64).sum::<f64>() / sets.len() as f64 / period as f64);
        incomplete += sets.iter().filter(|set| !set.complete).count();
        total += sets.len();
    }
    let n = means.len() as f64;
    let mean = means.iter().sum::<f64>() / n;
    let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt(), f64::from(incomplete as u32) / total as f64)
}

fn ideal(count: usize) -> f64 {
    1.0 - (1..=count).map(|k| 1.0 / k as f64).sum::<f64>() / count as f64
}

#[test]
fn free_running_cameras_reach_the_average_that_theory_allows() {
    for count in [2, 3, 4, 7] {
        let (mean, error, incomplete) = mean_spread(count, 1_000, 0);
        // Five standard errors of the sample itself: by chance once in two million seeds.
        assert!((mean - ideal(count)).abs() < 5.0 * error, "{count}: {mean} for {} +- {error}", ideal(count));
        assert_eq!(incomplete, 0.0, "{count}");
    }
}

#[test]
fn drifting_cameras_stay_near_the_average_as_their_phases_pass_each_other() {
    // 0.3 % either way: in 90 s the phases pass each other several times, in both directions.
    for count in [2, 4] {
        let (mean, error, incomplete) = mean_spread(count, 30, 3_000);
        println!(
            "{count}: mean {mean:.4} ideal {:.4} error {error:.4} incomplete {incomplete:.5}",
            ideal(count)
        );
        assert!(mean < ideal(count) + 1.0 / 16.0 + 5.0 * error, "{count}: {mean}");
        assert!(incomplete < 0.01, "{count}: {incomplete}");
    }
}

/// The spreads of two cameras, the second with `phase` and without the frames in `lost`.
fn spreads(phase: i64, lost: std::ops::Range<usize>) -> Vec<(i64, bool)> {
    let cameras = [Camera::new(100 * MS, 0, 3_000 * MS), Camera::new(100 * MS, phase, 3_000 * MS)];
    let mut streams = streams(&cameras, 1);
    streams[1].drain(lost);
    let sets = run(&SyncConfig::default(), &declared(&cameras), &streams);
    assert_eq!(sets.len(), 30);
    sets.iter().map(|set| (set.spread / MS, set.complete)).collect()
}

#[test]
fn the_spread_is_back_at_once_after_lost_frames() {
    for (phase, distance) in [(70, 30), (30, 30), (55, 45)] {
        let all = spreads(phase * MS, 0..0);
        assert!(all[1..29].iter().all(|set| *set == (distance, true)), "{phase}: {all:?}");
        for count in [1, 2, 5] {
            let sets = spreads(phase * MS, 10..10 + count);
            let incomplete = sets[1..29].iter().filter(|set| !set.1).count();
            // After a gap longer than the wait the camera is not waited for until its first frame is there.
            let unawaited = usize::from(count > 2 && phase < 50);
            assert_eq!(incomplete, count + unawaited, "{phase}: {sets:?}");
            assert!(sets[1..29].iter().all(|set| *set == (distance, true) || *set == (0, false)), "{sets:?}");
        }
    }
}

#[test]
fn a_late_start_gives_the_same_spread_as_an_early_one() {
    let cameras = [Camera::new(100 * MS, 0, 3_000 * MS), Camera::new(100 * MS, 1_070 * MS, 3_000 * MS)];
    let sets = run(&SyncConfig::default(), &declared(&cameras), &streams(&cameras, 1));
    let complete: Vec<_> = sets.iter().filter(|set| set.complete).map(|set| set.spread / MS).collect();
    assert_eq!(complete, vec![30; 19]);
}

#[test]
fn half_a_period_apart_with_jitter_costs_hardly_any_frame() {
    let camera = |phase| Camera { jitter: 1_500_000, ..Camera::new(33 * MS, phase, 60_000 * MS) };
    let cameras = [camera(0), camera(16_500_000)];
    let sets = run(&SyncConfig::default(), &declared(&cameras), &streams(&cameras, 7));
    let incomplete = sets.iter().filter(|set| !set.complete).count();
    assert!(sets.len() > 1_800 && incomplete < 40, "{incomplete} of {}", sets.len());
}
