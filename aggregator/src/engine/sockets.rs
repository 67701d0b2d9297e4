//! The sockets of all sources, read in the order of arrival across all of them.
//!
//! A thread that was held up finds datagrams on every socket. Read one socket after the other, those of the first
//! would take the engine's time past what waits in the others, and their frames would be late though they
//! arrived in time.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use framelock_common::time::HostTime;

use super::PortIndex;
use crate::source::socket::{Batch, SocketError, UdpPort};
use crate::source::{Channel, Datagram, PortSpec, SourceSpec, Transmit};
use crate::timestamp::HostClock;

/// Batches read from one socket before others than the sockets get their turn.
const BATCHES_IN_A_ROW: usize = 16;

/// Memory of so many datagrams is kept for the next ones, each of at most so many bytes: all that come in Ethernet
/// frames.
const MAX_SPARE: usize = 256;
const MAX_SPARE_SIZE: usize = 2_048;

/// See the module.
#[derive(Debug)]
pub(crate) struct Sockets {
    ports: Vec<Port>,
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Port {
    index: PortIndex,
    channel: Channel,
    socket: UdpPort,
    /// What was read and is not handed on yet.
    waiting: VecDeque<Waiting>,
    /// The latest arrival so far: no datagram of the port counts as earlier, even if a clock was stepped.
    last: Option<HostTime>,
    /// There was nothing more to read.
    drained: bool,
}

/// A datagram that was read.
#[derive(Debug)]
struct Waiting {
    from: SocketAddr,
    data: Vec<u8>,
    arrival: HostTime,
    host: HostClock,
}

impl Sockets {
    /// Binds every source. RTCP's own port is done without where something else has it: RTCP also
    /// travels on the RTP port.
    ///
    /// # Errors
    /// When a source's port cannot be had.
    pub(crate) fn bind(sources: &[SourceSpec]) -> Result<Self, SocketError> {
        let mut sockets = Self { ports: Vec::new(), spare: Vec::new() };
        let listening =
            || sources.iter().enumerate().filter_map(|(index, source)| Some((index, source.port()?)));
        listening().try_for_each(|(index, source)| sockets.bind_main(index, source))?;
        listening().for_each(|(index, source)| sockets.bind_rtcp(index, source));
        Ok(sockets)
    }

    /// Binds one more source, where it is one to listen on.
    ///
    /// # Errors
    /// When its port cannot be had.
    pub(super) fn add(&mut self, index: PortIndex, source: &SourceSpec) -> Result<(), SocketError> {
        let Some(source) = source.port() else { return Ok(()) };
        self.bind_main(index, source)?;
        self.bind_rtcp(index, source);
        Ok(())
    }

    /// Closes the sockets of a source.
    pub(super) fn remove(&mut self, index: PortIndex) {
        self.ports.retain(|port| port.index != index);
    }

    fn bind_main(&mut self, index: PortIndex, source: PortSpec) -> Result<(), SocketError> {
        self.ports.push(Port::new(index, Channel::Main, UdpPort::bind(source.bind)?));
        tracing::info!(%source, "listening");
        Ok(())
    }

    fn bind_rtcp(&mut self, index: PortIndex, source: PortSpec) {
        let Some(rtcp) = source.rtcp_port() else { return };
        match UdpPort::bind(SocketAddr::new(source.bind.ip(), rtcp)) {
            Ok(socket) => self.ports.push(Port::new(index, Channel::Rtcp, socket)),
            Err(error) => {
                tracing::info!(%source, %error, "no RTCP on the port above; it is taken on the RTP port only");
            }
        }
    }

    /// Whether the kernel keeps what arrives for a while without anybody reading it: a key frame of every camera.
    pub(super) fn are_roomy(&self) -> bool {
        self.ports.iter().all(|port| port.socket.is_roomy())
    }

    /// Waits until there may be something to receive: on the sockets of the source `only`, or on any.
    pub(super) async fn readable(&self, only: Option<PortIndex>) -> io::Result<()> {
        let any = |context: &mut Context<'_>| {
            // Every socket must be asked, so that each of them can wake us.
            let mut ready = Poll::Pending;
            for port in self.ports.iter().filter(|port| only.is_none_or(|only| port.index == only)) {
                if !port.waiting.is_empty() {
                    ready = Poll::Ready(Ok(()));
                }
                if let Poll::Ready(result) = port.socket.poll_readable(context) {
                    ready = Poll::Ready(result);
                }
            }
            ready
        };
        poll_fn(any).await
    }

    /// Hands on what has arrived, in the order of arrival; if `surely`, without relying on what the runtime knows
    /// of the sockets. Where more has arrived than is taken in one go, gives the instant up to which
    /// everything is handed on.
    pub(super) fn receive(
        &mut self,
        batch: &mut Batch,
        surely: bool,
        mut each: impl FnMut(PortIndex, &Datagram<'_>, &HostClock),
    ) -> Option<HostTime> {
        let mut reached = None;
        self.ports.iter_mut().for_each(|port| port.drained = false);
        for _ in 0..BATCHES_IN_A_ROW {
            self.ports.iter_mut().for_each(|port| port.fill(batch, surely, &mut self.spare));
            // What is still to be read of a port came after what was read of it.
            let open = self.ports.iter().filter(|port| !port.drained);
            let horizon = open.filter_map(|port| port.waiting.back()).map(|waiting| waiting.arrival).min();
            while let Some((port, waiting)) = self.next(horizon) {
                let Waiting { from, data, arrival, host } = waiting;
                reached = Some(arrival);
                let datagram = Datagram { channel: port.1, from, data: &data, arrival };
                each(port.0, &datagram, &host);
                if self.spare.len() < MAX_SPARE && data.capacity() <= MAX_SPARE_SIZE {
                    self.spare.push(data);
                }
            }
            // Without one, everything is read and handed on.
            horizon?;
        }
        reached
    }

    /// Takes the datagram that arrived first of all, unless that is after `horizon`.
    fn next(&mut self, horizon: Option<HostTime>) -> Option<((PortIndex, Channel), Waiting)> {
        let first = |port: &Port| port.waiting.front().map(|waiting| waiting.arrival);
        let (arrival, at) =
            self.ports.iter().enumerate().filter_map(|(at, port)| Some((first(port)?, at))).min()?;
        if horizon.is_some_and(|horizon| arrival > horizon) {
            return None;
        }
        let port = &mut self.ports[at];
        Some(((port.index, port.channel), port.waiting.pop_front()?))
    }

    /// Sends without waiting.
    pub(super) fn send(&self, index: PortIndex, transmit: &Transmit) {
        let port = self.ports.iter().find(|port| (port.index, port.channel) == (index, transmit.channel));
        if let Some(port) = port
            && let Err(error) = port.socket.send(transmit.to, &transmit.datagram)
        {
            tracing::trace!(to = %transmit.to, %error, "RTCP not sent");
        }
    }
}

impl Port {
    fn new(index: PortIndex, channel: Channel, socket: UdpPort) -> Self {
        Self { index, channel, socket, waiting: VecDeque::new(), last: None, drained: false }
    }

    /// Reads a batch, if nothing waits from the last one.
    fn fill(&mut self, batch: &mut Batch, surely: bool, spare: &mut Vec<Vec<u8>>) {
        if self.drained || !self.waiting.is_empty() {
            return;
        }
        for _ in 0..BATCHES_IN_A_ROW {
            let (waiting, last) = (&mut self.waiting, &mut self.last);
            let keep = |data: &[u8], from, arrival: HostTime, host: &HostClock| {
                let arrival = last.map_or(arrival, |last| last.max(arrival));
                *last = Some(arrival);
                let mut kept = spare.pop().unwrap_or_default();
                kept.clear();
                kept.extend_from_slice(data);
                waiting.push_back(Waiting { from, data: kept, arrival, host: *host });
            };
            match self.socket.receive(batch, surely, keep) {
                Ok(true) => return,
                Ok(false) => break,
                Err(error) => {
                    // ICMP errors of what we sent come back here; the socket works on.
                    tracing::trace!(address = %self.socket.address(), %error, "receive");
                }
            }
        }
        self.drained = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends datagrams to two ports in turn while nobody reads, then reads them.
    fn in_turn(count: usize) -> (Vec<usize>, usize) {
        let port = |index| Port::new(index, Channel::Main, UdpPort::stamping());
        let mut sockets = Sockets { ports: (0..2).map(port).collect(), spare: Vec::new() };
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for n in 0..count {
            sender.send_to(&[0], sockets.ports[n % 2].socket.local_address().unwrap()).unwrap();
        }
        let (mut batch, mut order, mut goes) = (Batch::default(), Vec::new(), 0);
        let mut last = None;
        loop {
            goes += 1;
            let reached = sockets.receive(&mut batch, true, |port, datagram, _| {
                assert!(last.is_none_or(|last| last <= datagram.arrival));
                last = Some(datagram.arrival);
                order.push(port);
            });
            assert!(reached.is_none() || reached == last);
            if reached.is_none() {
                return (order, goes);
            }
        }
    }

    #[tokio::test]
    async fn what_waits_on_several_ports_is_taken_in_the_order_of_its_arrival() {
        for count in [0, 1, 50, 2_000] {
            let (order, goes) = in_turn(count);
            assert_eq!(order, (0..count).map(|n| n % 2).collect::<Vec<_>>());
            assert_eq!(goes > 1, count == 2_000, "{goes}");
        }
    }
}
