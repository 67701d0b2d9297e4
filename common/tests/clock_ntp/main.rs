//! The NTP client against simulated networks, boards and servers: is the bound honest, and does
//! nothing that arrives fool or kill it?
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test: helpers may fail and say so")]

mod faults;
mod sim;
mod truth;

use framelock_common::clock::ntp::{KissCode, Leap, Request, Response};
use framelock_common::clock::{ClockState, NtpClient, NtpConfig, NtpError, ServerState};
use framelock_common::time::{BoardTime, NtpShort, NtpTimestamp, Span, Utc};
use proptest::prelude::*;
use sim::{Coverage, Path, Server, Sim};

const MINUTE: Span = Span::from_secs(60);

/// Runs `make` for 16 seeds with drifts of ±50 ppm that wander by ±3 ppm, 10 minutes each, and asks for an honest bound.
fn assert_covered(what: &str, make: impl Fn() -> Server) -> Vec<Coverage> {
    let mut all = Vec::new();
    for seed in 0..16 {
        let drift = (seed as i64 - 8) * 6_250;
        let mut sim = Sim::new(seed, drift, vec![make()]);
        sim.wander_ppb = 3_000;
        sim.run_for(Span::from_secs(3));
        let what = format!("{what}, seed {seed}, drift {drift} ppb");
        assert_eq!(sim.client.status().state, ClockState::Synchronized, "{what}: not within 3 s");
        sim.run_for(MINUTE * 10);
        sim.coverage.assert_honest(&what);
        assert_eq!(sim.client.mapping().unwrap().epoch, 0, "{what}: a step where there was none");
        all.push(sim.coverage);
    }
    let errors: Vec<_> = all.iter().flat_map(|c| c.errors.iter().copied()).collect();
    let bounds: Vec<_> = all.iter().flat_map(|c| c.bounds.iter().copied()).collect();
    let (inside, checks) = all.iter().fold((0, 0), |sum, c| (sum.0 + c.inside, sum.1 + c.checks));
    let worst = all.iter().map(|c| c.worst_error).max().unwrap();
    let medians = (Coverage::median(&errors), Coverage::median(&bounds));
    println!(
        "{what}: {inside} of {checks} inside; error median {}, worst {worst}; bound median {}",
        medians.0, medians.1
    );
    all
}

#[test]
fn bound_is_honest_on_a_lan() {
    assert_covered("LAN", Server::lan);
}

#[test]
fn bound_is_honest_on_loopback() {
    assert_covered("loopback", || Server::new(Path::micros(12, 4, 0), Path::micros(12, 4, 0)));
}

#[test]
fn bound_is_honest_under_loss_and_jitter() {
    assert_covered("bad Wi-Fi", || {
        Server::new(Path::micros(1_500, 8_000, 30), Path::micros(1_500, 8_000, 30))
    });
}

#[test]
fn bound_is_honest_on_an_asymmetric_path() {
    let all =
        assert_covered("asymmetric", || Server::new(Path::micros(20_000, 500, 5), Path::micros(300, 50, 5)));
    // The path's asymmetry is really in the error: the bound has something to cover.
    assert!(all.iter().all(|c| c.worst_error > Span::from_millis(8)));
}

#[test]
fn bound_covers_a_clock_of_unknown_rate_on_a_path_that_is_all_in_one_direction() {
    let utc = Utc::from_unix_nanos(1_790_000_000_000_000_000);
    let (start, path) = (BoardTime::from_nanos(0), Span::from_millis(200));
    for drift_ppb in [-100_000, 0, 100_000] {
        for (there, back) in [(path, Span::ZERO), (Span::ZERO, path)] {
            let mut client = NtpClient::new(NtpConfig::new(1), 1);
            let request = Request::parse(&client.poll_transmit(start).unwrap().datagram).unwrap().0;
            let server = NtpTimestamp::from_utc(utc + there);
            let response = Response {
                stratum: 1,
                precision: -30,
                origin: request.transmit,
                receive: server,
                transmit: server,
                root_delay: NtpShort::default(),
                root_dispersion: NtpShort::default(),
                ..Response::parse(&[0x24; 48]).unwrap()
            };
            let round_trip = (there + back).mul_div(1_000_000_000 + drift_ppb, 1_000_000_000);
            client.handle_response(0, &response.build(), start + round_trip).unwrap();
            let found = client.mapping().unwrap().utc_at(start);
            assert!((found.utc - utc).abs() <= found.uncertainty, "{drift_ppb} ppb: {found:?}");
        }
    }
}

#[test]
fn bound_covers_a_server_that_is_wrong_within_its_own_bound() {
    assert_covered("wrong server", || Server {
        error: Span::from_millis(30),
        root_dispersion: Span::from_millis(20),
        root_delay: Span::from_millis(22),
        ..Server::lan()
    });
}

#[test]
fn long_paths_with_several_requests_under_way_work() {
    let all = assert_covered("satellite", || {
        Server::new(Path::micros(450_000, 30_000, 5), Path::micros(450_000, 30_000, 5))
    });
    assert_eq!(all.len(), 16);
}

#[test]
fn replayed_and_forged_answers_change_nothing() {
    let honest = Server { up: Path::micros(100, 40, 0), down: Path::micros(100, 40, 0), ..Server::lan() };
    let attacked = Server { replayed: true, forged: true, ..honest };
    let mut sim = Sim::new(5, 20_000, vec![attacked]);
    sim.run_for(MINUTE * 5);
    sim.coverage.assert_honest("attacked");
    assert!(sim.coverage.worst_error < Span::from_millis(1), "{}", sim.coverage.worst_error);
    let status = sim.client.server_status(0).unwrap();
    assert_eq!(status.state, ServerState::Usable);
    // Each real answer came with two replays and three forgeries.
    assert!(sim.errors.iter().all(|e| *e == NtpError::Origin), "{:?}", sim.errors);
    assert!(status.samples > 20 && status.rejected >= 5 * (status.samples - 2), "{status:?}");
}

#[test]
fn a_server_step_is_one_new_epoch_and_is_followed() {
    for (seed, step) in [(1, Span::from_millis(80)), (2, Span::from_secs(-3)), (3, Span::from_secs(86_400))] {
        let mut sim = Sim::new(seed, -25_000, vec![Server::lan()]);
        sim.run_for(MINUTE * 2);
        let before = sim.client.mapping().unwrap();
        sim.servers[0].error = step;
        sim.run_for(MINUTE);
        let after = sim.client.mapping().unwrap();
        assert_eq!((before.epoch, after.epoch), (0, 1));
        let mono = sim.mono(sim.now);
        let moved = after.utc_at(mono).utc - before.utc_at(mono).utc;
        assert!((moved - step).abs() < Span::from_millis(1), "moved {moved}, stepped {step}");
        sim.run_for(MINUTE * 10);
        assert_eq!(sim.client.mapping().unwrap().epoch, 1, "one step, one epoch");
    }
}

#[test]
fn a_server_that_slews_is_followed_without_an_epoch() {
    let mut sim = Sim::new(9, 10_000, vec![Server::lan()]);
    sim.run_for(MINUTE);
    // 200 ppm for 100 s.
    for _ in 0..1_000 {
        sim.servers[0].error += Span::from_micros(20);
        sim.run_for(Span::from_millis(100));
    }
    sim.run_for(MINUTE * 3);
    let mapping = sim.client.mapping().unwrap();
    assert_eq!(mapping.epoch, 0);
    let error = mapping.utc_at(sim.mono(sim.now)).utc - (sim::START + sim.now);
    assert!((error - Span::from_millis(20)).abs() < Span::from_millis(1), "{error}");
}

#[test]
fn one_wild_answer_is_not_believed() {
    let mut sim = Sim::new(4, 0, vec![Server::lan()]);
    sim.run_for(MINUTE * 2);
    let polls = sim.requests[0];
    sim.servers[0].error = Span::from_secs(5);
    while sim.requests[0] == polls || !matches!(sim.errors.last(), Some(NtpError::Outlier(_))) {
        sim.run_for(Span::from_millis(100));
    }
    sim.servers[0].error = Span::ZERO;
    sim.run_for(MINUTE * 5);
    assert_eq!(sim.client.mapping().unwrap().epoch, 0);
    sim.coverage.assert_honest("one wild answer");
}

#[test]
fn kiss_rate_slows_down_and_deny_stops() {
    let mut sim = Sim::new(1, 0, vec![Server::lan()]);
    sim.run_for(MINUTE);
    let interval = sim.client.server_status(0).unwrap().poll;
    sim.servers[0].kiss = Some(*b"RATE");
    sim.run_for(MINUTE * 5);
    let slower = sim.client.server_status(0).unwrap().poll;
    assert!(slower > interval && slower > MINUTE, "{interval} -> {slower}");
    sim.servers[0].kiss = None;
    sim.run_for(MINUTE * 30);
    assert_eq!(sim.client.server_status(0).unwrap().poll, slower, "the limit stays");
    assert!(sim.client.mapping().is_some());

    for code in [KissCode::DENY, KissCode::RSTR] {
        let mut sim = Sim::new(2, 0, vec![Server { kiss: Some(code.0), ..Server::lan() }]);
        sim.run_for(MINUTE);
        assert_eq!(sim.errors, [NtpError::Kiss(code)]);
        assert_eq!(sim.client.server_status(0).unwrap().state, ServerState::Denied);
        let asked = sim.requests[0];
        sim.run_for(MINUTE * 60);
        assert_eq!(sim.requests[0], asked, "asked again after {code}");
        assert_eq!(sim.client.poll_timeout(), BoardTime::from_nanos(i64::MAX));
        assert_eq!(sim.client.mapping(), None);
    }
}

#[test]
fn rate_at_the_very_start_is_respected_and_survived() {
    let mut sim = Sim::new(3, 0, vec![Server { kiss: Some(*b"RATE"), ..Server::lan() }]);
    sim.run_for(Span::from_secs(1));
    sim.servers[0].kiss = None;
    let asked = sim.requests[0];
    sim.run_for(Span::from_secs(2));
    assert_eq!(sim.requests[0], asked);
    sim.run_for(Span::from_secs(20));
    assert_eq!(sim.client.status().state, ClockState::Synchronized);
}

#[test]
fn an_unsynchronized_server_is_not_utc() {
    let bad = [
        Server { leap: Leap::Unsynchronized, ..Server::lan() },
        Server { stratum: 16, ..Server::lan() },
        Server { stratum: 255, ..Server::lan() },
        Server { kiss: Some(*b"INIT"), ..Server::lan() },
    ];
    for server in bad {
        let mut sim = Sim::new(6, 0, vec![server]);
        sim.run_for(MINUTE);
        assert_eq!(sim.coverage.checks, 0);
        assert_eq!(sim.client.status().state, ClockState::Unsynchronized);
        assert_eq!(sim.client.server_status(0).unwrap().state, ServerState::Unsynchronized);
        // It comes up: found within the search interval, fast polling then.
        sim.servers[0] = Server::lan();
        sim.run_for(Span::from_secs(10));
        assert_eq!(sim.client.status().state, ClockState::Synchronized);
        // It loses its own clock again: said so after three answers, not before.
        sim.run_for(MINUTE * 2);
        sim.servers[0] = server;
        sim.run_for(MINUTE);
        assert_eq!(sim.client.mapping(), None);
        sim.servers[0] = Server::lan();
        sim.run_for(Span::from_secs(10));
        assert_eq!(sim.client.mapping().unwrap().epoch, 0, "nothing was stepped");
    }
}

#[test]
fn a_silent_server_is_outlived_for_max_age_and_found_again() {
    let mut sim = Sim::new(7, 12_000, vec![Server::lan()]);
    sim.run_for(MINUTE * 5);
    sim.servers[0].silent = true;
    sim.run_for(Span::from_secs(280));
    assert!(sim.client.mapping().is_some(), "still bounded");
    sim.run_for(Span::from_secs(25));
    assert_eq!(sim.client.mapping(), None, "too old");
    assert_eq!(sim.client.server_status(0).unwrap().state, ServerState::Unreachable);
    sim.run_for(MINUTE * 60);
    sim.servers[0].silent = false;
    sim.run_for(Span::from_secs(6));
    assert_eq!(sim.client.mapping().unwrap().epoch, 0, "an hour's drift is no step");
    sim.coverage.assert_honest("outage");
}

#[test]
fn the_best_of_several_servers_is_used_and_a_dead_one_does_not_matter() {
    let far = Server::new(Path::micros(15_000, 2_000, 5), Path::micros(9_000, 2_000, 5));
    let dead = Server { silent: true, ..Server::lan() };
    let mut sim = Sim::new(8, 5_000, vec![dead, far, Server::lan()]);
    sim.run_for(MINUTE * 3);
    assert_eq!(sim.client.status().server, Some(2));
    // The best dies: on with the other, without a step.
    sim.servers[2].silent = true;
    sim.run_for(MINUTE * 10);
    assert_eq!(sim.client.status().server, Some(1));
    assert_eq!(sim.client.mapping().unwrap().epoch, 0);
    sim.coverage.assert_honest("several servers");
    assert!(sim.coverage.unsynchronized <= 10, "a gap in the clock: {} checks", sim.coverage.unsynchronized);
}

#[test]
fn the_ntp_era_rolls_over_in_2036() {
    // 2036-02-07T06:28:16Z, two minutes later.
    let start = Utc::from_unix_nanos((0x1_0000_0000 - 2_208_988_800 - 120) * 1_000_000_000);
    let mut sim = Sim::with_config(2, 0, NtpConfig::new(1), vec![Server::lan()], start);
    sim.run_for(MINUTE * 4);
    sim.coverage.assert_honest("era rollover");
    assert_eq!(sim.client.mapping().unwrap().epoch, 0);
}

#[test]
fn useless_or_impossible_answers_are_refused() {
    let base = Response {
        leap: Leap::None,
        stratum: 2,
        poll: 3,
        precision: -20,
        root_delay: NtpShort::from_bits(0),
        root_dispersion: NtpShort::from_bits(0),
        reference_id: [0; 4],
        reference: NtpTimestamp::default(),
        origin: NtpTimestamp::default(),
        receive: NtpTimestamp::from_utc(sim::START),
        transmit: NtpTimestamp::from_utc(sim::START + Span::from_micros(10)),
    };
    let later = |span| NtpTimestamp::from_utc(sim::START + span);
    let cases = [
        (Response { receive: NtpTimestamp::default(), ..base }, "impossible timestamps"),
        (Response { transmit: NtpTimestamp::default(), ..base }, "impossible timestamps"),
        (Response { transmit: later(Span::from_micros(-1)), ..base }, "impossible timestamps"),
        (Response { transmit: later(Span::from_millis(2)), ..base }, "impossible timestamps"),
        (Response { root_dispersion: NtpShort::from_span(Span::from_secs(2)), ..base }, "too far"),
        (Response { root_delay: NtpShort::from_span(Span::from_secs(4)), ..base }, "too far"),
    ];
    for (response, message) in cases {
        let mut client = NtpClient::new(NtpConfig::new(1), 77);
        let sent = BoardTime::from_nanos(0);
        let request = client.poll_transmit(sent).unwrap();
        let origin = Request::parse(&request.datagram).unwrap().0.transmit;
        let datagram = Response { origin, ..response }.build();
        let error = client.handle_response(0, &datagram, sent + Span::from_millis(1)).unwrap_err();
        assert!(error.to_string().contains(message), "{response:?}: {error}");
        assert_eq!(client.mapping(), None);
    }
}

#[test]
fn nonces_do_not_repeat_and_depend_on_the_seed() {
    let nonces = |seed| {
        let mut client = NtpClient::new(NtpConfig::new(1), seed);
        (0..200)
            .filter_map(|i| client.poll_transmit(BoardTime::from_nanos(i * 20_000_000_000)))
            .map(|t| Request::parse(&t.datagram).unwrap().0.transmit.to_bits())
            .collect::<Vec<_>>()
    };
    let (a, b) = (nonces(1), nonces(2));
    let mut both = [a.clone(), b].concat();
    assert_eq!((a.len(), both.len()), (200, 400));
    both.sort_unstable();
    both.dedup();
    assert_eq!(both.len(), 400);
    assert_eq!(a, nonces(1));
}

/// What an arbitrary peer and an arbitrary clock do to the client.
#[derive(Clone, Debug)]
enum Act {
    Poll(i64),
    Sent(usize, i64),
    Garbage(usize, Vec<u8>, i64),
    /// A response with the right origin and arbitrary content.
    Answer(usize, Vec<u8>, i64),
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..60);
    let time = || prop_oneof![any::<i64>(), 0..100_000_000_000_i64];
    prop_oneof![
        time().prop_map(Act::Poll),
        (0..3_usize, time()).prop_map(|(s, t)| Act::Sent(s, t)),
        (0..3_usize, bytes(), time()).prop_map(|(s, b, t)| Act::Garbage(s, b, t)),
        (0..3_usize, proptest::collection::vec(any::<u8>(), 48), time())
            .prop_map(|(s, b, t)| Act::Answer(s, b, t)),
    ]
}

proptest! {
    #[test]
    fn nothing_panics_and_work_stays_bounded(acts in proptest::collection::vec(act(), 0..60)) {
        let mut client = NtpClient::new(NtpConfig::new(2), 1);
        let mut origins = [None; 3];
        for act in acts {
            match act {
                Act::Poll(at) => {
                    let mut requests = 0;
                    while let Some(transmit) = client.poll_transmit(BoardTime::from_nanos(at)) {
                        origins[transmit.server] = Some(transmit.datagram);
                        requests += 1;
                        // At the very end of time "later" does not exist any more.
                        if at > i64::MAX - 2_000_000_000_000 { break; }
                        prop_assert!(requests <= 2, "more requests than servers");
                    }
                }
                Act::Sent(server, at) => client.handle_sent(server, BoardTime::from_nanos(at)),
                Act::Garbage(server, bytes, at) => {
                    prop_assert!(client.handle_response(server, &bytes, BoardTime::from_nanos(at)).is_err());
                }
                Act::Answer(server, mut bytes, at) => {
                    bytes[0] = bytes[0] & 0xc0 | 0x24;
                    if let Some(request) = origins[server] {
                        bytes[24..32].copy_from_slice(&request[40..48]);
                    }
                    let _ = client.handle_response(server, &bytes, BoardTime::from_nanos(at));
                }
            }
            let _ = (client.poll_timeout(), client.mapping(), client.status(), client.server_status(1));
        }
    }
}
