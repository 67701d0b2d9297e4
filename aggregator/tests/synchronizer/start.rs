//! The beginning: cameras that start one after the other, on a busy machine.

use framelock_aggregator::sync::{CameraIndex, SetStatus, SyncCamera, SyncConfig, SyncFrame};
use framelock_common::time::Span;

use crate::simulate::{Camera, MS, Random, Rig, host, streams, utc};

const PERIOD: i64 = 33_333_333;
const CAMERAS: usize = 16;

/// Sixteen cameras of one rate and steady stamps whose senders start one after the other and are held up for up
/// to `delay`; each becomes a camera with its first frame. Gives for each set how many cameras there are, and
/// how many of them have a frame in it.
fn start(seed: u64, delay: i64) -> Vec<(usize, usize)> {
    let mut random = Random(seed);
    let cameras: Vec<_> = (0..CAMERAS)
        .map(|_| Camera {
            jitter: 5_556,
            delay: (MS, delay),
            ..Camera::new(PERIOD, random.between(0, 700 * MS), 2_500 * MS)
        })
        .collect();
    let streams = streams(&cameras, seed);
    let mut all: Vec<_> = streams
        .iter()
        .enumerate()
        .flat_map(|(at, frames)| frames.iter().map(move |frame| (frame.arrival, at, frame.time)))
        .collect();
    all.sort_unstable();
    let config = SyncConfig { max_wait: Some(Span::from_secs(10)), ..SyncConfig::default() };
    let mut rig = Rig::new(&config, 0);
    let mut indices = [None; CAMERAS];
    let mut sets = Vec::new();
    for (arrival, at, time) in all {
        rig.pass(arrival);
        let index: &mut Option<CameraIndex> = &mut indices[at];
        let index = *index.get_or_insert_with(|| rig.sync.add_camera(SyncCamera::default()));
        rig.sync.handle_frame(index, SyncFrame::new(utc(time), time), host(arrival));
        while let Some(set) = rig.sync.poll_set() {
            let okay = set.entries.iter().filter(|entry| entry.status == SetStatus::Okay).count();
            sets.push((set.entries.len(), okay));
        }
    }
    sets
}

/// Where a camera joins whose period nobody knows yet, its first frame may pull the set around it in a way that
/// the next one has to put right.
#[test]
fn a_rig_that_has_become_complete_stays_complete() {
    for (delay, seeds) in [(2, 0..15), (60, 15..30)] {
        for seed in seeds {
            let sets = start(seed, delay * MS);
            let whole = |(cameras, okay): &(usize, usize)| *cameras == CAMERAS && *okay == CAMERAS;
            let first = sets.iter().position(whole).unwrap();
            assert!(sets.len() - first > 50, "{delay} {seed}");
            assert!(sets[first..].iter().all(whole), "{delay} {seed}: {:?}", &sets[first..]);
        }
    }
}
