//! Muxer against demuxer: what is sent comes back, across wraps, restarts and limits. Foreign muxers
//! and demuxers are in the crate's `tests/media.rs`.

mod clock;
mod loss;

use super::*;
use crate::h264::{MAX_ACCESS_UNIT, START_CODE};
use crate::time::{HostTime, MediaTime, Span};

const DELIMITER: [u8; 6] = [0, 0, 0, 1, 9, 0xf0];
/// Ticks of a frame at 30/s.
const FRAME: i64 = 3_000;

fn meta(arrival: i64) -> PacketMeta {
    PacketMeta { rtp_timestamp: Some(arrival * 10), arrival: HostTime::from_nanos(arrival) }
}

/// An access unit of `size` bytes without delimiter whose content follows from `seed`.
fn unit(seed: u64, size: usize, key: bool) -> Vec<u8> {
    let mut unit = START_CODE.to_vec();
    unit.push(if key { 0x65 } else { 0x41 });
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while unit.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        unit.push((state >> 32) as u8 | 4);
    }
    unit
}

/// A frame as the test sent it and expects it back.
#[derive(Debug, PartialEq, Eq)]
struct Sent {
    data: Vec<u8>,
    pts: i64,
    dts: Option<i64>,
}

/// Muxes frames of `sizes` bytes, 30 a second, the first with PTS `first`; the transport stream packets
/// of each, and what a receiver should see.
fn stream(sizes: &[usize], first: i64, reorder: bool) -> (Vec<Vec<u8>>, Vec<Sent>) {
    let mut muxer = Muxer::new(MuxConfig::default());
    let (mut packets, mut sent) = (Vec::new(), Vec::new());
    for (index, &size) in sizes.iter().enumerate() {
        let key = index % 10 == 0;
        let dts = first + i64::try_from(index).unwrap() * FRAME;
        let pts = if reorder { dts + FRAME * [1, 3, 0][index % 3] } else { dts };
        let data = unit(index as u64, size.max(6), key);
        let mut out = Vec::new();
        let times = (MediaTime::from_ticks(pts), MediaTime::from_ticks(dts));
        let now = times.1 + Span::from_millis(20);
        muxer.write_access_unit(&data, times.0, reorder.then_some(times.1), key, now, &mut out);
        muxer.poll_pcr(now + Span::from_millis(10), &mut out);
        assert_eq!(out.len() % TS_PACKET, 0);
        packets.extend(out.chunks(TS_PACKET).map(<[u8]>::to_vec));
        let dts = (reorder && dts < pts).then_some(dts);
        sent.push(Sent { data: [&DELIMITER[..], &data].concat(), pts, dts });
    }
    (packets, sent)
}

/// All events that wait: complete frames, and how many are not complete.
fn drain(demuxer: &mut Demuxer, frames: &mut Vec<Sent>, incomplete: &mut usize) {
    while let Some(event) = demuxer.poll() {
        match event {
            TsEvent::AccessUnit { data, pts, dts, complete: true, .. } => {
                frames.push(Sent { data, pts, dts })
            }
            TsEvent::AccessUnit { .. } => *incomplete += 1,
            TsEvent::Problem(_) => {}
        }
    }
}

fn receive(pieces: &[impl AsRef<[u8]>]) -> Vec<Sent> {
    let mut demuxer = Demuxer::new();
    let (mut frames, mut incomplete) = (Vec::new(), 0);
    for piece in pieces {
        demuxer.push(piece.as_ref(), meta(0));
        drain(&mut demuxer, &mut frames, &mut incomplete);
    }
    demuxer.flush();
    drain(&mut demuxer, &mut frames, &mut incomplete);
    assert_eq!(incomplete, 0);
    frames
}

/// Sizes around every edge: one packet, exactly full packets, the limit of `PES_packet_length`.
const EDGES: [usize; 12] = [6, 150, 155, 156, 157, 158, 340, 1000, 65_515, 65_521, 65_530, 200_000];

#[test]
fn what_is_muxed_comes_back() {
    for reorder in [false, true] {
        let (packets, sent) = stream(&EDGES, 0, reorder);
        assert_eq!(receive(&packets), sent, "reordered: {reorder}");
        assert_eq!(receive(&[packets.concat()]), sent);
        let datagrams: Vec<Vec<u8>> = packets.chunks(7).map(|some| some.concat()).collect();
        assert_eq!(receive(&datagrams), sent);
    }
}

#[test]
fn every_size_around_a_packet_comes_back() {
    let sizes: Vec<usize> = (6..560).collect();
    let (packets, sent) = stream(&sizes, 0, false);
    assert_eq!(receive(&packets), sent);
}

#[test]
fn a_frame_with_a_length_comes_out_with_its_last_packet() {
    let mut muxer = Muxer::new(MuxConfig::default());
    let mut out = Vec::new();
    let time = MediaTime::from_ticks(5);
    muxer.write_access_unit(&unit(1, 10_000, true), time, None, true, time, &mut out);
    let mut demuxer = Demuxer::new();
    let count = out.len() / TS_PACKET;
    for (index, packet) in out.chunks(TS_PACKET).enumerate() {
        assert_eq!(demuxer.poll(), None, "before packet {index} of {count}");
        demuxer.push(packet, meta(index as i64));
        if index == 0 {
            // Out of lock, the second packet confirms the first.
            assert_eq!(demuxer.stats().packets, 0);
        }
    }
    let Some(TsEvent::AccessUnit { start, end, complete: true, pts: 5, dts: None, .. }) = demuxer.poll()
    else {
        panic!("the frame is not there with its last packet");
    };
    // PAT, PMT, then the frame.
    assert_eq!((start, end), (meta(2), meta(count as i64 - 1)));
}

/// Takes the end mark out of a packet, as a foreign muxer would write it: stuffing instead.
fn unmark(packet: &mut [u8]) {
    let has_field = packet[3] & 0x20 != 0 && packet[4] > 0;
    if has_field && packet[5] & 0x02 != 0 {
        packet[5] &= !0x02;
        packet[6..17].fill(0xff);
    }
}

#[test]
fn a_frame_too_long_for_a_length_comes_out_with_its_last_packet() {
    // Every way in which the end of the frame and its mark may share packets.
    for size in 70_000..70_000 + 2 * TS_PACKET {
        let (packets, sent) = stream(&[size], 0, false);
        let mut demuxer = Demuxer::new();
        for packet in &packets {
            assert_eq!(demuxer.poll(), None);
            demuxer.push(packet, meta(0));
        }
        let (mut frames, mut incomplete) = (Vec::new(), 0);
        drain(&mut demuxer, &mut frames, &mut incomplete);
        assert_eq!((frames, incomplete), (sent, 0), "{size} bytes");
        assert_eq!((demuxer.stats().stray, demuxer.stats().discontinuities), (0, 0));
    }
}

#[test]
fn an_open_ended_frame_without_a_mark_waits_for_the_next() {
    let (mut packets, sent) = stream(&[100_000, 100_000], 0, false);
    packets.iter_mut().for_each(|packet| unmark(packet));
    let second = packets.iter().rposition(|packet| packet[1] & 0x40 != 0 && packet[1] & 0x1f == 1).unwrap();
    let mut demuxer = Demuxer::new();
    let (mut frames, mut incomplete) = (Vec::new(), 0);
    for packet in &packets[..second] {
        demuxer.push(packet, meta(0));
    }
    drain(&mut demuxer, &mut frames, &mut incomplete);
    assert_eq!(frames.len(), 0);
    demuxer.push(&packets[second], meta(0));
    drain(&mut demuxer, &mut frames, &mut incomplete);
    assert_eq!((&frames[..], incomplete), (&sent[..1], 0));
}

#[test]
fn pts_and_dts_pass_the_33_bit_wrap_both_ways() {
    let first = (1 << 33) - 5 * FRAME;
    for reorder in [false, true] {
        let (packets, sent) = stream(&[300; 20], first, reorder);
        let frames = receive(&packets);
        assert!(frames.iter().any(|frame| frame.pts >= 1 << 33));
        assert_eq!(frames, sent);
    }
}

#[test]
fn a_sender_that_restarts_with_other_pids_is_followed() {
    let (packets, sent) = stream(&[400, 100_000], 0, false);
    let mut demuxer = Demuxer::new();
    let (mut frames, mut incomplete) = (Vec::new(), 0);
    // All but the end of the second frame.
    for packet in &packets[..packets.len() - 1] {
        demuxer.push(packet, meta(0));
    }
    // Same table versions, other PIDs: what a table says counts, not its version number.
    let config = MuxConfig { pmt_pid: 0x20, video_pid: 0x21, ..MuxConfig::default() };
    let mut muxer = Muxer::new(config);
    let mut out = Vec::new();
    let time = MediaTime::from_ticks(900_000);
    muxer.write_access_unit(&unit(7, 500, true), time, None, true, time, &mut out);
    demuxer.push(&out, meta(0));
    let mut problems = Vec::new();
    while let Some(event) = demuxer.poll() {
        match event {
            TsEvent::AccessUnit { data, pts, dts, complete: true, .. } => {
                frames.push(Sent { data, pts, dts })
            }
            TsEvent::AccessUnit { .. } => incomplete += 1,
            TsEvent::Problem(problem) => problems.push(problem),
        }
    }
    assert_eq!(frames.len(), 2);
    assert_eq!((&frames[0], frames[1].pts, incomplete), (&sent[0], 900_000, 1));
    assert!(problems.contains(&TsProblem::ProgramChanged { from: 0x100, to: None }), "{problems:?}");
}

#[test]
fn a_table_that_breaks_on_the_way_is_read_again() {
    let (mut packets, sent) = stream(&[300; 30], 0, false);
    // The first PMT arrives with a wrong byte; the next one has the same version number.
    let pmt = packets.iter().position(|packet| packet[1..3] == [0x50, 0x00]).unwrap();
    *packets[pmt].last_mut().unwrap() ^= 1;
    let frames = receive(&packets);
    assert!(!frames.is_empty() && frames.len() < sent.len());
    assert_eq!(frames[..], sent[sent.len() - frames.len()..]);
}

#[test]
fn a_table_that_gives_the_video_a_reserved_pid_is_passed_over() {
    use mpeg2ts::ts::{ContinuityCounter, EsInfo, Pid, TransportScramblingControl, TsHeader, WriteTsPacket};
    let (packets, sent) = stream(&[300; 3], 0, false);
    let entry = |pid| EsInfo {
        stream_type: mpeg2ts::es::StreamType::H264,
        elementary_pid: Pid::new(pid).unwrap(),
        descriptors: Vec::new(),
    };
    let pmt = mpeg2ts::ts::payload::Pmt {
        program_num: 1,
        pcr_pid: None,
        version_number: mpeg2ts::ts::VersionNumber::new(),
        program_info: Vec::new(),
        // The PAT's PID, the null PID, and then the right one.
        es_info: vec![entry(0), entry(0x1fff), entry(0x100)],
    };
    let header = TsHeader {
        transport_error_indicator: false,
        transport_priority: false,
        pid: Pid::new(0x1000).unwrap(),
        transport_scrambling_control: TransportScramblingControl::NotScrambled,
        continuity_counter: ContinuityCounter::new(),
    };
    let payload = Some(mpeg2ts::ts::TsPayload::Pmt(pmt));
    let packet = mpeg2ts::ts::TsPacket { header, adaptation_field: None, payload };
    let mut table = Vec::new();
    mpeg2ts::ts::TsPacketWriter::new(&mut table).write_ts_packet(&packet).unwrap();
    assert_eq!(receive(&[packets[0].clone(), table, packets[2..].concat()]), sent);
}

#[test]
fn an_access_unit_without_end_is_dropped_and_memory_stays_bounded() {
    let mut muxer = Muxer::new(MuxConfig::default());
    let time = MediaTime::from_ticks(0);
    let (mut long, mut short) = (Vec::new(), Vec::new());
    muxer.write_access_unit(&unit(1, MAX_ACCESS_UNIT + 1000, true), time, None, true, time, &mut long);
    muxer.write_access_unit(&unit(2, 500, true), time, None, true, time, &mut short);
    let mut demuxer = Demuxer::new();
    for piece in long.chunks(1316) {
        demuxer.push(piece, meta(0));
    }
    assert_eq!(demuxer.stats().too_large, 1);
    demuxer.push(&short, meta(0));
    let events: Vec<TsEvent> = std::iter::from_fn(|| demuxer.poll()).collect();
    let complete = |event: &TsEvent| matches!(event, TsEvent::AccessUnit { complete: true, .. });
    assert_eq!(events.iter().filter(|&event| complete(event)).count(), 1, "the frame after it is good");
    assert!(events.contains(&TsEvent::Problem(TsProblem::TooLarge { limit: MAX_ACCESS_UNIT })));
}

#[test]
fn events_that_nobody_polls_are_dropped_oldest_first_and_counted() {
    let (packets, sent) = stream(&[40_000; 1000], 0, false);
    let mut demuxer = Demuxer::new();
    for packet in &packets {
        demuxer.push(packet, meta(0));
    }
    let (mut frames, mut incomplete) = (Vec::new(), 0);
    drain(&mut demuxer, &mut frames, &mut incomplete);
    assert!(frames.iter().map(|frame| frame.data.len()).sum::<usize>() <= 32 << 20);
    assert_eq!(frames.len() as u64 + demuxer.stats().dropped_events, 1000);
    assert_eq!(frames[..], sent[sent.len() - frames.len()..]);
}

#[test]
fn what_waits_is_bounded_by_what_it_occupies() {
    // After a large frame the next one's buffer is as large, however little comes.
    let (packets, _) = stream(&[1_000_000, 10].repeat(40), 0, false);
    let mut demuxer = Demuxer::new();
    for packet in &packets {
        demuxer.push(packet, meta(0));
    }
    let mut occupied = 0;
    while let Some(event) = demuxer.poll() {
        if let TsEvent::AccessUnit { data, .. } = event {
            occupied += data.capacity();
        }
    }
    assert!((16 << 20..=32 << 20).contains(&occupied), "{occupied}");
}

#[test]
fn nothing_is_written_for_nothing_and_a_delimiter_is_not_doubled() {
    let mut muxer = Muxer::new(MuxConfig::default());
    let time = MediaTime::from_ticks(0);
    let mut out = Vec::new();
    muxer.write_access_unit(&[1, 2, 3], time, None, true, time, &mut out);
    assert!(out.is_empty());
    let delimited = [&[0, 0, 1, 9, 0x10][..], &unit(1, 50, true)].concat();
    muxer.write_access_unit(&delimited, time, None, true, time, &mut out);
    assert_eq!(receive(&[out])[0].data, delimited);
}
