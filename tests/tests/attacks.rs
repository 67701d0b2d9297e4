//! Somebody on the same network who sends whatever he likes, loopback only and bounded in count: the good
//! cameras go on, names stay data, memory stays bounded, and nobody gets more from us than he sent.

use std::net::UdpSocket;
use std::time::Duration;

use framelock_common::clock::ClockState;
use framelock_common::rtcp::{self, CaptureKind, ClockInfo, Cname, RtcpPacket, SenderReport};
use framelock_common::rtp::{RtpHeader, write_packet};
use framelock_common::time::{NtpTimestamp, RtpTimestamp, Span};
use framelock_tests::packets::{Packet, next_where};
use framelock_tests::process::{PATIENCE, Process, free_port};
use framelock_tests::usage;

/// Datagrams sent by the attacker.
const DATAGRAMS: u32 = 40_000;
/// Sockets he sends from.
const SOCKETS: usize = 40;

/// What he makes up.
struct Attacker {
    random: fastrand::Rng,
    sockets: Vec<UdpSocket>,
    sent: Vec<usize>,
    received: Vec<usize>,
}

impl Attacker {
    fn new(seed: u64) -> Self {
        let socket = |_| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
            socket.set_nonblocking(true).expect("a socket can be non-blocking");
            socket
        };
        Self {
            random: fastrand::Rng::with_seed(seed),
            sockets: (0..SOCKETS).map(socket).collect(),
            sent: vec![0; SOCKETS],
            received: vec![0; SOCKETS],
        }
    }

    fn strike(&mut self, ports: [u16; 2], n: u32) {
        let socket = self.random.usize(..SOCKETS);
        let datagram = match n % 5 {
            0 => self.rtcp(n),
            1 => self.noise(),
            _ => self.rtp(n),
        };
        let port = ports[usize::from(self.random.u8(..8) == 0)];
        // A full socket buffer is as good as a lossy network here.
        if let Ok(bytes) = self.sockets[socket].send_to(&datagram, ("127.0.0.1", port)) {
            self.sent[socket] += bytes;
        }
        let mut answer = [0; 2_048];
        while let Ok(bytes) = self.sockets[socket].recv(&mut answer) {
            self.received[socket] += bytes;
        }
    }

    /// Streams of many packets in sequence, and of one; tables, huge NAL units, odd types.
    fn rtp(&mut self, n: u32) -> Vec<u8> {
        let header = RtpHeader {
            payload_type: [33, 96, 97, 0][self.random.usize(..4)],
            marker: self.random.bool(),
            #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
            sequence: if self.random.u8(..50) == 0 { self.random.u16(..) } else { n as u16 },
            timestamp: RtpTimestamp::from_bits(self.random.u32(..)),
            ssrc: if self.random.bool() { self.random.u32(..) } else { self.random.u32(..20) },
            ntp64: self.random.bool().then(|| NtpTimestamp::from_bits(self.random.u64(..))),
        };
        let mut payload: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..)).take(1_316).collect();
        for packet in payload.chunks_mut(188) {
            // Transport stream packets of PAT, PMT and video, with and without a table's start.
            packet[..4].copy_from_slice(&[0x47, self.random.u8(..2) << 6, self.random.u8(..3), 0x10]);
        }
        if header.payload_type == 96 {
            payload[..2].copy_from_slice(&[0x7c, 0x87]);
        }
        let mut datagram = Vec::new();
        write_packet(&header, &payload, &mut datagram);
        datagram
    }

    /// Names, clocks and goodbyes of made-up streams.
    fn rtcp(&mut self, n: u32) -> Vec<u8> {
        let ssrc = if self.random.bool() { self.random.u32(..) } else { self.random.u32(..20) };
        let report = SenderReport {
            ssrc,
            ntp: NtpTimestamp::from_bits(self.random.u64(..)),
            rtp: RtpTimestamp::from_bits(0),
            packets: 1,
            octets: 1,
        };
        let name = ["left", "../../../tmp/x", "\u{1b}[2J\u{7}", "", "\u{202e}right"][self.random.usize(..5)];
        let info = ClockInfo {
            pts_on_rtp_clock: true,
            state: ClockState::Synchronized,
            uncertainty: Span::ZERO,
            capture_kind: CaptureKind::Synthetic,
        };
        let mut packets = vec![
            RtcpPacket::SenderReport { report, blocks: Vec::new() },
            RtcpPacket::SourceDescription(vec![Cname { ssrc, name: format!("{name}{}", n % 300) }]),
            RtcpPacket::ClockInfo { ssrc, info },
        ];
        if self.random.u8(..10) == 0 {
            packets.push(RtcpPacket::Goodbye { sources: vec![ssrc] });
        }
        rtcp::write(&packets)
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = self.random.usize(..1_400);
        std::iter::repeat_with(|| self.random.u8(..)).take(length).collect()
    }
}

fn sender(camera: &str, port: u16) -> Process {
    let to = format!("rtp://127.0.0.1:{port}");
    let args = ["run", "--source", "test", "--size", "320x240", "--fps", "20", "--bitrate", "500k"];
    Process::ours(
        "framelock-sender",
        args.into_iter().chain(["--clock", "system", "--camera", camera, "--to", &to]),
    )
}

#[test]
fn an_attacker_disturbs_nobody_and_gets_nothing() {
    let ports = [free_port(), free_port()];
    let (all, own) =
        (format!("*=rtp://127.0.0.1:{}", ports[0]), format!("right=rtp://127.0.0.1:{}", ports[1]));
    // A busy machine may hold a sender up; who attacks must not.
    let args = ["packets", "--camera", &own, "--camera", &all, "--max-wait", "10000"];
    let mut aggregator = Process::ours("framelock-aggregator", args);
    let _senders = [sender("left", ports[0]), sender("right", ports[1])];
    next_where(&mut aggregator, "packets of both cameras", |packet| {
        packet.frames.len() == 2 && packet.complete
    });
    let cpu_before = usage::cpu(aggregator.id());
    let mut attacker = Attacker::new(1);
    for n in 0..DATAGRAMS {
        attacker.strike(ports, n);
        if n % 20 == 0 {
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
    let cpu = usage::cpu(aggregator.id()).saturating_sub(cpu_before);
    let kib = usage::resident_kib(aggregator.id()).expect("it still runs").1;

    // All that was delivered during the attack, and two seconds of what comes after it.
    let mut count = 0;
    let mut after = None;
    while after.is_none_or(|after| count < after + 40) {
        let line = match aggregator.line(Duration::from_millis(1)) {
            Some(line) => line,
            None => {
                after.get_or_insert(count);
                aggregator.line(PATIENCE).expect("packets go on")
            }
        };
        let packet = Packet::parse(&line);
        let names: Vec<_> = packet.frames.iter().map(|frame| frame.camera.as_str()).collect();
        assert_eq!(names, ["right", "left"], "nobody else became a camera");
        assert!(packet.complete, "{packet:?}");
        count += 1;
    }
    for (sent, received) in attacker.sent.iter().zip(&attacker.received) {
        assert!(received <= sent, "{received} bytes came back for {sent}");
    }
    assert!(kib < 96 * 1024, "{kib} KiB at most");
    let log = aggregator.log();
    assert!(log.len() < 100_000, "the log is no way to fill a disk: {} bytes", log.len());
    assert!(!log.contains('\u{1b}') && !log.contains('\u{7}'), "no control characters in the log");
    eprintln!("{count} packets, {kib} KiB, {cpu:?} CPU for {DATAGRAMS} datagrams and two cameras");
    assert!(aggregator.terminate().success());
}
