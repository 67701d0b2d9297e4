//! A bounded queue that prefers the newest: when it is full, the oldest entries give way and are counted.

use std::collections::VecDeque;

/// A first-in, first-out queue with a limit on its entries and one on their bytes. Delay that grows without end
/// is worse than a gap, so a full queue drops its oldest entries and counts them. The newest entry stays,
/// however large it is.
#[derive(Debug)]
pub struct PacketQueue<T> {
    /// Each with its bytes as they were when it came.
    items: VecDeque<(T, usize)>,
    limit: usize,
    bytes: usize,
    most_bytes: usize,
    weigh: fn(&T) -> usize,
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
    /// An empty queue for at most `limit` entries, whatever they weigh; a limit of 0 is taken as 1.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self::weighed(limit, usize::MAX, |_| 0)
    }

    /// An empty queue for at most `limit` entries that take at most `most_bytes` together, as `weigh` tells
    /// of each when it is put in.
    #[must_use]
    pub fn weighed(limit: usize, most_bytes: usize, weigh: fn(&T) -> usize) -> Self {
        Self {
            items: VecDeque::new(),
            limit: limit.max(1),
            bytes: 0,
            most_bytes,
            weigh,
            counters: QueueCounters::default(),
        }
    }

    /// Puts `item` in as the newest. Gives back those that had to give way, the oldest first.
    pub fn push(&mut self, item: T) -> Vec<T> {
        self.counters.pushed += 1;
        let bytes = (self.weigh)(&item);
        self.bytes = self.bytes.saturating_add(bytes);
        self.items.push_back((item, bytes));
        let mut dropped = Vec::new();
        while self.items.len() > 1 && (self.items.len() > self.limit || self.bytes > self.most_bytes) {
            dropped.extend(self.remove());
        }
        self.counters.dropped += dropped.len() as u64;
        dropped
    }

    /// Takes the oldest entry out.
    pub fn pop(&mut self) -> Option<T> {
        let item = self.remove();
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

    /// The bytes of the entries that are in it.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What went through it so far.
    #[must_use]
    pub const fn counters(&self) -> QueueCounters {
        self.counters
    }

    fn remove(&mut self) -> Option<T> {
        let (item, bytes) = self.items.pop_front()?;
        self.bytes -= bytes;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_its_oldest_and_counts_it() {
        let mut queue = PacketQueue::new(3);
        let dropped: Vec<_> = (0..5).flat_map(|n| queue.push(n)).collect();
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
        assert_eq!((queue.push('a'), queue.push('b'), queue.pop()), (vec![], vec!['a'], Some('b')));
    }

    #[test]
    fn entries_that_take_too_much_memory_drop_the_oldest_and_keep_the_newest() {
        let mut queue = PacketQueue::weighed(100, 10, Vec::len);
        assert!(queue.push(vec![1_u8; 4]).is_empty() && queue.push(vec![2; 6]).is_empty());
        assert_eq!(queue.bytes(), 10);
        assert_eq!(queue.push(vec![3; 1]), [vec![1; 4]]);
        // Larger than the limit alone: the others go, it stays.
        assert_eq!(queue.push(vec![4; 11]), [vec![2; 6], vec![3; 1]]);
        assert_eq!((queue.len(), queue.bytes()), (1, 11));
        assert_eq!(queue.counters(), QueueCounters { pushed: 4, popped: 0, dropped: 3 });
        assert_eq!(queue.pop(), Some(vec![4; 11]));
        assert_eq!(queue.bytes(), 0);
    }
}
