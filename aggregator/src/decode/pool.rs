//! A few threads that decode for all cameras: at most one a core, shared fairly. Every camera has its turn
//! with one frame, whatever its backlog; a camera's frames are decoded in order, by one thread at a time.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::lane::{Lane, Settled};
use super::{DecodeError, Decoder, DecoderOptions, StillDecoder};
use crate::deliver::{Frame, Outcome};
use crate::sync::CameraIndex;

/// Frames of a camera that may wait for their turn. When the threads cannot keep up the newest are skipped,
/// and so are all until the next key frame: what comes after a skipped frame cannot be shown. A key frame
/// takes the place of all that still waits: decoding goes on with the newest.
const QUEUE: usize = 8;
/// With so many frames of a camera waiting, sources that can wait should.
const FULL: usize = QUEUE / 2;
/// Frames that are decoded by themselves and may wait for their turn.
const MAX_STILLS: usize = 256;

/// What the pool tells its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolEvent {
    /// What came of some frames is known.
    Settled,
    /// A camera's frames cannot be decoded before its next key frame.
    WantsKeyFrame(CameraIndex),
}

/// Opens decoders for the pool.
pub trait Decoders: Send + Sync {
    /// A decoder of one H.264 stream.
    ///
    /// # Errors
    /// When there is none or the library fails.
    fn open(&self, options: DecoderOptions) -> Result<Box<dyn Decoder>, DecodeError>;

    /// A decoder of JPEG pictures.
    ///
    /// # Errors
    /// When there is none or the library fails.
    fn open_still(&self) -> Result<Box<dyn StillDecoder>, DecodeError>;
}

/// Called with every event, from any thread.
pub type OnEvent = Box<dyn Fn(PoolEvent) + Send + Sync>;

/// Counters of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeStats {
    /// Pictures that came out.
    pub decoded: u64,
    /// Frames that did not decode.
    pub failed: u64,
    /// Frames skipped because the decoders were too slow.
    pub skipped: u64,
    /// Frames that came before the first key frame.
    pub early: u64,
}

/// See the module. Dropping it ends the threads; frames that wait are settled as failed.
pub struct DecodePool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    max_threads: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    decoders: Box<dyn Decoders>,
    on_event: OnEvent,
    counters: Counters,
}

#[derive(Default)]
struct Queue {
    lanes: HashMap<CameraIndex, Inbox>,
    /// Whose turn it is: each camera that has frames waiting, once.
    turns: VecDeque<Turn>,
    stills: VecDeque<Frame>,
    options: DecoderOptions,
    idle: usize,
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Camera(CameraIndex),
    Still,
}

/// What waits for one camera's decoder.
struct Inbox {
    waiting: VecDeque<Work>,
    /// `None` while a thread is at it.
    lane: Option<Lane>,
    skipping: bool,
    /// It is to be forgotten.
    closed: bool,
}

enum Work {
    Frame(Frame),
    /// Frames are missing here.
    Gap,
    Flush,
}

#[derive(Default)]
struct Counters {
    decoded: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
    early: AtomicU64,
}

impl DecodePool {
    /// A pool of at most `max_threads` threads, at least 1; they are started as they are needed.
    #[must_use]
    pub fn new(max_threads: usize, decoders: Box<dyn Decoders>, on_event: OnEvent) -> Self {
        let shared = Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            decoders,
            on_event,
            counters: Counters::default(),
        };
        Self { shared: Arc::new(shared), threads: Mutex::default(), max_threads: max_threads.max(1) }
    }

    /// With which options decoders are to work from their next key frame on.
    pub fn set_options(&self, options: DecoderOptions) {
        self.shared.lock().options = options;
    }

    /// Hands over the next H.264 frame of `camera` in decoding order; never waits.
    pub fn submit(&self, camera: CameraIndex, frame: Frame) {
        let mut skipped = 0;
        let mut wants_key_frame = false;
        let mut queue = self.shared.lock();
        let ended = queue.ended;
        let inbox = queue.lanes.entry(camera).or_insert_with(Inbox::new);
        if std::mem::take(&mut inbox.closed) {
            inbox.waiting.push_back(Work::Gap);
        }
        if frame.key && inbox.waiting.len() >= QUEUE {
            skipped += inbox.skip_all();
        }
        if frame.key {
            inbox.skipping = false;
        } else if inbox.waiting.len() >= QUEUE && !inbox.skipping {
            (inbox.skipping, wants_key_frame) = (true, true);
            inbox.waiting.push_back(Work::Gap);
        }
        if inbox.skipping || ended {
            frame.settle(Outcome::Skipped);
            skipped += 1;
        } else {
            queue.put(camera, Work::Frame(frame));
        }
        let start = queue.wants_thread();
        drop(queue);
        self.wake(start);
        if skipped > 0 {
            self.shared.counters.skipped.fetch_add(skipped, Ordering::Relaxed);
            (self.shared.on_event)(PoolEvent::Settled);
        }
        if wants_key_frame {
            (self.shared.on_event)(PoolEvent::WantsKeyFrame(camera));
        }
    }

    /// Decodes a frame that is whole in itself.
    pub fn submit_still(&self, frame: Frame) {
        let mut queue = self.shared.lock();
        if queue.ended || queue.stills.len() >= MAX_STILLS {
            drop(queue);
            frame.settle(Outcome::Skipped);
            self.shared.counters.skipped.fetch_add(1, Ordering::Relaxed);
            (self.shared.on_event)(PoolEvent::Settled);
            return;
        }
        queue.stills.push_back(frame);
        queue.turns.push_back(Turn::Still);
        let start = queue.wants_thread();
        drop(queue);
        self.wake(start);
    }

    /// The stream of `camera` ended: what its decoder holds back comes out.
    pub fn flush(&self, camera: CameraIndex) {
        let mut queue = self.shared.lock();
        if queue.lanes.contains_key(&camera) {
            queue.put(camera, Work::Flush);
        }
        drop(queue);
        self.shared.work.notify_one();
    }

    /// Forgets a camera's decoder. Frames that wait are not decoded.
    pub fn forget(&self, camera: CameraIndex) {
        self.shared.lock().forget(camera);
        (self.shared.on_event)(PoolEvent::Settled);
    }

    /// Forgets every decoder: nobody wants pixels any more.
    pub fn forget_all(&self) {
        let mut queue = self.shared.lock();
        let cameras: Vec<_> = queue.lanes.keys().copied().collect();
        cameras.into_iter().for_each(|camera| queue.forget(camera));
        drop(queue);
        (self.shared.on_event)(PoolEvent::Settled);
    }

    /// Whether so many frames of a camera wait that sources that can wait should.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.lock().lanes.values().any(|inbox| inbox.waiting.len() >= FULL)
    }

    /// Counters over all cameras.
    #[must_use]
    pub fn stats(&self) -> DecodeStats {
        let Counters { decoded, failed, skipped, early } = &self.shared.counters;
        let [decoded, failed, skipped, early] =
            [decoded, failed, skipped, early].map(|counter| counter.load(Ordering::Relaxed));
        DecodeStats { decoded, failed, skipped, early }
    }

    fn wake(&self, start: bool) {
        if start {
            self.start_thread();
        } else {
            self.shared.work.notify_one();
        }
    }

    fn start_thread(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.len() >= self.max_threads {
            return;
        }
        let shared = self.shared.clone();
        let name = format!("decode-{}", threads.len());
        match std::thread::Builder::new().name(name).spawn(move || shared.run()) {
            Ok(thread) => threads.push(thread),
            // Those that there are do its work too.
            Err(error) if !threads.is_empty() => tracing::warn!(%error, "no further decoding thread"),
            Err(error) => {
                tracing::error!(%error, "no decoding thread: frames are not decoded");
                self.shared.lock().end();
                (self.shared.on_event)(PoolEvent::Settled);
            }
        }
    }
}

impl Drop for DecodePool {
    fn drop(&mut self) {
        self.shared.lock().end();
        self.shared.work.notify_all();
        for thread in self.threads.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a decoding thread panicked");
            }
        }
    }
}

impl std::fmt::Debug for DecodePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecodePool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Inbox {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), lane: Some(Lane::new()), skipping: false, closed: false }
    }

    /// Skips all that waits; how many frames.
    fn skip_all(&mut self) -> u64 {
        let frames = self.waiting.drain(..).filter_map(|work| match work {
            Work::Frame(frame) => Some(frame),
            Work::Gap | Work::Flush => None,
        });
        frames.map(|frame| frame.settle(Outcome::Skipped)).count() as u64
    }
}

impl Queue {
    fn put(&mut self, camera: CameraIndex, work: Work) {
        let Some(inbox) = self.lanes.get_mut(&camera) else { return };
        inbox.waiting.push_back(work);
        // While a thread is at it, that thread sees to its next turn.
        let has_turn = inbox.lane.is_none() || inbox.waiting.len() > 1;
        if !has_turn {
            self.turns.push_back(Turn::Camera(camera));
        }
    }

    fn wants_thread(&self) -> bool {
        !self.ended && self.turns.len() > self.idle
    }

    fn forget(&mut self, camera: CameraIndex) {
        self.turns.retain(|turn| *turn != Turn::Camera(camera));
        let Some(inbox) = self.lanes.get_mut(&camera) else { return };
        for work in inbox.waiting.drain(..) {
            if let Work::Frame(frame) = work {
                frame.settle(Outcome::NotYet);
            }
        }
        inbox.closed = true;
        if inbox.lane.is_some() {
            self.lanes.remove(&camera);
        }
    }

    fn end(&mut self) {
        self.ended = true;
        let cameras: Vec<_> = self.lanes.keys().copied().collect();
        cameras.into_iter().for_each(|camera| self.forget(camera));
        self.turns.clear();
        for frame in self.stills.drain(..) {
            frame.settle(Outcome::Failed);
        }
    }
}

/// What a thread does next.
enum Job {
    Lane(CameraIndex, Lane, Work, DecoderOptions),
    Still(Frame),
}

impl Shared {
    fn run(&self) {
        let mut still = None;
        while let Some(job) = self.next() {
            match job {
                Job::Lane(camera, lane, work, options) => self.turn(camera, lane, &work, options),
                Job::Still(frame) => self.decode_still(&frame, &mut still),
            }
        }
    }

    /// Waits for the next job; `None` at the end.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.ended {
                return None;
            }
            match queue.turns.pop_front() {
                Some(Turn::Camera(camera)) => {
                    let options = queue.options;
                    let Some(inbox) = queue.lanes.get_mut(&camera) else { continue };
                    if let Some(lane) = inbox.lane.take() {
                        match inbox.waiting.pop_front() {
                            Some(work) => return Some(Job::Lane(camera, lane, work, options)),
                            None => inbox.lane = Some(lane),
                        }
                    }
                }
                Some(Turn::Still) => {
                    if let Some(frame) = queue.stills.pop_front() {
                        return Some(Job::Still(frame));
                    }
                }
                None => {
                    queue.idle += 1;
                    queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                    queue.idle -= 1;
                }
            }
        }
    }

    fn turn(&self, camera: CameraIndex, mut lane: Lane, work: &Work, options: DecoderOptions) {
        let open = |options| self.decoders.open(options);
        let done = catch_unwind(AssertUnwindSafe(|| match work {
            Work::Frame(frame) => lane.handle(frame, options, &open),
            Work::Flush => lane.flush(),
            Work::Gap => {
                lane.skipped();
                Settled::default()
            }
        }));
        let settled = done.unwrap_or_else(|_| {
            tracing::error!(
                camera = camera.get(),
                "the decoder panicked; it starts anew with the next key frame"
            );
            lane = Lane::broken();
            if let Work::Frame(frame) = work {
                frame.settle(Outcome::Failed);
            }
            Settled { failed: 1, ..Settled::default() }
        });
        self.give_back(camera, lane);
        self.counters.decoded.fetch_add(settled.decoded, Ordering::Relaxed);
        self.counters.failed.fetch_add(settled.failed, Ordering::Relaxed);
        self.counters.early.fetch_add(settled.early, Ordering::Relaxed);
        if settled != Settled::default() {
            (self.on_event)(PoolEvent::Settled);
        }
        if settled.failed > 0 || settled.early > 0 {
            (self.on_event)(PoolEvent::WantsKeyFrame(camera));
        }
    }

    fn give_back(&self, camera: CameraIndex, lane: Lane) {
        let mut queue = self.lock();
        let Some(inbox) = queue.lanes.get_mut(&camera) else { return };
        if inbox.closed {
            queue.lanes.remove(&camera);
            return;
        }
        inbox.lane = Some(lane);
        if !inbox.waiting.is_empty() {
            queue.turns.push_back(Turn::Camera(camera));
        }
    }

    fn decode_still(&self, frame: &Frame, decoder: &mut Option<Box<dyn StillDecoder>>) {
        if frame.outcome().is_none() {
            let result = catch_unwind(AssertUnwindSafe(|| {
                if decoder.is_none() {
                    *decoder = Some(self.decoders.open_still()?);
                }
                let Some(decoder) = decoder else { return Err(DecodeError::NoDecoder) };
                decoder.decode(&frame.data)
            }));
            let result = result.unwrap_or_else(|_| {
                *decoder = None;
                Err(DecodeError::Data("the decoder panicked".to_owned()))
            });
            match result {
                Ok(picture) => {
                    frame.settle(Outcome::Picture(picture));
                    self.counters.decoded.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::debug!(%error, number = frame.sequence, "picture not decoded");
                    frame.settle(Outcome::Failed);
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        (self.on_event)(PoolEvent::Settled);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
