//! One camera's jitter buffer: its unused frames in order of capture, and what is known of the camera.

use std::collections::VecDeque;

use framelock_common::time::{HostTime, Span, Utc};

use super::rhythm::{Delay, Rhythm};
use super::{CameraIndex, CameraStats, SourceState, SyncCamera, SyncFrame, TimeBasis};

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
    pub(super) basis: TimeBasis,
    pub(super) bytes: usize,
    pub(super) payload: Option<T>,
}

impl<T> Queued<T> {
    fn of(frame: SyncFrame<T>, arrival: HostTime) -> Self {
        let SyncFrame { time, basis, bytes, payload } = frame;
        Self { time, arrival, basis, bytes, payload: Some(payload) }
    }

    fn damaged(time: Utc, arrival: HostTime) -> Self {
        Self { time, arrival, basis: TimeBasis::default(), bytes: 0, payload: None }
    }

    /// The frame, if it is not a damaged one.
    pub(super) fn into_frame(self) -> Option<SyncFrame<T>> {
        let Self { time, basis, bytes, payload, .. } = self;
        payload.map(|payload| SyncFrame { time, basis, bytes, payload })
    }
}

#[derive(Debug)]
pub(super) struct Camera<T> {
    pub(super) index: CameraIndex,
    pub(super) state: SourceState,
    /// Whether sets do not wait for it, because it did not keep up.
    pub(super) late: bool,
    /// A read error of which not even the time could be guessed.
    pub(super) untimed_error: bool,
    /// Whether a frame of it is in the last set.
    pub(super) in_last_set: bool,
    /// How the time of its last frame is known.
    pub(super) basis: TimeBasis,
    pub(super) stats: CameraStats,
    rhythm: Rhythm,
    /// Unused frames, by ascending time; no two have the same.
    queue: VecDeque<Queued<T>>,
    /// Memory that they take.
    bytes: usize,
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
            in_last_set: false,
            basis: TimeBasis::default(),
            stats: CameraStats::default(),
            rhythm: Rhythm::new(camera.declared_period),
            queue: VecDeque::new(),
            bytes: 0,
            limit: limit.max(2),
            newest: None,
            heard: None,
            last_arrival: None,
            last_used: None,
        }
    }

    /// Takes a frame. Gives the size of a clock step if its time shows one.
    pub(super) fn insert(&mut self, frame: SyncFrame<T>, now: HostTime) -> Option<Span> {
        self.basis = frame.basis;
        self.take(Queued::of(frame, now))
    }

    /// Takes note of a damaged frame. Gives the size of a clock step if its time shows one.
    pub(super) fn insert_error(&mut self, time: Option<Utc>, now: HostTime) -> Option<Span> {
        if time.is_some() {
            return time.and_then(|time| self.take(Queued::damaged(time, now)));
        }
        self.stats.received += 1;
        self.heard_from(now);
        // Its capture is as long after the newest frame's as its arrival is.
        match self.newest.map(|(time, arrival)| time + (now - arrival)) {
            Some(guess) if self.last_used.is_none_or(|last| guess > last) => {
                self.heard = self.heard.max(Some(guess));
                self.enqueue(Queued::damaged(guess, now));
            }
            _ => {
                self.untimed_error = true;
                self.stats.skipped += 1;
            }
        }
        None
    }

    fn take(&mut self, item: Queued<T>) -> Option<Span> {
        let (time, now) = (item.time, item.arrival);
        self.stats.received += 1;
        self.heard_from(now);
        let step = self.clock_step(time, now);
        if let Some(by) = step {
            self.stats.clock_steps += 1;
            self.rhythm.restart();
            if by < Span::ZERO {
                // What is left from before the step would stand in the way until the clock gets there again.
                self.stats.stepped += self.queue.len() as u64;
                self.clear_queue();
                (self.newest, self.heard, self.last_used) = (None, None, None);
            }
        }
        self.rhythm.note(time, now);
        if self.newest.is_none_or(|(newest, _)| time > newest) {
            self.newest = Some((time, now));
        }
        self.heard = self.heard.max(Some(time));
        self.admit(item);
        step
    }

    /// Puts a frame into the queue, unless it comes too late.
    fn admit(&mut self, item: Queued<T>) {
        match self.last_used {
            Some(last) if item.time == last => self.stats.duplicates += 1,
            Some(last) if item.time < last => self.stats.late += 1,
            _ => self.enqueue(item),
        }
    }

    /// The camera's clock is known better now: `better` gives the frames that wait their new times, and what else
    /// is known of the camera moves by `shift`. True if that is a clock step.
    pub(super) fn retime(&mut self, shift: Span, mut better: impl FnMut(&mut T) -> Option<Utc>) -> bool {
        let mut items: Vec<_> = self.queue.drain(..).collect();
        self.bytes = 0;
        let mut moved = Vec::with_capacity(items.len());
        for item in &mut items {
            let before = item.time;
            // Of a damaged frame nothing is left that could tell.
            item.time = match &mut item.payload {
                Some(payload) => better(payload).unwrap_or(before),
                None => before + shift,
            };
            moved.push((before, item.time));
        }
        self.rhythm.retime(shift, &moved);
        self.newest = self.newest.map(|(time, arrival)| (time + shift, arrival));
        self.heard = self.heard.map(|time| time + shift);
        let step = shift.abs() > CLOCK_STEP;
        if step {
            self.stats.clock_steps += 1;
        }
        if shift < -CLOCK_STEP {
            self.last_used = None;
        }
        items.sort_by_key(|item| item.time);
        items.into_iter().for_each(|item| self.admit(item));
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
                    self.bytes = self.bytes - other.bytes + item.bytes;
                    *other = item;
                }
            }
            _ => {
                self.bytes += item.bytes;
                self.queue.insert(at, item);
            }
        }
        if self.queue.len() > self.limit {
            self.drop_oldest();
        }
    }

    /// Has the oldest frame give way to newer ones; false if there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let oldest = self.pop_front();
        self.stats.overflowed += u64::from(oldest.is_some());
        oldest.is_some()
    }

    fn pop_front(&mut self) -> Option<Queued<T>> {
        let item = self.queue.pop_front()?;
        self.bytes -= item.bytes;
        Some(item)
    }

    fn clear_queue(&mut self) {
        self.queue.clear();
        self.bytes = 0;
    }

    /// Memory that the unused frames take.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
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
        let used = self.pop_front()?;
        self.last_used = Some(used.time);
        self.stats.used += 1;
        Some(used)
    }

    /// Passes over the `count` oldest frames.
    pub(super) fn skip(&mut self, count: usize) {
        let count = count.min(self.queue.len());
        self.bytes -= self.queue.drain(..count).map(|item| item.bytes).sum::<usize>();
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
