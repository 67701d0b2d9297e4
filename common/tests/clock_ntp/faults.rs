//! Leap seconds, servers that contradict each other, servers that come and go.

use super::*;

/// 2016-12-31T23:58:00Z, two minutes before a leap second.
const BEFORE_LEAP: Utc = Utc::from_unix_nanos(1_483_228_680_000_000_000);

#[test]
fn announced_leap_seconds_are_taken_at_once() {
    for (leap, by, seconds) in [(Leap::Insert, -1, 120), (Leap::Delete, 1, 119)] {
        let server = Server { leap, ..Server::lan() };
        let mut sim = Sim::with_config(11, 40_000, NtpConfig::new(1), vec![server], BEFORE_LEAP);
        // The client knows the instant as well as it knows UTC, so it may be some microseconds early.
        let early = Span::from_micros(200);
        sim.run_for(Span::from_secs(seconds) - early);
        assert_eq!(sim.client.mapping().unwrap().epoch, 0);
        assert_eq!(sim.coverage.inside, sim.coverage.checks);
        sim.run_for(early);
        sim.set_truth(Span::from_secs(by));
        // Servers go on announcing for a while.
        sim.run_for(Span::from_secs(30));
        sim.servers[0].leap = Leap::None;
        sim.run_for(MINUTE * 5);
        assert_eq!(sim.client.mapping().unwrap().epoch, 1, "{leap:?}");
        let coverage = &sim.coverage;
        // The instant itself may fall between a check and the set clock.
        assert!(coverage.checks - coverage.inside <= 1, "{leap:?}: {coverage:?}");
        assert!(sim.errors.len() <= 2, "{leap:?}: {:?}", sim.errors);
    }
}

#[test]
fn a_leap_second_that_does_not_come_is_taken_back() {
    let server = Server { leap: Leap::Insert, ..Server::lan() };
    let mut sim = Sim::with_config(12, 0, NtpConfig::new(1), vec![server], BEFORE_LEAP);
    sim.run_for(MINUTE * 3);
    let mapping = sim.client.mapping().unwrap();
    let error = mapping.utc_at(sim.mono(sim.now)).utc - (BEFORE_LEAP + sim.now);
    assert_eq!(mapping.epoch, 2);
    assert!(error.abs() < Span::from_millis(1), "{error}");
}

#[test]
fn a_leap_second_of_another_month_is_not_taken() {
    // START is in the middle of a month, two and a half hours before midnight.
    let mut sim = Sim::new(13, 0, vec![Server { leap: Leap::Insert, ..Server::lan() }]);
    sim.run_for(MINUTE * 60 * 4);
    assert_eq!(sim.client.mapping().unwrap().epoch, 0);
    assert_eq!(sim.coverage.inside, sim.coverage.checks);
}

#[test]
fn two_servers_that_contradict_each_other_are_not_utc() {
    let wrong = Server { error: Span::from_secs(5), ..Server::lan() };
    let mut sim = Sim::new(14, 0, vec![Server::lan(), wrong]);
    sim.run_for(MINUTE);
    assert_eq!(sim.client.status().state, ClockState::Unsynchronized);
    // One of them is put right.
    sim.servers[1] = Server::lan();
    sim.run_for(MINUTE);
    assert_eq!(sim.client.status().state, ClockState::Synchronized);
    sim.coverage.assert_honest("after the contradiction");
}

#[test]
fn of_two_servers_the_one_that_was_set_is_not_followed() {
    for stepped in [0, 1] {
        let mut sim = Sim::new(15, -30_000, vec![Server::lan(), Server::lan()]);
        sim.run_for(MINUTE * 2);
        sim.servers[stepped].error = Span::from_secs(-3_600);
        sim.run_for(MINUTE * 10);
        assert_eq!(sim.client.status().server, Some(1 - stepped));
        assert_eq!(sim.client.server_status(stepped).unwrap().state, ServerState::Falseticker);
        assert_eq!(sim.client.mapping().unwrap().epoch, 0);
        assert_eq!(sim.coverage.inside, sim.coverage.checks);
        // The other follows: so it was right.
        sim.servers[1 - stepped].error = Span::from_secs(-3_600);
        sim.run_for(MINUTE);
        assert_eq!(sim.client.mapping().unwrap().epoch, 1);
        assert_eq!(sim.client.server_status(stepped).unwrap().state, ServerState::Usable);
    }
}

#[test]
fn a_wrong_server_that_answers_first_is_not_believed_first() {
    let slow = Server::new(Path::micros(20_000, 100, 0), Path::micros(20_000, 100, 0));
    let wrong = Server { error: Span::from_secs(1), ..Server::lan() };
    let mut sim = Sim::new(16, 0, vec![wrong, slow, slow]);
    sim.run_for(MINUTE);
    assert_eq!(sim.coverage.inside, sim.coverage.checks);
    assert!(sim.coverage.first.unwrap() < Span::from_secs(1));
    assert_eq!(sim.client.server_status(0).unwrap().state, ServerState::Falseticker);
}

#[test]
fn dead_servers_delay_the_first_mapping_by_two_seconds_at_most() {
    let dead = Server { silent: true, ..Server::lan() };
    let mut sim = Sim::new(17, 0, vec![dead, dead, Server::lan()]);
    sim.run_for(Span::from_secs(3));
    let first = sim.coverage.first.unwrap();
    assert!(first >= Span::from_secs(2) && first < Span::from_millis(2_200), "{first}");
}

#[test]
fn the_bound_of_a_clock_on_its_own_grows_as_its_oscillator_may() {
    let mut sim = Sim::new(18, 60_000, vec![Server::lan()]);
    (sim.wander_ppb, sim.warm_up_ppb) = (2_000, 3_000);
    sim.run_for(MINUTE * 3);
    sim.servers[0].silent = true;
    let known = sim.coverage.bounds.len();
    sim.run_for(Span::from_secs(290));
    let (first, last) = (sim.coverage.bounds[known], *sim.coverage.bounds.last().unwrap());
    assert!(first < Span::from_micros(250) && last > Span::from_millis(2), "{first} {last}");
    assert!(last < Span::from_millis(10), "{last}");
    assert_eq!(sim.coverage.inside, sim.coverage.checks);
}
