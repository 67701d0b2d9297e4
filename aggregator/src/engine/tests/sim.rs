//! A simulated network between boards and the engine: delays, jitter, loss and duplicates from a seed. Time
//! is simulated; nothing sleeps, and a failure repeats with its seed.

use std::collections::BTreeMap;

use framelock_common::time::{HostTime, Span, Utc};

use super::super::{CameraStatus, DecodeInput, Engine};
use super::board::{Board, BoardConfig, Transport};
use crate::config::Settings;
use crate::deliver::{Frame, FrameStatus, Packet};
use crate::source::{Channel, Datagram};
use crate::timestamp::HostClock;

/// UTC when simulated time begins.
pub(super) const START: Utc = Utc::from_unix_nanos(1_790_000_000_000_000_000);
/// The host's monotonic clock then.
const HOST_START: HostTime = HostTime::from_nanos(77_000_000_000);

pub(super) fn host_utc(at: Span) -> Utc {
    START + at
}

fn host(at: Span) -> HostTime {
    HOST_START + at
}

/// What the network does to datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) loss_permille: u64,
    pub(super) duplicate_permille: u64,
    /// Up to so much more delay for each datagram, which reorders.
    pub(super) jitter: Span,
}

/// A datagram on its way to the engine: which port and from which board, or none.
#[derive(Clone, Debug)]
pub(super) struct OnTheWay {
    pub(super) port: usize,
    pub(super) channel: Channel,
    pub(super) from: std::net::SocketAddr,
    pub(super) data: Vec<u8>,
}

enum Event {
    Frame(usize),
    Arrival(OnTheWay),
    Feedback(usize, Vec<u8>),
}

pub(super) struct Sim {
    pub(super) engine: Engine,
    pub(super) boards: Vec<Board>,
    pub(super) faults: Faults,
    pub(super) packets: Vec<Packet>,
    /// Every frame that was called good, in decoding order, by camera.
    pub(super) good: Vec<Vec<Frame>>,
    /// All that reached the engine, for captures.
    pub(super) trace: Vec<(Span, OnTheWay)>,
    /// Bytes sent to addresses that are no board's.
    pub(super) strays: BTreeMap<std::net::SocketAddr, usize>,
    pub(super) now: Span,
    events: BTreeMap<(Span, u64), Event>,
    counter: u64,
    random: u64,
}

impl Sim {
    pub(super) fn new(settings: &Settings, seed: u64) -> Self {
        let mut engine = Engine::new(settings, seed);
        engine.set_decoding(true);
        Self {
            engine,
            boards: Vec::new(),
            faults: Faults::default(),
            packets: Vec::new(),
            good: Vec::new(),
            trace: Vec::new(),
            strays: BTreeMap::new(),
            now: Span::ZERO,
            events: BTreeMap::new(),
            counter: 0,
            random: seed,
        }
    }

    /// One camera of our naming for each board, on a port of its own.
    pub(super) fn with_boards(configs: Vec<BoardConfig>, seed: u64) -> Self {
        let mut settings = Settings::default();
        for config in &configs {
            let scheme = if config.transport == Transport::UdpTs { "udp" } else { "rtp" };
            let port = 5_000 + 2 * config.port;
            settings.add_camera(config.cname, &format!("{scheme}://:{port}")).unwrap();
        }
        let mut sim = Self::new(&settings, seed);
        for config in configs {
            sim.add(config);
        }
        sim
    }

    /// Adds a board, which starts at its time. Returns its index.
    pub(super) fn add(&mut self, config: BoardConfig) -> usize {
        let board = Board::new(config);
        let first = board.next();
        self.boards.push(board);
        self.schedule(first, Event::Frame(self.boards.len() - 1));
        self.boards.len() - 1
    }

    /// Puts a datagram on its way at once.
    pub(super) fn inject(&mut self, datagram: OnTheWay) {
        self.schedule(self.now, Event::Arrival(datagram));
    }

    /// The board says goodbye and ends.
    pub(super) fn goodbye(&mut self, board: usize) {
        let now = self.now;
        let board = &mut self.boards[board];
        board.running = false;
        let data = board.goodbye(now);
        let (port, from) = (board.config.port, board.config.address);
        self.schedule(
            now + Span::from_millis(1),
            Event::Arrival(OnTheWay { port, channel: Channel::Main, from, data }),
        );
    }

    pub(super) fn run_until(&mut self, end: Span) {
        loop {
            let next = self.events.first_key_value().map(|((at, _), _)| *at);
            let due = self.engine.poll_timeout().map(|due| (due - HOST_START).max(self.now));
            match (next, due) {
                (Some(at), due) if at <= end && due.is_none_or(|due| at <= due) => {
                    let (_, event) = self.events.pop_first().unwrap();
                    self.now = at;
                    self.handle(event);
                }
                (_, Some(due)) if due <= end => {
                    self.now = due;
                    self.engine.handle_timeout(host(due), &self.clock());
                }
                _ => break,
            }
            self.settle();
        }
        self.now = end;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Frame(index) if self.boards[index].running => self.send_frame(index),
            Event::Frame(_) => {}
            Event::Arrival(datagram) => {
                let arrival = host(self.now);
                let OnTheWay { port, channel, from, data } = &datagram;
                let seen = Datagram { channel: *channel, from: *from, data, arrival };
                self.engine.handle_datagram(*port, &seen, &self.clock());
                self.trace.push((self.now, datagram));
            }
            Event::Feedback(index, data) => self.boards[index].handle_rtcp(&data, self.now),
        }
    }

    fn send_frame(&mut self, index: usize) {
        let sent_at = self.now;
        let datagrams = self.boards[index].send();
        let (port, from) = (self.boards[index].config.port, self.boards[index].config.address);
        for (n, data) in (0..).zip(datagrams) {
            // A datagram leaves every 100 us.
            let at = sent_at + Span::from_micros(200 + 100 * n);
            let copies = 1 + u64::from(self.chance(self.faults.duplicate_permille));
            for _ in 0..copies {
                if self.chance(self.faults.loss_permille) {
                    continue;
                }
                let jitter = Span::from_nanos(i64::try_from(self.random()).unwrap_or(0));
                let jitter = jitter.mul_div(self.faults.jitter.as_nanos(), i64::from(u32::MAX));
                let datagram = OnTheWay { port, channel: Channel::Main, from, data: data.clone() };
                self.schedule(at + jitter, Event::Arrival(datagram));
            }
        }
        let next = self.boards[index].next();
        self.schedule(next, Event::Frame(index));
    }

    fn settle(&mut self) {
        while let Some((_, transmit)) = self.engine.poll_transmit(host(self.now)) {
            if !self.boards.iter().any(|board| board.config.address == transmit.to) {
                *self.strays.entry(transmit.to).or_default() += transmit.datagram.len();
            }
            let to = |board: &Board| board.config.address == transmit.to && board.running;
            if let Some(index) = self.boards.iter().position(to)
                && !self.chance(self.faults.loss_permille)
            {
                self.schedule(self.now + Span::from_millis(1), Event::Feedback(index, transmit.datagram));
            }
        }
        while let Some(input) = self.engine.poll_decode() {
            let DecodeInput::Frame(camera, frame) = input else { continue };
            self.good.resize(self.good.len().max(camera.get() + 1), Vec::new());
            self.good[camera.get()].push(frame);
        }
        while let Some(packet) = self.engine.poll_packet() {
            self.packets.push(packet);
        }
    }

    pub(super) fn status(&mut self) -> Vec<CameraStatus> {
        self.engine.status(host(self.now))
    }

    fn clock(&self) -> HostClock {
        HostClock::new(host(self.now), host_utc(self.now), Span::from_micros(1))
    }

    fn schedule(&mut self, at: Span, event: Event) {
        self.counter += 1;
        self.events.insert((at.max(self.now), self.counter), event);
    }

    fn random(&mut self) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 32
    }

    pub(super) fn chance(&mut self, permille: u64) -> bool {
        permille > 0 && self.random() % 1_000 < permille
    }

    /// How many packets delivered since `from` have this status for the n-th camera.
    pub(super) fn count(&self, camera: usize, from: usize, status: FrameStatus) -> usize {
        self.packets[from..].iter().filter(|packet| packet.entries[camera].status == status).count()
    }
}
