//! The UDP socket that the stream leaves by and feedback comes in by.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, getsockopt, sendmsg, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::lookup_host;

use crate::config::HostPort;

/// Room for a key frame that the network card does not take at once.
const SEND_BUFFER: usize = 512 * 1024;

/// A socket connected to the receiver: the kernel lets nobody else's datagrams in, and tells when
/// nobody listens there.
#[derive(Debug)]
pub(super) struct StreamSocket {
    /// Watched for what comes in only: watched for room as well, each datagram that has left would wake the loop.
    socket: AsyncFd<UdpSocket>,
    peer: SocketAddr,
    /// The kernel cuts datagrams of one size apart itself (UDP GSO, Linux 4.18): one call sends them all. So does
    /// not every network card's driver.
    segments: AtomicBool,
}

/// What became of datagrams.
#[derive(Debug)]
pub(super) enum Sent {
    /// The network took so many bytes of them.
    Yes(usize),
    /// The send buffer is full: try again when the socket is writable.
    Blocked,
    /// So many bytes of them were refused.
    Refused(usize, io::Error),
}

/// Looks `target` up. The first address counts, as the resolver sorts by RFC 6724.
///
/// # Errors
/// When the name does not resolve.
pub(crate) async fn resolve(target: &HostPort) -> io::Result<SocketAddr> {
    let mut addresses = lookup_host((target.host.as_str(), target.port)).await?;
    addresses.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

/// A non-blocking UDP socket connected to `peer`.
///
/// # Errors
/// When the kernel refuses, as when there is no route.
pub(crate) fn connect(peer: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    socket.bind(&any.into())?;
    socket.connect(&peer.into())?;
    Ok(socket)
}

impl StreamSocket {
    /// Looks `target` up and opens a socket to it; `None` if it is still at `current`, whose socket will do.
    ///
    /// # Errors
    /// When the name does not resolve, or the kernel refuses, as when there is no route.
    pub(super) async fn open(target: HostPort, current: Option<SocketAddr>) -> io::Result<Option<Self>> {
        let peer = resolve(&target).await?;
        if current == Some(peer) {
            return Ok(None);
        }
        let socket = connect(peer)?;
        // More than the kernel allows is cut down silently; less works too, with more waiting.
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
        let socket = watch(UdpSocket::from(socket), Interest::READABLE)?;
        // A kernel that does not know the option would ignore the request and send one huge datagram.
        let segments = AtomicBool::new(
            std::env::var("FL_NOGSO").is_err()
                && getsockopt(socket.get_ref(), sockopt::UdpGsoSegment).is_ok(),
        );
        Ok(Some(Self { socket, peer, segments }))
    }

    /// Where it is connected to.
    #[must_use]
    pub(super) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends `datagrams`, each of `size` bytes but for the last, which may be smaller: all of them, or the first
    /// where the kernel does not cut them apart. An earlier datagram's refusal is reported with these, which
    /// the kernel then has not sent: they get a second attempt.
    pub(super) fn send(&self, datagrams: &[u8], size: usize) -> Sent {
        let again = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        let first = self.attempt(datagrams, size);
        let (result, refused) = match first {
            Err(error) if again(&error) => (self.attempt(datagrams, size), Some(error)),
            other => (other, None),
        };
        match (result, refused) {
            (Ok(sent), None) => Sent::Yes(sent),
            (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => Sent::Blocked,
            (Ok(sent), Some(error)) => Sent::Refused(sent, error),
            (Err(error), _) => Sent::Refused(size.min(datagrams.len()), error),
        }
    }

    /// Sends all of `datagrams` or the first, and tells how many bytes that were.
    fn attempt(&self, datagrams: &[u8], size: usize) -> io::Result<usize> {
        if size < datagrams.len() && self.segments.load(Ordering::Relaxed) {
            match self.send_segments(datagrams, size) {
                Err(error) if is_unsupported(&error) => {
                    tracing::debug!("the network takes datagrams only one by one: {error}");
                    self.segments.store(false, Ordering::Relaxed);
                }
                other => return other,
            }
        }
        self.socket.get_ref().send(&datagrams[..size.min(datagrams.len())])
    }

    fn send_segments(&self, datagrams: &[u8], size: usize) -> io::Result<usize> {
        let size = u16::try_from(size).map_err(io::Error::other)?;
        let control = [ControlMessage::UdpGsoSegments(&size)];
        let data = [IoSlice::new(datagrams)];
        Ok(sendmsg::<()>(self.socket.as_raw_fd(), &data, &control, MsgFlags::empty(), None)?)
    }

    /// Waits until there is room in the send buffer again.
    pub(super) async fn writable(&self) -> io::Result<()> {
        let again = watch(self.socket.get_ref().try_clone()?, Interest::WRITABLE)?;
        again.writable().await?.retain_ready();
        Ok(())
    }

    /// Receives one datagram from the receiver, cut to `buffer`.
    ///
    /// # Errors
    /// When the network refused an earlier datagram, or fails.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.async_io(Interest::READABLE, |socket| socket.recv(buffer)).await
    }
}

/// Has the event loop watch `file` for `interest`; must be called inside a Tokio runtime.
///
/// # Errors
/// When the kernel refuses.
#[expect(
    deprecated,
    reason = "what takes its place is unsafe, as a type may lie about its descriptor; these own theirs"
)]
pub(super) fn watch<T: Into<OwnedFd> + AsRawFd>(file: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(file, interest)
}

/// Whether `error` says that datagrams cannot be cut apart here: the card computes no checksums (EIO), they are
/// too many (EINVAL), or too large for the path (EINVAL, EMSGSIZE), where one alone is sent in fragments.
fn is_unsupported(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE | Errno::EOPNOTSUPP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_receiver_that_is_away_is_survived_and_served_when_it_is_back() {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = receiver.local_addr().unwrap();
        drop(receiver);
        let target = HostPort { host: address.ip().to_string(), port: address.port() };
        let socket = StreamSocket::open(target.clone(), None).await.unwrap().unwrap();
        assert!(StreamSocket::open(target, Some(address)).await.unwrap().is_none());
        assert!(matches!(socket.send(b"lost", 4), Sent::Yes(4)));
        // Loopback answers with ICMP "port unreachable" before send returns.
        let Sent::Refused(8, error) = socket.send(b"lost too", 8) else { panic!("nobody listens") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let receiver = std::net::UdpSocket::bind(address).unwrap();
        // The refusal of the datagram before is reported, but this one arrives.
        assert!(matches!(socket.send(b"heard", 5), Sent::Refused(5, _)));
        let mut buffer = [0; 16];
        let (length, _) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"heard");
        assert!(matches!(socket.send(b"again", 5), Sent::Yes(5)));
    }

    /// What arrives at a new receiver of `count` datagrams of 100 bytes and one of 10, sent together; and whether
    /// the socket still takes several at once afterwards.
    async fn sent_together(count: usize, segments: bool) -> (Vec<Vec<u8>>, bool) {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_nonblocking(true).unwrap();
        let address = receiver.local_addr().unwrap();
        let target = HostPort { host: address.ip().to_string(), port: address.port() };
        let socket = StreamSocket::open(target, None).await.unwrap().unwrap();
        socket.segments.store(segments, Ordering::Relaxed);
        let datagrams: Vec<u8> = (0..count * 100 + 10).map(|i| (i / 100) as u8).collect();
        let (mut sent, mut arrived) = (0, Vec::new());
        while sent < datagrams.len() {
            let Sent::Yes(taken) = socket.send(&datagrams[sent..], 100) else { panic!("{sent} were sent") };
            sent += taken;
            let mut buffer = [0; 200];
            while let Ok(length) = receiver.recv(&mut buffer) {
                arrived.push(buffer[..length].to_vec());
            }
        }
        assert_eq!(arrived.concat(), datagrams);
        (arrived, socket.segments.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn datagrams_sent_together_arrive_one_by_one() {
        let (arrived, segments) = sent_together(20, true).await;
        assert!(segments, "this machine's kernel is newer than Linux 4.18");
        let sizes: Vec<_> = arrived.iter().map(Vec::len).collect();
        assert_eq!(sizes, [vec![100; 20], vec![10]].concat());
        assert_eq!(sent_together(20, false).await, (arrived, false));
    }

    #[tokio::test]
    async fn where_the_kernel_refuses_to_cut_datagrams_apart_they_go_one_by_one() {
        // More than the kernel's UDP_MAX_SEGMENTS: it refuses with the error that a driver gives which cannot.
        let (arrived, segments) = sent_together(300, true).await;
        assert!(!segments);
        assert!(arrived[..300].iter().all(|datagram| datagram.len() == 100));
    }

    #[tokio::test]
    async fn names_resolve_and_what_does_not_is_an_error() {
        let target = HostPort { host: "localhost".to_owned(), port: 5000 };
        let socket = StreamSocket::open(target, None).await.unwrap().unwrap();
        assert!(socket.peer().ip().is_loopback());
        // Reserved never to exist (RFC 2606 section 2).
        let target = HostPort { host: "nowhere.invalid".to_owned(), port: 5000 };
        assert!(StreamSocket::open(target, None).await.is_err());
    }
}
