//! What waits for one consumer. Sans-IO: it is told the time.
//!
//! A packet with frames to decode is `pending` until each of them is settled, then it is ready. Packets become
//! ready in order. A picture that is still not there after [`DECODE_WAIT`] is not waited for.

use std::collections::VecDeque;

use framelock_common::time::{HostTime, Span};

use super::frame::Outcome;
use super::{Codec, ConsumerCounters, Frame, FrameStatus, Packet, Subscription};
use crate::sync::PacketQueue;

/// How long a packet waits for its pictures before the missing ones count as failed.
pub(super) const DECODE_WAIT: Span = Span::from_secs(1);
/// The most memory that the packets for one consumer take, pictures included.
const QUEUE_BYTES: usize = 256 << 20;
/// The most packets that wait for their pictures: more than come in [`DECODE_WAIT`] from any camera.
const MAX_PENDING: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Outlet {
    subscription: Subscription,
    pending: VecDeque<Packet>,
    ready: PacketQueue<Packet>,
    counters: ConsumerCounters,
    /// A packet was taken and is not finished.
    taking: bool,
}

impl Outlet {
    pub(super) fn new(subscription: Subscription) -> Self {
        let weigh = if subscription.decodes() { Packet::bytes_with_pictures } else { Packet::bytes };
        Self {
            subscription,
            pending: VecDeque::new(),
            ready: PacketQueue::weighed(subscription.queue.capacity(), QUEUE_BYTES, weigh),
            counters: ConsumerCounters::default(),
            taking: false,
        }
    }

    /// Offers a packet. Call [`Self::settle`] after.
    pub(super) fn push(&mut self, packet: &Packet) {
        self.counters.offered += 1;
        if self.subscription.decodes() {
            self.pending.push_back(packet.clone());
            if self.pending.len() > MAX_PENDING {
                self.promote();
            }
        } else {
            self.make_ready(packet.without_pictures());
        }
    }

    /// Makes packets ready whose frames are decoded, and those that waited too long. Time spent waiting
    /// counts from `patience` on, if it counts at all. Returns whether there were any.
    pub(super) fn settle(&mut self, now: HostTime, patience: Option<HostTime>) -> bool {
        let before = self.pending.len();
        while let Some(packet) = self.pending.front() {
            let overdue = patience.is_some_and(|from| now - packet.ready.max(from) >= DECODE_WAIT);
            if !overdue && !is_settled(packet) {
                break;
            }
            self.promote();
        }
        before != self.pending.len()
    }

    /// When [`Self::settle`] is due whatever happens.
    pub(super) fn due(&self, patience: Option<HostTime>) -> Option<HostTime> {
        let packet = self.pending.front()?;
        Some(packet.ready.max(patience?) + DECODE_WAIT)
    }

    /// Takes the next packet. Its lazily decoded frames are for the caller to see to before [`Self::finish`].
    pub(super) fn pop(&mut self) -> Option<Packet> {
        let packet = self.ready.pop()?;
        self.taking = true;
        Some(packet)
    }

    /// Whether, now that what came of some frame is known, the consumer may have something to do: not while its next
    /// packet still waits for another.
    pub(super) fn may_go_on(&self) -> bool {
        self.decodes() && (self.taking || self.pending.front().is_some_and(is_settled))
    }

    /// Gives `packet` the form in which the consumer gets it, and counts it.
    pub(super) fn finish(&mut self, packet: Packet) -> Packet {
        self.counters.delivered += 1;
        self.taking = false;
        if self.subscription.decodes() { self.with_outcomes(packet) } else { packet }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.ready.is_empty()
    }

    /// Whether the consumer wants frames decoded.
    pub(super) fn decodes(&self) -> bool {
        self.subscription.decodes()
    }

    /// Whether sources that can wait should.
    pub(super) fn is_full(&self) -> bool {
        self.subscription.queue.limit().is_some_and(|limit| self.ready.len() >= limit)
    }

    pub(super) const fn counters(&self) -> ConsumerCounters {
        self.counters
    }

    fn promote(&mut self) {
        if let Some(packet) = self.pending.pop_front() {
            self.make_ready(packet);
        }
    }

    fn make_ready(&mut self, packet: Packet) {
        self.counters.skipped += self.ready.push(packet).len() as u64;
    }

    /// Says of every frame what came of decoding it.
    fn with_outcomes(&self, mut packet: Packet) -> Packet {
        let mut lacking = false;
        for entry in &mut packet.entries {
            let Some(frame) = &entry.frame else { continue };
            let status = match frame.outcome() {
                Some(Outcome::Picture(_)) if self.lacks_vectors(frame) => FrameStatus::Starting,
                Some(Outcome::Picture(_)) => continue,
                Some(Outcome::Failed) | None => FrameStatus::ReadError,
                Some(Outcome::Skipped) => FrameStatus::Dropped,
                Some(Outcome::NotYet) => FrameStatus::Starting,
            };
            (entry.status, entry.frame) = (status, None);
            lacking = true;
        }
        if lacking {
            packet.renew();
        }
        packet
    }

    /// Whether the frame was decoded before anybody asked for vectors.
    fn lacks_vectors(&self, frame: &Frame) -> bool {
        self.subscription.motion_vectors && frame.codec == Codec::H264 && frame.motion_vectors().is_none()
    }
}

/// Whether a packet waits for none of its frames.
fn is_settled(packet: &Packet) -> bool {
    frames(packet).all(|frame| frame.outcome().is_some() || is_lazy(frame))
}

/// Whether a frame is decoded only once it is taken.
pub(super) fn is_lazy(frame: &Frame) -> bool {
    frame.codec == Codec::Jpeg
}

pub(super) fn frames(packet: &Packet) -> impl Iterator<Item = &Frame> {
    packet.entries.iter().filter_map(|entry| entry.frame.as_ref())
}
