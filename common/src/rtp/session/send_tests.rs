//! The sending end alone: what its reports say and when, and what it makes of a receiver's.

use super::*;
use crate::clock::{ClockMapping, ClockState};
use crate::rtcp::{self, CaptureKind, ClockInfo, ReportBlock, RtcpPacket, SenderReport};
use crate::rtp::RtpPacket;
use crate::time::{BoardTime, MediaClock, NtpShort, NtpTimestamp, RtpTimestamp, Utc};

const SSRC: u32 = 0x1234_5678;
const UTC0: Utc = Utc::from_unix_nanos(1_790_000_000_000_000_000);

fn at(ms: i64) -> BoardTime {
    BoardTime::from_nanos(ms * 1_000_000)
}

fn session(offset: u32) -> SendSession {
    let config = SendConfig {
        ssrc: SSRC,
        first_sequence: 65_535,
        payload_type: 33,
        cname: "left".into(),
        rtcp_interval: Span::from_secs(1),
        media: MediaClock::new(offset),
    };
    SendSession::new(config, at(0))
}

fn mapping(epoch: u32) -> ClockMapping {
    let uncertainty = Span::from_micros(100);
    ClockMapping { mono0: at(0), utc0: UTC0, rate_ppb: 0, uncertainty, drift_ppb: 15_000, epoch }
}

const INFO: ClockInfo = ClockInfo {
    pts_on_rtp_clock: true,
    state: ClockState::Synchronized,
    uncertainty: Span::from_micros(7),
    capture_kind: CaptureKind::Synthetic,
};

fn parts(datagram: &[u8]) -> (SenderReport, ClockInfo) {
    let packets = rtcp::parse(datagram).unwrap();
    assert!(matches!(&packets[1], RtcpPacket::SourceDescription(names) if names[0].name == "left"));
    match (&packets[0], &packets[2]) {
        (RtcpPacket::SenderReport { report, .. }, RtcpPacket::ClockInfo { info, .. }) => (*report, *info),
        other => panic!("not a report: {other:?}"),
    }
}

fn receiver_report(blocks: &[ReportBlock]) -> RtcpPacket {
    RtcpPacket::ReceiverReport { ssrc: 9, blocks: blocks.to_vec() }
}

#[test]
fn first_report_at_once_then_every_interval_without_catching_up() {
    let mut session = session(0);
    let mut due = Vec::new();
    for ms in (0..3500).chain(7_700..9_000) {
        if session.poll_rtcp(at(ms)).is_some() {
            due.push(ms);
        }
        assert!(session.poll_timeout() > at(ms));
    }
    assert_eq!(due, [0, 1000, 2000, 3000, 7700, 8700]);
}

#[test]
fn a_new_receiver_gets_a_report_at_once_and_made_up_ones_no_flood() {
    let from = |ssrc: u32| rtcp::write(&[RtcpPacket::ReceiverReport { ssrc, blocks: Vec::new() }]);
    let mut session = session(0);
    assert!(session.poll_rtcp(at(0)).is_some());
    session.handle_rtcp(&from(1), at(300)).unwrap();
    assert!(session.poll_timeout() <= at(300));
    assert!(session.poll_rtcp(at(300)).is_some());
    // A known one changes nothing, also later.
    for ms in [310, 500, 900] {
        session.handle_rtcp(&from(1), at(ms)).unwrap();
        assert_eq!(session.poll_rtcp(at(ms)), None, "{ms}");
    }
    // A new one every millisecond for a second.
    let reports = (1_000..2_000).filter(|ms| {
        session.handle_rtcp(&from(*ms), at(i64::from(*ms))).unwrap();
        session.poll_rtcp(at(i64::from(*ms))).is_some()
    });
    assert_eq!(reports.count(), 10);
}

#[test]
fn a_clock_that_moved_is_told_at_once_and_one_that_is_only_better_known_in_its_turn() {
    let mut session = session(0);
    session.set_clock(Some(mapping(1)), INFO);
    assert!(session.poll_rtcp(at(0)).is_some());
    let moved = |us| ClockMapping { utc0: UTC0 + Span::from_micros(us), ..mapping(1) };
    session.set_clock(Some(moved(400)), INFO);
    assert_eq!(session.poll_rtcp(at(100)), None);
    // Little by little is as far.
    session.set_clock(Some(moved(1_200)), INFO);
    let (report, _) = parts(&session.poll_rtcp(at(200)).expect("it moved"));
    let late = report.ntp.to_utc(UTC0) - (UTC0 + Span::from_micros(201_200));
    assert!(late.abs() < Span::from_micros(20), "{late}");
    // Told once.
    session.set_clock(Some(moved(1_200)), INFO);
    assert_eq!(session.poll_rtcp(at(300)), None);
    session.set_clock(Some(moved(-5_000)), INFO);
    assert!(session.poll_rtcp(at(400)).is_some());
}

#[test]
fn a_bound_that_grew_is_told_at_once_and_a_smaller_one_in_its_turn() {
    let mut session = session(0);
    session.set_clock(Some(mapping(1)), INFO);
    assert!(session.poll_rtcp(at(0)).is_some());
    let with = |ms| ClockInfo { uncertainty: Span::from_millis(ms), ..INFO };
    session.set_clock(Some(mapping(1)), with(33));
    let (_, info) = parts(&session.poll_rtcp(at(100)).expect("frames are worth less now"));
    assert!(info.uncertainty >= Span::from_millis(33), "{}", info.uncertainty);
    session.set_clock(Some(mapping(1)), with(1));
    session.set_clock(Some(mapping(1)), with(33));
    session.set_clock(Some(mapping(1)), with(2));
    assert_eq!(session.poll_rtcp(at(200)), None);
    let (_, info) = parts(&session.poll_rtcp(at(1_100)).expect("a regular report"));
    assert!(info.uncertainty < Span::from_millis(3), "{}", info.uncertainty);
    // A board that knows no UTC claims none.
    session.set_clock(None, ClockInfo { state: ClockState::Unsynchronized, ..INFO });
    assert!(session.poll_rtcp(at(1_200)).is_some());
    session.set_clock(None, ClockInfo { state: ClockState::Unsynchronized, ..with(33) });
    assert_eq!(session.poll_rtcp(at(1_300)), None);
}

#[test]
fn an_unsynchronized_board_says_so_and_sends_no_utc() {
    let mut session = session(0);
    let unsynchronized = ClockInfo { state: ClockState::Unsynchronized, ..INFO };
    for (clock, info) in [(None, INFO), (Some(mapping(1)), unsynchronized)] {
        session.set_clock(clock, info);
        let (report, info) =
            parts(&session.poll_rtcp(at(60_000)).or_else(|| Some(session.goodbye(at(60_000)))).unwrap());
        assert!(report.ntp.is_unknown());
        assert_eq!((info.state, info.uncertainty), (ClockState::Unsynchronized, Span::MAX));
    }
}

#[test]
fn both_timestamps_of_a_report_stand_for_one_instant_and_the_bound_is_the_sum() {
    let mut session = session(0xffff_ffff);
    session.set_clock(Some(mapping(1)), INFO);
    for ns in [0, 1, 11_110, 11_112, 999_999_999, 5_000_000_001] {
        let now = BoardTime::from_nanos(ns);
        let (report, info) = parts(&session.goodbye(now));
        let media = MediaClock::new(0xffff_ffff);
        assert_eq!(report.rtp, media.at(now).to_rtp());
        let instant = UTC0 + (media.to_mono(media.at(now)) - at(0));
        assert_eq!(report.ntp.to_utc(UTC0), instant);
        let growth = (instant - UTC0).mul_div(15, 1_000_000);
        assert_eq!(info.uncertainty, Span::from_micros(107) + growth.abs());
    }
}

#[test]
fn rtp_timestamp_zero_is_reported_like_any_other() {
    let mut session = session(0);
    session.set_clock(Some(mapping(1)), INFO);
    let (report, _) = parts(&session.poll_rtcp(at(0)).unwrap());
    assert_eq!((report.rtp.to_bits(), report.ntp), (0, NtpTimestamp::from_utc(UTC0)));
}

#[test]
fn a_step_or_a_gained_or_lost_clock_is_reported_at_once() {
    let mut session = session(0);
    session.poll_rtcp(at(0)).unwrap();
    session.set_clock(Some(mapping(1)), INFO);
    assert!(session.poll_timeout() <= at(1));
    assert!(session.poll_rtcp(at(1)).is_some());
    session.set_clock(Some(ClockMapping { rate_ppb: 5, ..mapping(1) }), INFO);
    assert!(session.poll_rtcp(at(2)).is_none(), "a better estimate is no step");
    session.set_clock(Some(mapping(2)), INFO);
    assert!(session.poll_rtcp(at(3)).is_some());
    session.set_clock(None, INFO);
    assert!(session.poll_rtcp(at(4)).is_some());
    assert!(session.poll_rtcp(at(1003)).is_none());
    assert!(session.poll_rtcp(at(1004)).is_some());
}

#[test]
fn packets_and_octets_are_counted_and_sequence_numbers_wrap() {
    let mut session = session(0);
    let mut sequences = Vec::new();
    for payload in [&b"ab"[..], b"cde", b""] {
        let mut out = Vec::new();
        session.write_rtp(RtpTimestamp::from_bits(7), false, None, payload, &mut out);
        let packet = RtpPacket::parse(&out).unwrap();
        sequences.push(packet.sequence());
        assert_eq!((packet.payload(), packet.ssrc(), packet.payload_type()), (payload, SSRC, 33));
    }
    assert_eq!(sequences, [65_535, 0, 1]);
    let (report, _) = parts(&session.poll_rtcp(at(0)).unwrap());
    assert_eq!((report.packets, report.octets), (3, 5));
}

#[test]
fn goodbye_ends_with_bye() {
    let packets = rtcp::parse(&session(0).goodbye(at(5))).unwrap();
    assert_eq!(packets.last(), Some(&RtcpPacket::Goodbye { sources: vec![SSRC] }));
}

#[test]
fn round_trip_is_on_the_boards_own_clock() {
    let mut session = session(0);
    session.set_clock(Some(mapping(1)), INFO);
    let (report, _) = parts(&session.poll_rtcp(at(0)).unwrap());
    let block = ReportBlock {
        ssrc: SSRC,
        fraction_lost: 3,
        cumulative_lost: -1,
        jitter: 90,
        last_sr: report.ntp.middle(),
        delay_since_last_sr: NtpShort::from_span(Span::from_millis(500)),
        ..ReportBlock::default()
    };
    let mut answer = |block: ReportBlock, ms| {
        // A step of the clock in between changes nothing.
        session.set_clock(Some(ClockMapping { utc0: UTC0 + Span::from_secs(100), ..mapping(2) }), INFO);
        session.handle_rtcp(&rtcp::write(&[receiver_report(&[block])]), at(ms)).unwrap();
        session.poll_event()
    };
    let Some(SendEvent::Report {
        fraction_lost: 3,
        cumulative_lost: -1,
        jitter,
        round_trip: Some(round_trip),
    }) = answer(block, 512)
    else {
        panic!("no round trip");
    };
    assert_eq!(jitter, Span::from_millis(1));
    assert!((round_trip - Span::from_millis(12)).abs() <= Span::from_micros(16), "{round_trip}");
    // No report of ours, an unknown one, or a delay longer than the whole: no round trip.
    for (last_sr, ms) in [(0, 512), (12_345, 512), (block.last_sr, 400)] {
        let event = answer(ReportBlock { last_sr, ..block }, ms);
        assert!(matches!(event, Some(SendEvent::Report { round_trip: None, .. })), "{event:?}");
    }
    assert_eq!(answer(ReportBlock { ssrc: 1, ..block }, 512), None);
}

#[test]
fn key_frame_requests_are_merged_and_none_is_forgotten() {
    let mut session = session(0);
    session.poll_rtcp(at(0));
    let pli = RtcpPacket::PictureLoss { sender: 9, media: SSRC };
    let datagram = rtcp::write(&[receiver_report(&[]), pli.clone(), pli]);
    let mut given = Vec::new();
    for ms in 0..900 {
        if [10, 20, 30, 400].contains(&ms) {
            session.handle_rtcp(&datagram, at(ms)).unwrap();
        } else if session.poll_timeout() <= at(ms) {
            session.poll_rtcp(at(ms));
        }
        while let Some(event) = session.poll_event() {
            assert_eq!(event, SendEvent::KeyframeRequested);
            given.push(ms);
        }
    }
    assert_eq!(given, [10, 510]);
    let stats = session.stats();
    assert_eq!((stats.keyframe_requests, stats.keyframe_requests_merged), (8, 6));
}

#[test]
fn repeated_and_foreign_requests_ask_for_nothing() {
    let mut session = session(0);
    let fir = |number| RtcpPacket::FullIntraRequest { sender: 9, entries: vec![(SSRC, number)] };
    let other = RtcpPacket::FullIntraRequest { sender: 9, entries: vec![(1, 0)] };
    let mut asked = |packet: RtcpPacket, ms| {
        session.handle_rtcp(&rtcp::write(&[receiver_report(&[]), packet]), at(ms)).unwrap();
        session.poll_event().is_some()
    };
    assert!(asked(fir(0), 0));
    assert!(!asked(fir(0), 1000), "a repetition");
    assert!(asked(fir(1), 2000));
    assert!(!asked(other, 3000));
    assert!(!asked(RtcpPacket::PictureLoss { sender: 9, media: 1 }, 4000));
}

#[test]
fn malformed_rtcp_is_counted_and_events_are_bounded() {
    let mut session = session(0);
    session.handle_rtcp(&[0x84, 0xce, 0, 1, 0xf4, 0xeb, 0x68, 0x22], at(0)).unwrap_err();
    assert_eq!(session.stats().rtcp_malformed, 1);
    let block = ReportBlock { ssrc: SSRC, ..ReportBlock::default() };
    for _ in 0..100 {
        session.handle_rtcp(&rtcp::write(&[receiver_report(&[block])]), at(0)).unwrap();
    }
    let kept = std::iter::from_fn(|| session.poll_event()).count();
    assert_eq!(kept as u64 + session.stats().events_dropped, 100);
    assert!(kept < 100);
}
