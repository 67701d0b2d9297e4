//! A seeded UDP relay between NTP clients and a server: delays and loses requests and answers, and makes
//! the server's clock a wrong one by rewriting its timestamps.
//!
//! What happens to a client's n-th request and its answer depends on the seed and on n alone, so each
//! client meets the same network. What this machine itself takes to forward, some 100 us when a core has to wake
//! up first, and longer when it is busy, is taken out of the server's timestamps again, as the
//! transparent clocks of PTP do: it would be more than the network's own delay, and different for each client.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use framelock_common::clock::ntp::PACKET_LEN;
use framelock_common::time::{BoardTime, NtpTimestamp, Span, Utc};
use framelock_sender::clock::BoardClock;
use quinn_udp::{RecvMeta, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Clients, each with a port and a socket to the server of its own.
const CLIENTS: usize = 2;
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

    /// Rewrites the reference, receive and transmit timestamps of an answer whose request was `late` and which
    /// is late itself.
    fn falsify(&self, answer: &mut [u8; PACKET_LEN], late: [Span; 2]) {
        for (at, shift) in [(16, Span::ZERO), (32, -late[0]), (40, late[1])] {
            let field: &mut [u8; 8] = (&mut answer[at..at + 8]).try_into().unwrap();
            let time = NtpTimestamp::from_bits(u64::from_be_bytes(*field));
            if !time.is_unknown() {
                let utc = self.at(time.to_utc(Utc::from_unix_nanos(1_790_000_000_000_000_000)) + shift);
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
        let fronts: [Stamped; CLIENTS] = std::array::from_fn(|_| Stamped::new(open()));
        let backs: [Stamped; CLIENTS] = std::array::from_fn(|_| {
            let back = open();
            back.connect((Ipv4Addr::LOCALHOST, server)).unwrap();
            Stamped::new(back)
        });
        let ports = std::array::from_fn(|i| fronts[i].socket.local_addr().unwrap().port());
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

/// A datagram on its way: when it is due, a number that keeps equal ones in order, the client, where it goes.
type Held = Reverse<(BoardTime, u64, usize, Way, [u8; PACKET_LEN])>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    ToServer,
    /// The client's address, and how late the request was.
    Back(SocketAddr, Span),
}

/// A request on its way or with the server.
struct Waiting {
    from: SocketAddr,
    /// How long the answer will take, unless it is lost.
    back: Option<Span>,
    /// How much later than due the request went on.
    late: Span,
}

/// A socket whose datagrams the kernel stamps on arrival.
struct Stamped {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// A datagram that arrived, and when.
struct Arrival {
    datagram: [u8; PACKET_LEN],
    from: SocketAddr,
    at: BoardTime,
}

impl Stamped {
    fn new(socket: UdpSocket) -> Self {
        let state = UdpSocketState::new((&socket).into()).unwrap();
        Self { socket, state }
    }

    /// The next datagram, if there is one; longer ones are cut, shorter ones filled up.
    fn receive(&self, clock: BoardClock) -> Option<Arrival> {
        let mut datagram = [0; PACKET_LEN];
        let mut meta = [RecvMeta::default()];
        self.state.recv((&self.socket).into(), &mut [IoSliceMut::new(&mut datagram)], &mut meta).ok()?;
        let stamp = meta[0].timestamp.and_then(|stamp| i64::try_from(stamp.as_nanos()).ok());
        let at = stamp.and_then(|stamp| clock.at_kernel_realtime(stamp, Span::from_secs(1)));
        Some(Arrival { datagram, from: meta[0].addr, at: at.map_or_else(|| clock.now(), |(_, at)| at) })
    }
}

struct Worker {
    fronts: [Stamped; CLIENTS],
    backs: [Stamped; CLIENTS],
    network: Network,
    clock: WrongClock,
    seed: u64,
    /// By a request's transmit timestamp.
    waiting: HashMap<[u8; 8], Waiting>,
    held: BinaryHeap<Held>,
    order: u64,
    requests: Arc<[AtomicU64; CLIENTS]>,
    now: BoardClock,
}

impl Worker {
    fn turn(&mut self) {
        self.wait();
        for client in 0..CLIENTS {
            while let Some(arrival) = self.fronts[client].receive(self.now) {
                self.handle_request(client, &arrival);
            }
            while let Some(arrival) = self.backs[client].receive(self.now) {
                self.handle_answer(client, &arrival);
            }
        }
        while self.held.peek().is_some_and(|Reverse(next)| next.0 <= self.now.now()) {
            let Reverse((due, _, client, way, datagram)) = self.held.pop().unwrap();
            self.forward(due, client, way, datagram);
        }
    }

    fn forward(&mut self, due: BoardTime, client: usize, way: Way, mut datagram: [u8; PACKET_LEN]) {
        let late = self.now.now() - due;
        // What cannot be sent is lost, as on any network.
        let _ = match way {
            Way::ToServer => {
                if let Some(waiting) = self.waiting.get_mut(&nonce(&datagram)) {
                    waiting.late = late;
                }
                self.backs[client].socket.send(&datagram)
            }
            Way::Back(to, request_late) => {
                self.clock.falsify(&mut datagram, [request_late, late]);
                self.fronts[client].socket.send_to(&datagram, to)
            }
        };
    }

    /// Until something arrives or is due.
    fn wait(&self) {
        let due = self.held.peek().map_or(Span::from_millis(50), |Reverse(next)| next.0 - self.now.now());
        let wait = due.to_duration().min(Span::from_millis(50).to_duration());
        let timeout = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        let sockets = self.fronts.iter().chain(&self.backs);
        let mut sockets: Vec<_> =
            sockets.map(|stamped| PollFd::new(&stamped.socket, PollFlags::IN)).collect();
        // An interrupted wait is a short one.
        let _ = poll(&mut sockets, Some(&timeout));
    }

    fn handle_request(&mut self, client: usize, request: &Arrival) {
        let number = self.requests[client].fetch_add(1, Ordering::Relaxed);
        let mut random = fastrand::Rng::with_seed(self.seed << 32 | number);
        let (up, down) = (self.network.up.draw(&mut random), self.network.down.draw(&mut random));
        if self.waiting.len() >= OUTSTANDING {
            self.waiting.clear();
        }
        if let Some(up) = up {
            let waiting = Waiting { from: request.from, back: down, late: Span::ZERO };
            self.waiting.insert(nonce(&request.datagram), waiting);
            self.hold(request.at + up, client, Way::ToServer, request.datagram);
        }
    }

    fn handle_answer(&mut self, client: usize, answer: &Arrival) {
        let origin: [u8; 8] = answer.datagram[24..32].try_into().unwrap();
        if let Some(Waiting { from, back: Some(back), late }) = self.waiting.remove(&origin) {
            self.hold(answer.at + back, client, Way::Back(from, late), answer.datagram);
        }
    }

    fn hold(&mut self, due: BoardTime, client: usize, way: Way, datagram: [u8; PACKET_LEN]) {
        self.order += 1;
        self.held.push(Reverse((due, self.order, client, way, datagram)));
    }
}

/// The transmit timestamp of a request.
fn nonce(request: &[u8; PACKET_LEN]) -> [u8; 8] {
    *request.last_chunk().unwrap()
}
