//! Packets on their way from the receive loop to their consumers: each consumer has its own queue, pace and
//! choice of pixels, and none holds up another.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use framelock_common::time::HostTime;
use tokio::sync::Notify;

use super::outlet::Outlet;
use super::{Consumer, ConsumerError, Frame, Packet, Subscription};

/// Decodes a frame that is decoded only once it is taken; must not wait.
pub(crate) type DecodeLazily = Box<dyn Fn(Frame) + Send + Sync>;

/// Called whenever there may be something for a consumer; must not wait.
pub(super) type Wake = Box<dyn Fn() + Send + Sync>;

/// What some living consumer wants of every frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Frames are to be decoded.
    pub(crate) pictures: bool,
    /// And their motion vectors exported.
    pub(crate) motion_vectors: bool,
}

/// See the module.
pub(crate) struct Hub {
    state: Mutex<State>,
    demand: AtomicU8,
    /// Wakes the receive loop: demand has changed, or there is room again.
    changed: Notify,
    lazily: DecodeLazily,
}

#[derive(Default)]
struct State {
    mailboxes: Vec<Arc<Mailbox>>,
    end: Option<ConsumerError>,
    /// Since when waiting for a picture counts; `None` while sources are held back, which may hold the
    /// decoders back.
    patience: Option<HostTime>,
}

/// Where packets wait for one consumer.
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    pub(super) filled: Condvar,
    pub(super) notify: Notify,
    /// Further to be told, see [`Consumer::wake_with`].
    pub(super) wake: OnceLock<Wake>,
}

pub(super) struct Inner {
    pub(super) outlet: Outlet,
    pub(super) end: Option<ConsumerError>,
    pub(super) patience: Option<HostTime>,
    subscription: Subscription,
}

impl Mailbox {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.filled.notify_all();
        self.notify.notify_waiters();
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }
}

impl Hub {
    /// A hub without consumers. `lazily` is called where a frame is taken that is decoded only then.
    pub(crate) fn new(lazily: DecodeLazily, now: HostTime) -> Self {
        Self {
            state: Mutex::new(State { patience: Some(now), ..State::default() }),
            demand: AtomicU8::new(0),
            changed: Notify::new(),
            lazily,
        }
    }

    /// A new consumer, which gets the packets from now on.
    pub(crate) fn subscribe(self: &Arc<Self>, subscription: Subscription) -> Consumer {
        let mut state = self.lock();
        let inner = Inner {
            outlet: Outlet::new(subscription),
            end: state.end,
            patience: state.patience,
            subscription,
        };
        let mailbox = Arc::new(Mailbox {
            inner: Mutex::new(inner),
            filled: Condvar::new(),
            notify: Notify::new(),
            wake: OnceLock::new(),
        });
        state.mailboxes.push(mailbox.clone());
        self.renew_demand(&state);
        Consumer::new(self.clone(), mailbox)
    }

    /// A consumer is gone.
    pub(super) fn unsubscribe(&self, mailbox: &Arc<Mailbox>) {
        let mut state = self.lock();
        state.mailboxes.retain(|other| !Arc::ptr_eq(other, mailbox));
        self.renew_demand(&state);
    }

    /// Offers a packet to every consumer.
    pub(crate) fn push(&self, packet: &Packet, now: HostTime) {
        for mailbox in &self.lock().mailboxes {
            let mut inner = mailbox.lock();
            let patience = inner.patience;
            inner.outlet.push(packet);
            inner.outlet.settle(now, patience);
            // Whoever wakes up wants the lock.
            drop(inner);
            mailbox.wake();
        }
    }

    /// What came of decoding some frame is known now.
    pub(crate) fn settled(&self) {
        let state = self.lock();
        for mailbox in &state.mailboxes {
            let concerned = mailbox.lock().outlet.may_go_on();
            if concerned {
                mailbox.wake();
            }
        }
        if state.patience.is_none() {
            // The decoders may be why sources are held back.
            self.changed.notify_one();
        }
    }

    /// Whether sources that can wait should: a consumer that wants every packet has as many waiting as it said.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().mailboxes.iter().any(|mailbox| mailbox.lock().outlet.is_full())
    }

    /// Whether there is no consumer.
    pub(crate) fn is_idle(&self) -> bool {
        self.lock().mailboxes.is_empty()
    }

    /// Sources are being held back, or no longer.
    pub(crate) fn set_held(&self, held: bool, now: HostTime) {
        let mut state = self.lock();
        state.patience = (!held).then_some(now);
        for mailbox in &state.mailboxes {
            mailbox.lock().patience = state.patience;
        }
    }

    /// What living consumers want now.
    pub(crate) fn demand(&self) -> Demand {
        let bits = self.demand.load(Ordering::Relaxed);
        Demand { pictures: bits & 1 != 0, motion_vectors: bits & 2 != 0 }
    }

    /// Waits until [`Self::demand`] or [`Self::is_full`] may have changed since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// No packet will come any more. Consumers get what they have, and then are told.
    pub(crate) fn end(&self, end: ConsumerError) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        state.end = Some(end);
        for mailbox in &state.mailboxes {
            mailbox.lock().end = Some(end);
            mailbox.wake();
        }
    }

    /// A consumer for whom sources may be held back took a packet.
    pub(super) fn taken(&self) {
        self.changed.notify_one();
    }

    pub(super) fn decode_lazily(&self, frame: Frame) {
        (self.lazily)(frame);
    }

    fn renew_demand(&self, state: &State) {
        let subscriptions = || state.mailboxes.iter().map(|mailbox| mailbox.lock().subscription);
        let pictures = subscriptions().any(|subscription| subscription.decodes());
        let vectors = subscriptions().any(|subscription| subscription.motion_vectors);
        self.demand.store(u8::from(pictures) | u8::from(vectors) << 1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("demand", &self.demand()).finish_non_exhaustive()
    }
}
