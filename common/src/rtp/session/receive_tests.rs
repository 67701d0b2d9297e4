//! The receiving end alone: sources that come and go, reports, timers.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::clock::ClockState;
use crate::rtcp::{self, CaptureKind, ClockInfo, Cname, ReportBlock, RtcpPacket, SenderReport};
use crate::rtp::{RtpHeader, write_packet};
use crate::time::{HostTime, NtpTimestamp, RtpTimestamp};

const A: u32 = 0xaaaa;
const B: u32 = 0xbbbb;
const LOCAL: u32 = 1;
const NTP: NtpTimestamp = NtpTimestamp::from_bits(0xe800_1122_3344_5566);

type Event = ReceiveEvent<Vec<u8>>;

fn at(ms: i64) -> HostTime {
    HostTime::from_nanos(ms * 1_000_000)
}

fn rtp_at(ssrc: u32, sequence: u16, timestamp: u32) -> Vec<u8> {
    let timestamp = RtpTimestamp::from_bits(timestamp);
    let header = RtpHeader { payload_type: 33, marker: false, sequence, timestamp, ssrc, ntp64: None };
    let mut out = Vec::new();
    write_packet(&header, &sequence.to_be_bytes(), &mut out);
    out
}

fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    rtp_at(ssrc, sequence, 0)
}

fn report(ssrc: u32, ntp: NtpTimestamp, rtp: u32, name: &str) -> Vec<u8> {
    let report = SenderReport { ssrc, ntp, rtp: RtpTimestamp::from_bits(rtp), packets: 0, octets: 0 };
    rtcp::write(&[
        RtcpPacket::SenderReport { report, blocks: Vec::new() },
        RtcpPacket::SourceDescription(vec![Cname { ssrc, name: name.into() }]),
        RtcpPacket::ClockInfo { ssrc, info: INFO },
    ])
}

const INFO: ClockInfo = ClockInfo {
    pts_on_rtp_clock: true,
    state: ClockState::Synchronized,
    uncertainty: Span::from_micros(7),
    capture_kind: CaptureKind::Synthetic,
};

struct Bench(ReceiveSession);

impl Bench {
    fn new() -> Self {
        Self(ReceiveSession::new(ReceiveConfig {
            local_ssrc: LOCAL,
            cname: "aggregator".into(),
            reorder_window: Span::from_millis(20),
            rtcp_interval: Span::from_secs(1),
            clock_rate: 90_000,
        }))
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.0.poll_event()).collect()
    }

    fn rtp(&mut self, ssrc: u32, sequences: impl IntoIterator<Item = u16>, ms: i64) -> Vec<Event> {
        for sequence in sequences {
            self.0.handle_rtp(rtp(ssrc, sequence), at(ms)).unwrap();
        }
        self.events()
    }

    fn rtcp(&mut self, datagram: &[u8], ms: i64) -> Vec<Event> {
        self.0.handle_rtcp(datagram, at(ms)).unwrap();
        self.events()
    }

    fn timeout(&mut self, ms: i64) -> Vec<Event> {
        self.0.handle_timeout(at(ms));
        self.events()
    }
}

/// Sequence numbers of packets, `-n` for a gap of n, -1000 for a restart.
fn summary(events: &[Event]) -> Vec<i64> {
    let mut out = Vec::new();
    for event in events {
        match event {
            ReceiveEvent::Packet(packet) => {
                assert_eq!(packet.payload.len(), 2);
                assert_eq!(packet.payload[..], (packet.sequence as u16).to_be_bytes());
                out.push(packet.sequence.cast_signed());
            }
            ReceiveEvent::Gap { lost } => out.push(-lost.cast_signed()),
            ReceiveEvent::Restarted { .. } => out.push(-1000),
            _ => {}
        }
    }
    out
}

#[test]
fn the_first_packet_waits_for_the_second_and_none_is_lost() {
    let mut bench = Bench::new();
    assert_eq!(bench.rtp(A, [65_535], 0), []);
    assert_eq!(summary(&bench.rtp(A, [0], 1)), [65_535, 65_536]);
    assert_eq!(summary(&bench.rtp(A, [1], 2)), [65_537]);
}

#[test]
fn a_reordered_start_comes_out_in_order() {
    let mut bench = Bench::new();
    assert_eq!(summary(&bench.rtp(A, [12, 10, 11], 0)), [10, 11, 12]);
    assert_eq!(bench.0.stats().late, 0);
}

#[test]
fn a_hole_is_given_up_after_the_window_and_not_before() {
    let mut bench = Bench::new();
    bench.rtp(A, [1, 2], 0);
    assert_eq!(bench.rtp(A, [4, 5], 10), []);
    assert_eq!(bench.0.poll_timeout(), Some(at(0)), "the first report is due");
    bench.0.poll_rtcp(at(10)).unwrap();
    assert_eq!(bench.0.poll_timeout(), Some(at(30)));
    assert_eq!(bench.timeout(29), []);
    assert_eq!(summary(&bench.timeout(30)), [-1, 4, 5]);
    assert_eq!(bench.rtp(A, [3], 31), []);
    let stats = bench.0.stats();
    assert_eq!((stats.received, stats.lost, stats.expected, stats.late), (4, 1, 5, 1));
}

#[test]
fn a_restart_with_the_same_source_is_seen_and_its_first_packet_kept() {
    let mut bench = Bench::new();
    bench.rtp(A, [1, 2, 4], 0);
    assert_eq!(bench.rtp(A, [30_000], 1), []);
    assert_eq!(summary(&bench.rtp(A, [30_001, 30_002], 2)), [-1, 4, -1000, 30_000, 30_001, 30_002]);
    let stats = bench.0.stats();
    assert_eq!((stats.restarts, stats.invalid, stats.received, stats.lost, stats.expected), (1, 0, 6, 1, 7));
}

#[test]
fn a_stray_is_dropped() {
    let mut bench = Bench::new();
    assert_eq!(summary(&bench.rtp(A, [1, 2, 30_000, 3], 0)), [1, 2, 3]);
    assert_eq!(bench.0.stats().invalid, 1);
}

#[test]
fn another_source_does_not_disturb_a_living_one() {
    let mut bench = Bench::new();
    let mut out = Vec::new();
    for i in 0..300 {
        out.extend(summary(&bench.rtp(A, [i], i64::from(i) * 10)));
        out.extend(summary(&bench.rtp(B, [7000 + i], i64::from(i) * 10)));
    }
    assert_eq!(out, (0..300).collect::<Vec<_>>());
    let stats = bench.0.stats();
    assert_eq!((stats.restarts, stats.foreign + stats.held), (0, 300));
    assert!(stats.held <= 128);
}

#[test]
fn after_silence_another_source_takes_over_with_all_it_sent_recently() {
    let mut bench = Bench::new();
    bench.rtp(A, [1, 2], 0);
    bench.rtcp(&report(A, NTP, 5, "old"), 0);
    assert_eq!(bench.rtp(B, [10], 100), []);
    assert_eq!(bench.rtcp(&report(B, NTP, 77, "new"), 150), []);
    assert_eq!(bench.rtp(B, [11, 12], 499), []);
    let events = bench.rtp(B, [13], 500);
    assert_eq!(summary(&events), [-1000, 10, 11, 12, 13]);
    assert_eq!(events[0], ReceiveEvent::Restarted { ssrc: B });
    assert_eq!(events[1], ReceiveEvent::Cname("new".into()));
    assert_eq!(events[2], ReceiveEvent::ClockInfo(INFO));
    assert_eq!(events[3], ReceiveEvent::SenderReport { ntp: NTP, rtp: 77, arrival: at(150) });
    assert_eq!(bench.0.ssrc(), Some(B));
}

#[test]
fn what_another_source_sent_long_ago_is_not_taken_up() {
    let mut bench = Bench::new();
    bench.rtp(A, [1, 2], 0);
    bench.rtp(B, [10, 11], 10);
    bench.rtp(A, [3], 6000);
    assert_eq!(bench.rtp(B, [12], 6600), []);
    assert_eq!(summary(&bench.rtp(B, [13], 6601)), [-1000, 12, 13]);
    assert_eq!(bench.0.stats().foreign, 2);
}

#[test]
fn after_bye_another_source_takes_over_at_once() {
    let mut bench = Bench::new();
    bench.rtp(A, [1, 2, 4], 0);
    let sources = vec![5, A];
    let bye = [report(A, NTP, 0, "left"), rtcp::write(&[RtcpPacket::Goodbye { sources }])].concat();
    let events = bench.rtcp(&bye, 1);
    assert_eq!(summary(&events), [-1, 4]);
    assert_eq!(events.last(), Some(&ReceiveEvent::Bye));
    assert_eq!(bench.0.poll_timeout(), None, "no reports on a source that left");
    assert_eq!(summary(&bench.rtp(B, [9, 10], 2)), [-1000, 9, 10]);
}

#[test]
fn a_stray_first_packet_does_not_hold_the_port() {
    let mut bench = Bench::new();
    bench.rtp(B, [500], 0);
    assert_eq!(summary(&bench.rtp(A, [1, 2], 1)), [1, 2]);
    assert_eq!((bench.0.stats().restarts, bench.0.stats().invalid), (0, 1));
}

#[test]
fn a_report_before_the_first_packet_sets_the_scale_across_a_wrap() {
    let mut bench = Bench::new();
    let events = bench.rtcp(&report(A, NTP, 0xffff_fff0, "left"), 0);
    assert_eq!(events[0], ReceiveEvent::Cname("left".into()));
    assert_eq!(events[1], ReceiveEvent::ClockInfo(INFO));
    assert_eq!(events[2], ReceiveEvent::SenderReport { ntp: NTP, rtp: 0xffff_fff0, arrival: at(0) });
    for (sequence, timestamp) in [(1, 0x10), (2, 0xffff_ffff)] {
        bench.0.handle_rtp(rtp_at(A, sequence, timestamp), at(1)).unwrap();
    }
    let timestamps: Vec<_> = bench
        .events()
        .iter()
        .map(|event| match event {
            ReceiveEvent::Packet(packet) => packet.timestamp,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(timestamps, [0x1_0000_0010, 0xffff_ffff]);
    // The report's RTP timestamp 0 is a value; the name is not repeated.
    let events = bench.rtcp(&report(A, NTP, 0, "left"), 2);
    assert_eq!(events[1..], [ReceiveEvent::SenderReport { ntp: NTP, rtp: 1 << 32, arrival: at(2) }]);
}

#[test]
fn a_nonsense_report_does_not_move_the_packets_scale() {
    let mut bench = Bench::new();
    bench.rtp(A, [1, 2], 0);
    bench.rtcp(&report(A, NTP, 0x7000_0000, "left"), 0);
    bench.rtcp(&report(A, NTP, 0xe000_0000, "left"), 0);
    let events = bench.rtp(A, [3], 1);
    assert!(matches!(&events[0], ReceiveEvent::Packet(packet) if packet.timestamp == 0), "{events:?}");
}

#[test]
fn a_report_without_wall_clock_is_not_given_out() {
    let mut bench = Bench::new();
    let events = bench.rtcp(&report(A, NtpTimestamp::default(), 5, "left"), 0);
    assert!(events.iter().all(|event| !matches!(event, ReceiveEvent::SenderReport { .. })), "{events:?}");
    assert_eq!(bench.0.stats().reports_without_time, 1);
    bench.rtp(A, [1, 2], 1);
    assert_eq!(sent_block(&bench.0.poll_rtcp(at(500)).unwrap()).unwrap().last_sr, 0);
}

fn sent_block(datagram: &[u8]) -> Option<ReportBlock> {
    match &rtcp::parse(datagram).unwrap()[0] {
        RtcpPacket::ReceiverReport { ssrc: LOCAL, blocks } => blocks.first().copied(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn receiver_report_says_what_the_rfc_wants() {
    let mut bench = Bench::new();
    bench.rtcp(&report(A, NTP, 0, "left"), 0);
    assert_eq!(sent_block(&bench.0.poll_rtcp(at(0)).unwrap()), None, "no packets to report on");
    bench.rtp(A, [65_534, 65_535, 1, 2, 2], 100);
    assert!(bench.0.poll_rtcp(at(999)).is_none());
    let block = sent_block(&bench.0.poll_rtcp(at(1000)).unwrap()).unwrap();
    let expected = ReportBlock {
        ssrc: A,
        fraction_lost: 0, // five expected, five arrived: the duplicate hides the loss (RFC 3550 A.3)
        cumulative_lost: 0,
        highest_sequence: 0x1_0002,
        jitter: 0,
        last_sr: NTP.middle(),
        delay_since_last_sr: crate::time::NtpShort::from_span(Span::from_secs(1)),
    };
    assert_eq!(block, expected);
    bench.rtp(A, [3, 6], 1100);
    let block = sent_block(&bench.0.poll_rtcp(at(2000)).unwrap()).unwrap();
    assert_eq!((block.fraction_lost, block.cumulative_lost), (128, 2));
    assert_eq!(sent_block(&bench.0.poll_rtcp(at(3000)).unwrap()), None, "nothing new");
}

#[test]
fn jitter_is_that_of_the_rfc() {
    let mut bench = Bench::new();
    // 90 ticks are 1 ms. Even transit first, then one packet 16 ms late: J += 1440 / 16, then both ways.
    for (sequence, ms) in [(1_u16, 0), (2, 10), (3, 20), (4, 46), (5, 40)] {
        let timestamp = u32::from(sequence) * 900;
        bench.0.handle_rtp(rtp_at(A, sequence, timestamp), at(ms)).unwrap();
    }
    // 0 + 1440 = 1440 sixteenths; 1440 + 1440 - (1448 >> 4) = 2790; 2790 >> 4 = 174 ticks.
    assert_eq!(bench.0.stats().jitter, Span::from_secs(1).mul_div(174, 90_000));
}

#[test]
fn reports_stop_on_a_silent_source_and_come_back_with_it() {
    let mut bench = Bench::new();
    bench.rtp(A, [1, 2], 0);
    let mut sent = Vec::new();
    for ms in 0..20_000 {
        if ms == 15_000 {
            bench.rtp(A, [3], ms);
        }
        if bench.0.poll_rtcp(at(ms)).is_some() {
            sent.push(ms / 1000);
        }
        assert!(bench.0.poll_timeout().is_none_or(|due| due > at(ms)));
    }
    assert_eq!(sent, [0, 1, 2, 3, 4, 5, 6, 15, 16, 17, 18, 19]);
}

#[test]
fn key_frames_are_asked_for_at_once_and_rarely() {
    let mut bench = Bench::new();
    bench.0.request_keyframe(at(0));
    assert_eq!(bench.0.poll_timeout(), None, "nobody to ask");
    bench.rtp(A, [1, 2], 5);
    let mut sent = Vec::new();
    for ms in 5..1200 {
        if [10, 100, 200, 300].contains(&ms) {
            bench.0.request_keyframe(at(ms));
        }
        while let Some(datagram) = bench.0.poll_rtcp(at(ms)) {
            if rtcp::parse(&datagram).unwrap().contains(&RtcpPacket::PictureLoss { sender: LOCAL, media: A })
            {
                sent.push(ms);
            }
        }
    }
    assert_eq!(sent, [5, 505]);
    assert_eq!(bench.0.stats().keyframe_requests, 2);
}

#[test]
fn malformed_and_foreign_datagrams_are_counted() {
    let mut bench = Bench::new();
    bench.0.handle_rtp(vec![0x80; 5], at(0)).unwrap_err();
    bench.0.handle_rtcp(&[0x84, 0xce, 0, 1, 0xf4, 0xeb, 0x68, 0x22], at(0)).unwrap_err();
    bench.rtp(A, [1, 2], 0);
    bench.rtcp(&rtcp::write(&[RtcpPacket::ReceiverReport { ssrc: B, blocks: Vec::new() }]), 0);
    let stats = bench.0.stats();
    assert_eq!((stats.malformed, stats.rtcp_malformed, stats.rtcp_foreign), (1, 1, 1));
}

#[test]
fn reports_of_strangers_that_never_take_over_are_counted() {
    let mut bench = Bench::new();
    bench.rtp(A, [1, 2], 0);
    // One compound of the last stranger is kept, in case it takes over.
    for (ssrc, dropped) in [(B, 0), (B, 1), (0xcccc, 2), (0xdddd, 3)] {
        bench.rtcp(&report(ssrc, NTP, 0, "stranger"), 1);
        assert_eq!(bench.0.stats().rtcp_foreign, dropped);
    }
    // The last one does, but its report is too old by then.
    assert_eq!(summary(&bench.rtp(0xdddd, [1, 2], 6_000)), [-1000, 1, 2]);
    assert_eq!((bench.0.stats().rtcp_foreign, bench.0.stats().rtcp_received), (4, 0));
}

#[test]
fn an_owner_who_never_polls_cannot_make_it_grow() {
    let mut bench = Bench::new();
    for i in 0..10_000 {
        bench.0.handle_rtp(rtp(A, i), at(0)).unwrap();
    }
    let dropped = bench.0.stats().events_dropped;
    assert_eq!(bench.events().len() as u64 + dropped, 10_000);
    assert!(dropped > 8_000);
}

/// Every datagram is somewhere, and the stream adds up.
fn assert_adds_up(stats: &ReceiveStats, datagrams: u64) {
    assert_eq!(stats.received + stats.lost, stats.expected);
    let ReceiveStats { received, held, duplicates, late, invalid, malformed, foreign, .. } = *stats;
    assert_eq!(received + held + duplicates + late + invalid + malformed + foreign, datagrams);
}

#[derive(Clone, Debug)]
enum Input {
    Rtp { ssrc: u32, sequence: u16, timestamp: u32 },
    RawRtp(Vec<u8>),
    Rtcp(Vec<u8>),
    Timeout,
}

fn input() -> impl Strategy<Value = (Input, i64)> {
    let ssrc = prop_oneof![8 => Just(A), 2 => Just(B), 1 => any::<u32>()];
    let sequence =
        prop_oneof![20 => 0_u16..40, 2 => 65_500_u16.., 3 => 30_000_u16..30_004, 1 => any::<u16>()];
    let timestamp = prop_oneof![3 => 0_u32..100_000, 1 => any::<u32>()];
    let compound = (prop_oneof![Just(A), Just(B)], any::<u64>(), any::<u32>(), any::<bool>()).prop_map(
        |(ssrc, ntp, rtp, bye)| {
            let mut data = report(ssrc, NtpTimestamp::from_bits(ntp), rtp, "name");
            if bye {
                data.extend(rtcp::write(&[RtcpPacket::Goodbye { sources: vec![ssrc] }]));
            }
            data
        },
    );
    let kind = prop_oneof![
        20 => (ssrc, sequence, timestamp)
            .prop_map(|(ssrc, sequence, timestamp)| Input::Rtp { ssrc, sequence, timestamp }),
        1 => vec(any::<u8>(), 0..40).prop_map(Input::RawRtp),
        1 => vec(any::<u8>(), 0..40).prop_map(Input::Rtcp),
        3 => compound.prop_map(Input::Rtcp),
        3 => Just(Input::Timeout),
    ];
    // Mostly forward in time; kernel timestamps of two sockets may be a little out of order.
    (kind, prop_oneof![10 => 0_i64..10, 1 => -3_i64..0, 1 => 400_i64..6000])
}

proptest! {
    #[test]
    fn any_input_is_survived_and_adds_up(inputs in vec(input(), 0..200)) {
        let mut bench = Bench::new();
        let (mut ms, mut datagrams, mut next, mut gaps) = (0, 0, None, 0);
        for (input, step) in inputs {
            ms += step;
            match input {
                Input::Rtp { ssrc, sequence, timestamp } => {
                    datagrams += 1;
                    bench.0.handle_rtp(rtp_at(ssrc, sequence, timestamp), at(ms)).unwrap();
                }
                Input::RawRtp(data) => {
                    datagrams += 1;
                    let _ = bench.0.handle_rtp(data, at(ms));
                }
                Input::Rtcp(data) => {
                    let _ = bench.0.handle_rtcp(&data, at(ms));
                }
                Input::Timeout => {
                    bench.0.request_keyframe(at(ms));
                    bench.0.handle_timeout(at(ms));
                    bench.0.poll_rtcp(at(ms));
                    bench.0.poll_rtcp(at(ms));
                    prop_assert!(bench.0.poll_timeout().is_none_or(|due| due > at(ms)));
                }
            }
            for event in bench.events() {
                match event {
                    ReceiveEvent::Packet(packet) => {
                        prop_assert!(next.is_none_or(|next| packet.sequence == next + gaps));
                        (next, gaps) = (Some(packet.sequence + 1), 0);
                    }
                    ReceiveEvent::Gap { lost } => gaps += lost,
                    ReceiveEvent::Restarted { .. } => (next, gaps) = (None, 0),
                    _ => {}
                }
            }
            assert_adds_up(&bench.0.stats(), datagrams);
        }
    }
}
