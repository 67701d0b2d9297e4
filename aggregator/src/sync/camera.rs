//! One camera's jitter buffer: its unused frames in order of capture, and what is known of the camera.

use std::collections::VecDeque;

use framelock_common::time::{HostTime, Span, Utc};

use super::rhythm::{Delay, Rhythm};
use super::{CameraIndex, CameraStats, SourceState, SyncCamera, SyncFrame};

/// A capture time that jumps further than this, against its arrival or back, is a clock step and neither
/// reordering nor a gap.
pub(super) const CLOCK_STEP: Span = Span::from_secs(1);

/// Taken for the period of a camera of which no period is known.
pub(super) const UNKNOWN_PERIOD: Span = Span::from_millis(500);

/// A frame that waits; one that arrived damaged has no payload.
#[derive(Debug)]
pub(super) struct Queued<T> {
    pub(super) time: Utc,
    pub(super) arrival: HostTime,
    pub(super) payload: Option<T>,
}

#[derive(Debug)]
pub(super) struct Camera<T> {
    pub(super) index: CameraIndex,
    pub(super) state: SourceState,
    /// Whether sets do not wait for it, because it did not keep up.
    pub(super) late: bool,
    /// A read error of which not even the time could be guessed.
    pub(super) untimed_error: bool,
    pub(super) stats: CameraStats,
    rhythm: Rhythm,
    /// Unused frames, by ascending time; no two have the same.
    queue: VecDeque<Queued<T>>,
    limit: usize,
    /// The latest capture time that was received, and when.
    newest: Option<(Utc, HostTime)>,
    /// As `newest`, or the guessed time of a read error where that is later.
    heard: Option<Utc>,
    last_arrival: Option<HostTime>,
    last_used: Option<Utc>,
}

impl<T> Camera<T> {
    pub(super) fn new(index: CameraIndex, camera: SyncCamera, limit: usize) -> Self {
        Self {
            index,
            state: SourceState::Starting,
            late: false,
            untimed_error: false,
            stats: CameraStats::default(),
            rhythm: Rhythm::new(camera.declared_period),
            queue: VecDeque::new(),
            limit: limit.max(2),
            newest: None,
            heard: None,
            last_arrival: None,
            last_used: None,
        }
    }

    /// Takes a frame. Gives the size of a clock step if its time shows one.
    pub(super) fn insert(&mut self, frame: SyncFrame<T>, now: HostTime) -> Option<Span> {
        let SyncFrame { time, payload } = frame;
        self.take(time, Some(payload), now)
    }

    /// Takes note of a damaged frame. Gives the size of a clock step if its time shows one.
    pub(super) fn insert_error(&mut self, time: Option<Utc>, now: HostTime) -> Option<Span> {
        if time.is_some() {
            return time.and_then(|time| self.take(time, None, now));
        }
        self.stats.received += 1;
        self.heard_from(now);
        // Its capture is as long after the newest frame's as its arrival is.
        match self.newest.map(|(time, arrival)| time + (now - arrival)) {
            Some(guess) if self.last_used.is_none_or(|last| guess > last) => {
                self.heard = self.heard.max(Some(guess));
                self.enqueue(Queued { time: guess, arrival: now, payload: None });
            }
            _ => {
                self.untimed_error = true;
                self.stats.skipped += 1;
            }
        }
        None
    }

    fn take(&mut self, time: Utc, payload: Option<T>, now: HostTime) -> Option<Span> {
        self.stats.received += 1;
        self.heard_from(now);
        let step = self.clock_step(time, now);
        if let Some(by) = step {
            self.stats.clock_steps += 1;
            self.rhythm.restart();
            if by < Span::ZERO {
                // What is left from before the step would stand in the way until the clock gets there again.
                self.stats.stepped += self.queue.len() as u64;
                self.queue.clear();
                (self.newest, self.heard, self.last_used) = (None, None, None);
            }
        }
        self.rhythm.note(time, now);
        if self.newest.is_none_or(|(newest, _)| time > newest) {
            self.newest = Some((time, now));
        }
        self.heard = self.heard.max(Some(time));
        match self.last_used {
            Some(last) if time == last => self.stats.duplicates += 1,
            Some(last) if time < last => self.stats.late += 1,
            _ => self.enqueue(Queued { time, arrival: now, payload }),
        }
        step
    }

    fn heard_from(&mut self, now: HostTime) {
        self.last_arrival = Some(now);
        self.state = SourceState::Live;
    }

    fn clock_step(&self, time: Utc, now: HostTime) -> Option<Span> {
        let (newest, arrival) = self.newest?;
        let ahead = (time - newest) - (now - arrival);
        if newest - time > CLOCK_STEP {
            // A jump back is one however long the frame was on its way.
            Some(ahead)
        } else {
            (time > newest && ahead > CLOCK_STEP).then_some(ahead)
        }
    }

    fn enqueue(&mut self, item: Queued<T>) {
        let at = self.queue.partition_point(|other| other.time < item.time);
        match self.queue.get_mut(at) {
            Some(other) if other.time == item.time => {
                self.stats.duplicates += 1;
                // A good frame is better than the word of a damaged one.
                if other.payload.is_none() {
                    *other = item;
                }
            }
            _ => self.queue.insert(at, item),
        }
        if self.queue.len() > self.limit {
            self.queue.pop_front();
            self.stats.overflowed += 1;
        }
    }

    /// The unused frames, by ascending time.
    pub(super) const fn queue(&self) -> &VecDeque<Queued<T>> {
        &self.queue
    }

    /// The oldest unused frame.
    pub(super) fn front(&self) -> Option<&Queued<T>> {
        self.queue.front()
    }

    /// How many unused frames there are up to and at `time`.
    pub(super) fn count_until(&self, time: Utc) -> usize {
        self.queue.partition_point(|item| item.time <= time)
    }

    /// The capture time of the last unused frame at or before `time`.
    pub(super) fn last_until(&self, time: Utc) -> Option<Utc> {
        self.queue.get(self.count_until(time).checked_sub(1)?).map(|item| item.time)
    }

    /// Takes the frame at `index` of the queue and passes over all before it.
    pub(super) fn use_at(&mut self, index: usize) -> Option<Queued<T>> {
        self.skip(index);
        let used = self.queue.pop_front()?;
        self.last_used = Some(used.time);
        self.stats.used += 1;
        Some(used)
    }

    /// Passes over the `count` oldest frames.
    pub(super) fn skip(&mut self, count: usize) {
        let count = count.min(self.queue.len());
        self.queue.drain(..count);
        self.stats.skipped += count as u64;
    }

    /// Passes over the frames up to and at `time`.
    pub(super) fn skip_until(&mut self, time: Utc) {
        self.skip(self.count_until(time));
    }

    pub(super) const fn seen(&self) -> bool {
        self.last_arrival.is_some()
    }

    pub(super) const fn last_arrival(&self) -> Option<HostTime> {
        self.last_arrival
    }

    pub(super) const fn newest(&self) -> Option<Utc> {
        match self.newest {
            Some((time, _)) => Some(time),
            None => None,
        }
    }

    pub(super) fn period(&self) -> Option<Span> {
        self.rhythm.period()
    }

    pub(super) fn period_or_guess(&self) -> Span {
        self.rhythm.period().unwrap_or(UNKNOWN_PERIOD)
    }

    pub(super) fn jitter(&self) -> Span {
        self.rhythm.jitter()
    }

    pub(super) fn delay(&self) -> Option<Delay> {
        self.rhythm.delay()
    }

    /// Whether sets wait for its frames.
    pub(super) fn is_awaited(&self) -> bool {
        !self.late && self.state != SourceState::Broken
    }

    /// The earliest capture time that a frame still to come can have; `None` if any.
    pub(super) fn expected(&self, tolerance_permille: u16) -> Option<Utc> {
        Some(self.rhythm.expected(self.heard?, tolerance_permille))
    }

    /// The latest capture time up to which nothing can come any more, reordering aside from a clock step.
    pub(super) fn settled(&self) -> Option<Utc> {
        self.newest().map(|newest| newest - self.rhythm.reordering())
    }
}
