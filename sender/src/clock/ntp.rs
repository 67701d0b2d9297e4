//! The sockets and timers around `common`'s NTP client. The system clock is neither used nor touched.
//!
//! Each server has a task that looks its name up, opens a connected socket and receives; one loop owns the
//! client and sends. When a datagram left and arrived is what the kernel says, where it does.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use framelock_common::clock::{NtpClient, NtpConfig, NtpStatus};
use framelock_common::time::{BoardTime, Span};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::{BoardClock, stamps};
use crate::config::HostPort;
use crate::net::{connect, resolve};

/// Datagrams that wait for the client; more than any honest set of servers sends at once. More are left
/// in the sockets' buffers.
const INBOX: usize = 16;

/// A server silent for this long is looked up again: it may have moved. Longer than four polls.
const SILENCE: Duration = Duration::from_secs(80);

/// The pause after a failure to look a server up or to open its socket.
const RETRY: Duration = Duration::from_secs(2);

/// Older kernel timestamps are not believed: the wall clock they are in may have been stepped.
const MAX_AGE: Span = Span::from_millis(100);

/// What a server's task tells the loop.
enum Message {
    /// The socket is open.
    Opened,
    /// A datagram came.
    Datagram { server: usize, bytes: [u8; 48], length: usize, received: BoardTime },
}

/// The socket of a server while it is open.
type SharedSocket = Arc<Mutex<Option<Arc<UdpSocket>>>>;

/// An NTP client with its sockets.
pub(super) struct NtpShell {
    client: NtpClient,
    clock: BoardClock,
    servers: Vec<HostPort>,
    sockets: Vec<SharedSocket>,
    tasks: Vec<JoinHandle<()>>,
    inbox: mpsc::Receiver<Message>,
    opened: bool,
}

impl NtpShell {
    /// A client of `servers`; must be called inside a Tokio runtime.
    pub(super) fn new(servers: &[HostPort], config: NtpConfig, clock: BoardClock) -> Self {
        let (sender, inbox) = mpsc::channel(INBOX);
        let sockets: Vec<SharedSocket> = servers.iter().map(|_| SharedSocket::default()).collect();
        let tasks = servers.iter().zip(&sockets).enumerate().map(|(server, (address, socket))| {
            let (address, socket, sender) = (address.clone(), Arc::clone(socket), sender.clone());
            tokio::spawn(
                async move { serve(server, &address, &socket, &sender, clock).await }.in_current_span(),
            )
        });
        let tasks = tasks.collect();
        let servers = servers.to_vec();
        Self {
            client: NtpClient::new(config, random()),
            clock,
            servers,
            sockets,
            tasks,
            inbox,
            opened: false,
        }
    }

    /// Runs until the next thing happens, then returns for the caller to look at the client.
    pub(super) async fn step(&mut self) {
        let now = self.clock.now();
        // Asking before any socket is open would only teach the client that nobody answers.
        while self.opened
            && let Some(transmit) = self.client.poll_transmit(now)
        {
            self.send(transmit.server, &transmit.datagram);
        }
        let wait = match self.client.poll_timeout() {
            due if self.opened => (due - self.clock.now()).to_duration().max(Duration::from_millis(1)),
            _ => RETRY,
        };
        match tokio::time::timeout(wait, self.inbox.recv()).await {
            Ok(Some(Message::Opened)) => self.opened = true,
            Ok(Some(Message::Datagram { server, bytes, length, received })) => {
                let result = self.client.handle_response(server, &bytes[..length], received);
                match result {
                    Ok(sample) => {
                        tracing::trace!(server = %self.servers[server], delay = %sample.delay, "NTP sample")
                    }
                    Err(error) => tracing::trace!(server = %self.servers[server], "{error}"),
                }
            }
            // Only if every server's task is gone, which is a bug; no reason to spin.
            Ok(None) => tokio::time::sleep(RETRY).await,
            Err(_) => {}
        }
    }

    /// The client.
    pub(super) const fn client(&self) -> &NtpClient {
        &self.client
    }

    /// The client's state.
    pub(super) fn status(&self) -> NtpStatus {
        self.client.status()
    }

    fn send(&mut self, server: usize, datagram: &[u8]) {
        let socket = self.sockets[server].lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(socket) = socket else { return };
        let before = self.clock.now();
        let sent = socket.try_send(datagram);
        // A refusal of an earlier request is reported here, and this one was then not sent.
        let sent = sent.or_else(|_| socket.try_send(datagram));
        match sent {
            Ok(_) => {
                let stamp = stamps::sent(&*socket, datagram);
                let left = stamp.and_then(|stamp| self.clock.at_kernel_realtime(stamp, MAX_AGE));
                // Said to be later than it was, it would make the bound a lie.
                let left = left.map_or(before, |(not_before, _)| not_before.max(before));
                self.client.handle_sent(server, left);
            }
            Err(error) => {
                tracing::trace!(server = %self.servers[server], "cannot ask the NTP server: {error}")
            }
        }
    }
}

impl Drop for NtpShell {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Keeps the socket of a server open and receives from it, for ever.
async fn serve(
    server: usize,
    address: &HostPort,
    shared: &SharedSocket,
    sender: &mpsc::Sender<Message>,
    clock: BoardClock,
) {
    let mut reported = false;
    loop {
        match open(address).await {
            Ok(socket) => {
                reported = false;
                let socket = Arc::new(socket);
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&socket));
                if sender.send(Message::Opened).await.is_err() {
                    return;
                }
                receive_until_silent(server, &socket, sender, clock).await;
            }
            Err(error) => {
                if !std::mem::replace(&mut reported, true) {
                    tracing::warn!(server = %address, "cannot reach the NTP server: {error}; still trying");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn open(address: &HostPort) -> io::Result<UdpSocket> {
    let socket = connect(resolve(address).await?)?;
    if let Err(error) = stamps::enable(&socket) {
        tracing::debug!(server = %address, "no kernel timestamps, which are more exact than our own: {error}");
    }
    let socket = UdpSocket::from_std(socket.into())?;
    // `try_send` wants to have seen once that there is room.
    socket.writable().await?;
    Ok(socket)
}

/// Passes on what the server sends until it is silent for long.
async fn receive_until_silent(
    server: usize,
    socket: &UdpSocket,
    sender: &mpsc::Sender<Message>,
    clock: BoardClock,
) {
    loop {
        let received = tokio::time::timeout(SILENCE, receive(server, socket, clock)).await;
        match received {
            Ok(Ok(message)) => {
                if sender.send(message).await.is_err() {
                    return;
                }
            }
            // The server refuses for now; it is asked again when the client wants to.
            Ok(Err(error)) => {
                tracing::trace!(server, "NTP socket: {error}");
                tokio::time::sleep(RETRY).await;
            }
            Err(_) => return,
        }
    }
}

async fn receive(server: usize, socket: &UdpSocket, clock: BoardClock) -> io::Result<Message> {
    let mut bytes = [0; 48];
    let read = || stamps::receive(socket, &mut bytes);
    let (length, stamp) = socket.async_io(Interest::READABLE, read).await?;
    let received = stamp.and_then(|stamp| clock.at_kernel_realtime(stamp, MAX_AGE));
    let received = received.map_or_else(|| clock.now(), |(_, not_after)| not_after);
    Ok(Message::Datagram { server, bytes, length, received })
}

/// A number that nobody outside can guess: the standard library seeds its hashers from the kernel.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
