//! The situations that ROS tests its approximate synchronizer with (`message_filters`, `ApproximateTime` policy,
//! `test_approximate_time_policy` of ros_comm), as cases of our own for `tightest`: streams that match exactly and
//! not quite, drop frames, speed up, wait in a long queue for each other, give two frames for one; with what
//! brute force says of them.

use framelock_aggregator::sync::SyncConfig;
use framelock_common::time::Span;
use proptest::prelude::*;

use crate::simulate::{Arrival, Camera, MS, Set, Streams, run, streams};

const P: i64 = 100 * MS;

/// Waits as long as it takes, and for frames at any time.
fn patient() -> SyncConfig {
    SyncConfig { max_wait: Some(Span::from_secs(5)), tolerance_permille: 1_000, ..SyncConfig::default() }
}

/// A stream with these stamps in ms, which arrive at once.
fn at(stamps: impl IntoIterator<Item = i64>) -> Vec<Arrival> {
    stamps.into_iter().map(|ms| Arrival { time: ms * MS, arrival: ms * MS }).collect()
}

/// The sets of `streams`, cameras of 10 frames a second: the stamps of each in ms.
fn sets(streams: &Streams) -> Vec<Vec<Option<i64>>> {
    let sets = run(&patient(), &vec![Some(P); streams.len()], streams);
    assert_no_crossing(&sets);
    sets.iter().map(|set| set.times.iter().map(|time| time.map(|ns| ns / MS)).collect()).collect()
}

/// No frame of a set was captured before one of the same camera in a set before it, and no set stands for an instant
/// before that of the set before it.
fn assert_no_crossing(sets: &[Set]) {
    for pair in sets.windows(2) {
        assert!(pair[0].anchor_time() < pair[1].anchor_time(), "{pair:?}");
    }
    crate::simulate::assert_used_once_and_in_order(sets);
}

fn pairs(pairs: &[(i64, i64)]) -> Vec<Vec<Option<i64>>> {
    pairs.iter().map(|(one, other)| vec![Some(*one), Some(*other)]).collect()
}

#[test]
fn streams_that_match_exactly_are_complete_without_spread_as_soon_as_the_last_is_there() {
    let camera = |delay: i64| Camera { delay: (delay * MS, delay * MS), ..Camera::new(P, 0, 2_000 * MS) };
    let streams = streams(&[camera(0), camera(30), camera(70)], 1);
    let sets = run(&SyncConfig::default(), &[Some(P); 3], &streams);
    assert_eq!(sets.len(), 20);
    for (n, set) in (0..).zip(&sets) {
        assert_eq!((set.spread, set.complete, set.times[0]), (0, true, Some(n * P)));
        assert_eq!(set.ready, n * P + 70 * MS, "nothing could be better");
    }
}

#[test]
fn streams_that_match_not_quite_are_paired_with_the_nearer_neighbour() {
    for offset in [10, 49, -10, -49] {
        let expected: Vec<_> = (1..=10).map(|n| (n * 100, n * 100 + offset)).collect();
        let streams = vec![at((1..=10).map(|n| n * 100)), at((1..=10).map(|n| n * 100 + offset))];
        assert_eq!(sets(&streams), pairs(&expected), "{offset}");
    }
}

#[test]
fn a_dropped_frame_costs_its_set_and_shifts_nobody() {
    // The second camera lost 300, then both lost 700: an instant without any frame has no set.
    let streams = vec![
        at([100, 200, 300, 400, 500, 600, 800, 900, 1_000]),
        at([110, 210, 410, 510, 610, 810, 910, 1_010]),
    ];
    let whole = |n: i64| vec![Some(n), Some(n + 10)];
    let mut expected: Vec<_> = [100, 200, 300, 400, 500, 600, 800, 900, 1_000].map(whole).into();
    expected[2] = vec![Some(300), None];
    assert_eq!(sets(&streams), expected);
}

#[test]
fn drops_of_the_reference_cost_the_others_the_frames_that_were_for_it() {
    let streams = vec![at([100, 200, 400, 500, 600]), at([110, 210, 310, 410, 510, 610])];
    assert_eq!(sets(&streams), pairs(&[(100, 110), (200, 210), (400, 410), (500, 510), (600, 610)]));
}

#[test]
fn of_a_fast_stream_a_slow_one_gets_the_nearest_frames() {
    let cameras = [Camera::new(8 * MS, 3 * MS, 3_000 * MS), Camera::new(P, 50 * MS, 3_000 * MS)];
    let streams = streams(&cameras, 1);
    let sets = run(&SyncConfig::default(), &[Some(8 * MS), Some(P)], &streams);
    assert_no_crossing(&sets);
    assert_eq!(sets.len(), 30);
    for set in &sets {
        assert_eq!((set.anchor, set.complete), (Some(1), true));
        let nearest = streams[0].iter().map(|frame| (frame.time - set.anchor_time()).abs()).min();
        assert_eq!(Some(set.spread), nearest);
    }
}

#[test]
fn a_stream_that_speeds_up_gives_its_nearest_frames() {
    // From 9 frames a second to 40.
    let mut stamps = vec![20];
    let mut step = 110;
    while *stamps.last().unwrap() < 3_000 {
        stamps.push(stamps.last().unwrap() + step);
        step = (step - 2).max(25);
    }
    let streams = vec![at((0..30).map(|n| n * 100)), at(stamps)];
    let sets = run(&patient(), &[Some(P), None], &streams);
    assert_no_crossing(&sets);
    // At first it is the slower one itself.
    assert!(sets.iter().filter(|set| set.anchor == Some(0)).count() >= 20, "{sets:?}");
    assert!(sets[2..sets.len() - 2].iter().all(|set| set.complete && set.spread <= 55 * MS), "{sets:?}");
    best_of_what_was_left(&sets, &streams, 50 * MS).unwrap();
}

#[test]
fn a_stream_that_comes_after_a_long_queue_of_another_is_put_together_with_all_of_it() {
    // Two seconds of the first wait when the second arrives in one go, as after a break of the network.
    let mut streams = vec![at((0..30).map(|n| n * 100)), at((0..30).map(|n| n * 100 + 40))];
    let in_time = sets(&streams);
    for frame in &mut streams[1] {
        frame.arrival = frame.arrival.max(2_000 * MS);
    }
    assert_eq!(in_time.len(), 30);
    assert_eq!(sets(&streams), in_time);
}

#[test]
fn of_two_frames_for_one_instant_the_nearer_is_used_and_the_other_never() {
    let doubled = (1..=10).flat_map(|n| [n * 100 - 3, n * 100 + 8]);
    let streams = vec![at((1..=10).map(|n| n * 100)), at(doubled)];
    let expected: Vec<_> = (1..=10).map(|n| (n * 100, n * 100 - 3)).collect();
    assert_eq!(sets(&streams), pairs(&expected));
}

#[test]
fn fifteen_thirty_and_twenty_five_frames_a_second() {
    let end = 4_000 * MS;
    let period = |rate: i64| 1_000 * MS / rate;
    let cameras = [15, 30, 25].map(|rate| Camera::new(period(rate), rate * MS / 3, end));
    let streams = streams(&cameras, 1);
    let declared = [15, 30, 25].map(|rate| Some(period(rate)));
    let sets = run(&patient(), &declared, &streams);
    assert_no_crossing(&sets);
    let of_slowest: Vec<_> = sets.iter().map(Set::anchor_time).collect();
    assert_eq!(of_slowest, streams[0].iter().map(|frame| frame.time).collect::<Vec<_>>());
    assert!(sets[1..sets.len() - 1].iter().all(|set| set.complete && set.spread <= period(25)));
    best_of_what_was_left(&sets, &streams, period(15) / 2).unwrap();
}

/// Says which frame would have made a set tighter in place of the one that it has of the same camera, and was there
/// for it: it is used in no set before, nor is a later one of its camera. Only frames up to `reach` from the
/// anchor: how far a camera may reach depends on the estimate of the reference's period.
fn best_of_what_was_left(sets: &[Set], streams: &Streams, reach: i64) -> Result<(), String> {
    let mut last = vec![i64::MIN; streams.len()];
    for set in sets {
        let anchor = set.anchor_time();
        for (camera, used) in set.times.iter().enumerate() {
            let Some(used) = used.filter(|_| set.anchor != Some(camera)) else { continue };
            let others = set.times.iter().enumerate().filter(|(other, _)| *other != camera);
            let others: Vec<_> = others.filter_map(|(_, time)| *time).collect();
            let (low, high) = (*others.iter().min().unwrap(), *others.iter().max().unwrap());
            let spread = |time: i64| high.max(time) - low.min(time);
            let free = streams[camera].iter().map(|frame| frame.time).filter(|time| *time > last[camera]);
            let near = free.filter(|time| (time - anchor).abs() <= reach);
            if let Some(better) = near.min_by_key(|time| spread(*time)).filter(|t| spread(*t) < spread(used))
            {
                return Err(format!("camera {camera}: {better} is better than {used} in {set:?}"));
            }
        }
        for (last, time) in last.iter_mut().zip(&set.times) {
            *last = time.unwrap_or(*last);
        }
    }
    Ok(())
}

/// A camera whose frames come at any distance: one that waits for light, a phone, a relay that drops and doubles.
fn irregular() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![6 => 20_i64..60, 2 => 1_i64..8, 1 => 100_i64..400];
    proptest::collection::vec(step, 10..60).prop_map(|steps| {
        steps
            .iter()
            .scan(0, |time, step| {
                *time += step;
                Some(*time)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// One steady camera and some with a variable frame rate.
    #[test]
    fn irregular_streams_give_the_best_that_they_have_and_never_cross(
        others in proptest::collection::vec(irregular(), 1..4),
        phase in 0_i64..P / MS,
    ) {
        let steady = at((0..30).map(|n| n * 100 + phase));
        let streams: Vec<_> = std::iter::once(steady).chain(others.into_iter().map(at)).collect();
        let mut declared = vec![None; streams.len()];
        declared[0] = Some(P);
        let sets = run(&patient(), &declared, &streams);
        assert_no_crossing(&sets);
        best_of_what_was_left(&sets, &streams, 20 * MS).map_err(TestCaseError::fail)?;
    }

    /// However late each stream is, and whatever overtakes what: the sets are those of frames that come at once, as
    /// long as nothing is later than the wait, and not so late that its camera's clock is taken for a wrong one.
    #[test]
    fn what_is_late_within_the_wait_changes_no_set(
        phases in proptest::collection::vec(0_i64..100, 2..5),
        late in proptest::collection::vec(0_i64..1_000, 5),
        seed in any::<u64>(),
    ) {
        let camera = |phase: &i64| Camera { drop_permille: 50, ..Camera::new(P, phase * MS, 3_000 * MS) };
        let cameras: Vec<_> = phases.iter().map(camera).collect();
        let in_time = streams(&cameras, seed);
        let mut delayed = in_time.clone();
        for (stream, late) in delayed.iter_mut().zip(&late) {
            stream.iter_mut().for_each(|frame| frame.arrival += late * MS);
        }
        let times = |streams: &Streams| -> Vec<Vec<Option<i64>>> {
            let sets = run(&patient(), &vec![Some(P); cameras.len()], streams);
            sets.into_iter().map(|set| set.times).collect()
        };
        prop_assert_eq!(times(&in_time), times(&delayed));
    }
}
