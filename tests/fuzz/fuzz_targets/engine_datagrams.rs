//! Datagrams from anyone, into the receiving end as a whole: sessions, payload formats, timestamps,
//! synchronizer. The first bytes of each piece choose the port and the time that passes.
#![no_main]

use std::net::SocketAddr;

use framelock_aggregator::config::Settings;
use framelock_aggregator::engine::Engine;
use framelock_aggregator::source::{Channel, Datagram};
use framelock_aggregator::timestamp::HostClock;
use framelock_common::time::{HostTime, Span, Utc};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut settings = Settings::default();
    for (name, source) in [("left", "rtp://:5000"), ("*", "rtp://:5002"), ("right", "udp://:5004")] {
        settings.add_camera(name, source).expect("a camera");
    }
    let mut engine = Engine::new(&settings, 1);
    let mut now = HostTime::from_nanos(0);
    let clock = |now: HostTime| {
        let utc = Utc::from_unix_nanos(1_790_000_000_000_000_000) + (now - HostTime::from_nanos(0));
        HostClock::new(now, utc, Span::from_millis(1))
    };
    let mut rest = input;
    while let [port, wait, length, more @ ..] = rest {
        let (data, after) = more.split_at(usize::from(*length).min(more.len()));
        rest = after;
        now += Span::from_micros(i64::from(*wait) * i64::from(*wait) * 10);
        let host = clock(now);
        let channel = if port & 8 == 0 { Channel::Main } else { Channel::Rtcp };
        let from = SocketAddr::from(([127, 0, 0, 1], u16::from(port >> 4) + 1000));
        engine.handle_datagram(
            usize::from(port & 7) % 3,
            &Datagram { channel, from, data, arrival: now },
            &host,
        );
        engine.handle_timeout(now, &host);
        while engine.poll_packet().is_some() {}
        while engine.poll_transmit(now).is_some() {}
    }
    engine.finish(&clock(now));
    while engine.poll_packet().is_some() {}
});
