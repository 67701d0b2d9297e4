//! A seeded UDP relay between NTP clients and a server: delays and loses requests and answers, and makes
//! the server's clock a wrong one by rewriting its timestamps.
//!
//! What happens to a client's n-th request and its answer depends on the seed and on n alone, so each
//! client meets the same network. What this machine itself takes to forward comes on top for both.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use framelock_common::clock::ntp::PACKET_LEN;
use framelock_common::time::{BoardTime, NtpTimestamp, Span, Utc};
use framelock_sender::clock::BoardClock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Clients, each with a port and a socket to the server of its own.
const CLIENTS: usize = 2;
/// Waking up takes up to so long; the rest of a delay is spun away.
const WAKE_UP: Span = Span::from_micros(300);
/// Requests whose answers may still come.
const OUTSTANDING: usize = 1_024;

/// One direction of a path: a fixed delay, an exponential one, and now and then one with a heavy tail
/// (Pareto, exponent 1.5); loss in percent.
#[derive(Clone, Copy, Default)]
pub(crate) struct Delay {
    pub(crate) base_us: u64,
    pub(crate) mean_us: u64,
    pub(crate) tail_percent: u8,
    pub(crate) tail_us: u64,
    pub(crate) loss: u8,
}

impl Delay {
    /// `None` if it is lost.
    fn draw(&self, random: &mut fastrand::Rng) -> Option<Span> {
        let lost = random.u8(..100) < self.loss;
        let queued = -(1.0 - random.f64()).ln() * self.mean_us as f64;
        let is_tail = random.u8(..100) < self.tail_percent;
        let tail = (1.0 - random.f64()).powf(-1.0 / 1.5) * self.tail_us as f64 / 3.0;
        let tail = if is_tail { tail.min(1e6) } else { 0.0 };
        (!lost).then(|| Span::from_secs_f64((self.base_us as f64 + queued + tail) / 1e6))
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Network {
    pub(crate) up: Delay,
    pub(crate) down: Delay,
}

/// A clock made of this machine's: off by a constant, drifting, and swinging once a minute.
#[derive(Clone, Copy)]
pub(crate) struct WrongClock {
    start: Utc,
    offset: Span,
    drift_ppb: i64,
    swing_ppb: i64,
}

impl WrongClock {
    /// This machine's clock itself.
    pub(crate) const NONE: Self =
        Self { start: Utc::from_unix_nanos(0), offset: Span::ZERO, drift_ppb: 0, swing_ppb: 0 };

    pub(crate) fn start(offset: Span, drift_ppb: i64, swing_ppb: i64) -> Self {
        Self { start: BoardClock::real().reading().realtime, offset, drift_ppb, swing_ppb }
    }

    /// What it says when this machine's clock says `utc`.
    pub(crate) fn at(&self, utc: Utc) -> Utc {
        const PERIOD: f64 = 60.0;
        let elapsed = utc - self.start;
        let swing = self.swing_ppb as f64 * 1e-9 * PERIOD / std::f64::consts::TAU;
        let phase = std::f64::consts::TAU * elapsed.as_secs_f64() / PERIOD;
        let wandered = Span::from_secs_f64(swing * (1.0 - phase.cos()));
        utc + self.offset + elapsed.mul_div(self.drift_ppb, 1_000_000_000) + wandered
    }

    /// Rewrites the reference, receive and transmit timestamps of an answer.
    fn falsify(&self, answer: &mut [u8; PACKET_LEN]) {
        for at in [16, 32, 40] {
            let field: &mut [u8; 8] = (&mut answer[at..at + 8]).try_into().unwrap();
            let time = NtpTimestamp::from_bits(u64::from_be_bytes(*field));
            if !time.is_unknown() {
                let utc = self.at(time.to_utc(Utc::from_unix_nanos(1_790_000_000_000_000_000)));
                *field = NtpTimestamp::from_utc(utc).to_bits().to_be_bytes();
            }
        }
    }
}

/// A running relay; it stops when dropped.
pub(crate) struct Relay {
    ports: [u16; CLIENTS],
    requests: Arc<[AtomicU64; CLIENTS]>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub(crate) fn start(server: u16, network: Network, clock: WrongClock, seed: u64) -> Self {
        let open = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let fronts: [UdpSocket; CLIENTS] = std::array::from_fn(|_| open());
        let backs: [UdpSocket; CLIENTS] = std::array::from_fn(|_| {
            let back = open();
            back.connect((Ipv4Addr::LOCALHOST, server)).unwrap();
            back
        });
        let ports = std::array::from_fn(|i| fronts[i].local_addr().unwrap().port());
        let (requests, stop) = <(Arc<[AtomicU64; CLIENTS]>, Arc<AtomicBool>)>::default();
        let mut worker = Worker {
            fronts,
            backs,
            network,
            clock,
            seed,
            waiting: HashMap::new(),
            held: BinaryHeap::new(),
            order: 0,
            requests: Arc::clone(&requests),
            now: BoardClock::real(),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                worker.turn();
            }
        });
        Self { ports, requests, stop, thread: Some(thread) }
    }

    pub(crate) fn ports(&self) -> [u16; CLIENTS] {
        self.ports
    }

    /// How often each client has asked.
    pub(crate) fn requests(&self) -> [u64; CLIENTS] {
        std::array::from_fn(|i| self.requests[i].load(Ordering::Relaxed))
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

/// A datagram on its way: when it is due, a number that keeps equal ones in order, the client, the
/// client's address if it is an answer.
type Held = Reverse<(BoardTime, u64, usize, Option<SocketAddr>, [u8; PACKET_LEN])>;

struct Worker {
    fronts: [UdpSocket; CLIENTS],
    backs: [UdpSocket; CLIENTS],
    network: Network,
    clock: WrongClock,
    seed: u64,
    /// By a request's transmit timestamp: who asked, and how long the answer will take.
    waiting: HashMap<[u8; 8], (SocketAddr, Option<Span>)>,
    held: BinaryHeap<Held>,
    order: u64,
    requests: Arc<[AtomicU64; CLIENTS]>,
    now: BoardClock,
}

impl Worker {
    fn turn(&mut self) {
        self.wait();
        let mut datagram = [0; 512];
        for client in 0..CLIENTS {
            while let Ok((length, from)) = self.fronts[client].recv_from(&mut datagram) {
                if let Some(request) = datagram[..length].first_chunk() {
                    self.handle_request(client, from, *request);
                }
            }
            while let Ok(length) = self.backs[client].recv(&mut datagram) {
                if let Some(answer) = datagram[..length].first_chunk() {
                    self.handle_answer(client, *answer);
                }
            }
        }
        while self.held.peek().is_some_and(|Reverse(next)| next.0 <= self.now.now()) {
            let Reverse((_, _, client, to, datagram)) = self.held.pop().unwrap();
            // What cannot be sent is lost, as on any network.
            let _ = match to {
                Some(client_address) => self.fronts[client].send_to(&datagram, client_address),
                None => self.backs[client].send(&datagram),
            };
        }
    }

    /// Until something arrives or something is nearly due.
    fn wait(&self) {
        let due = self.held.peek().map_or(Span::from_millis(50), |Reverse(next)| next.0 - self.now.now());
        let wait = (due - WAKE_UP).to_duration().min(Span::from_millis(50).to_duration());
        let timeout = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        let sockets = self.fronts.iter().chain(&self.backs);
        let mut sockets: Vec<_> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        // An interrupted wait is a short one.
        let _ = poll(&mut sockets, Some(&timeout));
    }

    fn handle_request(&mut self, client: usize, from: SocketAddr, request: [u8; PACKET_LEN]) {
        let number = self.requests[client].fetch_add(1, Ordering::Relaxed);
        let mut random = fastrand::Rng::with_seed(self.seed << 32 | number);
        let (up, down) = (self.network.up.draw(&mut random), self.network.down.draw(&mut random));
        if self.waiting.len() >= OUTSTANDING {
            self.waiting.clear();
        }
        if let Some(up) = up {
            let nonce = *request.last_chunk().unwrap();
            self.waiting.insert(nonce, (from, down));
            self.hold(up, client, None, request);
        }
    }

    fn handle_answer(&mut self, client: usize, mut answer: [u8; PACKET_LEN]) {
        let origin: [u8; 8] = answer[24..32].try_into().unwrap();
        if let Some((to, Some(down))) = self.waiting.remove(&origin) {
            self.clock.falsify(&mut answer);
            self.hold(down, client, Some(to), answer);
        }
    }

    fn hold(&mut self, delay: Span, client: usize, to: Option<SocketAddr>, datagram: [u8; PACKET_LEN]) {
        self.order += 1;
        self.held.push(Reverse((self.now.now() + delay, self.order, client, to, datagram)));
    }
}
