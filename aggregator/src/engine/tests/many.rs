//! Many senders on one port, hostile datagrams, and captures.

use std::net::SocketAddr;

use super::sim::{OnTheWay, START};
use super::*;
use crate::config::Settings;
use crate::engine::offline::{OfflineError, replay_pcap};
use crate::source::Channel;

pub(super) fn one_port(limit: usize) -> Sim {
    let mut settings = Settings { max_cameras: limit, ..Settings::default() };
    settings.add_camera("*", "rtp://:5000").unwrap();
    Sim::new(&settings, 30)
}

fn board(n: u16, cname: &'static str, start: Span) -> BoardConfig {
    BoardConfig {
        port: 0,
        address: SocketAddr::from(([10, 0, 1, 1], 40_000 + n)),
        ssrc: 0x2222_0000 + u32::from(n),
        cname,
        start,
        ..BoardConfig::new(0, Transport::RtpTs)
    }
}

pub(super) fn names(sim: &mut Sim) -> Vec<String> {
    sim.status().iter().map(|camera| camera.name.to_string()).collect()
}

#[test]
fn every_sender_on_a_star_port_becomes_a_camera_by_its_name() {
    let mut sim = one_port(8);
    for (n, cname) in [(0, "left"), (1, "../../etc/x"), (2, "left")] {
        sim.add(board(n, cname, Span::from_millis(100 * i64::from(n))));
    }
    sim.run_until(secs(5));
    assert_eq!(names(&mut sim), ["left", "_.._etc_x", "left-2"]);
    assert!(sim.packets.iter().filter(|packet| packet.entries.len() == 3 && packet.complete).count() > 100);
}

#[test]
fn a_camera_of_a_star_port_keeps_its_place_when_its_sender_restarts() {
    let mut sim = one_port(8);
    let first = sim.add(board(0, "left", Span::ZERO));
    sim.add(board(1, "right", Span::ZERO));
    sim.run_until(secs(3));
    sim.boards[first].running = false;
    sim.add(board(2, "left", Span::from_millis(3_050)));
    sim.run_until(secs(6));
    assert_eq!(names(&mut sim), ["left", "right"]);
    let late = sim.packets.len() - 30;
    assert_eq!(sim.count(0, late, FrameStatus::Okay), 30);
}

#[test]
fn there_are_never_more_cameras_than_allowed() {
    let mut sim = one_port(2);
    for n in 0..5 {
        sim.add(board(n, ["a", "b", "c", "d", "e"][usize::from(n)], Span::from_millis(i64::from(n))));
    }
    sim.run_until(secs(3));
    assert_eq!(names(&mut sim).len(), 2);
    assert!(sim.count(0, 0, FrameStatus::Okay) > 80);
}

#[test]
fn hostile_datagrams_neither_stop_nor_swell_anything() {
    let mut sim = Sim::with_boards(three(Transport::RtpTs), 31);
    sim.run_until(secs(1));
    let good: Vec<Vec<u8>> = sim.trace.iter().map(|(_, datagram)| datagram.data.clone()).collect();
    let mut state = 99_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap()
    };
    for round in 0..20_000 {
        let mut data = good[random() % good.len()].clone();
        match random() % 3 {
            0 => data.truncate(random() % data.len()),
            1 => {
                let at = random() % data.len();
                data[at] ^= u8::try_from(random() % 256).unwrap();
            }
            _ => data = (0..random() % 100).map(|_| u8::try_from(random() % 256).unwrap()).collect(),
        }
        let channel = if random() % 4 == 0 { Channel::Rtcp } else { Channel::Main };
        // Forged from addresses of its own: nothing of it is the boards'.
        let from = SocketAddr::from(([10, 9, u8::try_from(random() % 256).unwrap(), 1], 1_000));
        sim.inject(OnTheWay { port: random() % 3, channel, from, data });
        if round % 200 == 0 {
            let next = sim.now + Span::from_millis(20);
            sim.run_until(next);
        }
    }
    let before = sim.packets.len();
    let end = sim.now + secs(3);
    sim.run_until(end);
    for camera in 0..3 {
        assert!(sim.count(camera, before, FrameStatus::Okay) > 80, "camera {camera} goes on");
    }
}

/// A classic pcap file of what reached the engine, as raw IPv4.
fn capture(sim: &Sim) -> Vec<u8> {
    let mut file = vec![0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0];
    file.extend([0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 101, 0, 0, 0]);
    for (at, datagram) in &sim.trace {
        let SocketAddr::V4(from) = datagram.from else { panic!("boards have IPv4") };
        let udp = u16::try_from(8 + datagram.data.len()).unwrap();
        let to = u16::try_from(5_000 + 2 * datagram.port).unwrap();
        let mut ip = vec![0x45, 0];
        ip.extend((20 + udp).to_be_bytes());
        ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        ip.extend(from.ip().octets());
        ip.extend([10, 0, 0, 250]);
        ip.extend(from.port().to_be_bytes());
        ip.extend(to.to_be_bytes());
        ip.extend(udp.to_be_bytes());
        ip.extend([0, 0]);
        ip.extend(&datagram.data);
        let ns = (START + *at).as_unix_nanos();
        let length = u32::try_from(ip.len()).unwrap();
        let [seconds, fraction] = [ns / 1_000_000_000, ns % 1_000_000_000].map(|n| u32::try_from(n).unwrap());
        for word in [seconds, fraction, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(ip);
    }
    file
}

#[test]
fn a_capture_replays_to_the_same_bytes_every_time_and_to_the_live_packets() {
    let mut sim = Sim::with_boards(three(Transport::RtpTs), 32);
    sim.faults = Faults { loss_permille: 5, jitter: Span::from_millis(3), ..Faults::default() };
    sim.run_until(secs(8));
    let file = capture(&sim);
    let mut settings = Settings::default();
    for (name, port) in [("left", 5_000), ("right", 5_002), ("top", 5_004)] {
        settings.add_camera(name, &format!("rtp://:{port}")).unwrap();
    }
    let replay = |count| {
        let mut out = Vec::new();
        let written = replay_pcap(&file[..], &settings, count, &mut out).unwrap();
        assert_eq!(written, out.iter().filter(|byte| **byte == b'\n').count() as u64);
        String::from_utf8(out).unwrap()
    };
    let (first, second) = (replay(None), replay(None));
    assert!(first == second, "the same capture, the same bytes");
    assert!(replay(Some(7)).lines().eq(first.lines().take(7)));
    // The frames are those that the live engine delivered.
    let complete = sim.packets.iter().filter(|packet| packet.complete).count();
    let replayed = first.lines().filter(|line| line.contains("\"complete\":true")).count();
    assert!(complete > 100 && replayed.abs_diff(complete) <= 5, "{complete} live, {replayed} replayed");
}

/// The packets that a capture of one board gives, without those of its datagrams that `lost` says.
fn replayed(
    transport: Transport,
    b_frames: bool,
    lost: impl Fn(usize, usize) -> bool,
) -> (usize, Vec<String>) {
    let config = BoardConfig { b_frames, ..BoardConfig::new(0, transport) };
    let mut sim = Sim::with_boards(vec![config], 34);
    sim.run_until(secs(3));
    let count = sim.trace.len();
    let mut at = 0..;
    sim.trace.retain(|_| !lost(at.next().unwrap(), count));
    let mut settings = Settings::default();
    let scheme = if transport == Transport::UdpTs { "udp" } else { "rtp" };
    settings.add_camera("left", &format!("{scheme}://:5000")).unwrap();
    let mut out = Vec::new();
    replay_pcap(&capture(&sim)[..], &settings, None, &mut out).unwrap();
    (sim.boards[0].sent.len(), String::from_utf8(out).unwrap().lines().map(str::to_owned).collect())
}

#[test]
fn a_capture_ends_with_its_last_frame() {
    for transport in [Transport::RtpTs, Transport::RtpH264, Transport::UdpTs] {
        for b_frames in [false, true] {
            // What has been captured of the last frame may not be all of it.
            let (sent, packets) = replayed(transport, b_frames, |_, _| false);
            assert!(sent > 80 && packets.len() >= sent - 1, "{transport:?} {b_frames}: {}", packets.len());
        }
    }
}

#[test]
fn what_waits_for_a_missing_packet_when_a_capture_ends_is_told() {
    for transport in [Transport::RtpTs, Transport::RtpH264] {
        // The last datagram waits for the one before it.
        let (sent, packets) = replayed(transport, false, |at, count| at + 2 == count);
        assert_eq!(packets.len(), sent, "{transport:?}");
        let last = packets.last().unwrap();
        assert!(last.contains("read-error"), "{transport:?}: {last}");
    }
}

#[test]
fn a_capture_without_our_ports_says_which_it_has() {
    let mut sim = Sim::with_boards(three(Transport::RtpTs), 33);
    sim.run_until(secs(1));
    let mut settings = Settings::default();
    settings.add_camera("a", "rtp://:9000").unwrap();
    let error = replay_pcap(&capture(&sim)[..], &settings, None, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, OfflineError::NoDatagrams { .. }));
    let text = error.to_string();
    assert!(text.contains("port 9000") && text.contains("port 5000"), "{text}");
}
