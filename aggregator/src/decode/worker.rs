//! One decoding thread per camera, fed in decoding order through a bounded queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::{DecodeError, Decoder};
use crate::deliver::{Decoded, Frame, Picture};

/// Frames that may wait for the decoder. When it cannot keep up the newest are marked failed, and
/// so are all until the next key frame: what comes after a skipped frame cannot be shown.
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
    queue: Option<SyncSender<Arc<Frame>>>,
    skipping: bool,
    stats: Arc<DecodeStats>,
    thread: Option<JoinHandle<()>>,
}

impl DecodeWorker {
    /// Starts the thread of the `camera`-th camera with `decoder`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(camera: usize, decoder: Box<dyn Decoder>, notify: Notify) -> Result<Self, DecodeError> {
        let (queue, frames) = sync_channel(QUEUE);
        let stats = Arc::new(DecodeStats::default());
        let worker =
            Worker { decoder, notify, pending: VecDeque::new(), stats: stats.clone(), broken: false };
        let thread = std::thread::Builder::new()
            .name(format!("decode-{camera}"))
            .spawn(move || worker.run(&frames))
            .map_err(|error| DecodeError::Open(error.to_string()))?;
        Ok(Self { queue: Some(queue), skipping: false, stats, thread: Some(thread) })
    }

    /// Hands over the next frame in decoding order; never waits.
    pub fn submit(&mut self, frame: Arc<Frame>) {
        if frame.key {
            self.skipping = false;
        }
        let Some(queue) = self.queue.as_ref().filter(|_| !self.skipping) else {
            self.skip(&frame);
            return;
        };
        if let Err(TrySendError::Full(frame) | TrySendError::Disconnected(frame)) = queue.try_send(frame) {
            self.skipping = true;
            self.skip(&frame);
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
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a decoding thread panicked");
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
    fn run(mut self, frames: &Receiver<Arc<Frame>>) {
        let mut out = Vec::new();
        while let Ok(frame) = frames.recv() {
            self.handle(frame, &mut out);
        }
        self.decoder.flush(&mut out);
        self.settle(&mut out);
        self.fail_all();
    }

    fn handle(&mut self, frame: Arc<Frame>, out: &mut Vec<(i64, Picture)>) {
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
    fn settle(&mut self, out: &mut Vec<(i64, Picture)>) {
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
