//! Standard output on a thread of its own: a reader that takes nothing must not keep the program from its
//! signals and its end.

use std::io::{self, Write};

use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::deliver::Packet;

/// Writes packets as lines of JSON, one after the other.
#[derive(Debug)]
pub(super) struct Writer {
    packets: mpsc::Sender<Packet>,
    result: oneshot::Receiver<io::Result<()>>,
}

impl Writer {
    /// Starts the thread. It ends with the process, if it has to.
    pub(super) fn start() -> io::Result<Self> {
        let (packets, mut queue) = mpsc::channel::<Packet>(1);
        let (done, result) = oneshot::channel();
        let mut write = move || -> io::Result<()> {
            while let Some(packet) = queue.blocking_recv() {
                let now = clock::sandwich().utc_at(clock::now()).utc;
                let mut out = io::stdout().lock();
                packet.write_json(now, &mut out)?;
                out.flush()?;
            }
            Ok(())
        };
        let body = move || drop(done.send(write()));
        std::thread::Builder::new().name("write".to_owned()).spawn(body)?;
        Ok(Self { packets, result })
    }

    /// Waits until there is room for a packet; `None` when writing has failed, which [`Self::end`] tells.
    pub(super) async fn room(&self) -> Option<mpsc::Permit<'_, Packet>> {
        self.packets.reserve().await.ok()
    }

    /// Waits until all is written.
    pub(super) async fn end(self) -> io::Result<()> {
        drop(self.packets);
        self.result.await.unwrap_or_else(|_| Err(io::Error::other("the writing thread panicked")))
    }
}
