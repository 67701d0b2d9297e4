//! Standard output on a thread of its own: a reader that takes nothing must not keep the program from its
//! signals and its end.

use std::io::{self, StdoutLock, Write};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Interrupt;

/// How long what is being written may take once we are told to end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Writes one item after the other.
#[derive(Debug)]
pub(crate) struct Writer<T> {
    items: mpsc::Sender<T>,
    result: oneshot::Receiver<io::Result<()>>,
}

impl<T: Send + 'static> Writer<T> {
    /// Starts the thread, which writes each item by `write`. It ends with the process, if it has to.
    pub(crate) fn start(
        write: impl Fn(&T, &mut StdoutLock<'_>) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (items, mut queue) = mpsc::channel::<T>(1);
        let (done, result) = oneshot::channel();
        let mut write_all = move || -> io::Result<()> {
            while let Some(item) = queue.blocking_recv() {
                let mut out = io::stdout().lock();
                write(&item, &mut out)?;
                out.flush()?;
            }
            Ok(())
        };
        let body = move || drop(done.send(write_all()));
        std::thread::Builder::new().name("write".to_owned()).spawn(body)?;
        Ok(Self { items, result })
    }

    /// Waits until there is room for an item; `None` when writing has failed, which [`Self::end`] tells.
    pub(crate) async fn room(&self) -> Option<mpsc::Permit<'_, T>> {
        self.items.reserve().await.ok()
    }

    /// Room for an item, if there is any now.
    ///
    /// # Errors
    /// `Full` while what was given before is not written; `Closed` when writing has failed, which
    /// [`Self::end`] tells.
    pub(crate) fn room_now(&self) -> Result<mpsc::Permit<'_, T>, TrySendError<()>> {
        self.items.try_reserve()
    }

    /// Waits until all is written, `last` behind the rest, or until `interrupt`; not for long if that has come
    /// already.
    ///
    /// # Errors
    /// What writing has failed with.
    pub(crate) async fn end(
        self,
        last: Option<T>,
        interrupt: &mut Interrupt,
        interrupted: bool,
    ) -> io::Result<()> {
        let Self { items, result } = self;
        let rest = async move {
            if let Some(last) = last {
                // Where writing has failed, the result says so.
                let _ = items.send(last).await;
            }
            drop(items);
            result.await.unwrap_or_else(|_| Err(io::Error::other("the writing thread panicked")))
        };
        let patience = if interrupted { LAST_WORDS } else { Duration::MAX / 4 };
        tokio::select! {
            biased;
            () = interrupt.wait() => Ok(()),
            // Nobody takes the rest: then it is not to be had.
            written = timeout(patience, rest) => written.unwrap_or(Ok(())),
        }
    }
}
