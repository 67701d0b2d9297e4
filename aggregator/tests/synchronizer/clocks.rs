//! Cameras whose clocks are wrong, and clocks that become known while frames wait.

use framelock_aggregator::sync::{CameraIndex, SetStatus, SyncConfig, SyncEvent, TimeBasis};
use framelock_common::time::Span;
use proptest::prelude::*;

use crate::simulate::{Camera, MS, Random, Rig, assert_used_once_and_in_order};

const P: i64 = 100 * MS;
const SECOND: i64 = 1_000 * MS;

fn patient() -> SyncConfig {
    SyncConfig { max_wait: Some(Span::from_secs(10)), ..SyncConfig::default() }
}

fn events(rig: &mut Rig) -> Vec<SyncEvent> {
    std::iter::from_fn(|| rig.sync.poll_event()).collect()
}

fn okay(rig: &Rig, camera: usize) -> usize {
    rig.sets.iter().filter(|set| set.statuses[camera] == SetStatus::Okay).count()
}

/// Plays cameras `apart` from each other for six seconds, each with its clock off by so much.
fn with_clocks(clocks: &[(i64, TimeBasis)]) -> Rig {
    let mut rig = Rig::new(&SyncConfig::default(), clocks.len());
    for n in 0..60 {
        for (camera, (off, basis)) in clocks.iter().enumerate() {
            let arrival = n * P + 10 * MS * i64::try_from(camera).unwrap();
            rig.frame_known(camera, arrival + off, arrival, *basis);
        }
    }
    rig.finish();
    rig
}

#[test]
fn a_camera_whose_clock_is_far_off_does_not_drag_the_others() {
    use TimeBasis::{Contradicted, Told};
    let minutes = 60 * SECOND;
    for off in [minutes, 7 * minutes, 60 * minutes, -minutes, -60 * minutes] {
        for count in 2..5 {
            for wrong in 0..count {
                let clocks: Vec<_> =
                    (0..count).map(|at| if at == wrong { (off, Contradicted) } else { (0, Told) }).collect();
                let mut rig = with_clocks(&clocks);
                for right in (0..count).filter(|at| *at != wrong) {
                    assert_eq!(okay(&rig, right), 60, "{off} {count} {wrong}: camera {right}");
                }
                let anchors = events(&mut rig).into_iter().filter_map(|event| match event {
                    SyncEvent::Reference { camera } => Some(camera.get()),
                    _ => None,
                });
                assert!(anchors.into_iter().all(|camera| camera != wrong), "{off} {count} {wrong}");
                // Nobody waits for it more than once.
                let held = rig.sets[2..].iter().filter(|set| {
                    let last = *set
                        .times
                        .iter()
                        .enumerate()
                        .filter(|(at, _)| *at != wrong)
                        .filter_map(|(_, t)| t.as_ref())
                        .max()
                        .unwrap();
                    set.ready > last
                });
                assert!(held.count() <= 2, "{off} {count} {wrong}");
            }
        }
    }
}

#[test]
fn where_clocks_contradict_each_other_those_count_that_agree_with_the_arrival_then_the_most() {
    use TimeBasis::{Arrival, Contradicted, Told};
    let off = 600 * SECOND;
    for (clocks, anchoring) in [
        // Each wrong in its own way.
        (vec![(off, Contradicted), (3 * off, Contradicted), (0, Told)], vec![2]),
        // Two that are wrong in the same way are still wrong.
        (vec![(off, Contradicted), (off, Contradicted), (0, Told)], vec![2]),
        // A camera without a clock of its own knows nothing better.
        (vec![(off, Contradicted), (0, Arrival)], vec![1]),
        // But many that agree are not wrong because the host is.
        (vec![(0, Arrival), (off, Contradicted), (off, Contradicted), (off, Contradicted)], vec![1, 2, 3]),
        (vec![(off, Contradicted), (off, Contradicted)], vec![0, 1]),
        (vec![(0, Arrival), (0, Arrival), (0, Told)], vec![0, 1, 2]),
    ] {
        let rig = with_clocks(&clocks);
        for camera in &anchoring {
            assert_eq!(okay(&rig, *camera), 60, "{clocks:?}: {camera}");
        }
        for camera in (0..clocks.len()).filter(|camera| !anchoring.contains(camera)) {
            assert_eq!(okay(&rig, camera), 0, "{clocks:?}: {camera}");
        }
    }
}

#[test]
fn a_camera_that_was_wrong_when_it_was_alone_gives_way_to_those_that_are_right() {
    let mut rig = Rig::new(&SyncConfig::default(), 3);
    for n in 0..90 {
        rig.frame_known(0, n * P + 600 * SECOND, n * P, TimeBasis::Contradicted);
        for camera in [1, 2].into_iter().filter(|_| n >= 30) {
            let arrival = n * P + 10 * MS * i64::try_from(camera).unwrap();
            rig.frame_known(camera, arrival, arrival, TimeBasis::Told);
        }
    }
    rig.finish();
    let together = rig.sets.iter().filter(|set| set.times[1].is_some() && set.times[2].is_some()).count();
    assert!(together >= 57, "{together}");
    assert_ne!(rig.sync.reference(), Some(CameraIndex::new(0)));
}

#[test]
fn a_report_before_delivery_gives_the_frames_that_wait_their_better_times() {
    let mut rig = Rig::new(&patient(), 3);
    // The second camera's clock is not known at first, and its times are 70 ms late; the third is not there yet.
    for n in 0..10 {
        rig.frame(0, n * P, n * P);
        rig.frame_known(1, n * P + 80 * MS, n * P + 80 * MS, TimeBasis::Arrival);
    }
    assert!(rig.sets.is_empty(), "the third camera is waited for");
    rig.better_times(1, -70 * MS, 10 * P);
    for n in 0..10 {
        rig.frame(2, n * P + 20 * MS, 10 * P + n);
    }
    for n in 10..20 {
        rig.frame(0, n * P, n * P + 10);
        rig.frame(1, n * P + 10 * MS, n * P + 80 * MS);
        rig.frame(2, n * P + 20 * MS, n * P + 81 * MS);
    }
    rig.finish();
    assert_eq!(rig.sets.len(), 20);
    for (n, set) in (0..).zip(&rig.sets) {
        let times = [n * P, n * P + 10 * MS, n * P + 20 * MS].map(Some);
        assert_eq!((set.times.as_slice(), set.spread), (&times[..], 20 * MS), "{n}");
    }
    assert!(!events(&mut rig).iter().any(|event| matches!(event, SyncEvent::ClockStep { .. })));
}

#[test]
fn what_turns_out_to_belong_before_a_set_that_is_out_is_late_and_not_used_again() {
    let mut rig = Rig::new(&SyncConfig::default(), 2);
    for n in 0..20 {
        rig.frame(0, n * P, n * P);
        rig.frame(1, n * P + 50 * MS, n * P + 50 * MS);
    }
    let used = rig.sync.stats(CameraIndex::new(1)).unwrap().used;
    rig.frame(1, 20 * P + 50 * MS, 20 * P);
    rig.frame(1, 21 * P + 50 * MS, 20 * P);
    // They were captured 250 ms earlier than thought: the first of them before the last that is out.
    rig.better_times(1, -250 * MS, 20 * P);
    let stats = rig.sync.stats(CameraIndex::new(1)).unwrap();
    assert_eq!((stats.used, stats.late), (used, 2), "{stats:?}");
    for n in 20..40 {
        rig.frame(0, n * P, n * P + 1);
        rig.frame(1, (n + 2) * P - 200 * MS, n * P + 2);
    }
    rig.finish();
    assert_used_once_and_in_order(&rig.sets);
    assert_eq!(rig.sets.len(), 40);
    assert!(rig.sets[23..].iter().all(|set| set.complete && set.spread == 0), "{:?}", rig.sets);
}

#[test]
fn a_clock_that_turns_out_to_be_hours_off_is_a_step() {
    let hours = 3 * 3_600 * SECOND;
    for shift in [hours, -hours, 2 * SECOND, -2 * SECOND] {
        for camera in 0..2 {
            let mut rig = Rig::new(&SyncConfig::default(), 2);
            for n in 0..100 {
                let known = n >= 50;
                if n == 50 {
                    rig.better_times(camera, shift, n * P - 1);
                }
                for at in 0..2 {
                    let off = if at == camera && !known { -shift } else { 0 };
                    rig.frame(at, n * P + 10 * MS * i64::try_from(at).unwrap() + off, n * P);
                }
            }
            rig.finish();
            let steps = events(&mut rig).into_iter();
            let steps: Vec<_> = steps.filter(|event| matches!(event, SyncEvent::ClockStep { .. })).collect();
            let by = Span::from_nanos(shift);
            assert_eq!(steps, [SyncEvent::ClockStep { camera: CameraIndex::new(camera), by }]);
            let end = &rig.sets[rig.sets.len() - 40..];
            assert!(end.iter().all(|set| set.complete && set.spread == 10 * MS), "{shift} {camera}: {end:?}");
        }
    }
}

proptest! {
    /// Cameras whose clocks are off by less than half a second, each until its report comes: no frame is used
    /// twice, each camera's are in order, the counters add up, and once all clocks are known every set is
    /// complete and as tight as the cameras' phases allow.
    #[test]
    fn reports_at_any_time_keep_order_and_lose_nothing_for_good(
        cameras in proptest::collection::vec((0_i64..100, -400_i64..400, 0_i64..1_500), 2..6),
        wait in prop_oneof![Just(None), (100_i64..5_000).prop_map(Some)],
        seed in any::<u64>(),
    ) {
        let config = SyncConfig { max_wait: wait.map(Span::from_millis), ..SyncConfig::default() };
        let mut rig = Rig::new(&config, cameras.len());
        let mut random = Random(seed);
        let mut all = Vec::new();
        for (at, (phase, _, _)) in cameras.iter().enumerate() {
            let camera = Camera { delay: (5 * MS, 60 * MS), ..Camera::new(P, phase * MS, 8_000 * MS) };
            all.extend(camera.frames(&mut random).into_iter().map(|frame| (frame.arrival, at, Some(frame.time))));
        }
        for (at, (_, _, known)) in cameras.iter().enumerate() {
            all.push((known * MS, at, None));
        }
        all.sort_by_key(|(arrival, _, _)| *arrival);
        let mut off: Vec<_> = cameras.iter().map(|(_, off, _)| off * MS).collect();
        let mut received = vec![0; cameras.len()];
        for (arrival, at, time) in all {
            match time {
                Some(time) => {
                    received[at] += 1;
                    rig.frame(at, time + off[at], arrival);
                }
                None => rig.better_times(at, -std::mem::take(&mut off[at]), arrival),
            }
        }
        rig.finish();
        assert_used_once_and_in_order(&rig.sets);
        for (at, received) in received.into_iter().enumerate() {
            let index = CameraIndex::new(at);
            let stats = rig.sync.stats(index).unwrap();
            prop_assert_eq!(stats.received, received);
            let out = stats.used + stats.skipped + stats.late + stats.duplicates + stats.overflowed;
            prop_assert_eq!(stats.received, out + rig.sync.queued(index) as u64);
        }
        let settled: Vec<_> = rig.sets.iter().filter(|set| (5_000 * MS..7_500 * MS).contains(&set.anchor_time())).collect();
        prop_assert!((24..=26).contains(&settled.len()), "{}", settled.len());
        let spread = settled[0].spread;
        prop_assert!(settled.iter().all(|set| set.complete && set.spread == spread), "{settled:?}");
    }
}
