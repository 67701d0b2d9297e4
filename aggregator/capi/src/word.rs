//! What wakes those who wait for a subscription: threads in it, and event loops through a file.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Word {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Words so far, wrapping.
    said: u64,
    closed: bool,
    /// An eventfd, once somebody asked for it: readable when there may be something.
    file: Option<OwnedFd>,
}

impl Word {
    /// There may be something.
    pub(crate) fn say(&self) {
        let mut state = self.lock();
        state.said = state.said.wrapping_add(1);
        state.tell_file();
        self.changed.notify_all();
    }

    /// There may be something still: for the file, which [`Self::listen`] made unreadable.
    pub(crate) fn say_again(&self) {
        self.lock().tell_file();
    }

    /// Nobody is to wait any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.say();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// What to give to [`Self::wait`] after looking whether there is something: words from now on end that wait.
    pub(crate) fn listen(&self) -> u64 {
        let state = self.lock();
        if let Some(file) = &state.file {
            // Not readable is what it is to be.
            let _unreadable_already = rustix::io::read(file, &mut [0; 8]);
        }
        state.said
    }

    /// Waits for a word since [`Self::listen`] gave `heard`, at most for `time`.
    pub(crate) fn wait(&self, heard: u64, time: Duration) {
        let nothing = |state: &mut State| state.said == heard && !state.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), time, nothing);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// The file, readable when there may be something.
    pub(crate) fn file(&self) -> io::Result<RawFd> {
        let mut state = self.lock();
        if state.file.is_none() {
            state.file = Some(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
            // What came before nobody was told of.
            state.tell_file();
        }
        state.file.as_ref().map(AsRawFd::as_raw_fd).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell_file(&self) {
        if let Some(file) = &self.file {
            let _readable_already = rustix::io::write(file, &1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    /// Longer than any of these tests takes.
    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_word_between_looking_and_waiting_is_not_missed() {
        let word = Word::default();
        let heard = word.listen();
        word.say();
        word.wait(heard, LONG);
        // And none is made up.
        word.wait(word.listen(), Duration::from_millis(1));
    }

    #[test]
    fn every_thread_that_waits_is_woken_and_sent_away_when_it_is_over() {
        let word = Arc::new(Word::default());
        let heard = word.listen();
        let waiting = || {
            let word = word.clone();
            thread::spawn(move || word.wait(heard, LONG))
        };
        let threads = [waiting(), waiting()];
        word.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(word.is_closed());
        word.wait(word.listen(), LONG);
    }
}
