//! What somebody on the same network may send: nothing of it disturbs the good cameras, holds memory or
//! makes us send to third parties.

use std::net::SocketAddr;

use framelock_common::clock::ClockState;
use framelock_common::rtcp::{self, CaptureKind, ClockInfo, Cname, RtcpPacket, SenderReport};
use framelock_common::time::{NtpTimestamp, RtpTimestamp};

use super::many::{names, one_port};
use super::sim::OnTheWay;
use super::*;
use crate::source::Channel;

fn attacker(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 66, 6, 6], 30_000 + n))
}

/// An RTP packet with `payload` (RFC 3550 section 5.1).
fn rtp(payload_type: u8, ssrc: u32, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn report(ssrc: u32, ntp: u64, rtp: u32) -> RtcpPacket {
    let (ntp, rtp) = (NtpTimestamp::from_bits(ntp), RtpTimestamp::from_bits(rtp));
    RtcpPacket::SenderReport {
        report: SenderReport { ssrc, ntp, rtp, packets: 9, octets: 99 },
        blocks: Vec::new(),
    }
}

fn named(ssrc: u32, name: &str) -> Vec<u8> {
    let name = RtcpPacket::SourceDescription(vec![Cname { ssrc, name: name.to_owned() }]);
    rtcp::write(&[report(ssrc, 0xeeee_0000_0000_0000, 0), name])
}

fn goodbye(ssrc: u32) -> Vec<u8> {
    rtcp::write(&[report(ssrc, 1, 0), RtcpPacket::Goodbye { sources: vec![ssrc] }])
}

fn send(sim: &mut Sim, port: usize, from: SocketAddr, data: Vec<u8>) {
    for channel in [Channel::Main, Channel::Rtcp] {
        sim.inject(OnTheWay { port, channel, from, data: data.clone() });
    }
}

fn pass(sim: &mut Sim, time: Span) {
    let end = sim.now + time;
    sim.run_until(end);
}

/// Every packet since `from` is complete: nobody was disturbed.
fn undisturbed(sim: &Sim, from: usize, least: usize) {
    let packets = &sim.packets[from..];
    assert!(packets.len() >= least, "{} packets", packets.len());
    for packet in packets {
        assert!(packet.complete, "{packet:?}");
    }
}

#[test]
fn a_goodbye_is_believed_only_from_where_the_senders_own_reports_come() {
    for transport in [Transport::RtpTs, Transport::RtpH264] {
        let mut sim = Sim::with_boards(three(transport), 40);
        sim.run_until(secs(2));
        let before = sim.packets.len();
        let (ssrc, board) = (sim.boards[1].config.ssrc, sim.boards[1].config.address);
        for n in 0..50 {
            // From elsewhere, and from another program on the board itself.
            let neighbour = SocketAddr::new(board.ip(), 1_000 + n);
            for from in [attacker(n), neighbour] {
                send(&mut sim, 1, from, goodbye(ssrc));
                // And a newcomer that wants the place.
                send(&mut sim, 1, from, rtp(33, 0xbad0_0000 + u32::from(n), n, 0, &[0x47; 188]));
            }
            pass(&mut sim, Span::from_millis(37));
            assert_eq!(sim.status()[1].state, SourceState::Live, "{transport:?} {n}");
        }
        undisturbed(&sim, before + 1, 50);
        assert!(check_frames(&sim, 1, 1) > 100);
        let strays: usize = sim.strays.values().sum();
        assert_eq!(strays, 0, "nobody but the boards hears from us");
    }
}

#[test]
fn forged_streams_do_not_shut_a_port_to_those_who_come_later() {
    let mut sim = one_port(8);
    // Two rounds of streams of one packet each, before anybody else is there and long after.
    for n in 0..200 {
        send(&mut sim, 0, attacker(n % 50), rtp(33, 0xbad0_0000 + u32::from(n), n, 0, &[0x47; 188]));
        send(&mut sim, 0, attacker(n % 50), rtp(96, 0xbad1_0000 + u32::from(n), n, 0, &[0x65; 188]));
    }
    sim.run_until(secs(1));
    let mut config = BoardConfig::new(0, Transport::RtpTs);
    config.start = secs(1);
    sim.add(config);
    for n in 0..2_000 {
        // Streams that are kept alive from many ports of one machine.
        let ssrc = 0xbad2_0000 + u32::from(n % 40);
        send(&mut sim, 0, attacker(n % 40), rtp(33, ssrc, n / 40, 0, &[0x47; 188]));
        pass(&mut sim, Span::from_millis(2));
    }
    assert_eq!(names(&mut sim), ["left"]);
    undisturbed(&sim, 0, 110);
    assert!(check_frames(&sim, 0, 0) > 110);
}

#[test]
fn names_without_pictures_make_no_cameras() {
    let mut sim = one_port(8);
    let mut config = BoardConfig::new(0, Transport::RtpTs);
    config.cname = "left";
    sim.add(config);
    sim.run_until(secs(1));
    let mut came = std::collections::BTreeMap::new();
    for n in 0..1_000_u16 {
        let (ssrc, name) = (0xbad0_0000 + u32::from(n), format!("../\u{1b}[2J{n}{}", "x".repeat(200)));
        let mut datagrams = vec![named(ssrc, &name)];
        datagrams.extend((0..3).map(|sequence| rtp(33, ssrc, sequence, 0, &[0x47; 1_316])));
        came.insert(attacker(n), 2 * datagrams.iter().map(Vec::len).sum::<usize>());
        datagrams.into_iter().for_each(|datagram| send(&mut sim, 0, attacker(n), datagram));
        pass(&mut sim, Span::from_millis(2));
    }
    let mut config = BoardConfig::new(1, Transport::RtpTs);
    (config.port, config.start) = (0, sim.now);
    sim.add(config);
    pass(&mut sim, secs(3));
    assert_eq!(names(&mut sim), ["left", "right"]);
    let late = sim.packets.len() - 60;
    undisturbed(&sim, late, 60);
    assert_eq!(sim.count(0, 0, FrameStatus::Okay), sim.packets.len(), "the first one went on all the time");
    // They may be asked for a key frame, by less than they sent.
    assert!(sim.strays.iter().all(|(address, sent)| *sent < came[address] / 10), "{:?}", sim.strays);
}

#[test]
fn a_sender_without_pictures_does_not_keep_a_port_from_its_board() {
    for transport in [Transport::RtpTs, Transport::UdpTs] {
        let mut sim =
            Sim::with_boards(vec![BoardConfig { start: secs(2), ..BoardConfig::new(0, transport) }], 41);
        for n in 0..800_u16 {
            let datagram = match transport {
                Transport::UdpTs => vec![0x47; 376],
                _ => rtp(33, 0xbad0_0000, n, 0, &[0x47; 188]),
            };
            sim.inject(OnTheWay { port: 0, channel: Channel::Main, from: attacker(0), data: datagram });
            pass(&mut sim, Span::from_millis(10));
        }
        assert!(check_frames(&sim, 0, 0) > 60, "{transport:?}");
        let late = sim.packets.len() - 60;
        undisturbed(&sim, late, 60);
    }
}

#[test]
fn nobody_gets_more_from_us_than_came_in_his_name() {
    let mut settings = crate::config::Settings::default();
    settings.add_camera("left", "rtp://:5000").unwrap();
    let mut sim = Sim::new(&settings, 42);
    let mut came = 0;
    for n in 0..500_u16 {
        let victim = SocketAddr::from(([10, 77, 0, 1], 443));
        let ssrc = 0xbad0_0000 + u32::from(n / 10);
        let packet = rtp(96, ssrc, n, 0, &[0x7c]);
        came += packet.len();
        sim.inject(OnTheWay { port: 0, channel: Channel::Main, from: victim, data: packet });
        pass(&mut sim, Span::from_millis(70));
        let sent: usize = sim.strays.values().sum();
        assert!(sent <= came, "{sent} bytes sent for {came}");
    }
}

#[test]
fn a_clock_that_cannot_be_right_is_not_believed_whatever_it_says_of_itself() {
    for error in [secs(-900_000_000), secs(900_000_000), secs(7_200), secs(40), secs(-600)] {
        let mut configs = three(Transport::RtpTs);
        configs[2].clock_error = error;
        let mut sim = Sim::with_boards(configs, 43);
        sim.run_until(secs(8));
        for camera in 0..2 {
            assert!(check_frames(&sim, camera, camera) > 200, "{error}");
        }
        // Whatever goes out of the third says how wrong it may be.
        assert!(sim.good[2].len() > 200, "{error}");
        for frame in &sim.good[2] {
            let captured = sim.boards[2].sent[&number_of(&sim, 2, frame)].0;
            let off = (frame.time.utc - captured).abs();
            assert!(off <= frame.time.uncertainty, "{error}: {off} off, {:?}", frame.time);
            assert!(frame.time_source == TimeSource::Arrival || error.abs() < secs(3_600), "{error}");
        }
    }
}

#[test]
fn absurd_reports_into_a_running_stream_change_nothing() {
    let mut sim = Sim::with_boards(three(Transport::RtpTs), 44);
    sim.run_until(secs(3));
    let before = sim.packets.len();
    let lie = ClockInfo {
        pts_on_rtp_clock: false,
        state: ClockState::Unsynchronized,
        uncertainty: Span::ZERO,
        capture_kind: CaptureKind::Unknown,
    };
    for n in 0..200_u16 {
        let (ssrc, ip) = (sim.boards[0].config.ssrc, sim.boards[0].config.address.ip());
        let ntp = [0, 1, u64::MAX, 1 << 63, 0xec00_0000_0000_0000][usize::from(n % 5)];
        let data = rtcp::write(&[
            report(ssrc, ntp, u32::from(n % 2) * 0xffff_ffff),
            RtcpPacket::ClockInfo { ssrc, info: lie },
        ]);
        send(&mut sim, 0, attacker(n), data.clone());
        send(&mut sim, 0, SocketAddr::new(ip, 2_000 + n), data);
        pass(&mut sim, Span::from_millis(13));
    }
    undisturbed(&sim, before + 1, 70);
    assert!(check_frames(&sim, 0, 0) > 150);
    assert!(frames(&sim, 0).all(|frame| frame.time_source == TimeSource::SenderReport));
}

#[test]
fn a_picture_too_large_to_decode_is_not_called_good() {
    // The last is more than any level allows, which the inspector calls unreadable.
    for (blocks, taken) in
        [((256, 144), true), ((256, 145), false), ((512, 272), false), ((1_024, 1_024), false)]
    {
        let mut configs = three(Transport::RtpH264);
        configs[0].blocks = blocks;
        let mut sim = Sim::with_boards(configs, 45);
        sim.run_until(secs(4));
        assert_eq!(sim.count(0, 0, FrameStatus::Okay) > 100, taken, "{blocks:?}");
        assert_eq!(sim.good.first().is_some_and(|good| !good.is_empty()), taken, "{blocks:?}");
        for camera in 1..3 {
            assert!(check_frames(&sim, camera, camera) > 100);
        }
    }
}

#[test]
fn a_size_that_grows_in_the_middle_of_a_stream_is_looked_at_again() {
    let mut sim = Sim::with_boards(three(Transport::RtpTs), 46);
    sim.run_until(secs(3));
    for blocks in [(1_024, 1_024), (512, 272)] {
        sim.boards[0].config.blocks = blocks;
        // Until the next key frame the old pictures go on.
        pass(&mut sim, Span::from_millis(2_100));
        let before = sim.good[0].len();
        pass(&mut sim, secs(2));
        assert_eq!(sim.good[0].len(), before, "{blocks:?}");
    }
    sim.boards[0].config.blocks = (80, 45);
    pass(&mut sim, secs(4));
    let last = sim.good[0].last().unwrap();
    assert_eq!((last.width, last.height), (Some(1_280), Some(720)));
}
