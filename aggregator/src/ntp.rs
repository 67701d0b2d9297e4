//! The NTP service: this host's clock for the boards, on a thread of its own.
//!
//! What to answer is decided in [`framelock_common::clock::NtpServer`]; here are the socket, the kernel's
//! receive timestamps and the readings of the host's clock.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use framelock_common::clock::{KernelClock, NtpServer, ServeConfig, ServeCounters};
use framelock_common::time::{HostTime, Span};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::Socket;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::clock;
use crate::source::socket::{SocketError, bind};

/// The UDP port, unless set: NTP's own (123) is privileged, and the host's time daemon may have it.
pub const DEFAULT_PORT: u16 = 11_123;
/// Reads from the socket at a time.
const READS: usize = 8;
/// The largest that the kernel hands out in one read: 64 KiB of coalesced datagrams.
const READ_SIZE: usize = 65_536;
/// How often the host's clock is looked at while nobody asks.
const READING_INTERVAL: Span = Span::from_secs(10);

/// What an [`NtpService`] is told at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtpSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The stratum at which this host's clock is the reference while nothing synchronizes it, for networks
    /// without any other time: 1 to 15. `None`: an unsynchronized host says so.
    pub local_stratum: Option<u8>,
    /// Whether the aggregator starts without the service if the port is taken.
    pub optional: bool,
}

impl Default for NtpSettings {
    /// Every interface, the default port, no local reference.
    fn default() -> Self {
        let listen = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), DEFAULT_PORT);
        Self { listen, local_stratum: None, optional: false }
    }
}

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
pub enum NtpServiceError {
    /// The port cannot be had.
    #[error("NTP service: {0}")]
    Socket(#[from] SocketError),
    /// The system gives no thread, runtime or socket options.
    #[error("cannot start the NTP service: {0}")]
    System(#[from] io::Error),
}

/// A running NTP server. It ends when dropped.
#[derive(Debug)]
pub struct NtpService {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: Notify,
    counters: Mutex<ServeCounters>,
}

impl NtpService {
    /// Binds the port and starts to serve.
    ///
    /// # Errors
    /// When the port or a thread cannot be had.
    pub fn start(settings: &NtpSettings) -> Result<Self, NtpServiceError> {
        let socket = bind(settings.listen)?;
        let address = socket.local_addr()?.as_socket().unwrap_or(settings.listen);
        let config = ServeConfig { local_stratum: settings.local_stratum };
        let shared = Arc::<Shared>::default();
        let for_thread = Arc::clone(&shared);
        let (ready, result) = std::sync::mpsc::channel();
        // The runtime lives and dies on the thread: the caller may be in one of its own.
        let body = move || match Port::new(socket) {
            Ok((runtime, port)) => {
                drop(ready.send(Ok(())));
                runtime.block_on(serve(&port, config, &for_thread));
            }
            Err(error) => drop(ready.send(Err(error))),
        };
        let thread = Some(std::thread::Builder::new().name("ntp".to_owned()).spawn(body)?);
        let service = Self { address, shared, thread };
        result.recv().map_err(io::Error::other)??;
        Ok(service)
    }

    /// Starts what an aggregator was told to: nothing for `None`, and nothing but a warning where the service
    /// is optional and its port taken.
    pub(crate) fn start_if_wanted(settings: Option<&NtpSettings>) -> Result<Option<Self>, NtpServiceError> {
        let Some(settings) = settings else { return Ok(None) };
        match Self::start(settings) {
            Ok(service) => Ok(Some(service)),
            Err(error) if settings.optional => {
                tracing::warn!("{error}; going on without it: boards need another NTP server");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The address it listens on, with the port that the system chose if none was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was served so far.
    #[must_use]
    pub fn counters(&self) -> ServeCounters {
        *self.shared.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NtpService {
    fn drop(&mut self) {
        self.shared.stop.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the NTP thread panicked");
        }
    }
}

/// The socket, and what the kernel can do for it.
#[derive(Debug)]
struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Port {
    /// The socket with the runtime that drives it.
    fn new(socket: Socket) -> io::Result<(Runtime, Self)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let socket = {
            let _inside = runtime.enter();
            UdpSocket::from_std(socket.into())?
        };
        let state = UdpSocketState::new((&socket).into())?;
        Ok((runtime, Self { socket, state }))
    }

    /// Answers from the address that was asked: a client on a host with several believes no other.
    fn answer(&self, to: SocketAddr, asked: Option<IpAddr>, datagram: &[u8]) {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: datagram,
            segment_size: None,
            // What came to a multicast group or a broadcast address is answered from our own.
            src_ip: asked.filter(|ip| !ip.is_multicast() && !ip.is_unspecified()),
        };
        let send = || self.state.try_send((&self.socket).into(), &transmit);
        if let Err(error) = self.socket.try_io(Interest::WRITABLE, send) {
            // A full buffer loses the answer, as the network might.
            tracing::trace!(%to, %error, "NTP answer not sent");
        }
    }
}

/// The server with its reading of the host's clock.
struct Host {
    server: NtpServer,
    stratum: Option<u8>,
}

impl Host {
    fn new(config: ServeConfig) -> Self {
        let mut host = Self { server: NtpServer::new(config, clock::random()), stratum: None };
        host.read();
        host
    }

    /// Reads the clock; says so when it was stepped, and when clients are told something else of it.
    fn read(&mut self) {
        let kernel = framelock_timex::read().unwrap_or(KernelClock::UNKNOWN);
        if self.server.handle_reading(clock::reading(), kernel) {
            tracing::warn!("this host's clock was stepped; boards that ask the NTP service follow it");
        }
        let stratum = self.server.stratum();
        if std::mem::replace(&mut self.stratum, stratum) != stratum {
            report(stratum, &kernel);
        }
    }
}

fn report(stratum: Option<u8>, kernel: &KernelClock) {
    match stratum {
        Some(stratum) if kernel.synchronized => {
            tracing::info!(stratum, within = %kernel.bound(), "NTP service: this host's clock is synchronized");
        }
        Some(stratum) if stratum < 16 => {
            tracing::info!(
                stratum,
                "NTP service: this host's clock is the reference, nothing synchronizes it"
            );
        }
        _ => tracing::warn!(
            "NTP service: this host's clock is not synchronized, and boards are told so; run a time daemon (chronyd needs `rtcsync`), or on a network without other time set a local stratum"
        ),
    }
}

async fn serve(port: &Port, config: ServeConfig, shared: &Shared) {
    let mut host = Host::new(config);
    let mut storage = vec![0; READ_SIZE * READS];
    loop {
        tokio::select! {
            () = shared.stop.notified() => return,
            ready = port.socket.readable() => {
                if let Err(error) = ready {
                    tracing::debug!(%error, "waiting for NTP requests");
                }
                answer_batch(port, &mut host, &mut storage);
            }
            () = tokio::time::sleep(READING_INTERVAL.to_duration()) => host.read(),
        }
        *shared.counters.lock().unwrap_or_else(PoisonError::into_inner) = host.server.counters();
    }
}

/// Answers what has arrived.
fn answer_batch(port: &Port, host: &mut Host, storage: &mut [u8]) {
    let mut chunks = storage.chunks_mut(READ_SIZE).map(IoSliceMut::new);
    let mut slices: [IoSliceMut<'_>; READS] =
        std::array::from_fn(|_| chunks.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
    let mut meta = [RecvMeta::default(); READS];
    let read = || port.state.recv((&port.socket).into(), &mut slices, &mut meta);
    let count = match port.socket.try_io(Interest::READABLE, read) {
        Ok(count) => count,
        Err(error) => {
            // ICMP errors of what we sent come back here; the socket works on.
            if error.kind() != io::ErrorKind::WouldBlock {
                tracing::trace!(%error, "NTP socket");
            }
            return;
        }
    };
    // After the datagrams: a step of the clock before now is seen before they are answered.
    host.read();
    for (meta, data) in meta[..count].iter().zip(storage.chunks(READ_SIZE)) {
        let received = clock::kernel_arrival(meta.timestamp, &clock::sandwich(), clock::now());
        for datagram in data[..meta.len].chunks(meta.stride.max(1)) {
            answer(port, host, meta, datagram, received);
        }
    }
}

fn answer(port: &Port, host: &mut Host, meta: &RecvMeta, datagram: &[u8], received: HostTime) {
    match host.server.handle_request(datagram, meta.addr, received, clock::now()) {
        Ok(answer) => port.answer(meta.addr, meta.dst_ip, &answer),
        Err(refusal) => tracing::trace!(from = %meta.addr, "no NTP answer: {refusal}"),
    }
}
