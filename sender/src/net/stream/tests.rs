//! Streams in simulated time.

use framelock_common::rtcp::{self, RtcpPacket};
use framelock_common::rtp::{RtpPacket, ntp64};
use framelock_common::time::Utc;

use super::*;

const PERIOD: Span = Span::from_millis(33);
const START: BoardTime = BoardTime::from_nanos(1_000_000_000_000);

fn stream(transport: Transport) -> Stream {
    let config =
        StreamConfig { transport, cname: "left".to_owned(), random: [0x1234_5678, 0xffff_fff0, 0xffff_ff00] };
    Stream::new(config, START)
}

/// An access unit of `size` bytes: an IDR slice or another one, its contents without start codes.
fn frame(size: usize, key: bool, mono: BoardTime) -> Frame {
    let mut data = vec![0, 0, 0, 1, if key { 0x65 } else { 0x41 }];
    data.resize(size.max(6), 0x88);
    Frame {
        data,
        mono,
        dts: None,
        key,
        kind: CaptureKind::Synthetic,
        uncertainty: Span::ZERO,
        period: PERIOD,
    }
}

fn mapping(epoch: u32, utc0: Utc) -> ClockMapping {
    ClockMapping { mono0: START, utc0, rate_ppb: 0, uncertainty: Span::from_micros(100), drift_ppb: 0, epoch }
}

const UTC: Utc = Utc::from_unix_nanos(1_790_000_000_000_000_000);

/// What may leave at `now`, burst by burst.
fn bursts(stream: &mut Stream, now: BoardTime) -> Vec<(DatagramKind, Vec<Vec<u8>>)> {
    stream.handle_timeout(now);
    let mut out = Vec::new();
    let burst = || {
        let Burst { kind, size } = stream.poll_transmit(now, &mut out)?;
        Some((kind, out.chunks(size).map(<[u8]>::to_vec).collect()))
    };
    std::iter::from_fn(burst).collect()
}

/// What may leave at `now`, datagram by datagram.
fn transmit(stream: &mut Stream, now: BoardTime) -> Vec<(DatagramKind, Vec<u8>)> {
    let bursts = bursts(stream, now).into_iter();
    bursts.flat_map(|(kind, burst)| burst.into_iter().map(move |datagram| (kind, datagram))).collect()
}

/// What leaves from `from` until before `to` when every timer is served on time.
fn run(stream: &mut Stream, from: BoardTime, to: BoardTime) -> Vec<(BoardTime, DatagramKind, Vec<u8>)> {
    let (mut now, mut all) = (from, Vec::new());
    loop {
        all.extend(transmit(stream, now).into_iter().map(|(kind, bytes)| (now, kind, bytes)));
        match stream.poll_timeout() {
            Some(next) if next < to => now = next.max(now + Span::from_nanos(1)),
            _ => return all,
        }
    }
}

fn media(all: &[(BoardTime, DatagramKind, Vec<u8>)]) -> Vec<(BoardTime, &[u8])> {
    let media = all.iter().filter(|(_, kind, _)| *kind == DatagramKind::Media);
    media.map(|(at, _, bytes)| (*at, bytes.as_slice())).collect()
}

#[test]
fn a_large_key_frame_leaves_within_half_a_period_and_a_small_frame_at_once() {
    for transport in [Transport::RtpMpegts, Transport::RtpH264, Transport::UdpMpegts] {
        let mut stream = stream(transport);
        let _ = transmit(&mut stream, START);
        stream.handle_frame(&frame(100_000, true, START), START);
        let all = run(&mut stream, START, START + PERIOD);
        let media = media(&all);
        let sizes = media.iter().map(|(_, bytes)| bytes.len());
        assert!(sizes.sum::<usize>() > 100_000, "{transport}");
        let whole = media.iter().filter(|(_, bytes)| bytes.len() > 400);
        let last = whole.map(|(at, _)| *at).max().unwrap();
        assert!(last > START + PERIOD / 4 && last <= START + PERIOD / 2, "{transport}: {}", last - START);

        let next = START + PERIOD;
        stream.handle_frame(&frame(9_000, false, next), next);
        let sent: usize = transmit(&mut stream, next).iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(sent > 9_000, "{transport}");

        // The camera comes back at a third of the rate.
        let (slow, then) = (PERIOD * 3, next + PERIOD);
        stream.handle_frame(&Frame { period: slow, ..frame(100_000, true, then) }, then);
        let all = run(&mut stream, then, then + slow);
        let large = all.iter().filter(|(_, _, bytes)| bytes.len() > 400);
        let last = large.map(|(at, ..)| *at).max().unwrap();
        assert!(last > then + slow / 4 && last <= then + slow / 2, "{transport}: {}", last - then);
    }
}

#[test]
fn what_may_leave_together_does_and_is_of_one_size() {
    for transport in [Transport::RtpMpegts, Transport::RtpH264, Transport::UdpMpegts] {
        let mut stream = stream(transport);
        stream.handle_clock(Some(mapping(0, UTC)));
        let _ = transmit(&mut stream, START);
        let mut queued: Vec<Vec<u8>> = Vec::new();
        for (n, size) in [(1, 15_000), (2, 1), (3, 6_000), (4, 1_300), (5, 80_000), (6, 5_000)] {
            let now = START + PERIOD * n;
            stream.handle_frame(&frame(size, n == 3, now), now);
            let bursts = bursts(&mut stream, now);
            for (_, burst) in &bursts {
                let size = burst[0].len();
                assert!(burst.len() <= TOGETHER, "{transport}: {}", burst.len());
                assert!(burst[..burst.len() - 1].iter().all(|datagram| datagram.len() == size));
                assert!(burst.last().is_some_and(|last| (1..=size).contains(&last.len())));
            }
            // The size changes where UTC goes along, at the end of a frame before, and at this one's; what paced
            // packets leave behind goes in full bursts.
            let datagrams: usize = bursts.iter().map(|(_, burst)| burst.len()).sum();
            assert!(bursts.len() <= 4 + datagrams / TOGETHER, "{transport}: {size}: {}", bursts.len());
            queued.extend(bursts.into_iter().flat_map(|(_, burst)| burst));
        }
        assert!(queued.iter().map(Vec::len).sum::<usize>() > 107_301, "{transport}");
        if transport != Transport::UdpMpegts {
            let media = queued.iter().filter(|datagram| !framelock_common::rtp::is_rtcp(datagram));
            let sequences: Vec<_> =
                media.map(|datagram| RtpPacket::parse(datagram).unwrap().sequence()).collect();
            assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{transport}");
        }
    }
}

#[test]
fn the_clock_reference_goes_on_between_frames() {
    // Two frames a second.
    let mut stream = stream(Transport::RtpMpegts);
    let mut times = Vec::new();
    for n in 0..4 {
        let now = START + Span::from_millis(500) * n;
        stream.handle_frame(&frame(2_000, n == 0, now), now);
        let all = run(&mut stream, now, now + Span::from_millis(500));
        times.extend(media(&all).iter().map(|(at, _)| *at));
    }
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= Span::from_millis(40)), "{times:?}");
}

#[test]
fn timestamps_are_transmission_in_mpegts_and_capture_in_h264() {
    let captured = START - Span::from_millis(20);
    for transport in [Transport::RtpMpegts, Transport::RtpH264] {
        let mut stream = stream(transport);
        let clock = stream.media;
        let _ = transmit(&mut stream, START);
        stream.handle_frame(&frame(60_000, true, captured), START);
        let all = run(&mut stream, START, START + PERIOD);
        let media = media(&all);
        assert!(media.len() > 40);
        for (at, bytes) in media {
            let expected = if transport == Transport::RtpH264 { captured } else { at };
            let timestamp = RtpPacket::parse(bytes).unwrap().timestamp();
            assert_eq!(timestamp, clock.at(expected).to_rtp(), "{transport}");
        }
    }
}

/// The UTC in the datagrams' header extensions, and the NTP timestamps of reports.
fn utc_in(all: &[(DatagramKind, Vec<u8>)]) -> (Vec<Option<NtpTimestamp>>, Vec<NtpTimestamp>) {
    let (mut in_band, mut reports) = (Vec::new(), Vec::new());
    for (kind, bytes) in all {
        match kind {
            DatagramKind::Media => in_band.push(ntp64(&RtpPacket::parse(bytes).unwrap())),
            DatagramKind::Rtcp => {
                let packets = rtcp::parse(bytes).unwrap();
                let RtcpPacket::SenderReport { report, .. } = &packets[0] else { panic!("no report") };
                reports.push(report.ntp);
            }
        }
    }
    (in_band, reports)
}

#[test]
fn utc_is_claimed_only_while_it_is_known_and_every_change_is_announced() {
    let mut stream = stream(Transport::RtpH264);
    let mut now = START;
    let mut send = |stream: &mut Stream, key: bool| {
        now += PERIOD;
        stream.handle_frame(&frame(3_000, key, now), now);
        let all = transmit(stream, now);
        let (in_band, reports) = utc_in(&all);
        assert_eq!(in_band.len(), 3);
        // Only the first packet of a frame carries it.
        assert!(in_band[1..].iter().all(Option::is_none));
        (in_band[0].map(|ntp| ntp.to_utc(UTC) - (UTC + (now - START))), reports)
    };
    // Unknown: the first report says so, and not even a key frame claims any.
    let (in_band, reports) = send(&mut stream, true);
    assert_eq!(in_band, None);
    assert!(reports.len() == 1 && reports[0].is_unknown());
    // Known: a report at once, and the next packet carries it, to a tick.
    stream.handle_clock(Some(mapping(0, UTC)));
    let (in_band, reports) = send(&mut stream, false);
    assert!(in_band.unwrap().abs() <= Span::from_micros(12));
    assert!(reports.len() == 1 && !reports[0].is_unknown());
    // A better estimate without a step is nothing to announce; a key frame carries it anyway.
    stream.handle_clock(Some(mapping(0, UTC + Span::from_micros(5))));
    assert_eq!(send(&mut stream, false), (None, Vec::new()));
    assert!(send(&mut stream, true).0.is_some());
    // One that moves the frames is, once.
    stream.handle_clock(Some(mapping(0, UTC + Span::from_millis(3))));
    let (in_band, reports) = send(&mut stream, false);
    assert!((in_band.unwrap() - Span::from_millis(3)).abs() <= Span::from_micros(12));
    assert_eq!(reports.len(), 1);
    assert_eq!(send(&mut stream, false), (None, Vec::new()));
    // A step is.
    stream.handle_clock(Some(mapping(1, UTC + Span::from_secs(1))));
    let (in_band, reports) = send(&mut stream, false);
    assert!((in_band.unwrap() - Span::from_secs(1)).abs() <= Span::from_micros(12));
    assert_eq!(reports.len(), 1);
    // Lost again.
    stream.handle_clock(None);
    let (in_band, reports) = send(&mut stream, true);
    assert_eq!(in_band, None);
    assert!(reports[0].is_unknown());
}

#[test]
fn reports_come_at_once_and_every_second_and_goodbye_is_the_last() {
    let mut stream = stream(Transport::RtpMpegts);
    let all = run(&mut stream, START, START + Span::from_millis(4_500));
    let reports: Vec<_> = all.iter().filter(|(_, kind, _)| *kind == DatagramKind::Rtcp).collect();
    let times: Vec<_> = reports.iter().map(|(at, ..)| (*at - START).as_nanos() / 1_000_000_000).collect();
    assert_eq!(times, [0, 1, 2, 3, 4]);
    let last = rtcp::parse(&stream.goodbye(START + Span::from_secs(5)).unwrap()).unwrap();
    assert!(matches!(last.last(), Some(RtcpPacket::Goodbye { sources }) if sources == &[0x1234_5678]));
    // Plain UDP has none.
    let mut plain = self::stream(Transport::UdpMpegts);
    let all = run(&mut plain, START, START + Span::from_secs(2));
    assert!(all.iter().all(|(_, kind, _)| *kind == DatagramKind::Media));
    assert_eq!(plain.goodbye(START), None);
}

#[test]
fn what_a_camera_leaves_open_is_told_before_its_first_frame() {
    let mut stream = stream(Transport::RtpMpegts);
    stream.handle_clock(Some(mapping(0, UTC)));
    // Before any frame the first report tells the clock's bound alone.
    let _ = transmit(&mut stream, START);
    let bound = Span::from_millis(34);
    stream.handle_frame(&Frame { uncertainty: bound, ..frame(2_000, true, START) }, START);
    let sent = transmit(&mut stream, START);
    assert_eq!((sent[0].0, sent[1].0), (DatagramKind::Rtcp, DatagramKind::Media));
    let told = rtcp::parse(&sent[0].1).unwrap().into_iter().find_map(|packet| match packet {
        RtcpPacket::ClockInfo { info, .. } => Some(info.uncertainty),
        _ => None,
    });
    assert!(told >= Some(bound), "{told:?}");
}
