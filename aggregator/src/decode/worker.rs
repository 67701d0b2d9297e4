//! One decoding thread per camera, fed in decoding order through a bounded queue.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{DecodeError, Decoder, Pictures};
use crate::deliver::{Decoded, Frame};

/// Frames that may wait for the decoder. When it cannot keep up the newest are marked failed, and
/// so are all until the next key frame: what comes after a skipped frame cannot be shown. A key frame
/// takes the place of all that still waits: the decoder goes on with the newest.
const QUEUE: usize = 8;
/// Frames whose picture is still inside the decoder; more than it can hold back (16) were lost in it.
const MAX_PENDING: usize = 17;

/// Counters of a worker.
#[derive(Debug, Default)]
pub struct DecodeStats {
    decoded: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
}

impl DecodeStats {
    /// Pictures that came out.
    #[must_use]
    pub fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    /// Frames that did not decode.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Frames skipped because the decoder was too slow.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }
}

/// Called with each frame that is decoded (`false`) or failed (`true`).
pub type Notify = Box<dyn Fn(bool) + Send>;

/// The decoding thread of one camera. Dropping it ends the thread after what is queued.
#[derive(Debug)]
pub struct DecodeWorker {
    inbox: Arc<Inbox>,
    skipping: bool,
    stats: Arc<DecodeStats>,
    thread: Option<JoinHandle<()>>,
}

impl DecodeWorker {
    /// Starts the thread of the `camera`-th camera with `decoder`. What it logs is in the span that is current
    /// now.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(camera: usize, decoder: Box<dyn Decoder>, notify: Notify) -> Result<Self, DecodeError> {
        let inbox = Arc::new(Inbox::default());
        let frames = inbox.clone();
        let stats = Arc::new(DecodeStats::default());
        let worker =
            Worker { decoder, notify, pending: VecDeque::new(), stats: stats.clone(), broken: false };
        let span = tracing::Span::current();
        let thread = std::thread::Builder::new()
            .name(format!("decode-{camera}"))
            .spawn(move || span.in_scope(|| worker.run(&frames)))
            .map_err(|error| DecodeError::Open(error.to_string()))?;
        Ok(Self { inbox, skipping: false, stats, thread: Some(thread) })
    }

    /// Hands over the next frame in decoding order; never waits.
    pub fn submit(&mut self, frame: Arc<Frame>) {
        if frame.key {
            self.skipping = false;
        }
        let mut waiting = self.inbox.lock();
        if waiting.frames.len() >= QUEUE && frame.key {
            waiting.frames.drain(..).for_each(|old| self.skip(&old));
        }
        self.skipping |= waiting.ended || waiting.frames.len() >= QUEUE;
        if self.skipping {
            self.skip(&frame);
        } else {
            waiting.frames.push_back(frame);
            self.inbox.changed.notify_one();
        }
    }

    /// The worker's counters.
    #[must_use]
    pub fn stats(&self) -> &Arc<DecodeStats> {
        &self.stats
    }

    fn skip(&self, frame: &Frame) {
        let _ = frame.picture.set(Decoded::Failed);
        self.stats.skipped.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for DecodeWorker {
    fn drop(&mut self) {
        self.inbox.end();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a decoding thread panicked");
        }
    }
}

/// Frames on their way to the thread.
#[derive(Debug, Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Arc<Frame>>,
    /// Nothing more comes, or nobody takes it any more.
    ended: bool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }

    /// Waits for the next frame; `None` at the end.
    fn next(&self) -> Option<Arc<Frame>> {
        let idle = |waiting: &mut Waiting| waiting.frames.is_empty() && !waiting.ended;
        let waiting = self.changed.wait_while(self.lock(), idle);
        waiting.unwrap_or_else(PoisonError::into_inner).frames.pop_front()
    }
}

/// Takes nothing more once the thread is gone, and lets nobody wait for what it did not get to, even if the
/// decoder panicked.
struct EndGuard<'a>(&'a Inbox);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.0.end();
        for frame in self.0.lock().frames.drain(..) {
            let _ = frame.picture.set(Decoded::Failed);
        }
    }
}

struct Worker {
    decoder: Box<dyn Decoder>,
    notify: Notify,
    /// Frames submitted whose picture has not come out.
    pending: VecDeque<Arc<Frame>>,
    stats: Arc<DecodeStats>,
    /// A frame failed: what refers to it is no better, until a key frame.
    broken: bool,
}

impl Worker {
    fn run(mut self, inbox: &Inbox) {
        let _end = EndGuard(inbox);
        let mut out = Vec::new();
        while let Some(frame) = inbox.next() {
            self.handle(frame, &mut out);
        }
        self.decoder.flush(&mut out);
        self.settle(&mut out);
        self.fail_all();
    }

    fn handle(&mut self, frame: Arc<Frame>, out: &mut Pictures) {
        if frame.key && (self.broken || self.pending.iter().any(|p| p.sequence >= frame.sequence)) {
            // Numbers or references start anew: take out what is left first.
            self.decoder.flush(out);
            self.settle(out);
            self.fail_all();
        }
        self.broken &= !frame.key;
        if self.broken {
            self.fail(&frame);
            return;
        }
        let number = i64::try_from(frame.sequence).unwrap_or(i64::MAX);
        self.pending.push_back(frame.clone());
        if let Err(error) = self.decoder.decode(&frame.data, number, out) {
            tracing::debug!(%error, number, "frame not decoded");
            self.broken = true;
            self.pending.retain(|pending| !Arc::ptr_eq(pending, &frame));
            self.fail(&frame);
        }
        self.settle(out);
        while self.pending.len() > MAX_PENDING {
            if let Some(lost) = self.pending.pop_front() {
                self.fail(&lost);
            }
        }
    }

    /// Gives each picture to the frame it was made of.
    fn settle(&mut self, out: &mut Pictures) {
        for (number, picture) in out.drain(..) {
            let at = self.pending.iter().position(|frame| i64::try_from(frame.sequence) == Ok(number));
            if let Some(frame) = at.and_then(|at| self.pending.remove(at)) {
                let _ = frame.picture.set(Decoded::Picture(picture));
                self.stats.decoded.fetch_add(1, Ordering::Relaxed);
                (self.notify)(false);
            }
        }
    }

    fn fail(&self, frame: &Frame) {
        let _ = frame.picture.set(Decoded::Failed);
        self.stats.failed.fetch_add(1, Ordering::Relaxed);
        (self.notify)(true);
    }

    fn fail_all(&mut self) {
        for frame in std::mem::take(&mut self.pending) {
            self.fail(&frame);
        }
    }
}
