//! The UDP socket that the stream leaves by and feedback comes in by.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{UdpSocket, lookup_host};

use crate::config::HostPort;

/// Room for a key frame that the network card does not take at once.
const SEND_BUFFER: usize = 512 * 1024;

/// A socket connected to the receiver: the kernel lets nobody else's datagrams in, and tells when
/// nobody listens there.
#[derive(Debug)]
pub(super) struct StreamSocket {
    socket: UdpSocket,
    peer: SocketAddr,
}

/// What became of a datagram.
#[derive(Debug)]
pub(super) enum Sent {
    /// The network took it.
    Yes,
    /// The send buffer is full: try again when the socket is writable.
    Blocked,
    /// It was refused.
    Refused(io::Error),
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
        let socket = UdpSocket::from_std(socket.into())?;
        // `try_send` wants to have seen once that there is room.
        socket.writable().await?;
        Ok(Some(Self { socket, peer }))
    }

    /// Where it is connected to.
    #[must_use]
    pub(super) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends one datagram. An earlier datagram's refusal is reported with this one, which the
    /// kernel then has not sent: it gets a second attempt.
    pub(super) fn send(&self, datagram: &[u8]) -> Sent {
        let again = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        let first = self.socket.try_send(datagram);
        let (result, refused) = match first {
            Err(error) if again(&error) => (self.socket.try_send(datagram), Some(error)),
            other => (other, None),
        };
        match (result, refused) {
            (Ok(_), None) => Sent::Yes,
            (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => Sent::Blocked,
            (Err(error), _) | (Ok(_), Some(error)) => Sent::Refused(error),
        }
    }

    /// Waits until there is room in the send buffer again.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Receives one datagram from the receiver, cut to `buffer`.
    ///
    /// # Errors
    /// When the network refused an earlier datagram, or fails.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buffer).await
    }
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
        assert!(matches!(socket.send(b"lost"), Sent::Yes));
        // Loopback answers with ICMP "port unreachable" before send returns.
        let Sent::Refused(error) = socket.send(b"lost too") else { panic!("nobody listens") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let receiver = std::net::UdpSocket::bind(address).unwrap();
        // The refusal of the datagram before is reported, but this one arrives.
        assert!(matches!(socket.send(b"heard"), Sent::Refused(_)));
        let mut buffer = [0; 16];
        let (length, _) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"heard");
        assert!(matches!(socket.send(b"again"), Sent::Yes));
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
