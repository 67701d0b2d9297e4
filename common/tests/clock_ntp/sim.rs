//! A board, a network and NTP servers in simulated time. Everything follows from a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use framelock_common::clock::ntp::{Leap, PACKET_LEN, Request, Response};
use framelock_common::clock::{NtpClient, NtpConfig, NtpError};
use framelock_common::time::{BoardTime, NtpShort, NtpTimestamp, Span, Utc};

/// True UTC when a simulation starts.
pub(crate) const START: Utc = Utc::from_unix_nanos(1_790_000_000_000_000_000);

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Mostly short, sometimes long: as a queue delays.
    fn queueing(&mut self, mean: Span) -> Span {
        let uniform = (self.below(1_000_000) + 1) as f64 / 1e6;
        Span::from_secs_f64(-uniform.ln() * mean.as_secs_f64())
    }

    /// Pareto with exponent 1.5: no variance, and now and then ten times the mean; at most 2 s.
    fn heavy(&mut self, mean: Span) -> Span {
        let uniform = (self.below(1_000_000) + 1) as f64 / 1e6;
        let delay = mean.as_secs_f64() / 3.0 * uniform.powf(-1.0 / 1.5);
        Span::from_secs_f64(delay.min(2.0))
    }
}

/// One direction of a path.
#[derive(Clone, Copy)]
pub(crate) struct Path {
    pub(crate) base: Span,
    /// Mean of the exponential queueing delay.
    pub(crate) jitter: Span,
    pub(crate) loss_percent: u64,
    /// How many of a hundred packets meet a long queue, and its mean delay.
    pub(crate) tail: (u64, Span),
}

impl Path {
    pub(crate) fn micros(base: i64, jitter: i64, loss_percent: u64) -> Self {
        Self {
            base: Span::from_micros(base),
            jitter: Span::from_micros(jitter),
            loss_percent,
            tail: (0, Span::ZERO),
        }
    }

    pub(crate) fn with_tail(self, percent: u64, mean: Span) -> Self {
        Self { tail: (percent, mean), ..self }
    }

    fn cross(&self, random: &mut Random) -> Option<Span> {
        let lost = random.below(100) < self.loss_percent;
        let queued = random.queueing(self.jitter);
        let tail = if random.below(100) < self.tail.0 { random.heavy(self.tail.1) } else { Span::ZERO };
        (!lost).then(|| self.base + queued + tail)
    }
}

/// A server, and what is wrong with it.
#[derive(Clone, Copy)]
pub(crate) struct Server {
    pub(crate) up: Path,
    pub(crate) down: Path,
    /// How far its clock is from UTC; honest if within `root`.
    pub(crate) error: Span,
    pub(crate) root_dispersion: Span,
    pub(crate) root_delay: Span,
    pub(crate) stratum: u8,
    pub(crate) leap: Leap,
    pub(crate) kiss: Option<[u8; 4]>,
    pub(crate) silent: bool,
    /// Every answer comes again, 10 ms and 700 ms later.
    pub(crate) replayed: bool,
    /// Somebody who cannot see the requests sends forged answers beside the real ones.
    pub(crate) forged: bool,
}

impl Server {
    pub(crate) fn new(up: Path, down: Path) -> Self {
        Self {
            up,
            down,
            error: Span::ZERO,
            root_dispersion: Span::from_micros(20),
            root_delay: Span::from_micros(20),
            stratum: 2,
            leap: Leap::None,
            kiss: None,
            silent: false,
            replayed: false,
            forged: false,
        }
    }

    pub(crate) fn lan() -> Self {
        Self::new(Path::micros(100, 40, 2), Path::micros(100, 40, 2))
    }

    fn answer(&self, request: &[u8], received: Utc, sent: Utc) -> Response {
        let (request, version) = Request::parse(request).unwrap();
        assert_eq!(version, 4);
        Response {
            leap: self.leap,
            stratum: if self.kiss.is_some() { 0 } else { self.stratum },
            poll: 3,
            precision: -23,
            root_delay: NtpShort::from_span(self.root_delay),
            root_dispersion: NtpShort::from_span(self.root_dispersion),
            reference_id: self.kiss.unwrap_or(*b"GPS\0"),
            reference: NtpTimestamp::from_utc(received - Span::from_secs(3)),
            origin: request.transmit,
            receive: NtpTimestamp::from_utc(received + self.error),
            transmit: NtpTimestamp::from_utc(sent + self.error),
        }
    }
}

/// How often the mapping was compared with the truth.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) checks: u64,
    pub(crate) inside: u64,
    pub(crate) unsynchronized: u64,
    /// When the clock was first synchronized.
    pub(crate) first: Option<Span>,
    pub(crate) worst_error: Span,
    pub(crate) errors: Vec<Span>,
    pub(crate) bounds: Vec<Span>,
}

impl Coverage {
    pub(crate) fn assert_honest(&self, what: &str) {
        assert!(self.checks > 0, "{what}: never synchronized");
        assert!(
            self.inside * 100 >= self.checks * 99,
            "{what}: the truth was within the bound in only {} of {} checks",
            self.inside,
            self.checks
        );
    }

    pub(crate) fn median(values: &[Span]) -> Span {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    }
}

type Arrival = Reverse<(Span, u64, usize, [u8; PACKET_LEN])>;

pub(crate) struct Sim {
    pub(crate) client: NtpClient,
    pub(crate) servers: Vec<Server>,
    pub(crate) random: Random,
    pub(crate) coverage: Coverage,
    pub(crate) errors: Vec<NtpError>,
    /// Requests that reached each server.
    pub(crate) requests: Vec<u64>,
    /// True time since the start.
    pub(crate) now: Span,
    /// How fast the board's clock runs, beyond truth; and what it said at the start.
    drift_ppb: i64,
    /// How far that rate swings up and down.
    pub(crate) wander_ppb: i64,
    /// How far it moves while the board warms up.
    pub(crate) warm_up_ppb: i64,
    /// True UTC at the start.
    start: Utc,
    arrivals: BinaryHeap<Arrival>,
    order: u64,
}

impl Sim {
    pub(crate) fn new(seed: u64, drift_ppb: i64, servers: Vec<Server>) -> Self {
        Self::with_config(seed, drift_ppb, NtpConfig::new(servers.len()), servers, START)
    }

    pub(crate) fn with_config(
        seed: u64,
        drift_ppb: i64,
        config: NtpConfig,
        servers: Vec<Server>,
        start: Utc,
    ) -> Self {
        Self {
            client: NtpClient::new(config, seed),
            requests: vec![0; servers.len()],
            servers,
            random: Random(seed),
            coverage: Coverage::default(),
            errors: Vec::new(),
            now: Span::ZERO,
            drift_ppb,
            wander_ppb: 0,
            warm_up_ppb: 0,
            start,
            arrivals: BinaryHeap::new(),
            order: 0,
        }
    }

    /// What the board's monotonic clock says at true time `at`: off by a constant rate, and by one that
    /// comes and goes as with a room's temperature.
    pub(crate) fn mono(&self, at: Span) -> BoardTime {
        const PERIOD: f64 = 600.0;
        const WARM_UP: f64 = 90.0;
        let phase = std::f64::consts::TAU * at.as_secs_f64() / PERIOD;
        let swing = self.wander_ppb as f64 * 1e-9 * PERIOD / std::f64::consts::TAU;
        let warm = self.warm_up_ppb as f64 * 1e-9;
        let cold = WARM_UP * (1.0 - (-at.as_secs_f64() / WARM_UP).exp());
        let wandered = swing * (1.0 - phase.cos()) + warm * (at.as_secs_f64() - cold);
        let wandered = Span::from_secs_f64(wandered);
        BoardTime::from_nanos(4_321_000_000_000) + at + at.mul_div(self.drift_ppb, 1_000_000_000) + wandered
    }

    /// A true time at which the board's clock says `mono` or little more.
    fn true_time(&self, mono: BoardTime) -> Span {
        let guess = mono - self.mono(Span::ZERO);
        let guess = guess - (self.mono(guess) - mono);
        guess - (self.mono(guess) - mono) + Span::from_nanos(100)
    }

    /// Runs on until true time `end`; compares the mapping with the truth every 50 ms.
    pub(crate) fn run_until(&mut self, end: Span) {
        const CHECK: Span = Span::from_millis(50);
        let mut check = self.now + CHECK;
        loop {
            let timeout = self.true_time(self.client.poll_timeout()).max(self.now);
            let arrival = self.arrivals.peek().map_or(Span::MAX, |Reverse(next)| next.0);
            self.now = timeout.min(arrival).min(check).min(end);
            if self.now == end {
                return;
            }
            if self.now == arrival {
                let Reverse((_, _, server, datagram)) = self.arrivals.pop().unwrap();
                let mono = self.mono(self.now);
                self.errors.extend(self.client.handle_response(server, &datagram, mono).err());
            } else if self.now == check {
                self.check();
                check += CHECK;
            } else {
                self.transmit();
            }
        }
    }

    /// UTC is set by `by`, and with it all servers.
    pub(crate) fn set_truth(&mut self, by: Span) {
        self.start = self.start + by;
    }

    pub(crate) fn run_for(&mut self, span: Span) {
        self.run_until(self.now + span);
    }

    fn transmit(&mut self) {
        let mono = self.mono(self.now);
        while let Some(transmit) = self.client.poll_transmit(mono) {
            self.client.handle_sent(transmit.server, mono);
            self.deliver(transmit.server, &transmit.datagram);
        }
    }

    /// The request's way to the server and the answer's way back.
    fn deliver(&mut self, index: usize, request: &[u8]) {
        let server = self.servers[index];
        let Some(up) = server.up.cross(&mut self.random) else { return };
        self.requests[index] += 1;
        if server.silent {
            return;
        }
        let (received, held) = (self.now + up, Span::from_micros(15 + self.random.below(40) as i64));
        let answer = server.answer(request, self.start + received, self.start + received + held);
        if server.forged {
            self.forge(index, answer, received);
        }
        let Some(down) = server.down.cross(&mut self.random) else { return };
        let arrival = received + held + down;
        self.arrive(arrival, index, answer);
        if server.replayed {
            self.arrive(arrival + Span::from_millis(10), index, answer);
            self.arrive(arrival + Span::from_millis(700), index, answer);
        }
    }

    fn forge(&mut self, index: usize, answer: Response, at: Span) {
        let origin = NtpTimestamp::from_bits(self.random.next());
        let wrong = |time: NtpTimestamp| NtpTimestamp::from_utc(time.to_utc(START) + Span::from_secs(10));
        let shifted =
            Response { origin, receive: wrong(answer.receive), transmit: wrong(answer.transmit), ..answer };
        let kiss = Response { origin, stratum: 0, reference_id: *b"DENY", ..answer };
        let zero = Response { origin: NtpTimestamp::default(), ..shifted };
        for forged in [shifted, kiss, zero] {
            self.arrive(at, index, forged);
        }
    }

    fn arrive(&mut self, at: Span, server: usize, response: Response) {
        self.order += 1;
        self.arrivals.push(Reverse((at, self.order, server, response.build())));
    }

    fn check(&mut self) {
        let Some(mapping) = self.client.mapping() else {
            self.coverage.unsynchronized += 1;
            return;
        };
        let estimate = mapping.utc_at(self.mono(self.now));
        let error = (estimate.utc - (self.start + self.now)).abs();
        self.coverage.first.get_or_insert(self.now);
        self.coverage.checks += 1;
        self.coverage.inside += u64::from(error <= estimate.uncertainty);
        self.coverage.worst_error = self.coverage.worst_error.max(error);
        self.coverage.errors.push(error);
        self.coverage.bounds.push(estimate.uncertainty);
    }
}
