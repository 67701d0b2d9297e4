//! A consumer's end: waiting for packets and taking them.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use framelock_common::time::{HostTime, Span};

use super::hub::{Hub, Inner, Mailbox};
use super::outlet::{DECODE_WAIT, frames, is_lazy};
use super::{ConsumerCounters, Packet};
use crate::clock;

/// The longest that anything is waited for at a stretch; longer timeouts wait again.
const MAX_WAIT: Span = Span::from_secs(3_600);

/// Why a consumer gets no packet any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerError {
    /// The aggregator was dropped.
    #[error("the aggregator was closed")]
    Closed,
    /// Every source has come to its end, as files do.
    #[error("every source has come to its end")]
    Ended,
    /// The receive thread is gone.
    #[error("the receive thread ended unexpectedly; the log says why")]
    Stopped,
}

/// One consumer of packets, with its own pace and choice of pixels: see
/// [`Aggregator::subscribe`](crate::Aggregator::subscribe).
///
/// It may be moved to another thread. Dropping it ends the subscription.
pub struct Consumer {
    hub: Arc<Hub>,
    mailbox: Arc<Mailbox>,
    /// A packet that was taken and whose lazily decoded frames are at work, and since when.
    taking: Option<(Packet, HostTime)>,
}

/// What to do next.
enum Step {
    Packet(Packet),
    End(ConsumerError),
    /// Wait for a word, or until this instant.
    Wait(Option<HostTime>),
}

impl Consumer {
    pub(super) fn new(hub: Arc<Hub>, mailbox: Arc<Mailbox>) -> Self {
        Self { hub, mailbox, taking: None }
    }

    /// The next packet; `None` if there is none within `timeout`. Where a packet is there in time and has
    /// JPEG frames to decode, these are waited for.
    ///
    /// # Errors
    /// When no packet will come any more.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Packet>, ConsumerError> {
        let mailbox = self.mailbox.clone();
        let deadline = clock::now() + Span::from(timeout);
        let mut inner = mailbox.lock();
        loop {
            let now = clock::now();
            let due = match self.step(&mut inner, now) {
                Step::Packet(packet) => return Ok(Some(packet)),
                Step::End(end) => return Err(end),
                Step::Wait(due) => due,
            };
            if now >= deadline && self.taking.is_none() {
                return Ok(None);
            }
            let until = if self.taking.is_none() {
                due.map_or(deadline, |due| due.min(deadline))
            } else {
                due.unwrap_or(deadline)
            };
            let wait = (until - now).min(MAX_WAIT).to_duration();
            inner = mailbox.filled.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next packet if it is there.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn try_next(&mut self) -> Result<Option<Packet>, ConsumerError> {
        self.next(Duration::ZERO)
    }

    /// The next packet, without blocking the executor. Needs a tokio runtime with timers. Can be cancelled:
    /// no packet is lost.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_async(&mut self) -> Result<Packet, ConsumerError> {
        let mailbox = self.mailbox.clone();
        loop {
            let word = mailbox.notify.notified();
            tokio::pin!(word);
            word.as_mut().enable();
            let now = clock::now();
            let step = self.step(&mut mailbox.lock(), now);
            match step {
                Step::Packet(packet) => return Ok(packet),
                Step::End(end) => return Err(end),
                Step::Wait(None) => word.await,
                Step::Wait(Some(due)) => {
                    let _either_way = tokio::time::timeout((due - now).to_duration(), word).await;
                }
            }
        }
    }

    /// From now on calls `wake` whenever there may be something for [`Self::try_next`]: for event loops that know
    /// nothing of tokio, where it writes to what they wait for, such as an eventfd.
    ///
    /// It is called on the aggregator's own threads and must neither wait nor use the consumer. A packet
    /// whose pictures do not come becomes ready by time alone: look again after a second without a call.
    /// Only the first one is kept.
    pub fn wake_with(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _kept_before = self.mailbox.wake.set(Box::new(wake));
    }

    /// What became of the packets so far.
    #[must_use]
    pub fn counters(&self) -> ConsumerCounters {
        self.mailbox.lock().outlet.counters()
    }

    fn step(&mut self, inner: &mut Inner, now: HostTime) -> Step {
        let patience = inner.patience;
        inner.outlet.settle(now, patience);
        let full = inner.outlet.is_full();
        if self.taking.is_none()
            && let Some(packet) = inner.outlet.pop()
        {
            if full {
                self.hub.taken();
            }
            if inner.outlet.decodes() {
                let open = frames(&packet).filter(|frame| is_lazy(frame) && frame.outcome().is_none());
                open.for_each(|frame| self.hub.decode_lazily(frame.clone()));
            }
            self.taking = Some((packet, now));
        }
        if let Some((packet, since)) = &self.taking {
            let overdue = *since + DECODE_WAIT;
            let done = !inner.outlet.decodes() || frames(packet).all(|frame| frame.outcome().is_some());
            if !done && now < overdue {
                return Step::Wait(Some(overdue));
            }
        }
        match (self.taking.take(), inner.end) {
            (Some((packet, _)), _) => Step::Packet(inner.outlet.finish(packet)),
            (None, Some(end)) if end != ConsumerError::Ended || inner.outlet.is_empty() => Step::End(end),
            (None, _) => Step::Wait(inner.outlet.due(patience)),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.hub.unsubscribe(&self.mailbox);
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("counters", &self.counters()).finish_non_exhaustive()
    }
}
