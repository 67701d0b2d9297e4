//! The sender's NTP client beside the real chrony: as its server, and as another client of the same
//! server through the same network. With its table:
//!
//! ```text
//! cargo test -p framelock-tests --test clock_chrony -- --nocapture
//! ```
//!
//! Needs `chronyd` and `chronyc`. No clock of this machine is touched. What else the machine does disturbs both
//! clients alike, since they run side by side.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test: its helpers may fail and say so, its table is for people"
)]

mod chronyd;
mod figures;
mod ours;
mod relay;

use std::time::Duration;

use chronyd::{Client, Server};
use figures::Figures;
use framelock_common::time::Span;
use ours::Ours;
use relay::{Delay, Network, Relay, WrongClock};

/// From one comparison with the truth to the next.
const INTERVAL: Duration = Duration::from_millis(250);
/// Each network is met by so many pairs of clients at the same time, each pair with luck of its own. One pair
/// alone says little of a tail: in a minute with one exchange a second, the worst hundredth is a single exchange.
/// The figures of all pairs together decide.
const SEEDS: [u64; 6] = [1, 2, 3, 4, 5, 6];

/// chronyd serves this machine's clock, our client asks it over loopback, and this machine's clock is the
/// truth.
#[test]
fn close_to_the_chronyd_that_it_asks() {
    let server = Server::start();
    let ours = Ours::start(server.port());
    ours.wait_until_synchronized();
    let mut figures = Figures::default();
    for _ in 0..120 {
        std::thread::sleep(INTERVAL);
        figures.add(ours.error(&WrongClock::NONE));
    }
    println!("{}\n{}", Figures::HEADING, figures.line("chronyd on loopback", "ours"));
    assert_eq!(figures.coverage(), 1.0, "outside the bound");
    let p95 = figures.percentile(95);
    assert!(p95 <= Span::from_micros(50), "p95 {p95}");
}

/// Ours and `chronyd -x` ask the same chronyd through a relay that delays both alike, request by request,
/// and makes the server's clock one that is off, drifts and wanders.
#[test]
fn no_worse_than_chrony_through_the_same_network() {
    let exponential = |base_us, mean_us| Delay { base_us, mean_us, tail_percent: 0, tail_us: 0, loss: 0 };
    let wifi = Delay { tail_percent: 10, tail_us: 20_000, ..exponential(1_000, 500) };
    let lan = |base_us| Delay { tail_percent: 1, tail_us: 1_000, ..exponential(base_us, 25) };
    let scenarios = [
        ("LAN 0.2 ms", Network { up: lan(75), down: lan(75) }),
        ("Wi-Fi 3 ms, tails 20 ms", Network { up: wifi, down: wifi }),
        ("Wi-Fi, 30 % loss", Network { up: Delay { loss: 30, ..wifi }, down: Delay { loss: 30, ..wifi } }),
    ];
    let server = Server::start();
    let port = server.port();
    let results = std::thread::scope(|scope| {
        let running = scenarios.map(|(name, network)| {
            (name, SEEDS.map(|seed| scope.spawn(move || compare(port, network, seed))))
        });
        running.map(|(name, runs)| (name, runs.map(|run| run.join().unwrap())))
    });
    print(&results);
    for (name, pairs) in results {
        let Pair { ours, chrony } = pairs.into_iter().reduce(Pair::join).unwrap();
        assert!(ours.coverage() >= 0.99, "{name}: outside the bound");
        let (ours, chrony) = (ours.percentile(99), chrony.percentile(99));
        assert!(ours <= chrony, "{name}: p99 {ours}, chrony's {chrony}");
    }
}

/// Every pair, and all of a network together.
fn print(results: &[(&str, [Pair; SEEDS.len()])]) {
    let lines = results.iter().flat_map(|(name, pairs)| {
        let single =
            pairs.iter().zip(SEEDS).map(move |(pair, seed)| (format!("{name}, {seed}"), pair.clone()));
        let all = pairs.iter().cloned().reduce(Pair::join).unwrap();
        single.chain([((*name).to_owned(), all)])
    });
    let lines = lines.flat_map(|(network, Pair { ours, chrony })| {
        [ours.line(&network, "ours"), chrony.line(&network, "chronyd -x")]
    });
    // In one piece: the other test prints too.
    println!("{}", std::iter::once(Figures::HEADING.to_owned()).chain(lines).collect::<Vec<_>>().join("\n"));
}

/// The two clients of one relay.
#[derive(Clone, Default)]
struct Pair {
    ours: Figures,
    chrony: Figures,
}

impl Pair {
    fn join(self, other: Self) -> Self {
        Self { ours: self.ours.join(other.ours), chrony: self.chrony.join(other.chrony) }
    }
}

fn compare(server: u16, network: Network, seed: u64) -> Pair {
    let clock = WrongClock::start(Span::from_millis(80), 30_000, 1_000);
    let relay = Relay::start(server, network, clock, seed);
    let [to_ours, to_chrony] = relay.ports();
    let ours = Ours::start(to_ours);
    let mut chrony = Client::start(to_chrony);
    ours.wait_until_synchronized();
    chrony.wait_until_synchronized();
    // Both have settled then: chrony's longest regression has begun, our burst is over.
    std::thread::sleep(Duration::from_secs(20));
    let mut pair = Pair::default();
    for _ in 0..240 {
        std::thread::sleep(INTERVAL);
        pair.ours.add(ours.error(&clock));
        pair.chrony.add(chrony.error(&clock));
    }
    [pair.ours.requests, pair.chrony.requests] = relay.requests();
    pair
}
