//! When sets are delivered, to the nanosecond of simulated time.

use framelock_aggregator::sync::{CameraIndex, SetStatus, SyncConfig, SyncFrame};
use framelock_common::time::Span;
use proptest::prelude::*;

use crate::simulate::{Arrival, Camera, MS, Random, Rig, Set, host, run, streams, utc};

/// A rig of cameras of 100 ms whose periods are known, fed up to `first` by regular frames at these phases.
fn warm(config: &SyncConfig, phases: &[i64], first: i64) -> Rig {
    let mut rig = Rig::new(config, phases.len());
    let cameras: Vec<_> = phases.iter().map(|phase| Camera::new(100 * MS, phase * MS, first)).collect();
    rig.play(&streams(&cameras, 0));
    rig
}

fn last(rig: &Rig) -> &Set {
    rig.sets.last().unwrap()
}

#[test]
fn a_set_that_nothing_to_come_can_improve_is_delivered_with_its_last_frame() {
    // The other camera's frame is 10 ms old and its next cannot be nearer: no wait at all.
    let mut rig = warm(&SyncConfig::default(), &[0, -10], 1_980 * MS);
    rig.frame(1, 1_990 * MS, 1_990 * MS);
    rig.frame(0, 2_000 * MS, 2_003 * MS);
    assert_eq!((last(&rig).anchor_time(), last(&rig).ready), (2_000 * MS, 2_003 * MS));
    assert!(last(&rig).complete);
}

#[test]
fn a_set_waits_for_a_frame_that_may_make_it_tighter_and_not_a_moment_longer() {
    // 60 ms old: the next one will be 40 ms away and is worth the wait, though the frame is there.
    let mut rig = warm(&SyncConfig::default(), &[0, -60], 1_930 * MS);
    rig.frame(1, 1_940 * MS, 1_940 * MS);
    rig.frame(0, 2_000 * MS, 2_000 * MS);
    assert!(last(&rig).anchor_time() < 2_000 * MS);
    rig.frame(1, 2_040 * MS, 2_051 * MS);
    assert_eq!((last(&rig).anchor_time(), last(&rig).ready), (2_000 * MS, 2_051 * MS));
    assert_eq!(last(&rig).spread, 40 * MS);
}

#[test]
fn a_frame_within_the_set_does_not_hold_it() {
    // The third camera decides the spread; where in between the second one's next frame falls cannot matter.
    let mut rig = warm(&SyncConfig::default(), &[0, -3, 30], 1_990 * MS);
    rig.frame(1, 1_997 * MS, 1_997 * MS);
    rig.frame(0, 2_000 * MS, 2_000 * MS);
    rig.frame(2, 2_030 * MS, 2_031 * MS);
    assert_eq!((last(&rig).anchor_time(), last(&rig).ready), (2_000 * MS, 2_031 * MS));
}

#[test]
fn max_wait_is_honoured_to_the_nanosecond() {
    for max_wait in [None, Some(5 * MS), Some(70 * MS), Some(450 * MS)] {
        let config = SyncConfig { max_wait: max_wait.map(Span::from_nanos), ..SyncConfig::default() };
        let mut rig = warm(&config, &[0, 3], 1_980 * MS);
        let sets = rig.sets.len();
        rig.frame(0, 2_000 * MS, 2_003 * MS);
        rig.pass(2_003 * MS + max_wait.unwrap_or(200 * MS));
        assert_eq!(rig.sets.len(), sets, "{max_wait:?}");
        rig.pass(2_003 * MS + max_wait.unwrap_or(200 * MS) + 1);
        assert_eq!(rig.sets.len(), sets + 1, "{max_wait:?}");
        // The period is measured, to the nanosecond.
        assert_eq!(
            (last(&rig).ready, last(&rig).times[1]),
            (2_003 * MS + max_wait.unwrap_or(200 * MS), None)
        );
        assert_eq!(last(&rig).statuses[1], SetStatus::Dropped);
    }
}

#[test]
fn a_frame_that_comes_at_the_deadline_is_in_and_one_after_it_is_not() {
    for (late, is_in) in [(0, true), (1, false)] {
        let config = SyncConfig { max_wait: Some(Span::from_millis(50)), ..SyncConfig::default() };
        let mut rig = warm(&config, &[0, 10], 1_980 * MS);
        rig.frame(0, 2_000 * MS, 2_000 * MS);
        rig.frame(1, 2_010 * MS, 2_050 * MS + late);
        let set = rig.sets.iter().find(|set| set.anchor_time() == 2_000 * MS).unwrap();
        assert_eq!((set.times[1].is_some(), set.ready), (is_in, 2_050 * MS));
    }
}

#[test]
fn a_late_timer_does_not_change_a_set() {
    // The caller overslept the deadline and comes with a frame that was not there at the deadline.
    let config = SyncConfig { max_wait: Some(Span::from_millis(50)), ..SyncConfig::default() };
    let mut rig = warm(&config, &[0, 10], 1_980 * MS);
    rig.frame(0, 2_000 * MS, 2_000 * MS);
    let frame = SyncFrame::new(utc(2_010 * MS), 2_010 * MS);
    let camera = CameraIndex::new(1);
    rig.sync.handle_frame(camera, frame, host(2_080 * MS));
    rig.take();
    assert_eq!((last(&rig).anchor_time(), last(&rig).times[1]), (2_000 * MS, None));
}

/// How long after the arrival of its last frame each set was delivered.
fn added_latency(sets: &[Set], arrival: impl Fn(i64) -> i64) -> Vec<i64> {
    sets.iter().map(|set| set.ready - arrival(*set.times.iter().flatten().max().unwrap())).collect()
}

/// The added latency of sixteen cameras at random phases whose stamps are off by up to `jitter`: of the sets from
/// the `from`-th on, the median and the 99th percentile.
fn sixteen(jitter: i64, from: usize, seeds: std::ops::Range<u64>) -> (i64, i64) {
    let period = 33_333_333;
    let mut added = Vec::new();
    for seed in seeds {
        let mut random = Random(seed);
        let cameras: Vec<_> = (0..16)
            .map(|_| Camera {
                jitter,
                delay: (2 * MS, 2 * MS),
                ..Camera::new(period, random.between(0, period - 1), 4_000 * MS)
            })
            .collect();
        let sets = run(&SyncConfig::default(), &[Some(period); 16], &streams(&cameras, seed));
        added.extend(added_latency(&sets[from..sets.len() - 2], |time| time + 2 * MS));
    }
    added.sort_unstable();
    (added[added.len() / 2], added[added.len() * 99 / 100])
}

#[test]
fn sixteen_cameras_at_random_phases_wait_hardly_longer_than_for_their_last_frame() {
    // What RTP's clock of 90 kHz leaves of a steady camera; known after a few frames.
    let (median, p99) = sixteen(11_111, 8, 0..40);
    assert!(median == 0 && p99 <= 5 * MS, "{median} {p99}");
}

/// The stamps of USB cameras are off by some tenths of a millisecond. Two windows of frames whose lengths differ by
/// less can each turn out to be the shorter one, and which one is known only when the frame is there. What
/// jitter makes possible is waited for, and no more.
#[test]
fn cameras_with_jitter_are_waited_for_only_where_that_may_help() {
    let (median, p99) = sixteen(200_000, 40, 40..80);
    assert!(median == 0 && p99 <= 5 * MS, "{median} {p99}");
}

proptest! {
    /// Once every camera has sent a frame after the anchor, nothing to come can matter.
    #[test]
    fn no_set_waits_once_every_camera_is_past_its_anchor(
        phases in proptest::collection::vec((0_i64..100, 0_i64..40), 1..6), seed in any::<u64>()
    ) {
        let camera = |(phase, delay): &(i64, i64)| Camera {
            jitter: 2 * MS,
            drop_permille: 50,
            delay: (delay * MS / 2, delay * MS),
            ..Camera::new(100 * MS, phase * MS, 3_000 * MS)
        };
        let cameras: Vec<_> = phases.iter().map(camera).collect();
        let streams = streams(&cameras, seed);
        let config = SyncConfig { max_wait: Some(Span::from_secs(5)), ..SyncConfig::default() };
        let sets = run(&config, &vec![Some(100 * MS); cameras.len()], &streams);
        let mut before = i64::MIN;
        for set in &sets {
            let past = |frames: &Vec<Arrival>| {
                frames.iter().find(|frame| frame.time >= set.anchor_time()).map(|frame| frame.arrival)
            };
            let Some(latest) = streams.iter().map(past).collect::<Option<Vec<_>>>() else { continue };
            prop_assert!(set.ready <= latest.into_iter().max().unwrap().max(before), "{set:?}");
            before = set.ready;
        }
    }
}
