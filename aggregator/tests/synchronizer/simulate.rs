//! Cameras, their network, and the loop that drives a synchronizer in simulated time.

use framelock_aggregator::sync::{
    CameraIndex, FrameSet, SetStatus, SyncCamera, SyncConfig, SyncFrame, Synchronizer, TimeBasis,
};
use framelock_common::time::{HostTime, Span, Utc};

/// A small seeded generator (SplitMix64).
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `low..=high`.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = (high - low).unsigned_abs() + 1;
        low + i64::try_from(self.next() % width).unwrap()
    }

    pub(crate) fn chance(&mut self, permille: i64) -> bool {
        self.between(0, 999) < permille
    }
}

pub(crate) const MS: i64 = 1_000_000;

/// How one camera behaves; times in ns.
#[derive(Clone, Debug)]
pub(crate) struct Camera {
    pub(crate) period: i64,
    pub(crate) phase: i64,
    /// Every stamp is off by at most this, either way.
    pub(crate) jitter: i64,
    pub(crate) drop_permille: i64,
    /// Smallest and largest time on the way.
    pub(crate) delay: (i64, i64),
    /// Frames with a nominal stamp in here are captured.
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Camera {
    pub(crate) fn new(period: i64, phase: i64, until: i64) -> Self {
        Self { period, phase, jitter: 0, drop_permille: 0, delay: (0, 0), from: i64::MIN, until }
    }

    /// Its frames: stamps strictly ascending, arrivals in the same order.
    pub(crate) fn frames(&self, random: &mut Random) -> Vec<Arrival> {
        let (mut frames, mut last) = (Vec::new(), (i64::MIN, i64::MIN));
        for n in 0.. {
            let nominal = self.phase + n * self.period;
            if nominal >= self.until {
                return frames;
            }
            let stamp = (nominal + random.between(-self.jitter, self.jitter)).max(last.0.saturating_add(1));
            let arrival = (stamp + random.between(self.delay.0, self.delay.1)).max(last.1);
            if nominal >= self.from && !random.chance(self.drop_permille) {
                frames.push(Arrival { time: stamp, arrival });
                last = (stamp, arrival);
            }
        }
        unreachable!()
    }
}

/// A frame on its way to the synchronizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) time: i64,
    pub(crate) arrival: i64,
}

pub(crate) type Streams = Vec<Vec<Arrival>>;

pub(crate) fn streams(cameras: &[Camera], seed: u64) -> Streams {
    cameras.iter().zip(seed..).map(|(camera, seed)| camera.frames(&mut Random(seed))).collect()
}

/// A finished set, in plain numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) anchor: Option<usize>,
    pub(crate) spread: i64,
    pub(crate) complete: bool,
    pub(crate) ready: i64,
    /// The stamp of each camera's frame.
    pub(crate) times: Vec<Option<i64>>,
    pub(crate) statuses: Vec<SetStatus>,
}

impl Set {
    /// The stamp of the anchor.
    pub(crate) fn anchor_time(&self) -> i64 {
        self.times[self.anchor.unwrap()].unwrap()
    }
}

pub(crate) fn host(ns: i64) -> HostTime {
    HostTime::from_nanos(ns)
}

pub(crate) fn utc(ns: i64) -> Utc {
    Utc::from_unix_nanos(ns)
}

/// A synchronizer of frames whose payload is their stamp, with what came out of it.
pub(crate) struct Rig {
    pub(crate) sync: Synchronizer<i64>,
    pub(crate) sets: Vec<Set>,
    pub(crate) now: i64,
}

impl Rig {
    pub(crate) fn new(config: &SyncConfig, cameras: usize) -> Self {
        Self::with_periods(config, &vec![None; cameras])
    }

    pub(crate) fn with_periods(config: &SyncConfig, declared: &[Option<i64>]) -> Self {
        let camera = |declared: &Option<i64>| SyncCamera { declared_period: declared.map(Span::from_nanos) };
        let sync = Synchronizer::new(config, declared.iter().map(camera).collect());
        Self { sync, sets: Vec::new(), now: i64::MIN }
    }

    /// Lets time pass to `now`, with every timer on the way at its very instant; not those at `now` itself.
    pub(crate) fn pass(&mut self, now: i64) {
        while let Some(timeout) = self.sync.poll_timeout().filter(|timeout| timeout.as_nanos() < now) {
            assert!(timeout.as_nanos() >= self.now, "a timer in the past: {timeout:?}, now {}", self.now);
            self.now = timeout.as_nanos();
            self.sync.handle_timeout(timeout);
            self.take();
            let next = self.sync.poll_timeout();
            assert!(
                next.is_none_or(|next| next > timeout),
                "the timer at {timeout:?} did not help: {next:?}"
            );
        }
        self.now = now;
    }

    pub(crate) fn frame(&mut self, camera: usize, time: i64, now: i64) {
        self.pass(now);
        let frame = SyncFrame::new(utc(time), time);
        self.sync.handle_frame(CameraIndex::new(camera), frame, host(now));
        self.take();
    }

    /// A frame whose time is known as `basis` says.
    pub(crate) fn frame_known(&mut self, camera: usize, time: i64, now: i64, basis: TimeBasis) {
        self.pass(now);
        let frame = SyncFrame { basis, ..SyncFrame::new(utc(time), time) };
        self.sync.handle_frame(CameraIndex::new(camera), frame, host(now));
        self.take();
    }

    /// A camera's clock turns out to have been wrong by `-shift`: all of its frames that wait move.
    pub(crate) fn better_times(&mut self, camera: usize, shift: i64, now: i64) {
        self.pass(now);
        let better = |stamp: &mut i64| {
            *stamp = stamp.saturating_add(shift);
            Some(utc(*stamp))
        };
        let index = CameraIndex::new(camera);
        self.sync.handle_better_times(index, Span::from_nanos(shift), host(now), better);
        self.take();
    }

    pub(crate) fn read_error(&mut self, camera: usize, time: Option<i64>, now: i64) {
        self.pass(now);
        self.sync.handle_read_error(CameraIndex::new(camera), time.map(utc), host(now));
        self.take();
    }

    pub(crate) fn finish(&mut self) {
        self.sync.finish(host(self.now));
        self.take();
    }

    pub(crate) fn take(&mut self) {
        while let Some(set) = self.sync.poll_set() {
            assert_eq!(set.number as usize, self.sets.len());
            self.sets.push(check(&set));
        }
    }

    /// Plays all of `streams` in order of arrival.
    pub(crate) fn play(&mut self, streams: &Streams) {
        let mut all: Vec<_> = streams
            .iter()
            .enumerate()
            .flat_map(|(camera, frames)| frames.iter().map(move |f| (camera, *f)))
            .collect();
        all.sort_by_key(|(_, frame)| frame.arrival);
        for (camera, frame) in all {
            self.frame(camera, frame.time, frame.arrival);
        }
    }
}

/// Checks what holds for every set.
fn check(set: &FrameSet<i64>) -> Set {
    let mut times: Vec<_> = set.entries.iter().filter_map(|e| e.frame.as_ref()).map(|f| f.payload).collect();
    for (at, entry) in set.entries.iter().enumerate() {
        assert_eq!(entry.camera.get(), at);
        assert_eq!(entry.frame.is_some(), entry.status == SetStatus::Okay);
        assert!(entry.frame.as_ref().is_none_or(|frame| frame.time == utc(frame.payload)));
    }
    times.sort_unstable();
    let spread = times.last().zip(times.first()).map_or(0, |(last, first)| last.saturating_sub(*first));
    assert_eq!(set.spread.as_nanos(), spread);
    assert_eq!(set.complete, times.len() == set.entries.len());
    if !times.is_empty() {
        let (low, high) = (times[(times.len() - 1) / 2], times[times.len() / 2]);
        assert!((low..=high).contains(&set.time.as_unix_nanos()));
    }
    Set {
        anchor: set.anchor.map(CameraIndex::get),
        spread,
        complete: set.complete,
        ready: set.ready.as_nanos(),
        times: set.entries.iter().map(|entry| entry.frame.as_ref().map(|frame| frame.payload)).collect(),
        statuses: set.entries.iter().map(|entry| entry.status).collect(),
    }
}

/// Plays `streams` to their end and gives every set.
pub(crate) fn run(config: &SyncConfig, declared: &[Option<i64>], streams: &Streams) -> Vec<Set> {
    let mut rig = Rig::with_periods(config, declared);
    rig.play(streams);
    rig.finish();
    assert_used_once_and_in_order(&rig.sets);
    for (camera, frames) in streams.iter().enumerate() {
        let stats = rig.sync.stats(CameraIndex::new(camera)).unwrap();
        assert_eq!(stats.received as usize, frames.len());
        let used = rig.sets.iter().filter(|set| set.times[camera].is_some()).count();
        assert_eq!(stats.used as usize, used);
    }
    rig.sets
}

pub(crate) fn assert_used_once_and_in_order(sets: &[Set]) {
    for camera in 0..sets.first().map_or(0, |set| set.times.len()) {
        let used: Vec<_> = sets.iter().filter_map(|set| set.times[camera]).collect();
        assert!(used.windows(2).all(|pair| pair[0] < pair[1]), "camera {camera}: {used:?}");
    }
}
