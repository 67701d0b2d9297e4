//! Both ends over a seeded network that loses, delays, reorders and duplicates: what the receiver counts is
//! compared with what the network did, and the times it learns with the truth.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::clock::{ClockMapping, ClockState};
use crate::rtcp::{CaptureKind, ClockInfo};
use crate::rtp::{RtpPacket, is_rtcp};
use crate::time::{BoardTime, HostTime, MediaClock, Utc};

const MS: i64 = 1_000_000;
const TICK: i64 = MS / 4;
const UTC0: Utc = Utc::from_unix_nanos(1_790_000_000_000_000_000);
const WINDOW: Span = Span::from_millis(20);

/// The board's clock starts elsewhere and runs 30 ppm fast; the aggregator's starts elsewhere too.
fn board(t: i64) -> BoardTime {
    BoardTime::from_nanos(7_000_000_000 + t + t * 30 / 1_000_000)
}

fn host(t: i64) -> HostTime {
    HostTime::from_nanos(99_000_000_000 + t)
}

fn mapping() -> ClockMapping {
    // 1 / 1.00003 is 29999 ppb below one.
    let uncertainty = Span::from_micros(100);
    ClockMapping { mono0: board(0), utc0: UTC0, rate_ppb: -29_999, uncertainty, drift_ppb: 15_000, epoch: 1 }
}

const INFO: ClockInfo = ClockInfo {
    pts_on_rtp_clock: true,
    state: ClockState::Synchronized,
    uncertainty: Span::ZERO,
    capture_kind: CaptureKind::Synthetic,
};

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[derive(Clone, Copy)]
struct Network {
    loss_percent: u64,
    duplicate_percent: u64,
    delay: i64,
    /// Added to each datagram's delay, at random up to this: reorders what is sent closer together.
    jitter: i64,
}

struct Link {
    network: Network,
    random: Random,
    in_flight: BTreeMap<(i64, u64), Vec<u8>>,
}

impl Link {
    fn send(&mut self, t: i64, datagram: &[u8]) {
        let copies = 1 + u64::from(self.random.below(100) < self.network.duplicate_percent);
        for _ in 0..copies {
            if self.random.below(100) >= self.network.loss_percent {
                let jitter = self.random.below(self.network.jitter.unsigned_abs() + 1).cast_signed();
                let key = (t + self.network.delay + jitter, self.random.next());
                self.in_flight.insert(key, datagram.to_vec());
            }
        }
    }

    fn deliver(&mut self, t: i64) -> Option<(i64, Vec<u8>)> {
        let entry = self.in_flight.first_entry().filter(|entry| entry.key().0 <= t)?;
        let at = entry.key().0;
        Some((at, entry.remove()))
    }
}

/// One life of the sender: its source, and what the network delivered of it.
struct Life {
    sender: SendSession,
    media: MediaClock,
    sent: u64,
}

struct World {
    seed: u64,
    random: Random,
    life: Life,
    receiver: ReceiveSession,
    forward: Link,
    back: Link,
    /// RTP datagrams that reached the receiver, and the packets (life, number) among them.
    arrived: u64,
    delivered: BTreeSet<(u64, u64)>,
    lives: u64,
    /// What came out: (life, number), and gaps in between.
    out: Vec<Output>,
    last_report: Option<(Utc, i64)>,
    timed: u64,
    round_trips: Vec<Span>,
    keyframes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Packet { life: u64, number: u64 },
    Gap(u64),
    Restarted,
}

fn new_life(random: &mut Random, ssrc: u32, t: i64) -> Life {
    // Sequence and timestamp wrap within the first second.
    let media = MediaClock::new(u32::MAX - 7 * 90_000 - (random.below(40_000) as u32));
    let config = SendConfig {
        ssrc,
        first_sequence: u16::MAX - (random.below(300) as u16),
        payload_type: 33,
        cname: "left".into(),
        rtcp_interval: Span::from_secs(1),
        media,
    };
    let mut sender = SendSession::new(config, board(t));
    sender.set_clock(Some(mapping()), INFO);
    Life { sender, media, sent: 0 }
}

impl World {
    fn new(seed: u64, network: Network) -> Self {
        let mut random = Random(seed);
        let life = new_life(&mut random, 1000, 0);
        let mut link = || Link { network, random: Random(random.next()), in_flight: BTreeMap::new() };
        let (forward, back) = (link(), link());
        let receiver = ReceiveSession::new(ReceiveConfig {
            local_ssrc: 1,
            cname: "aggregator".into(),
            reorder_window: WINDOW,
            rtcp_interval: Span::from_secs(1),
            clock_rate: 90_000,
        });
        Self {
            seed,
            random,
            life,
            receiver,
            forward,
            back,
            arrived: 0,
            delivered: BTreeSet::new(),
            lives: 0,
            out: Vec::new(),
            last_report: None,
            timed: 0,
            round_trips: Vec::new(),
            keyframes: 0,
        }
    }

    /// Sends a packet every 2 ms from `from` to `to`, then runs on until the network is empty and `to` plus
    /// half a second has come.
    fn run(&mut self, from: i64, to: i64) {
        let mut t = from;
        while t < to + 500 * MS {
            if t < to && (t - from) % (2 * MS) == 0 {
                self.send_packet(t);
            }
            if self.life.sender.poll_timeout() <= board(t)
                && let Some(datagram) = self.life.sender.poll_rtcp(board(t))
            {
                self.forward.send(t, &datagram);
            }
            while let Some((at, datagram)) = self.forward.deliver(t) {
                self.receive(at, datagram);
            }
            while let Some((at, datagram)) = self.back.deliver(t) {
                self.life.sender.handle_rtcp(&datagram, board(at)).unwrap();
            }
            while let Some(event) = self.life.sender.poll_event() {
                match event {
                    SendEvent::Report { round_trip, .. } => self.round_trips.extend(round_trip),
                    SendEvent::KeyframeRequested => self.keyframes += 1,
                }
            }
            if self.receiver.poll_timeout().is_some_and(|due| due <= host(t)) {
                self.receiver.handle_timeout(host(t));
                self.collect();
                while let Some(datagram) = self.receiver.poll_rtcp(host(t)) {
                    self.back.send(t, &datagram);
                }
                assert!(self.receiver.poll_timeout().is_none_or(|due| due > host(t)), "seed {}", self.seed);
            }
            t += TICK;
        }
        assert!(self.forward.in_flight.is_empty());
    }

    fn send_packet(&mut self, t: i64) {
        let timestamp = self.life.media.at(board(t)).to_rtp();
        let payload = [self.lives, self.life.sent, t.unsigned_abs()].map(u64::to_be_bytes).concat();
        let mut out = Vec::new();
        self.life.sender.write_rtp(timestamp, self.life.sent % 5 == 4, None, &payload, &mut out);
        self.life.sent += 1;
        self.forward.send(t, &out);
    }

    fn receive(&mut self, at: i64, datagram: Vec<u8>) {
        if is_rtcp(&datagram) {
            self.receiver.handle_rtcp(&datagram, host(at)).unwrap();
        } else {
            let [life, number, _] = words(RtpPacket::parse(&datagram).unwrap().payload());
            self.delivered.insert((life, number));
            self.arrived += 1;
            self.receiver.handle_rtp(datagram, host(at)).unwrap();
        }
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(event) = self.receiver.poll_event() {
            match event {
                ReceiveEvent::Packet(packet) => {
                    let [life, number, sent] = words(&packet.payload);
                    assert_eq!(packet.marker, number % 5 == 4);
                    self.out.push(Output::Packet { life, number });
                    self.check_time(packet.timestamp, sent.cast_signed());
                }
                ReceiveEvent::Gap { lost } => {
                    self.out.push(Output::Gap(lost));
                    self.receiver.request_keyframe(host(0));
                }
                ReceiveEvent::SenderReport { ntp, rtp, .. } => {
                    self.last_report = Some((ntp.to_utc(UTC0), rtp));
                }
                ReceiveEvent::Restarted { .. } => {
                    self.out.push(Output::Restarted);
                    self.last_report = None;
                }
                ReceiveEvent::ClockInfo(_) | ReceiveEvent::Cname(_) | ReceiveEvent::Bye => {}
            }
        }
    }

    /// A report's mapping gives every packet's true UTC, also of those sent before it: to a tick, and to
    /// what 30 ppm make of the few seconds to the report.
    fn check_time(&mut self, timestamp: i64, sent: i64) {
        let Some((utc, rtp)) = self.last_report else { return };
        let estimate = utc + Span::from_secs(1).mul_div(timestamp - rtp, 90_000);
        let error = estimate - (UTC0 + Span::from_nanos(sent));
        assert!(error.abs() < Span::from_micros(12 + 30 * 6), "seed {}: {error}", self.seed);
        self.timed += 1;
    }

    /// The counters against the network's own book.
    fn check_counts(&self) {
        let (seed, stats) = (self.seed, self.receiver.stats());
        let count = |f: fn(&Output) -> u64| self.out.iter().map(f).sum::<u64>();
        let packets = count(|output| u64::from(matches!(output, Output::Packet { .. })));
        let gaps = count(|output| if let Output::Gap(lost) = output { *lost } else { 0 });
        assert_eq!((packets, gaps), (stats.received, stats.lost), "seed {seed}");
        assert_eq!(stats.received + stats.lost, stats.expected, "seed {seed}");
        let ReceiveStats { received, held, duplicates, late, invalid, malformed, foreign, .. } = stats;
        assert_eq!(
            received + held + duplicates + late + invalid + malformed + foreign,
            self.arrived,
            "seed {seed}"
        );
        assert_eq!(stats.events_dropped, 0);
        self.check_order();
    }

    /// Within a life the numbers grow by one, or by one and the gap told before.
    fn check_order(&self) {
        let (mut last, mut gap) = (None, 0);
        for output in &self.out {
            match *output {
                Output::Packet { life, number } => {
                    if let Some((last_life, last_number)) = last.filter(|(last_life, _)| *last_life == life) {
                        assert_eq!(number, last_number + 1 + gap, "seed {}, life {last_life}", self.seed);
                    }
                    (last, gap) = (Some((life, number)), 0);
                }
                Output::Gap(lost) => gap += lost,
                Output::Restarted => (last, gap) = (None, 0),
            }
        }
    }

    /// Of one life: the first and last packet that came out, and how many between them the network lost.
    fn truth(&self, life: u64) -> (u64, u64, u64) {
        let numbers = self.out.iter().filter_map(|output| match output {
            Output::Packet { life: of, number } if *of == life => Some(*number),
            _ => None,
        });
        let (first, last) = (numbers.clone().min().unwrap(), numbers.max().unwrap());
        let arrived = self.delivered.range((life, first)..=(life, last)).count() as u64;
        (first, last, last - first + 1 - arrived)
    }
}

fn words(payload: &[u8]) -> [u64; 3] {
    [0, 8, 16].map(|at| u64::from_be_bytes(payload[at..at + 8].try_into().unwrap()))
}

const LAN: Network = Network { loss_percent: 0, duplicate_percent: 0, delay: MS, jitter: MS / 2 };
const ROUGH: Network = Network { loss_percent: 5, duplicate_percent: 3, delay: 10 * MS, jitter: 15 * MS };
const TERRIBLE: Network = Network { loss_percent: 15, duplicate_percent: 10, delay: 5 * MS, jitter: 60 * MS };

#[test]
fn a_good_network_loses_and_delays_nothing() {
    for seed in 0..5 {
        let mut world = World::new(seed, LAN);
        world.run(0, 3000 * MS);
        world.check_counts();
        let stats = world.receiver.stats();
        assert_eq!((stats.received, stats.lost, stats.reordered, stats.duplicates), (1500, 0, 0, 0));
        assert_eq!(world.truth(0), (0, 1499, 0));
        assert!(world.timed > 1400, "the first report comes with the first packets");
        assert_eq!(world.keyframes, 0);
        // Both ways, 1 to 1.5 ms each; the delay field is good to 2^-16 s.
        assert!(world.round_trips.len() >= 2);
        for round_trip in world.round_trips {
            let range = Span::from_micros(2000 - 16)..Span::from_micros(3000 + 16 + 250);
            assert!(range.contains(&round_trip), "seed {seed}: {round_trip}");
        }
    }
}

#[test]
fn within_the_window_nothing_is_lost_but_what_the_network_lost() {
    let (mut reordered, mut lost, mut duplicates) = (0, 0, 0);
    for seed in 0..20 {
        let mut world = World::new(seed, ROUGH);
        world.run(0, 3000 * MS);
        world.check_counts();
        let stats = world.receiver.stats();
        let (first, last, truly_lost) = world.truth(0);
        assert_eq!((stats.expected, stats.lost), (last - first + 1, truly_lost), "seed {seed}");
        assert!(first < 20 && last > 1480, "seed {seed}: {first} to {last}");
        assert!(world.keyframes > 0 && world.keyframes <= 7, "seed {seed}: {}", world.keyframes);
        reordered += stats.reordered;
        lost += stats.lost;
        duplicates += stats.duplicates;
    }
    assert!(reordered > 1000 && lost > 500 && duplicates > 300, "{reordered} {lost} {duplicates}");
}

#[test]
fn beyond_the_window_late_packets_stay_counted_as_lost() {
    let mut late = 0;
    for seed in 100..120 {
        let mut world = World::new(seed, TERRIBLE);
        world.run(0, 2000 * MS);
        world.check_counts();
        let stats = world.receiver.stats();
        let (first, last, truly_lost) = world.truth(0);
        assert_eq!(stats.expected, last - first + 1, "seed {seed}");
        assert!(stats.lost >= truly_lost && stats.lost <= truly_lost + stats.late, "seed {seed}: {stats:?}");
        late += stats.late;
    }
    assert!(late > 100);
}

#[test]
fn a_sender_killed_and_started_again_is_followed_with_its_new_source() {
    for seed in 200..210 {
        for network in [LAN, ROUGH] {
            let mut world = World::new(seed, network);
            world.run(0, 1000 * MS);
            world.lives = 1;
            world.life = new_life(&mut world.random, 2000, 1600 * MS);
            world.run(1600 * MS, 3000 * MS);
            world.check_counts();
            let stats = world.receiver.stats();
            assert_eq!((stats.restarts, world.receiver.ssrc()), (1, Some(2000)), "seed {seed}");
            let [(f0, l0, lost0), (f1, l1, lost1)] = [0, 1].map(|life| world.truth(life));
            assert_eq!(stats.expected, l0 - f0 + 1 + l1 - f1 + 1, "seed {seed}");
            assert_eq!(stats.lost, lost0 + lost1, "seed {seed}");
            assert!(f1 < 20, "seed {seed}: the new stream's start was kept, from {f1}");
        }
    }
}

#[test]
fn a_sender_that_says_bye_is_replaced_without_waiting() {
    let mut world = World::new(300, LAN);
    world.run(0, 1000 * MS);
    let bye = world.life.sender.goodbye(board(1500 * MS));
    world.forward.send(1500 * MS, &bye);
    world.lives = 1;
    world.life = new_life(&mut world.random, 2000, 1502 * MS);
    world.run(1502 * MS, 2000 * MS);
    world.check_counts();
    assert_eq!(world.truth(1), (0, 248, 0));
}

#[test]
fn a_sequence_restart_of_the_same_source_is_followed() {
    for seed in 500..510 {
        for network in [LAN, ROUGH] {
            let mut world = World::new(seed, network);
            world.run(0, 2000 * MS);
            world.lives = 1;
            world.life = new_life(&mut world.random, 1000, 2500 * MS);
            world.run(2500 * MS, 4500 * MS);
            world.check_counts();
            assert!(world.receiver.stats().restarts >= 1, "seed {seed}");
            let (first, last, _) = world.truth(1);
            assert!(first < 50 && last > 980, "seed {seed}: {first} to {last}");
        }
    }
}

#[test]
fn an_outage_is_one_gap_and_no_restart() {
    let mut world = World::new(400, LAN);
    world.run(0, 1000 * MS);
    let timestamp = world.life.media.at(board(1000 * MS)).to_rtp();
    for _ in 0..1000 {
        world.life.sender.write_rtp(timestamp, false, None, &[], &mut Vec::new());
        world.life.sent += 1;
    }
    world.run(3000 * MS, 4000 * MS);
    world.check_counts();
    let stats = world.receiver.stats();
    assert_eq!((stats.lost, stats.restarts), (1000, 0));
    assert_eq!(world.out.iter().filter(|output| matches!(output, Output::Gap(_))).count(), 1);
}
