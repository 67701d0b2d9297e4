//! A seeded UDP relay between a sender and the aggregator: loses, duplicates and delays datagrams, and
//! can be cut. It stands in for a bad network, since not every kernel has `netem`.
//!
//! Which datagram is hit depends on the seed and the datagram's number alone; when it is forwarded
//! depends on the machine.

use std::collections::BinaryHeap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use framelock_common::rtp::is_rtcp;

/// What the relay does to datagrams on their way to the aggregator. RTCP on its way back passes unharmed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The share of datagrams that vanish, 0 to 1.
    pub loss: f64,
    /// The share that arrive twice.
    pub duplicates: f64,
    /// The share that are held back by `delay`, so that later ones overtake them.
    pub reordering: f64,
    /// How long a reordered datagram is held back.
    pub delay: Duration,
}

/// What the relay has done so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Datagrams that came from the sender.
    pub received: AtomicU64,
    /// RTP packets that did not get through, by chance or by the cut, between two that did: those that a
    /// receiver can know of.
    pub lost_rtp: AtomicU64,
    /// RTP packets sent twice.
    pub duplicated_rtp: AtomicU64,
    /// RTCP datagrams that did not get through.
    pub lost_rtcp: AtomicU64,
    /// Datagrams held back.
    pub reordered: AtomicU64,
}

/// A running relay; it stops when dropped.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    cut: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay on a free loopback port that forwards to `target` on loopback.
    ///
    /// # Panics
    /// When no socket can be opened.
    #[must_use]
    pub fn start(target: u16, faults: Faults, seed: u64) -> Self {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback socket");
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback socket");
        back.connect((Ipv4Addr::LOCALHOST, target)).expect("connecting a UDP socket cannot fail");
        for socket in [&front, &back] {
            socket.set_nonblocking(true).expect("sockets can be made non-blocking");
        }
        let port = front.local_addr().expect("a bound socket has an address").port();
        let (cut, stop, counters) = <(Arc<AtomicBool>, Arc<AtomicBool>, Arc<Counters>)>::default();
        let mut worker = Worker {
            front,
            back,
            sender: None,
            faults,
            random: fastrand::Rng::with_seed(seed),
            held: BinaryHeap::new(),
            number: 0,
            lost_since: None,
            cut: Arc::clone(&cut),
            counters: Arc::clone(&counters),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                worker.turn();
            }
        });
        Self { port, cut, stop, counters, thread: Some(thread) }
    }

    /// The port on which the relay takes the sender's datagrams.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts the cable (both ways), or mends it.
    pub fn set_cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    /// What it has done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

struct Worker {
    front: UdpSocket,
    back: UdpSocket,
    sender: Option<SocketAddr>,
    faults: Faults,
    random: fastrand::Rng,
    held: BinaryHeap<Held>,
    number: u64,
    /// RTP packets lost since the last one that got through; `None` before the first.
    lost_since: Option<u64>,
    cut: Arc<AtomicBool>,
    counters: Arc<Counters>,
}

/// A datagram that is held back; the heap gives the earliest first.
#[derive(PartialEq, Eq)]
struct Held {
    until: Instant,
    number: u64,
    datagram: Vec<u8>,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.until, other.number).cmp(&(self.until, self.number))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Worker {
    fn turn(&mut self) {
        let mut buffer = [0_u8; 65_536];
        let mut idle = true;
        while let Ok((length, from)) = self.front.recv_from(&mut buffer) {
            idle = false;
            self.sender = Some(from);
            self.forward(&buffer[..length]);
        }
        loop {
            match self.back.recv(&mut buffer) {
                Ok(length) => {
                    idle = false;
                    if let Some(sender) = self.sender.filter(|_| !self.is_cut()) {
                        let _sender_gone = self.front.send_to(&buffer[..length], sender);
                    }
                }
                // The aggregator is away; what is sent to it is lost, as on a real network.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => break,
            }
        }
        while self.held.peek().is_some_and(|held| held.until <= now()) {
            let held = self.held.pop().expect("just seen");
            self.send(&held.datagram);
        }
        if idle {
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    fn forward(&mut self, datagram: &[u8]) {
        self.number += 1;
        count(&self.counters.received, 1);
        // Drawn for every datagram, so that the pattern depends on the number alone.
        let [lose, duplicate, reorder] = [(); 3].map(|()| self.random.f64());
        let rtp = !is_rtcp(datagram);
        if self.is_cut() || lose < self.faults.loss {
            match self.lost_since {
                Some(lost) if rtp => self.lost_since = Some(lost + 1),
                _ => count(&self.counters.lost_rtcp, u64::from(!rtp)),
            }
            return;
        }
        if rtp {
            count(&self.counters.lost_rtp, self.lost_since.replace(0).unwrap_or(0));
        }
        if reorder < self.faults.reordering {
            count(&self.counters.reordered, 1);
            let until = now() + self.faults.delay;
            return self.held.push(Held { until, number: self.number, datagram: datagram.to_vec() });
        }
        self.send(datagram);
        if duplicate < self.faults.duplicates {
            count(&self.counters.duplicated_rtp, u64::from(rtp));
            self.send(datagram);
        }
    }

    fn send(&self, datagram: &[u8]) {
        // A refused send reports an earlier datagram's fate: this one has not been sent yet.
        for _ in 0..2 {
            if self.back.send(datagram).is_ok() {
                break;
            }
        }
    }
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[expect(clippy::disallowed_methods, reason = "the relay holds real datagrams back for real time")]
fn now() -> Instant {
    Instant::now()
}
