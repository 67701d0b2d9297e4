//! A consumer: waiting for packets and taking them.

use std::ffi::c_int;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use framelock_aggregator::{self as core, Consumer, PixelFormat, Pixels, Queue};

use crate::word::Word;
use crate::{
    Failure, FramelockError, FramelockPacket, FramelockQueue, FramelockResult, PixelsValue, QueueValue, args,
    enums, quietly, run,
};

/// The timeout of framelock_subscription_next() that never passes, as any negative one.
pub const FRAMELOCK_FOREVER: i64 = -1;

/// A packet whose pictures do not come becomes ready without a word.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A consumer of an aggregator's packets, with its own pace and choice of pixels. It may be used from any thread;
/// threads that share one share its packets. It may outlive its aggregator.
#[derive(Debug)]
pub struct FramelockSubscription {
    /// `None` once closed.
    consumer: Mutex<Option<Consumer>>,
    word: Arc<Word>,
    wants: Wants,
}

/// What a consumer wants. Set it to zero before setting what is wanted, for example
/// `FramelockSubscribeOptions options = {.pixels = FRAMELOCK_PIXELS_BGR};`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FramelockSubscribeOptions {
    /// What images framelock_frame_image() gives. Nothing is decoded while no consumer wants images or motion vectors.
    pub pixels: PixelsValue,
    /// 1 for motion vectors, 0 for none: see framelock_frame_motion_vectors().
    pub motion_vectors: u32,
    /// What becomes of packets that the consumer is too slow for.
    pub queue: QueueValue,
    /// How many packets are kept for it, at most 100,000; 0 is taken as 1.
    pub packets: u32,
    /// Must be 0.
    pub reserved: [u64; 4],
}

impl FramelockSubscribeOptions {
    pub(crate) fn read(&self) -> Result<Wants, Failure> {
        const MAX_PACKETS: u32 = 100_000;
        let wrong = |reason: &str| Err(args::wrong("options", reason));
        if self.reserved != [0; 4] {
            return wrong("reserved is not 0; set the whole structure to zero first");
        }
        if self.motion_vectors > 1 {
            return wrong("motion_vectors is neither 0 nor 1");
        }
        if self.packets > MAX_PACKETS {
            return wrong("packets: at most 100000");
        }
        let format = enums::pixels(self.pixels, "options.pixels")?;
        let packets = self.packets.max(1) as usize;
        let queue = match self.queue {
            0 => Queue::Newest(packets),
            1 => Queue::All { limit: packets },
            other => return wrong(&format!("queue {other} is no FramelockQueue")),
        };
        Ok(Wants { format, motion_vectors: self.motion_vectors == 1, queue })
    }
}

const _: () = assert!(FramelockQueue::Newest as u32 == 0 && FramelockQueue::All as u32 == 1);

/// What became of the packets for a consumer. `offered` is always `delivered + skipped +` what still waits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FramelockCounters {
    /// Packets since it subscribed.
    pub offered: u64,
    /// Packets that it got.
    pub delivered: u64,
    /// Packets that gave way to newer ones because it was slow.
    pub skipped: u64,
}

/// What a consumer asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    /// The layout of its images; `None` for no images.
    pub(crate) format: Option<PixelFormat>,
    /// Motion vectors.
    pub(crate) motion_vectors: bool,
    queue: Queue,
}

impl FramelockSubscription {
    pub(crate) fn new(aggregator: &core::Aggregator, wants: Wants) -> Result<Self, Failure> {
        let pixels = if wants.format.is_some() { Pixels::Decoded } else { Pixels::None };
        let asked = core::Subscription { pixels, queue: wants.queue, motion_vectors: wants.motion_vectors };
        let consumer = aggregator.subscribe(asked)?;
        let word = Arc::<Word>::default();
        let said = word.clone();
        consumer.wake_with(move || said.say());
        Ok(Self { consumer: Mutex::new(Some(consumer)), word, wants })
    }

    /// The next packet if it comes until `deadline`; `None` for whenever it comes.
    fn next(&self, deadline: Option<Instant>) -> Result<core::Packet, Failure> {
        loop {
            let heard = self.word.listen();
            let taken = self.try_next();
            if !matches!(taken, Ok(None)) {
                self.word.say_again();
            }
            if let Some(packet) = taken? {
                return Ok(packet);
            }
            let left = deadline.map_or(LOOK_AGAIN, |deadline| deadline.saturating_duration_since(now()));
            if left.is_zero() {
                return Err(Failure::new(FramelockResult::Timeout, "no packet came in time"));
            }
            self.word.wait(heard, left.min(LOOK_AGAIN));
        }
    }

    fn try_next(&self) -> Result<Option<core::Packet>, Failure> {
        Ok(self.lock().as_mut().filter(|_| !self.word.is_closed()).ok_or_else(closed)?.try_next()?)
    }

    fn counters(&self) -> Result<FramelockCounters, Failure> {
        let counters = self.lock().as_ref().map(Consumer::counters).ok_or_else(closed)?;
        let core::ConsumerCounters { offered, delivered, skipped } = counters;
        Ok(FramelockCounters { offered, delivered, skipped })
    }

    fn close(&self) {
        self.word.close();
        drop(self.lock().take());
    }

    fn lock(&self) -> MutexGuard<'_, Option<Consumer>> {
        self.consumer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> Failure {
    Failure::new(FramelockResult::Closed, "the subscription is closed")
}

/// When `timeout_ns` is over; `None` for never.
fn deadline(timeout_ns: i64) -> Option<Instant> {
    let timeout = u64::try_from(timeout_ns).ok()?;
    now().checked_add(Duration::from_nanos(timeout))
}

#[expect(clippy::disallowed_methods, reason = "waiting for packets takes real time")]
fn now() -> Instant {
    Instant::now()
}

/// Waits for the next packet, at most `timeout_ns` ns (0: takes it if it is there; negative, such as
/// #FRAMELOCK_FOREVER: as long as it takes), and gives it in `*packet`: the caller's, to be given back with
/// framelock_packet_release(). Where a packet is there in time and has JPEG frames to decode, these are waited for.
///
/// Returns #FRAMELOCK_RESULT_TIMEOUT when there is none in time, and when there will be none any more,
/// #FRAMELOCK_RESULT_ENDED or #FRAMELOCK_RESULT_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_subscription_next(
    subscription: *mut FramelockSubscription,
    timeout_ns: i64,
    packet: *mut *mut FramelockPacket,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        run(error, || {
            let to = args::pointer(packet, "packet")?;
            let subscription = args::object(subscription, "subscription")?;
            let packet = subscription.next(deadline(timeout_ns))?;
            *to = FramelockPacket::hand_over(packet, subscription.wants);
            Ok(())
        })
    }
}

/// Gives a file descriptor for poll(), select() and event loops in `*fd`: it can be read when
/// framelock_subscription_next() with a timeout of 0 may have something to say. Do not read from it or close it: it
/// is the subscription's and lives as long. Look again after a second without a word: a packet whose pictures do not
/// come becomes ready by time alone.
///
/// Fails with #FRAMELOCK_RESULT_FAILED when the system has no descriptor left.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_subscription_fd(
    subscription: *mut FramelockSubscription,
    fd: *mut c_int,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        run(error, || {
            let to = args::result(fd, "fd")?;
            *to = -1;
            let failed =
                |error| Failure::new(FramelockResult::Failed, format!("no file descriptor: {error}"));
            *to = args::object(subscription, "subscription")?.word.file().map_err(failed)?;
            Ok(())
        })
    }
}

/// What became of the packets so far, in `*counters`.
///
/// Fails with #FRAMELOCK_RESULT_CLOSED after framelock_subscription_close().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_subscription_counters(
    subscription: *const FramelockSubscription,
    counters: *mut FramelockCounters,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        run(error, || {
            let to = args::result(counters, "counters")?;
            *to = args::object(subscription, "subscription")?.counters()?;
            Ok(())
        })
    }
}

/// Ends the subscription: whoever waits for its packets gets #FRAMELOCK_RESULT_CLOSED, as does every later call.
/// Packets that were taken remain. May be called while other threads use it, and more than once; nothing happens
/// for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_subscription_close(subscription: *mut FramelockSubscription) {
    quietly(|| {
        // SAFETY: the argument is as the preface of the header wants it.
        if let Ok(subscription) = unsafe { args::object(subscription, "subscription") } {
            subscription.close();
        }
    });
}

/// Closes and frees a subscription; nothing happens for NULL. Packets that were taken remain.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_subscription_free(subscription: *mut FramelockSubscription) {
    // SAFETY: the preface of the header: a subscription of ours, which nobody uses any more.
    unsafe { args::take_back(subscription) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_be_are_refused() {
        let zero = FramelockSubscribeOptions::default();
        let says = |options: FramelockSubscribeOptions| format!("{:?}", options.read().unwrap_err());
        assert!(says(FramelockSubscribeOptions { reserved: [0, 0, 0, 1], ..zero }).contains("reserved"));
        assert!(says(FramelockSubscribeOptions { motion_vectors: 2, ..zero }).contains("motion_vectors"));
        assert!(says(FramelockSubscribeOptions { packets: 100_001, ..zero }).contains("packets"));
        assert!(says(FramelockSubscribeOptions { pixels: 4, ..zero }).contains("4 is no FramelockPixels"));
        assert!(says(FramelockSubscribeOptions { queue: 2, ..zero }).contains("2 is no FramelockQueue"));
        let wants = zero.read().unwrap();
        assert_eq!((wants.format, wants.motion_vectors, wants.queue), (None, false, Queue::Newest(1)));
        let all =
            FramelockSubscribeOptions { queue: 1, packets: 7, motion_vectors: 1, ..zero }.read().unwrap();
        assert_eq!((all.motion_vectors, all.queue), (true, Queue::All { limit: 7 }));
    }

    #[test]
    fn timeouts_that_the_clock_cannot_tell_are_for_ever() {
        assert_eq!((deadline(FRAMELOCK_FOREVER), deadline(i64::MIN)), (None, None));
        assert!(deadline(i64::MAX).is_none_or(|deadline| deadline > now()));
        assert!(deadline(0).is_some_and(|deadline| deadline <= now()));
    }
}
