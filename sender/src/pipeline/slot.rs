//! A place for one item between two threads: a newer one replaces an older one that nobody came for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
struct State<T> {
    item: Option<T>,
    closed: bool,
}

/// A queue of depth one that drops the oldest, so that what is taken is never stale and latency
/// cannot grow.
#[derive(Debug)]
pub(super) struct Slot<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

/// See [`Slot::closing`].
#[derive(Debug)]
#[must_use]
pub(super) struct Closing<'a, T>(&'a Slot<T>);

impl<T> Drop for Closing<'_, T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { item: None, closed: false }), changed: Condvar::new() }
    }
}

impl<T> Slot<T> {
    /// Puts `item` in and gives back the one it replaces, or `item` itself if the slot is closed.
    pub(super) fn put(&self, item: T) -> Option<T> {
        let mut state = self.lock();
        if state.closed {
            return Some(item);
        }
        let replaced = state.item.replace(item);
        // Whoever wakes up wants the lock: let go of it first.
        drop(state);
        self.changed.notify_one();
        replaced
    }

    /// Waits for an item; `None` once the slot is closed and empty.
    pub(super) fn take(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.item.take() {
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing more will be put in; what is in may still be taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Closes the slot when dropped, also by a panic: the thread at the other end must not wait for ever.
    pub(super) const fn closing(&self) -> Closing<'_, T> {
        Closing(self)
    }

    /// Whether nothing more is taken in.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// A thread that panicked while it held the lock left nothing half done: every change is one
    /// assignment.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_newest_wins_and_the_replaced_is_told() {
        let slot = Slot::default();
        assert_eq!(slot.put(1), None);
        assert_eq!(slot.put(2), Some(1));
        assert_eq!(slot.take(), Some(2));
    }

    #[test]
    fn closing_ends_the_taker_after_the_last_item() {
        let slot = Slot::default();
        let _ = slot.put(1);
        slot.close();
        assert_eq!(slot.put(2), Some(2));
        assert_eq!((slot.take(), slot.take()), (Some(1), None));
    }

    #[test]
    fn a_panic_at_one_end_ends_the_other() {
        let slot = Arc::new(Slot::<u32>::default());
        let other = Arc::clone(&slot);
        let panicked = std::thread::spawn(move || {
            let _closing = other.closing();
            panic!("as a bug would");
        });
        assert_eq!(slot.take(), None);
        assert!(panicked.join().is_err());
    }

    #[test]
    fn nothing_is_lost_or_reordered_between_threads_but_what_was_replaced() {
        let slot = Arc::new(Slot::default());
        let taker = {
            let slot = Arc::clone(&slot);
            std::thread::spawn(move || std::iter::from_fn(|| slot.take()).collect::<Vec<u32>>())
        };
        let replaced = (0..10_000).filter_map(|n| slot.put(n)).count();
        slot.close();
        let taken = taker.join().unwrap();
        assert_eq!(taken.len() + replaced, 10_000);
        assert!(taken.is_sorted_by(|a, b| a < b));
        assert_eq!(taken.last(), Some(&9_999));
    }
}
