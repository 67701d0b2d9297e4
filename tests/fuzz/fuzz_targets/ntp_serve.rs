//! Datagrams from anybody to the NTP service, between readings of a host clock that may be anything.
//!
//! Each event: a kind, a time step in ms, and for a datagram its source and length.
#![no_main]

use std::net::SocketAddr;

use framelock_common::clock::ntp::{Leap, Response};
use framelock_common::clock::{HostReading, KernelClock, NtpServer, ServeConfig};
use framelock_common::time::{HostTime, Span, Utc};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&local, mut rest)) = input.split_first() else { return };
    let local_stratum = (1..16).contains(&local).then_some(local);
    let mut server = NtpServer::new(ServeConfig { local_stratum }, 1);
    let mut now = HostTime::from_nanos(1_000_000_000);
    while let Some((&[kind, step, a, b, c, d, e, length], tail)) = rest.split_first_chunk() {
        now += Span::from_millis(i64::from(step));
        rest = tail;
        if kind % 4 == 0 {
            // The clock is set to anywhere in 584 years.
            let utc = i64::from_be_bytes([a, b, c, d, e, length, 0, 0]);
            let reading = HostReading { mono: now, utc: Utc::from_unix_nanos(utc), error: Span::from_nanos(50) };
            let kernel = KernelClock {
                synchronized: kind & 4 != 0,
                max_error: Span::from_micros(i64::from_be_bytes([a, b, c, d, e, length, a, b])),
                est_error: Span::from_micros(i64::from(a)),
                leap: Leap::None,
                tai_offset: 0,
            };
            server.handle_reading(reading, kernel);
            continue;
        }
        let (datagram, tail) = rest.split_at(rest.len().min(usize::from(length)));
        rest = tail;
        let from = SocketAddr::from(([a, b, c, d], u16::from(e) * 257));
        let received = now - Span::from_millis(i64::from(kind));
        if let Ok(answer) = server.handle_request(datagram, from, received, now) {
            // As long as the request, for the same exchange, and no request itself.
            assert_eq!((datagram.len(), datagram[0] & 7, answer[0] & 7), (answer.len(), 3, 4));
            assert_eq!(answer[24..32], datagram[40..48]);
            Response::parse(&answer).expect("an answer that clients can read");
        }
    }
});
