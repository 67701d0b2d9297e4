//! `last-before` and `exact` against naive implementations of their rules.

use framelock_aggregator::sync::{Policy, SetStatus, SyncConfig};
use framelock_common::time::Span;
use proptest::prelude::*;

use crate::simulate::{Camera, MS, Rig, Streams, run, streams};

fn patient(policy: Policy) -> SyncConfig {
    SyncConfig { policy, max_wait: Some(Span::from_secs(5)), ..SyncConfig::default() }
}

/// The rule of `last-before`, word for word, on whole streams: the query is the latest of the fronts, each
/// camera gives its last frame at or before it; what is at or before the query is used up.
fn last_before(streams: &Streams) -> Vec<Vec<Option<i64>>> {
    let mut queues: Vec<Vec<i64>> =
        streams.iter().map(|frames| frames.iter().map(|frame| frame.time).collect()).collect();
    let mut sets = Vec::new();
    while queues.iter().all(|queue| !queue.is_empty()) {
        let query = queues.iter().map(|queue| queue[0]).max().unwrap();
        let set = queues.iter().map(|queue| queue.iter().copied().filter(|time| *time <= query).max());
        sets.push(set.collect());
        for queue in &mut queues {
            queue.retain(|time| *time > query);
        }
    }
    sets
}

/// The rule of `exact` by looking at every frame of the first camera in turn: the set is the earliest choice
/// of later frames that fits.
fn exact(streams: &Streams, tolerance: i64) -> Vec<Vec<Option<i64>>> {
    let mut used = vec![i64::MIN; streams.len()];
    let mut sets = Vec::new();
    // Every stamp that could be a set's earliest, in order.
    let mut starts: Vec<i64> = streams.iter().flatten().map(|frame| frame.time).collect();
    starts.sort_unstable();
    for start in starts {
        let first_after = |camera: usize| {
            let times = streams[camera].iter().map(|frame| frame.time);
            times.filter(|time| *time >= start && *time > used[camera]).min()
        };
        let set: Vec<_> = (0..streams.len()).map(first_after).collect();
        let begins = set.iter().flatten().min() == Some(&start);
        if begins && set.iter().all(|time| time.is_some_and(|time| time <= start + tolerance)) {
            used = set.iter().map(|time| time.unwrap()).collect();
            sets.push(set);
        }
    }
    sets
}

fn rig() -> impl Strategy<Value = (Vec<Camera>, u64)> {
    // Coarse stamps, so that equal ones in different cameras are common.
    let camera = (10_i64..80, 0_i64..80, 0_i64..40, 0_i64..300, 0_i64..30, 0_i64..60).prop_map(
        |(period, phase, jitter, drop_permille, delay, more)| Camera {
            jitter: jitter.min(period / 2 - 1),
            drop_permille,
            delay: (delay, delay + more),
            ..Camera::new(period, phase, 4_000)
        },
    );
    (proptest::collection::vec(camera, 1..=5), any::<u64>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn last_before_does_exactly_what_its_rule_says((cameras, seed) in rig()) {
        let streams = streams(&cameras, seed);
        let sets: Vec<_> = run(&patient(Policy::LastBefore), &vec![None; cameras.len()], &streams);
        prop_assert!(sets.iter().all(|set| set.complete && set.anchor.is_none()));
        let times: Vec<_> = sets.into_iter().map(|set| set.times).collect();
        prop_assert_eq!(times, last_before(&streams));
    }

    #[test]
    fn exact_gives_every_set_within_its_tolerance((cameras, seed) in rig(), tolerance in 0_i64..60) {
        let streams = streams(&cameras, seed);
        let policy = Policy::Exact(Span::from_nanos(tolerance));
        let sets = run(&patient(policy), &vec![None; cameras.len()], &streams);
        prop_assert!(sets.iter().all(|set| set.complete && set.spread <= tolerance));
        let times: Vec<_> = sets.into_iter().map(|set| set.times).collect();
        prop_assert_eq!(times, exact(&streams, tolerance));
    }
}

#[test]
fn exact_delivers_with_the_last_frame_of_the_set() {
    let mut rig = Rig::new(&patient(Policy::Exact(Span::from_millis(5))), 2);
    rig.frame(0, 0, 0);
    rig.frame(1, 6 * MS, 6 * MS);
    rig.frame(0, 10 * MS, 10 * MS);
    assert_eq!(rig.sets.len(), 1);
    assert_eq!((rig.sets[0].spread, rig.sets[0].ready), (4 * MS, 10 * MS));
}

#[test]
fn a_dead_camera_is_left_out_of_last_before_after_one_wait() {
    let mut cameras = [Camera::new(100 * MS, 0, 3_000 * MS), Camera::new(100 * MS, 20 * MS, 1_000 * MS)];
    cameras[0].delay = (MS, MS);
    let config = SyncConfig { policy: Policy::LastBefore, ..SyncConfig::default() };
    let sets = run(&config, &[None, None], &streams(&cameras, 3));
    assert_eq!(sets.len(), 30);
    let without: Vec<_> = sets.iter().filter(|set| set.statuses[1] == SetStatus::Dropped).collect();
    assert_eq!(without.len(), 20);
    // Two periods after its instant arrived; later sets only until the camera that is left has its next frame.
    assert!(without.iter().all(|set| set.ready <= set.times[0].unwrap() + MS + 200 * MS));
    assert!(without[5..].iter().all(|set| set.ready <= set.times[0].unwrap() + MS + 100 * MS), "{without:?}");
}

#[test]
fn a_damaged_frame_is_a_read_error_in_last_before_and_no_set_in_exact() {
    let play = |policy| {
        let mut rig = Rig::new(&patient(policy), 2);
        for n in 0..10 {
            let time = n * 100 * MS;
            rig.frame(0, time, time);
            if n == 5 {
                rig.read_error(1, Some(time + MS), time + MS);
            } else {
                rig.frame(1, time + MS, time + MS);
            }
        }
        rig.finish();
        rig.sets
    };
    let sets = play(Policy::LastBefore);
    assert_eq!(sets.len(), 10);
    let statuses: Vec<_> = sets.iter().map(|set| set.statuses[1]).collect();
    assert_eq!(statuses.iter().filter(|status| **status == SetStatus::ReadError).count(), 1);
    assert_eq!(statuses[5], SetStatus::ReadError);
    assert_eq!(play(Policy::Exact(Span::from_millis(5))).len(), 9);
}
