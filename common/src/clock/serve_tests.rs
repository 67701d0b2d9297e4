//! Tests of the NTP server against simulated clocks, and against our own client.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::ntp::{KissCode, Leap, PACKET_LEN, Request, Response};
use super::{HostReading, KernelClock, NtpClient, NtpConfig, NtpServer, Refusal, ServeConfig, UNKNOWN_ERROR};
use crate::time::{BoardTime, HostTime, NtpTimestamp, Span, Utc};

const UTC: Utc = Utc::from_unix_nanos(1_790_000_000_000_000_000);
const NONCE: NtpTimestamp = NtpTimestamp::from_bits(0x0123_4567_89ab_cdef);
const KEPT: KernelClock = KernelClock {
    synchronized: true,
    max_error: Span::from_millis(2),
    est_error: Span::from_micros(30),
    leap: Leap::None,
    tai_offset: 37,
};

fn at(ms: i64) -> HostTime {
    HostTime::from_nanos(5_000_000_000) + Span::from_millis(ms)
}

fn client() -> SocketAddr {
    "192.0.2.7:40000".parse().unwrap()
}

/// What a host reads at `ms` whose clock is `ahead` of the simulated truth.
fn reading(ms: i64, ahead: Span) -> HostReading {
    HostReading { mono: at(ms), utc: UTC + Span::from_millis(ms) + ahead, error: Span::from_nanos(100) }
}

fn server(kernel: KernelClock, local_stratum: Option<u8>) -> NtpServer {
    let mut server = NtpServer::new(ServeConfig { local_stratum }, 1);
    assert!(!server.handle_reading(reading(0, Span::ZERO), kernel));
    server
}

fn request() -> [u8; PACKET_LEN] {
    Request { transmit: NONCE }.build()
}

fn ask(server: &mut NtpServer, ms: i64) -> Response {
    let raw = server.handle_request(&request(), client(), at(ms), at(ms)).unwrap();
    Response::parse(&raw).unwrap()
}

#[test]
fn a_synchronized_host_says_what_its_kernel_says() {
    let mut server = server(KEPT, None);
    let (received, now) = (at(500), at(500) + Span::from_micros(40));
    let answer = server.handle_request(&request(), client(), received, now).unwrap();
    let answer = Response::parse(&answer).unwrap();
    assert_eq!((answer.leap, answer.stratum, answer.kiss()), (Leap::None, 6, None));
    assert_eq!((answer.origin, answer.reference_id), (NONCE, *b"KERN"));
    assert_eq!(answer.receive.to_utc(UTC), UTC + Span::from_millis(500));
    assert_eq!(answer.transmit.to_utc(UTC), UTC + Span::from_millis(500) + Span::from_micros(40));
    assert_eq!(answer.reference.to_utc(UTC), UTC);
    // All of the kernel's bound is dispersion; rounded up by at most 2^-16 s.
    assert_eq!(answer.root_delay.to_span(), Span::ZERO);
    let excess = answer.root_dispersion.to_span() - KEPT.max_error;
    assert!(excess > Span::ZERO && excess < Span::from_micros(30), "{excess}");
}

#[test]
fn dispersion_grows_until_the_clock_is_read_again() {
    let mut server = server(KEPT, None);
    let dispersion = |server: &mut NtpServer, ms| ask(server, ms).root_dispersion.to_span();
    let (early, late) = (dispersion(&mut server, 0), dispersion(&mut server, 50_000));
    assert!(((late - early) - Span::from_micros(750)).abs() < Span::from_micros(32), "{}", late - early);
    server.handle_reading(reading(50_000, Span::ZERO), KEPT);
    assert_eq!(dispersion(&mut server, 50_000), early);
}

#[test]
fn the_reference_time_is_that_of_the_last_correction() {
    let mut server = server(KEPT, None);
    let grown = KernelClock { max_error: Span::from_millis(3), ..KEPT };
    server.handle_reading(reading(2_000, Span::ZERO), grown);
    assert_eq!(ask(&mut server, 2_000).reference.to_utc(UTC), UTC);
    server.handle_reading(reading(3_000, Span::ZERO), KEPT);
    assert_eq!(ask(&mut server, 3_100).reference.to_utc(UTC), UTC + Span::from_millis(3_000));
}

#[test]
fn an_unsynchronized_host_says_so_unless_it_is_the_reference() {
    let mut honest = server(KernelClock::UNKNOWN, None);
    let answer = ask(&mut honest, 10);
    assert_eq!((answer.leap, answer.stratum), (Leap::Unsynchronized, 16));
    assert_eq!(answer.root_dispersion.to_span(), UNKNOWN_ERROR);
    assert_eq!(honest.stratum(), Some(16));

    let mut local = server(KernelClock::UNKNOWN, Some(10));
    let answer = ask(&mut local, 10);
    assert_eq!((answer.leap, answer.stratum, answer.reference_id), (Leap::None, 10, [127, 127, 1, 1]));
    assert!(answer.root_dispersion.to_span() < Span::from_micros(50));
    // The real thing is better than the makeshift, and its loss brings the makeshift back.
    local.handle_reading(reading(20, Span::ZERO), KEPT);
    assert_eq!(ask(&mut local, 30).stratum, 6);
    local.handle_reading(reading(40, Span::ZERO), KernelClock::UNKNOWN);
    assert_eq!(ask(&mut local, 50).stratum, 10);
}

#[test]
fn leap_seconds_are_passed_on() {
    for leap in [Leap::Insert, Leap::Delete] {
        let mut server = server(KernelClock { leap, ..KEPT }, None);
        assert_eq!(ask(&mut server, 1).leap, leap);
    }
}

#[test]
fn the_answer_has_the_version_and_poll_of_the_request() {
    let mut server = server(KEPT, None);
    for version in [3, 4] {
        let mut raw = request();
        raw[0] = version << 3 | 3;
        raw[2] = 6;
        let answer = server.handle_request(&raw, client(), at(1), at(1)).unwrap();
        assert_eq!((answer[0] >> 3 & 7, answer[2]), (version, 6));
    }
}

#[test]
fn without_a_clock_there_is_no_answer() {
    let mut server = NtpServer::new(ServeConfig::default(), 1);
    let ask = |server: &mut NtpServer, ms| server.handle_request(&request(), client(), at(ms), at(ms));
    assert_eq!(ask(&mut server, 0), Err(Refusal::NoClock));
    server.handle_reading(reading(0, Span::ZERO), KEPT);
    assert!(ask(&mut server, 60_000).is_ok());
    assert_eq!(ask(&mut server, 60_001), Err(Refusal::NoClock), "the shell has stopped to read the clock");
    assert_eq!((server.counters().no_clock, server.counters().answered), (2, 1));
}

/// A request that waits in the socket while the clock is set would carry two timescales.
#[test]
fn steps_of_the_host_never_mix_timescales() {
    for step in [-3_600_000, -1_000, -1, 1, 1_000, 3_600_000].map(Span::from_millis) {
        let mut server = server(KEPT, None);
        assert!(!server.handle_reading(reading(1_000, Span::ZERO), KEPT));
        assert!(server.handle_reading(reading(2_000, step), KEPT), "{step}");
        let waited = server.handle_request(&request(), client(), at(1_999), at(2_000));
        assert_eq!(waited, Err(Refusal::Stepped));
        let answer = ask(&mut server, 2_001);
        let expected = UTC + Span::from_millis(2_001) + step;
        assert_eq!((answer.receive.to_utc(UTC), answer.transmit.to_utc(UTC)), (expected, expected));
        assert!(answer.reference.to_utc(UTC) <= expected, "a reference in the future");
        assert_eq!(server.counters().steps, 1);
    }
}

#[test]
fn the_era_of_2036_goes_by() {
    // 2036-02-07T06:28:16Z, at 1 s.
    let rollover = Utc::from_unix_nanos(2_085_978_496_000_000_000);
    let mut server = NtpServer::new(ServeConfig::default(), 1);
    server.handle_reading(
        HostReading { mono: at(0), utc: rollover - Span::from_secs(1), error: Span::ZERO },
        KEPT,
    );
    for ms in [0, 999, 1_000, 1_001, 2_000] {
        let answer = ask(&mut server, ms);
        assert_eq!(answer.transmit.to_utc(rollover), rollover + Span::from_millis(ms) - Span::from_secs(1));
    }
}

#[test]
fn our_own_client_finds_the_servers_clock() {
    let mut server = server(KEPT, None);
    let config = NtpConfig { era_pivot: UTC, ..NtpConfig::new(1) };
    let mut client = NtpClient::new(config, 7);
    let board = |ms: i64| BoardTime::from_nanos(77_000_000_000) + Span::from_millis(ms);
    let path = Span::from_micros(150);
    for ms in 0..5_000 {
        server.handle_reading(reading(ms, Span::ZERO), KEPT);
        while let Some(transmit) = client.poll_transmit(board(ms)) {
            client.handle_sent(transmit.server, board(ms));
            let there = at(ms) + path;
            let answer = server.handle_request(&transmit.datagram, self::client(), there, there).unwrap();
            client.handle_response(0, &answer, board(ms) + path * 2).unwrap();
        }
    }
    let estimate = client.mapping().unwrap().utc_at(board(5_000));
    let error = (estimate.utc - (UTC + Span::from_secs(5))).abs();
    assert!(error < Span::from_micros(1), "{error}");
    assert!(estimate.uncertainty >= KEPT.max_error, "the server's own error is part of the bound");
    assert_eq!(client.status().stratum, Some(6));
}

#[test]
fn who_asks_too_often_is_told_once_and_then_nothing() {
    let mut server = server(KEPT, None);
    let mut kisses = Vec::new();
    for _ in 0..200 {
        if let Ok(raw) = server.handle_request(&request(), client(), at(1), at(1)) {
            let answer = Response::parse(&raw).unwrap();
            if let Some(code) = answer.kiss() {
                assert_eq!((answer.origin, answer.leap), (NONCE, Leap::Unsynchronized));
                kisses.push(code);
            }
        }
    }
    assert_eq!(kisses, [KissCode::RATE]);
    let counters = server.counters();
    assert_eq!((counters.answered, counters.kissed, counters.limited), (64, 1, 135));
}

#[test]
fn no_answer_goes_where_no_client_can_be() {
    let mut server = server(KEPT, None);
    for from in [
        "0.0.0.0:5000",
        "0.1.2.3:5000",
        "255.255.255.255:5000",
        "224.0.1.1:5000",
        "[::]:5000",
        "[ff02::101]:5000",
        "[::ffff:255.255.255.255]:5000",
        "192.0.2.7:0",
        "192.0.2.7:7",
        "192.0.2.7:19",
        "192.0.2.7:53",
        "[2001:db8::1]:1023",
    ] {
        let from = from.parse().unwrap();
        assert_eq!(server.handle_request(&request(), from, at(1), at(1)), Err(Refusal::Source(from)));
    }
    for from in ["192.0.2.7:123", "192.0.2.7:1024", "127.0.0.1:40000", "[2001:db8::1]:50000"] {
        assert!(server.handle_request(&request(), from.parse().unwrap(), at(1), at(1)).is_ok(), "{from}");
    }
}

proptest! {
    /// Whatever arrives from wherever: an answer goes only to a well-formed client request, is as long as
    /// that, repeats its origin, and is no request itself, so two servers can never talk to each other.
    #[test]
    fn only_well_formed_client_requests_are_answered(
        mut raw in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            proptest::collection::vec(any::<u8>(), PACKET_LEN..=PACKET_LEN),
        ],
        mode in proptest::option::of(0_u8..64),
        address: [u8; 4],
        port: u16,
        synchronized: bool,
        local in proptest::option::of(1_u8..16),
        waited in -10_000_000_i64..10_000_000,
    ) {
        if let (Some(mode), Some(first)) = (mode, raw.first_mut()) {
            *first = *first & 0xc0 | mode;
        }
        let mut server = server(KernelClock { synchronized, ..KEPT }, local);
        let from = SocketAddr::from((address, port));
        let received = at(20) - Span::from_nanos(waited);
        let well_formed = raw.len() == PACKET_LEN && raw[0] & 7 == 3 && matches!(raw[0] >> 3 & 7, 3 | 4);
        match server.handle_request(&raw, from, received, at(20)) {
            Ok(answer) => {
                prop_assert!(well_formed);
                prop_assert!(port >= 1_024 || port == 123);
                prop_assert_eq!(&answer[24..32], &raw[40..48]);
                let answer = Response::parse(&answer).unwrap();
                let utc = |time: NtpTimestamp| time.to_utc(UTC);
                prop_assert!(utc(answer.receive) <= utc(answer.transmit));
                prop_assert_eq!(answer.leap == Leap::Unsynchronized, !synchronized && local.is_none());
            }
            Err(refusal) => prop_assert!(!well_formed || refusal == Refusal::Source(from)),
        }
        let counters = server.counters();
        prop_assert_eq!(counters.answered + counters.refused, 1);
    }
}
