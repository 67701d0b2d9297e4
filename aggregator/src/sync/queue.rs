//! A bounded queue that prefers the newest: when it is full, the oldest entry gives way and is counted.

use std::collections::VecDeque;

/// A first-in, first-out queue with a limit. Delay that grows without end is worse than a gap, so a full
/// queue drops its oldest entry and counts it.
#[derive(Debug)]
pub struct PacketQueue<T> {
    items: VecDeque<T>,
    limit: usize,
    counters: QueueCounters,
}

/// What went through a [`PacketQueue`]. `pushed` is always `popped + dropped +` what is still in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Entries put in.
    pub pushed: u64,
    /// Entries taken out.
    pub popped: u64,
    /// Entries that gave way to newer ones.
    pub dropped: u64,
}

impl<T> PacketQueue<T> {
    /// An empty queue for at most `limit` entries; a limit of 0 is taken as 1.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { items: VecDeque::new(), limit: limit.max(1), counters: QueueCounters::default() }
    }

    /// Puts `item` in as the newest. Gives back the oldest when it had to give way.
    pub fn push(&mut self, item: T) -> Option<T> {
        self.counters.pushed += 1;
        let oldest = if self.items.len() == self.limit { self.items.pop_front() } else { None };
        self.counters.dropped += u64::from(oldest.is_some());
        self.items.push_back(item);
        oldest
    }

    /// Takes the oldest entry out.
    pub fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front();
        self.counters.popped += u64::from(item.is_some());
        item
    }

    /// How many entries are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many entries it can hold.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// What went through it so far.
    #[must_use]
    pub const fn counters(&self) -> QueueCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_its_oldest_and_counts_it() {
        let mut queue = PacketQueue::new(3);
        let dropped: Vec<_> = (0..5).filter_map(|n| queue.push(n)).collect();
        assert_eq!(dropped, [0, 1]);
        assert_eq!(queue.pop(), Some(2));
        assert_eq!(queue.counters(), QueueCounters { pushed: 5, popped: 1, dropped: 2 });
        assert_eq!((queue.len(), queue.is_empty()), (2, false));
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(3), Some(4), None));
        assert_eq!(queue.counters(), QueueCounters { pushed: 5, popped: 3, dropped: 2 });
    }

    #[test]
    fn a_limit_of_zero_still_hands_over_the_newest() {
        let mut queue = PacketQueue::new(0);
        assert_eq!((queue.push('a'), queue.push('b'), queue.pop()), (None, Some('a'), Some('b')));
    }
}
