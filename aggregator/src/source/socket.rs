//! UDP sockets: bound as asked, with a large buffer, read in batches with kernel timestamps.
//!
//! What the datagrams mean does not live here.

use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};

use framelock_common::time::{HostTime, Span};
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::clock;
use crate::timestamp::HostClock;

/// Receive buffer asked of the kernel: a key frame burst of every one of 64 boards.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Below this a burst of key frames may overflow, so the log says what to do.
const SMALL_BUFFER: usize = 1 << 20;
/// The largest that the kernel hands out in one read: 64 KiB of coalesced datagrams.
const READ_SIZE: usize = 65_536;

/// Datagrams, or trains of coalesced ones, in one batch: more than there are of a frame, for each costs a little even
/// where none is there.
const BATCH_SIZE: usize = 8;

/// How far the kernel's clock of timestamps and ours may seem apart without a step of either.
const CLOCKS_APART: Span = Span::from_millis(10);

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody else has the port.
    #[error("UDP port {0} is in use by another program; choose another port or stop that program (`ss -ulpn` shows it)", address.port())]
    InUse {
        /// The address wanted.
        address: SocketAddr,
    },
    /// The address is none of this machine.
    #[error("{address} is no address of this machine; leave the host out to listen everywhere")]
    NotLocal {
        /// The address wanted.
        address: SocketAddr,
    },
    /// Ports below 1024 are privileged.
    #[error("not allowed to listen on UDP port {0}; choose one above 1023", address.port())]
    Denied {
        /// The address wanted.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on UDP {address}: {source}")]
    Other {
        /// The address wanted.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Room for one batch of datagrams; shared by all sockets of a thread.
pub struct Batch {
    storage: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
}

impl Default for Batch {
    fn default() -> Self {
        Self { storage: vec![0; READ_SIZE * BATCH_SIZE], meta: [RecvMeta::default(); BATCH_SIZE] }
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

/// A bound UDP socket.
#[derive(Debug)]
pub struct UdpPort {
    socket: UdpSocket,
    state: UdpSocketState,
    address: SocketAddr,
    /// When there was last nothing in it to read: no datagram in it is older.
    empty: Cell<HostTime>,
    /// See [`Self::is_roomy`].
    roomy: bool,
}

impl UdpPort {
    /// Binds `address`; the unspecified IPv6 address takes IPv4 too, and a multicast group is joined.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the port is taken or the address is not ours.
    pub fn bind(address: SocketAddr) -> Result<Self, SocketError> {
        let socket = bind(address)?;
        let roomy = enlarge_buffer(&socket, address) >= SMALL_BUFFER;
        Self::with_socket(socket, address, roomy).map_err(|source| SocketError::Other { address, source })
    }

    fn with_socket(socket: Socket, address: SocketAddr, roomy: bool) -> io::Result<Self> {
        let socket = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { socket, state, address, empty: Cell::new(clock::now()), roomy })
    }

    /// The address that was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address that it is bound to.
    #[cfg(test)]
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Whether its buffer holds what arrives in a tenth of a second, even a key frame.
    pub fn is_roomy(&self) -> bool {
        self.roomy
    }

    /// Ready when there may be something to read.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_recv_ready(context)
    }

    /// Reads one batch without waiting and hands each datagram to `each` with its sender and its arrival. Returns
    /// whether there may be more to read: as far as the runtime knows, which learns of datagrams only between tasks,
    /// or if `surely`, as the kernel says.
    ///
    /// # Errors
    /// Whatever the kernel reports, such as the network going down; the socket stays usable.
    pub fn receive(
        &self,
        batch: &mut Batch,
        surely: bool,
        mut each: impl FnMut(&[u8], SocketAddr, HostTime, &HostClock),
    ) -> io::Result<bool> {
        let mut slices = batch.storage.chunks_mut(READ_SIZE).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let meta = &mut batch.meta;
        let (oldest, count) = (self.empty.get(), Cell::new(0));
        // Where the kernel has less than there is room for, it has no more, and asking again is spared.
        let mut recv = || {
            let before = clock::now();
            let read = self.state.recv((&self.socket).into(), &mut slices, meta);
            count.set(if is_empty(&read) { 0 } else { read? });
            if count.get() == BATCH_SIZE {
                return Ok(());
            }
            self.empty.set(before);
            Err(io::ErrorKind::WouldBlock.into())
        };
        let mut read = self.socket.try_io(Interest::READABLE, &mut recv);
        if surely && count.get() == 0 && is_empty(&read) {
            read = recv();
        }
        let more = match read {
            Ok(()) => true,
            read if is_empty(&read) => false,
            Err(error) => return Err(error),
        };
        let count = count.get();
        if count == 0 {
            return Ok(false);
        }
        // Fresh reads for every batch: a pair frozen at start would not follow the clock's discipline.
        let (clock, now) = (clock::sandwich(), clock::now());
        let max_age = now - oldest + CLOCKS_APART;
        for (meta, data) in batch.meta[..count].iter().zip(batch.storage.chunks(READ_SIZE)) {
            let arrival = clock::kernel_arrival(meta.timestamp, &clock, now, max_age);
            for datagram in data[..meta.len].chunks(meta.stride.max(1)) {
                each(datagram, meta.addr, arrival, &clock);
            }
        }
        Ok(more)
    }

    /// Sends without waiting; a full socket buffer drops the datagram, as the network might.
    ///
    /// # Errors
    /// Whatever the kernel reports.
    pub fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        match self.socket.try_send_to(datagram, to) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn is_empty<T>(read: &io::Result<T>) -> bool {
    read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// A non-blocking socket bound to `address`; the unspecified IPv6 address takes IPv4 too.
pub(crate) fn bind(address: SocketAddr) -> Result<Socket, SocketError> {
    let socket = match open(address) {
        // A machine without IPv6: every interface then means every IPv4 interface.
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && no_ipv6(&error) => {
            open(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()))
        }
        other => other,
    };
    socket.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => SocketError::InUse { address },
        io::ErrorKind::AddrNotAvailable => SocketError::NotLocal { address },
        io::ErrorKind::PermissionDenied => SocketError::Denied { address },
        _ => SocketError::Other { address, source },
    })
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    if address.ip().is_multicast() {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    match address.ip() {
        IpAddr::V4(group) if group.is_multicast() => {
            socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
        }
        IpAddr::V6(group) if group.is_multicast() => socket.join_multicast_v6(&group, 0)?,
        _ => {}
    }
    Ok(socket)
}

fn no_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let unsupported = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
    unsupported.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// As large as allowed: beyond the system's limit where we are privileged, else up to it. Returns how large.
fn enlarge_buffer(socket: &Socket, address: SocketAddr) -> usize {
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER).is_err()
        && let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER)
    {
        tracing::warn!(%address, %error, "cannot enlarge the receive buffer");
    }
    let size = socket.recv_buffer_size().unwrap_or(0);
    if size < SMALL_BUFFER {
        tracing::info!(
            %address,
            bytes = size,
            "small receive buffer; if packets get lost raise it with: sysctl -w net.core.rmem_max={RECEIVE_BUFFER}"
        );
    }
    size
}

#[cfg(test)]
impl UdpPort {
    /// A port on loopback whose datagrams the kernel stamps as they arrive. It begins to stamp a while after the
    /// first socket of the machine asks for it (a task of its own switches that on); until then a datagram's stamp
    /// is of its reading.
    pub(crate) fn stamping() -> Self {
        const READ_LATE: Span = Span::from_millis(3);
        let port = Self::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut batch = Batch::default();
        for _ in 0..1_000 {
            sender.send_to(&[0], port.local_address().unwrap()).unwrap();
            std::thread::sleep(READ_LATE.to_duration());
            let (read, mut got, mut stamped) = (clock::now(), 0, false);
            let each =
                |_: &[u8], _, arrival, _: &_| (got, stamped) = (got + 1, read - arrival > READ_LATE / 2);
            assert!(!port.receive(&mut batch, true, each).unwrap());
            assert_eq!(got, 1);
            if stamped {
                return port;
            }
        }
        panic!("the kernel does not stamp datagrams");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use framelock_common::time::Span;

    use super::*;

    #[tokio::test]
    async fn a_datagram_arrived_when_the_kernel_took_it_however_late_it_is_read() {
        const LATE: Span = Span::from_millis(30);
        let port = UdpPort::stamping();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let before = clock::now();
        for data in [&b"one"[..], b"two"] {
            sender.send_to(data, port.socket.local_addr().unwrap()).unwrap();
        }
        let sent = clock::now();
        tokio::time::sleep(LATE.to_duration() + Duration::from_millis(1)).await;
        let (mut batch, mut got) = (Batch::default(), Vec::new());
        std::future::poll_fn(|context| port.poll_readable(context)).await.unwrap();
        while got.len() < 2 {
            let each = |data: &[u8], from, arrival, _: &_| got.push((data.to_vec(), from, arrival));
            port.receive(&mut batch, false, each).unwrap();
        }
        for ((data, from, arrival), expected) in got.into_iter().zip([&b"one"[..], b"two"]) {
            assert_eq!((data.as_slice(), from), (expected, sender.local_addr().unwrap()));
            // The kernel's stamp is of another clock than ours: to within what reading both costs.
            let slack = LATE / 3;
            assert!(arrival >= before - slack && arrival <= sent + slack, "{arrival:?}: {before:?} {sent:?}");
        }
    }

    /// Whoever has to know that nothing has come need not wait for the runtime to say so, and what came long ago
    /// came long ago.
    #[tokio::test]
    async fn what_the_runtime_does_not_know_of_yet_can_be_read() {
        let port = UdpPort::stamping();
        let (mut batch, mut got) = (Batch::default(), Vec::new());
        let nothing = |_: &[u8], _, _, _: &_| panic!("nobody told the runtime");
        assert!(!port.receive(&mut batch, true, nothing).unwrap());
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"one", port.socket.local_addr().unwrap()).unwrap();
        let sent = clock::now();
        // The thread is held up, for longer than a source may be silent.
        std::thread::sleep(Duration::from_millis(2_100));
        assert!(!port.receive(&mut batch, false, nothing).unwrap());
        let each = |data: &[u8], _, arrival, _: &_| got.push((data.to_vec(), arrival));
        assert!(!port.receive(&mut batch, true, each).unwrap());
        assert_eq!(got.len(), 1);
        let (data, arrival) = got.pop().unwrap();
        assert_eq!(data, b"one");
        assert!(arrival - sent < Span::from_secs(1), "{}", arrival - sent);
    }

    /// The runtime is asked again only where there may be more: what comes after a batch that was not full must be
    /// told of all the same.
    #[tokio::test]
    async fn what_comes_after_the_last_of_a_batch_is_told_of() {
        let port = UdpPort::stamping();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut batch = Batch::default();
        for (sent, round) in
            [1, 2, BATCH_SIZE, BATCH_SIZE + 1, 3 * BATCH_SIZE, 5].into_iter().cycle().zip(0..60)
        {
            for _ in 0..sent {
                sender.send_to(&[0], port.local_address().unwrap()).unwrap();
            }
            let mut left = sent;
            while left > 0 {
                let told = std::future::poll_fn(|context| port.poll_readable(context));
                tokio::time::timeout(Duration::from_secs(60), told)
                    .await
                    .expect("told of datagrams")
                    .unwrap();
                while {
                    let mut got = 0;
                    let more = port.receive(&mut batch, round % 2 == 1, |_, _, _, _| got += 1).unwrap();
                    left -= got;
                    assert_eq!(more, got == BATCH_SIZE);
                    more
                } {}
            }
        }
        assert!(!port.receive(&mut batch, true, |_, _, _, _| ()).unwrap());
    }
}
