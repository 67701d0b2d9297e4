//! Payloads that wait for their turn to leave: one buffer that is used again and again.

use std::collections::VecDeque;

use framelock_common::time::RtpTimestamp;

/// A payload's header fields, as far as they are known before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// The RTP timestamp; `None` where it is the instant of transmission.
    pub(super) timestamp: Option<RtpTimestamp>,
    /// The marker bit.
    pub(super) marker: bool,
    /// Whether it carries UTC in an RFC 6051 header extension.
    pub(super) with_utc: bool,
}

/// Payloads in the order in which they leave.
#[derive(Debug, Default)]
pub(super) struct PayloadQueue {
    bytes: Vec<u8>,
    head: usize,
    entries: VecDeque<(usize, Fields)>,
}

impl PayloadQueue {
    /// Appends a payload.
    pub(super) fn push(&mut self, payload: &[u8], fields: Fields) {
        self.bytes.extend_from_slice(payload);
        self.entries.push_back((payload.len(), fields));
    }

    /// The length and the fields of the first payload.
    pub(super) fn front(&self) -> Option<(usize, Fields)> {
        self.entries.front().copied()
    }

    /// Takes the first payload.
    pub(super) fn pop(&mut self) -> Option<(&[u8], Fields)> {
        let (length, fields) = self.entries.pop_front()?;
        let start = self.head;
        self.head += length;
        Some((&self.bytes[start..self.head], fields))
    }

    /// Makes the memory of payloads that have left usable again. To be called between frames.
    pub(super) fn reclaim(&mut self) {
        self.bytes.drain(..self.head);
        self.head = 0;
    }

    /// Payloads that wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields = Fields { timestamp: None, marker: false, with_utc: false };

    #[test]
    fn payloads_leave_in_order_and_their_memory_is_used_again() {
        let mut queue = PayloadQueue::default();
        for round in 0..1_000_u32 {
            queue.push(&round.to_be_bytes(), FIELDS);
            queue.push(b"end", Fields { marker: true, ..FIELDS });
            assert_eq!(queue.front(), Some((4, FIELDS)));
            assert_eq!(queue.pop(), Some((&round.to_be_bytes()[..], FIELDS)));
            assert_eq!(
                queue.pop().map(|(payload, fields)| (payload.to_vec(), fields.marker)),
                Some((b"end".to_vec(), true))
            );
            assert_eq!(queue.pop(), None);
            queue.reclaim();
        }
        assert!(queue.bytes.capacity() < 64);
    }
}
