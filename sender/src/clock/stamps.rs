//! When the kernel sent and received datagrams, on its `CLOCK_REALTIME`.
//!
//! A request leaves some 5 to 30 us after the program read its clock, the more the slower or busier the board,
//! and an answer waits for the program to wake up. Both would pass for delay of the network, the first of one
//! direction only. The driver's and the stack's own stamps leave both out (`SO_TIMESTAMPING`, Linux 2.6.30).

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, TimestampingFlag, Timestamps, recvmsg, setsockopt, sockopt,
};

/// Room for what comes back of a datagram that left: the datagram and the headers before it.
const SENT: usize = 256;
/// Stamps of earlier datagrams that wait at most; a driver that defers stamps leaves one behind.
const LEFT_BEHIND: usize = 8;

/// Asks the kernel for stamps of what `socket` sends and receives from now on.
///
/// # Errors
/// When the kernel has none; then everything else works without.
pub(super) fn enable(socket: &impl AsFd) -> io::Result<()> {
    let wanted = TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
    Ok(setsockopt(socket, sockopt::Timestamping, &wanted)?)
}

/// Receives a datagram: how much of it is in `buffer`, and when it arrived, in ns.
///
/// # Errors
/// As of the socket; `WouldBlock` if there is none.
pub(super) fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<(usize, Option<i64>)> {
    read(socket, buffer, MsgFlags::MSG_DONTWAIT)
}

/// When `datagram`, the last one sent, left, in ns; `None` if the driver has not told yet or tells nothing.
pub(super) fn sent(socket: &impl AsRawFd, datagram: &[u8]) -> Option<i64> {
    let mut packet = [0; SENT];
    let stamps = (0..=LEFT_BEHIND).map_while(|_| {
        let (length, stamp) =
            read(socket, &mut packet, MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT).ok()?;
        // Behind the headers.
        Some(stamp.filter(|_| packet[..length].ends_with(datagram)))
    });
    stamps.last().flatten()
}

fn read(socket: &impl AsRawFd, buffer: &mut [u8], flags: MsgFlags) -> io::Result<(usize, Option<i64>)> {
    let mut parts = [IoSliceMut::new(buffer)];
    // Beside the stamps, an entry of the error queue says of what it is (`sock_extended_err` and an address).
    let mut control = nix::cmsg_space!(Timestamps, [u8; 64]);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let stamp = message.cmsgs().ok().and_then(|mut all| {
        all.find_map(|part| match part {
            ControlMessageOwned::ScmTimestampsns(stamps) => Some(stamps.system),
            _ => None,
        })
    });
    let stamp = stamp.and_then(|at| i64::try_from(Duration::from(at).as_nanos()).ok());
    // The kernel says "none" with zero.
    Ok((message.bytes, stamp.filter(|ns| *ns != 0)))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Instant;

    use super::*;
    use crate::clock::BoardClock;

    fn connected() -> [UdpSocket; 2] {
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        sockets[0].connect(sockets[1].local_addr().unwrap()).unwrap();
        sockets[1].connect(sockets[0].local_addr().unwrap()).unwrap();
        for socket in &sockets {
            enable(socket).unwrap();
        }
        sockets
    }

    /// The kernel begins to stamp what is received a moment after it was asked to.
    #[expect(clippy::disallowed_methods, reason = "waits for the kernel")]
    fn exchange(sockets: &[UdpSocket; 2], datagram: &[u8]) -> (Option<i64>, i64) {
        let start = Instant::now();
        loop {
            sockets[0].send(datagram).unwrap();
            let left = sent(&sockets[0], datagram);
            let mut buffer = [0; 48];
            let (length, arrived) = receive(&sockets[1], &mut buffer).unwrap();
            assert_eq!(&buffer[..length], datagram);
            if let Some(arrived) = arrived {
                return (left, arrived);
            }
            assert!(start.elapsed() < Duration::from_secs(60), "the kernel stamps nothing");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_datagram_leaves_after_it_was_given_to_the_kernel_and_before_it_arrives() {
        let sockets = connected();
        let clock = BoardClock::real();
        let realtime = || clock.reading().realtime.as_unix_nanos();
        exchange(&sockets, b"to begin with");
        let before = realtime();
        let (left, arrived) = exchange(&sockets, b"a request");
        let left = left.expect("loopback stamps at once");
        assert!(before <= left && left <= arrived && arrived <= realtime(), "{before} {left} {arrived}");
    }

    #[test]
    fn stamps_of_other_datagrams_are_passed_over() {
        let sockets = connected();
        exchange(&sockets, b"to begin with");
        for datagram in [&b"one"[..], b"two", b"three"] {
            sockets[0].send(datagram).unwrap();
        }
        let three = sent(&sockets[0], b"three").expect("the last one");
        assert_eq!(sent(&sockets[0], b"three"), None, "told once");
        sockets[0].send(b"four").unwrap();
        assert_eq!(sent(&sockets[0], b"five"), None);
        sockets[0].send(b"six").unwrap();
        assert!(sent(&sockets[0], b"six").expect("the last one") > three);
    }

    #[test]
    fn without_a_datagram_there_is_nothing_to_receive() {
        let sockets = connected();
        let error = receive(&sockets[0], &mut [0; 48]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(sent(&sockets[0], b"nothing"), None);
    }
}
