//! Cameras that die, come late, flap, lose and damage frames, and clocks that step; hostile input.

use framelock_aggregator::sync::{
    CameraIndex, Policy, Rate, SetStatus, SourceState, SyncCamera, SyncConfig, SyncEvent, SyncFrame,
};
use framelock_common::time::Span;
use proptest::prelude::*;

use crate::simulate::{Camera, MS, Random, Rig, Set, assert_used_once_and_in_order, host, run, streams, utc};

const P: i64 = 100 * MS;
const END: i64 = 6_000 * MS;

fn config() -> SyncConfig {
    SyncConfig::default()
}

fn events(rig: &mut Rig) -> Vec<SyncEvent> {
    std::iter::from_fn(|| rig.sync.poll_event()).collect()
}

fn statuses(sets: &[Set], camera: usize) -> Vec<SetStatus> {
    sets.iter().map(|set| set.statuses[camera]).collect()
}

fn count(sets: &[Set], camera: usize, status: SetStatus) -> usize {
    statuses(sets, camera).into_iter().filter(|other| *other == status).count()
}

#[test]
fn equal_stamps_in_all_cameras_are_a_set_without_spread_and_no_drop() {
    let cameras = vec![Camera::new(P, 0, END); 4];
    for policy in [Policy::Tightest, Policy::LastBefore, Policy::Exact(Span::ZERO)] {
        let sets = run(&SyncConfig { policy, ..config() }, &[None; 4], &streams(&cameras, 1));
        assert_eq!(sets.len(), 60, "{policy}");
        assert!(sets.iter().all(|set| set.complete && set.spread == 0), "{policy}");
    }
}

#[test]
fn equal_stamps_in_one_camera_are_one_frame() {
    let mut rig = Rig::new(&config(), 1);
    for n in 0..10 {
        rig.frame(0, n / 2 * P, n * P);
    }
    rig.finish();
    assert_eq!(rig.sets.len(), 5);
    assert_eq!(rig.sync.stats(CameraIndex::new(0)).unwrap().duplicates, 5);
}

#[test]
fn a_dead_camera_holds_the_others_once_and_no_longer_than_the_wait() {
    for dead in 0..3 {
        let mut cameras =
            vec![Camera::new(P, 0, END), Camera::new(P, 10 * MS, END), Camera::new(P, 20 * MS, END)];
        cameras[dead].until = 2_000 * MS;
        let sets = run(&config(), &[None; 3], &streams(&cameras, 1));
        assert_eq!(sets.len(), 60, "{dead}");
        let without: Vec<_> = sets.iter().filter(|set| set.times[dead].is_none()).collect();
        assert!((39..=41).contains(&without.len()), "{dead}: {}", without.len());
        // A dead reference is one period and the wait late before another takes its place.
        let first = without[0];
        assert!(first.ready - first.anchor_time() <= 3 * P, "{dead}: {first:?}");
        // Then nothing is waited for but the frames that are in the set.
        let held = without.iter().filter(|set| {
            let last = *set.times.iter().flatten().max().unwrap();
            set.ready > last
        });
        assert!(held.count() <= 4, "{dead}: {without:?}");
    }
}

#[test]
fn a_broken_camera_is_not_waited_for_at_all() {
    let mut rig = Rig::new(&config(), 2);
    let cameras = [Camera::new(P, 0, 2_000 * MS), Camera::new(P, 10 * MS, 2_000 * MS)];
    rig.play(&streams(&cameras, 1));
    rig.sync.handle_source_state(CameraIndex::new(1), SourceState::Broken, host(rig.now));
    for n in 20..30 {
        rig.frame(0, n * P, n * P);
        let set = rig.sets.last().unwrap();
        assert_eq!((set.anchor_time(), set.ready), (n * P, n * P));
        assert_eq!(set.statuses, [SetStatus::Okay, SetStatus::Broken]);
    }
    // It comes back with a frame, without a word of its source.
    rig.frame(1, 2_990 * MS, 2_991 * MS);
    rig.frame(0, 3_000 * MS, 3_000 * MS);
    rig.finish();
    assert!(rig.sets.last().unwrap().complete);
}

#[test]
fn a_broken_reference_gives_its_place_at_once_and_takes_it_back() {
    let mut rig = Rig::new(&config(), 2);
    let play = |rig: &mut Rig, from: i64, until: i64, cameras: &[usize]| {
        for n in from..until {
            for camera in cameras {
                let time = n * P + 10 * MS * i64::try_from(*camera).unwrap();
                rig.frame(*camera, time, time);
            }
        }
    };
    play(&mut rig, 0, 20, &[0, 1]);
    rig.sync.handle_source_state(CameraIndex::new(0), SourceState::Broken, host(rig.now));
    play(&mut rig, 20, 40, &[1]);
    assert_eq!((rig.sync.reference(), rig.sets.len()), (Some(CameraIndex::new(1)), 40));
    assert_eq!(count(&rig.sets, 0, SetStatus::Broken), 20);
    play(&mut rig, 40, 60, &[0, 1]);
    rig.finish();
    assert_eq!((rig.sync.reference(), rig.sets.len()), (Some(CameraIndex::new(0)), 60));
    assert!(rig.sets[41..].iter().all(|set| set.complete));
}

/// The last set had a frame of the new reference: its next one makes the next set, however near to the last anchor.
#[test]
fn a_reference_that_falls_silent_costs_no_set() {
    let mut rig = Rig::new(&config(), 3);
    let phases = [0, -55 * MS, -25 * MS];
    for n in 0..40 {
        for at in [1, 2, 0].into_iter().filter(|at| *at > 0 || n < 20) {
            rig.frame(at, n * P + phases[at], n * P + phases[at]);
        }
    }
    rig.finish();
    assert_eq!(rig.sets.len(), 40, "every frame of the second camera is in a set");
    for (n, set) in (0..).zip(&rig.sets).skip(1) {
        assert_eq!(set.times[1..], [n * P - 55 * MS, n * P - 25 * MS].map(Some), "{n}");
    }
}

#[test]
fn a_camera_that_never_comes_is_starting_and_costs_one_wait() {
    let sets = run(
        &config(),
        &[None; 2],
        &streams(&[Camera::new(P, 0, END)], 1).into_iter().chain([vec![]]).collect(),
    );
    assert_eq!(count(&sets, 1, SetStatus::Starting), 60);
    assert_eq!(sets.iter().filter(|set| set.ready > set.anchor_time() + 1_000 * MS).count(), 0);
    assert!(sets[11..].iter().all(|set| set.ready == set.anchor_time()), "{sets:?}");
}

#[test]
fn a_camera_that_is_always_too_late_does_not_hold_the_others_again_and_again() {
    for late in 0..2 {
        let mut cameras = vec![Camera::new(P, 0, END), Camera::new(P, 10 * MS, END)];
        cameras[late].delay = (450 * MS, 450 * MS);
        let sets = run(&config(), &[None; 2], &streams(&cameras, 1));
        assert!(sets.len() >= 59, "{late}: {}", sets.len());
        let held =
            sets.iter().filter(|set| set.ready - set.times[1 - late].unwrap_or(i64::MIN / 2) > 10 * MS);
        assert!(held.count() < 12, "{late}");
    }
}

#[test]
fn a_camera_that_is_late_within_the_wait_is_in_every_set() {
    let mut cameras = vec![Camera::new(P, 0, END), Camera::new(P, 10 * MS, END)];
    cameras[1].delay = (150 * MS, 170 * MS);
    let sets = run(&config(), &[None; 2], &streams(&cameras, 1));
    assert_eq!(sets.len(), 60);
    assert!(sets.iter().all(|set| set.complete));
}

#[test]
fn a_flapping_camera_costs_the_others_nothing_but_its_frames() {
    for flapping in 0..2 {
        let cameras = vec![Camera::new(P, 0, 20_000 * MS), Camera::new(P, 10 * MS, 20_000 * MS)];
        let mut streams = streams(&cameras, 1);
        // One second on, one second off.
        streams[flapping].retain(|frame| (frame.time / (1_000 * MS)) % 2 == 0);
        let mut rig = Rig::new(&config(), 2);
        rig.play(&streams);
        rig.finish();
        let okay = count(&rig.sets, 1 - flapping, SetStatus::Okay);
        assert!(okay >= 198, "{flapping}: {okay}");
        let complete = rig.sets.iter().filter(|set| set.complete).count();
        assert!(complete >= 80, "{flapping}: {complete}");
        assert!(rig.sets.iter().all(|set| set.ready - set.times.iter().flatten().max().unwrap() <= 3 * P));
        let late = events(&mut rig).iter().filter(|event| matches!(event, SyncEvent::Late { .. })).count();
        assert!(late <= 11, "{flapping}: {late}");
    }
}

#[test]
fn a_clock_step_costs_a_camera_its_sets_for_a_moment_and_no_longer() {
    let hours = 3 * 3_600_000 * MS;
    for (camera, step) in
        [(1, hours), (1, -hours), (0, hours), (0, -hours), (1, 2_000 * MS), (1, -2_000 * MS)]
    {
        let mut rig = Rig::new(&config(), 3);
        for n in 0..300_i64 {
            for at in 0..3 {
                let arrival = n * P + 10 * MS * i64::try_from(at).unwrap();
                // Wrong from 5 s to 20 s.
                let wrong = at == camera && (50..200).contains(&n);
                rig.frame(at, arrival + if wrong { step } else { 0 }, arrival);
            }
        }
        rig.finish();
        let others: Vec<_> = (0..3).filter(|at| *at != camera).collect();
        for at in others {
            assert!(count(&rig.sets, at, SetStatus::Okay) >= 294, "{camera} {step}: camera {at}");
        }
        let end = &rig.sets[rig.sets.len() - 60..];
        assert!(end.iter().all(|set| set.complete && set.spread == 20 * MS), "{camera} {step}: {end:?}");
        let steps = events(&mut rig).into_iter().filter(|event| matches!(event, SyncEvent::ClockStep { .. }));
        assert_eq!(steps.count(), 2, "{camera} {step}");
        assert_eq!(rig.sync.stats(CameraIndex::new(camera)).unwrap().clock_steps, 2);
    }
}

#[test]
fn an_outage_is_no_clock_step() {
    let cameras = [Camera::new(P, 0, END), Camera::new(P, 10 * MS, END)];
    let mut streams = streams(&cameras, 1);
    streams[1].retain(|frame| !(1_000 * MS..4_000 * MS).contains(&frame.time));
    let mut rig = Rig::new(&config(), 2);
    rig.play(&streams);
    rig.finish();
    assert!(!events(&mut rig).iter().any(|event| matches!(event, SyncEvent::ClockStep { .. })));
    assert_eq!(count(&rig.sets, 0, SetStatus::Okay), 60);
    assert!(count(&rig.sets, 1, SetStatus::Okay) >= 29);
}

#[test]
fn read_errors_have_their_status_in_their_place_and_shift_nobody() {
    for (camera, known) in [(0, true), (1, true), (2, true), (0, false), (1, false), (2, false)] {
        let mut rig = Rig::new(&config(), 3);
        for n in 0..60_i64 {
            for at in 0..3 {
                let time = n * P + 10 * MS * i64::try_from(at).unwrap();
                if at == camera && (20..25).contains(&n) {
                    rig.read_error(at, known.then_some(time), time);
                } else {
                    rig.frame(at, time, time);
                }
            }
        }
        rig.finish();
        assert_eq!(rig.sets.len(), 60, "{camera} {known}");
        for (n, set) in rig.sets.iter().enumerate() {
            let expected = |at| match (20..25).contains(&n) && at == camera {
                true => SetStatus::ReadError,
                false => SetStatus::Okay,
            };
            assert_eq!(set.statuses, [expected(0), expected(1), expected(2)], "{camera} {known} {n}");
            // A damaged frame is known as such when it arrives: no wait for it.
            assert!(
                set.ready <= i64::try_from(n).unwrap() * P + 20 * MS || n < 3,
                "{camera} {known} {set:?}"
            );
        }
    }
}

#[test]
fn several_read_errors_for_one_frame_are_one() {
    let mut rig = Rig::new(&config(), 2);
    for n in 0..30_i64 {
        rig.frame(0, n * P, n * P);
        if n == 20 {
            (0..5).for_each(|_| rig.read_error(1, None, n * P + 10 * MS));
        } else {
            rig.frame(1, n * P + 10 * MS, n * P + 10 * MS);
        }
    }
    rig.finish();
    assert_eq!(count(&rig.sets, 1, SetStatus::ReadError), 1);
    assert_eq!(count(&rig.sets, 1, SetStatus::Okay), 29);
}

#[test]
fn frames_in_decoding_order_are_put_in_order_of_capture() {
    // I P B P B: every second frame is sent after the next one.
    let mut rig = Rig::new(&config(), 2);
    for n in 0..100_i64 {
        rig.frame(0, n * P, n * P);
        for sent in [n, n - 1].into_iter().filter(|sent| n % 2 == 0 && *sent >= 0) {
            rig.frame(1, sent * P + 10 * MS, n * P + 20 * MS);
        }
    }
    rig.finish();
    assert_eq!(rig.sets.len(), 100);
    // The last one is still to be sent.
    assert!(rig.sets[..99].iter().all(|set| set.complete && set.spread == 10 * MS), "{:?}", rig.sets);
    assert_eq!(rig.sync.stats(CameraIndex::new(1)).unwrap().used, 99);
}

#[test]
fn cameras_come_and_go_at_run_time() {
    let mut rig = Rig::new(&config(), 1);
    let play = |rig: &mut Rig, from: i64, cameras: &[usize]| {
        for n in from..from + 20 {
            for camera in cameras {
                rig.pass(n * P);
                let frame = SyncFrame::new(utc(n * P), n * P);
                rig.sync.handle_frame(CameraIndex::new(*camera), frame, host(n * P));
            }
        }
        std::iter::from_fn(|| rig.sync.poll_set()).collect::<Vec<_>>()
    };
    assert!(play(&mut rig, 0, &[0]).iter().all(|set| set.entries.len() == 1));
    let added = rig.sync.add_camera(SyncCamera::default());
    assert_eq!(added, CameraIndex::new(1));
    let sets = play(&mut rig, 20, &[0, 1]);
    assert!(sets.len() >= 18 && sets[2..].iter().all(|set| set.complete && set.entries.len() == 2));
    rig.sync.remove_camera(CameraIndex::new(0), host(rig.now));
    let sets = play(&mut rig, 40, &[0, 1]);
    assert!(sets.len() >= 19, "{}", sets.len());
    assert!(sets.iter().all(|set| set.entries.len() == 1 && set.entries[0].camera == added));
    assert_eq!(rig.sync.add_camera(SyncCamera::default()), CameraIndex::new(2));
    assert_eq!(rig.sync.stats(CameraIndex::new(0)), None);
}

/// A camera with huge frames takes from nobody else what they need, and nobody's memory is without a limit.
#[test]
fn frames_that_wait_take_bounded_memory_and_the_largest_camera_gives_way() {
    let limit = 100_000;
    // The third camera never comes, so that everything waits.
    let config = SyncConfig { max_wait: Some(Span::from_secs(60)), queue_bytes: limit, ..config() };
    let mut rig = Rig::new(&config, 3);
    for n in 0..100_i64 {
        for (camera, bytes) in [(0, 200), (1, 30_000)] {
            let frame = SyncFrame { bytes, ..SyncFrame::new(utc(n * P), n) };
            rig.sync.handle_frame(CameraIndex::new(camera), frame, host(n * P));
            assert!(rig.sync.queued_bytes() <= limit);
        }
    }
    let stats = |camera| rig.sync.stats(CameraIndex::new(camera)).unwrap();
    assert_eq!((stats(0).overflowed, rig.sync.queued(CameraIndex::new(0))), (0, 100));
    assert_eq!((stats(1).overflowed, rig.sync.queued(CameraIndex::new(1))), (98, 2));
    // A frame that is too large alone gives way itself.
    let frame = SyncFrame { bytes: limit + 1, ..SyncFrame::new(utc(100 * P), 0) };
    rig.sync.handle_frame(CameraIndex::new(1), frame, host(100 * P));
    assert_eq!(rig.sync.stats(CameraIndex::new(1)).unwrap().overflowed, 101);
    assert_eq!(rig.sync.queued(CameraIndex::new(0)), 100);
    // Finished sets that nobody takes are bounded as well; the newest are kept.
    rig.sync.finish(host(rig.now));
    let counters = rig.sync.ready_counters();
    assert_eq!((counters.pushed, counters.dropped), (100, 0));
    let mut rig = Rig::new(&config, 1);
    for n in 0..100_i64 {
        let frame = SyncFrame { bytes: 30_000, ..SyncFrame::new(utc(n * P), n) };
        rig.sync.handle_frame(CameraIndex::new(0), frame, host(n * P));
    }
    let sets: Vec<_> = std::iter::from_fn(|| rig.sync.poll_set()).map(|set| set.number).collect();
    assert_eq!(sets, [97, 98, 99]);
    assert_eq!(rig.sync.ready_counters().dropped, 97);
}

#[derive(Clone, Debug)]
enum Input {
    Frame(usize, i64),
    Error(usize, Option<i64>),
    Better(usize, i64, i64),
    State(usize, SourceState),
    Pass(i64),
    Add,
    Remove(usize),
}

/// Stamps that make some sense, stamps that make none, and everything at once.
fn hostile() -> impl Strategy<Value = Vec<Input>> {
    let time = || {
        prop_oneof![
            6 => 0..20 * P,
            1 => any::<i64>(),
            1 => Just(i64::MAX),
            1 => Just(i64::MIN),
        ]
    };
    let state = prop_oneof![Just(SourceState::Starting), Just(SourceState::Live), Just(SourceState::Broken)];
    let input = prop_oneof![
        20 => (0..6_usize, time()).prop_map(|(camera, time)| Input::Frame(camera, time)),
        4 => (0..6_usize, proptest::option::of(time())).prop_map(|(camera, time)| Input::Error(camera, time)),
        3 => (0..6_usize, time(), time()).prop_map(|(camera, shift, time)| Input::Better(camera, shift, time)),
        2 => (0..6_usize, state).prop_map(|(camera, state)| Input::State(camera, state)),
        6 => (0..3 * P).prop_map(Input::Pass),
        1 => Just(Input::Add),
        1 => (0..6_usize).prop_map(Input::Remove),
    ];
    proptest::collection::vec(input, 0..300)
}

proptest! {
    #[test]
    fn hostile_input_neither_panics_nor_grows_nor_uses_a_frame_twice(
        inputs in hostile(),
        policy in prop_oneof![
            Just(Policy::Tightest), Just(Policy::LastBefore), (0..P).prop_map(|ns| Policy::Exact(Span::from_nanos(ns)))
        ],
        rate in prop_oneof![Just("slowest"), Just("fastest"), Just("7"), Just("0.001"), Just("1000")],
        max_wait in proptest::option::of(prop_oneof![Just(0), 0..5 * P, Just(i64::MAX)]),
        tolerance_permille in 0_u16..1_200,
        queue_limit in 0_usize..12,
        queue_bytes in 0_usize..600,
    ) {
        let config = SyncConfig {
            policy,
            rate: rate.parse::<Rate>().unwrap(),
            max_wait: max_wait.map(Span::from_nanos),
            tolerance_permille,
            queue_limit,
            queue_bytes,
            ready_limit: 4,
        };
        let mut rig = Rig::new(&config, 4);
        rig.now = 0;
        let mut given = [0_u64; 8];
        let mut taken = 0;
        let mut payloads = std::collections::HashSet::new();
        for (n, input) in inputs.into_iter().enumerate() {
            let now = host(rig.now);
            match input {
                Input::Frame(camera, time) => {
                    let frame = SyncFrame { bytes: n % 50, ..SyncFrame::new(utc(time), n as i64) };
                    given[camera] += 1;
                    rig.sync.handle_frame(CameraIndex::new(camera), frame, now);
                }
                Input::Error(camera, time) => {
                    given[camera] += 1;
                    rig.sync.handle_read_error(CameraIndex::new(camera), time.map(utc), now);
                }
                Input::Better(camera, shift, time) => {
                    // Some get a time that makes sense, some any, some none.
                    let better = |payload: &mut i64| (*payload % 3 > 0).then(|| utc(time.saturating_add(*payload / 3 * P)));
                    rig.sync.handle_better_times(CameraIndex::new(camera), Span::from_nanos(shift), now, better);
                }
                Input::State(camera, state) => rig.sync.handle_source_state(CameraIndex::new(camera), state, now),
                Input::Pass(by) => {
                    rig.now += by;
                    while let Some(timeout) = rig.sync.poll_timeout().filter(|timeout| *timeout < host(rig.now)) {
                        rig.sync.handle_timeout(timeout);
                        prop_assert!(rig.sync.poll_timeout().is_none_or(|next| next > timeout));
                    }
                }
                Input::Add => { rig.sync.add_camera(SyncCamera::default()); }
                Input::Remove(camera) => rig.sync.remove_camera(CameraIndex::new(camera), now),
            }
            if n % 3 == 0 {
                while let Some(set) = rig.sync.poll_set() {
                    taken += 1;
                    for frame in set.entries.into_iter().filter_map(|entry| entry.frame) {
                        prop_assert!(payloads.insert(frame.payload), "used twice");
                    }
                }
            }
            prop_assert!(rig.sync.queued_bytes() <= queue_bytes);
            for (camera, given) in given.iter().enumerate() {
                let index = CameraIndex::new(camera);
                prop_assert!(rig.sync.queued(index) <= queue_limit.max(2));
                let Some(stats) = rig.sync.stats(index) else { continue };
                let sum = stats.used + stats.skipped + stats.late + stats.duplicates + stats.overflowed + stats.stepped;
                prop_assert_eq!(stats.received, sum + rig.sync.queued(index) as u64, "{:?}", stats);
                prop_assert!(stats.received <= *given);
            }
        }
        let counters = rig.sync.ready_counters();
        prop_assert!(counters.pushed - counters.popped - counters.dropped <= 4);
        prop_assert_eq!(counters.popped, taken);
    }

    /// Random faults of every kind at once: nothing stops, nothing is used twice.
    #[test]
    fn packets_go_on_through_every_fault(seed in any::<u64>(), phases in proptest::collection::vec(0_i64..100, 2..6)) {
        let mut random = Random(seed);
        let cameras: Vec<_> = phases
            .iter()
            .map(|phase| Camera {
                jitter: 2 * MS,
                drop_permille: random.between(0, 100),
                delay: (5 * MS, 20 * MS),
                ..Camera::new(P, phase * MS, 30_000 * MS)
            })
            .collect();
        let mut streams = streams(&cameras, seed);
        // From 20 s on all is well but for the usual drops.
        for frames in &mut streams {
            let outages: Vec<_> = (0..3).map(|_| (random.between(0, 15_000) * MS, random.between(0, 4_000) * MS)).collect();
            frames.retain(|f| f.time > 20_000 * MS || !outages.iter().any(|(from, len)| (0..*len).contains(&(f.time - from))));
        }
        let mut rig = Rig::new(&config(), cameras.len());
        rig.play(&streams);
        rig.finish();
        assert_used_once_and_in_order(&rig.sets);
        let settled: Vec<_> =
            rig.sets.iter().filter(|set| set.times.iter().flatten().min() > Some(&(21_000 * MS))).collect();
        // Of 90 frames of the reference a tenth may be dropped on average.
        prop_assert!(settled.len() >= 60, "{}", settled.len());
        prop_assert!(settled.iter().all(|set| set.ready - set.times.iter().flatten().max().unwrap() <= 3 * P));
        for frames in rig.sets.windows(2) {
            let anchor = |set: &Set| set.anchor.and_then(|at| set.times[at]);
            prop_assert!(anchor(&frames[0]) < anchor(&frames[1]), "{:?}", frames);
        }
    }
}
