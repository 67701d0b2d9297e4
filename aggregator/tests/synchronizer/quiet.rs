//! Callers that sleep while nothing that arrives can finish a set.

use framelock_aggregator::sync::{CameraIndex, Policy, Rate, SyncConfig};
use framelock_common::time::Span;

use crate::simulate::{Arrival, Camera, MS, Random, Rig, Set, Streams, run, streams};

/// How long the caller waits for the one frame that it was told of before it looks at the others.
const GRACE: i64 = 4 * MS;

/// What came of a caller that sleeps.
struct Slept {
    sets: Vec<Set>,
    wakes: usize,
    /// How long after it could be finished each set was; those of the end, when nothing arrives any more, left out.
    late: Vec<i64>,
}

/// Plays `streams` to a caller that sleeps whenever it is told that it may, and else until the next arrival.
fn sleep_through(config: &SyncConfig, streams: &Streams) -> Slept {
    let of_camera = |(camera, frames): (usize, &Vec<Arrival>)| {
        frames.iter().map(|frame| (camera, *frame)).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = streams.iter().enumerate().flat_map(of_camera).collect();
    all.sort_by_key(|(_, frame)| frame.arrival);
    let end = all.last().map_or(0, |(_, frame)| frame.arrival);
    let mut rig = Rig::new(config, streams.len());
    let (mut arrived, mut wakes, mut late) = (0, 0, Vec::new());
    while let Some((_, next)) = all.get(arrived) {
        let now = match rig.sync.quiet_until() {
            Some((until, camera)) if until.as_nanos() + GRACE > rig.now => {
                let mut coming = all[arrived..].iter().filter(|(of, _)| CameraIndex::new(*of) == camera);
                let comes = coming.next().map_or(i64::MAX, |(_, frame)| frame.arrival);
                comes.max(until.as_nanos()).min(until.as_nanos() + GRACE)
            }
            _ => next.arrival,
        };
        let timer = rig.sync.poll_timeout().map_or(i64::MAX, |timer| timer.as_nanos() + 1);
        let now = now.min(timer).max(rig.now + 1).min(end);
        wakes += 1;
        while let Some((camera, frame)) = all.get(arrived).filter(|(_, frame)| frame.arrival <= now) {
            rig.frame(*camera, frame.time, frame.arrival);
            arrived += 1;
        }
        rig.pass(now);
        late.extend(rig.sets[late.len()..].iter().map(|set| now - set.ready));
    }
    rig.finish();
    Slept { sets: rig.sets, wakes, late }
}

fn cameras(count: usize, random: &mut Random) -> Vec<Camera> {
    let period = 33_333_333;
    let camera = |_| Camera {
        jitter: 200_000,
        delay: (3 * MS, 3 * MS + 300_000),
        ..Camera::new(period, random.between(0, period - 1), 10_000 * MS)
    };
    (0..count).map(camera).collect()
}

#[test]
fn who_sleeps_gets_every_set_in_time_and_wakes_up_less_often() {
    let (mut sets, mut late, mut wakes, mut arrivals) = (0, 0, 0, 0);
    for seed in 0..40 {
        let count = 2 + seed as usize % 7;
        let config = SyncConfig::default();
        let streams = streams(&cameras(count, &mut Random(seed)), seed);
        let slept = sleep_through(&config, &streams);
        assert!(slept.sets == run(&config, &vec![None; count], &streams), "seed {seed}: other sets");
        sets += slept.sets.len();
        wakes += slept.wakes;
        arrivals += streams.iter().map(Vec::len).sum::<usize>();
        late += slept.late.iter().filter(|late| **late > MS).count();
    }
    // Timers that pass are in it as well; awake, there would be one for each of 5 cameras on average.
    assert!(wakes < sets * 9 / 4 && sets * 9 / 2 < arrivals, "{wakes} wakes, {sets} sets, {arrivals} frames");
    assert!(late * 200 <= sets, "{late} of {sets} sets more than 1 ms late");
}

#[test]
fn cameras_that_break_their_pace_hold_a_set_up_for_no_longer_than_a_period() {
    for seed in 100..220 {
        let mut random = Random(seed);
        let periods = [33_333_333, 33_333_333, 40 * MS, 66_666_667];
        let count = 2 + seed as usize % 5;
        let mut cameras = cameras(count, &mut random);
        for camera in &mut cameras {
            camera.period = periods[random.between(0, 3) as usize];
            camera.jitter = [0, 200_000, 5 * MS][random.between(0, 2) as usize];
            camera.drop_permille = [0, 50, 400][random.between(0, 2) as usize];
            camera.delay.1 = camera.delay.0 + [0, 10 * MS][random.between(0, 1) as usize];
            camera.until = [2_000, 10_000][random.between(0, 1) as usize] * MS;
        }
        let rates = [Rate::Slowest, Rate::Fastest, "20".parse().unwrap()];
        let policies = [Policy::Tightest, Policy::LastBefore, Policy::Exact(Span::from_millis(10))];
        let config = SyncConfig {
            rate: rates[seed as usize % 3],
            policy: policies[if seed % 10 < 8 { 0 } else { seed as usize % 2 + 1 }],
            ..SyncConfig::default()
        };
        let streams = streams(&cameras, seed);
        let slept = sleep_through(&config, &streams);
        assert!(slept.sets == run(&config, &vec![None; count], &streams), "seed {seed}: other sets");
        let most = slept.late.iter().max().copied().unwrap_or(0);
        assert!(most <= 66_666_667 + GRACE, "seed {seed}: {most}");
    }
}

#[test]
fn before_anything_is_known_nobody_may_sleep() {
    let mut rig = Rig::new(&SyncConfig::default(), 2);
    assert_eq!(rig.sync.quiet_until(), None);
    rig.frame(0, 0, 3 * MS);
    rig.frame(1, 10 * MS, 13 * MS);
    assert_eq!(rig.sync.quiet_until(), None);
}
