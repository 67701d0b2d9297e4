//! Muxer against demuxer, with loss, wrap, change and hostile input. Foreign muxers and demuxers are
//! in `tests/media.rs`.

use proptest::prelude::*;

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

#[test]
fn an_open_ended_frame_waits_for_the_next_or_a_hint() {
    let (packets, sent) = stream(&[100_000, 100_000], 0, false);
    let second = packets.iter().rposition(|packet| packet[1] & 0x40 != 0 && packet[1] & 0x1f == 1).unwrap();
    for hint in [false, true] {
        let mut demuxer = Demuxer::new();
        let (mut frames, mut incomplete) = (Vec::new(), 0);
        for packet in &packets[..second] {
            demuxer.push(packet, meta(0));
        }
        drain(&mut demuxer, &mut frames, &mut incomplete);
        assert_eq!(frames.len(), 0);
        if hint {
            demuxer.end_of_frame();
        } else {
            demuxer.push(&packets[second], meta(0));
        }
        drain(&mut demuxer, &mut frames, &mut incomplete);
        assert_eq!((&frames[..], incomplete), (&sent[..1], 0));
    }
}

#[test]
fn a_hint_does_not_cut_a_frame_that_tells_its_length() {
    let (packets, sent) = stream(&[5_000], 0, false);
    let mut demuxer = Demuxer::new();
    let (mut frames, mut incomplete) = (Vec::new(), 0);
    for packet in &packets {
        demuxer.push(packet, meta(0));
        demuxer.end_of_frame();
        drain(&mut demuxer, &mut frames, &mut incomplete);
    }
    assert_eq!((frames, incomplete), (sent, 0));
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
fn packets_sent_twice_are_counted_and_change_nothing() {
    let (packets, sent) = stream(&EDGES, 0, false);
    let twice: Vec<Vec<u8>> = packets.iter().flat_map(|packet| [packet.clone(), packet.clone()]).collect();
    assert_eq!(receive(&twice), sent);
}

#[test]
fn sixteen_lost_packets_are_seen_although_the_counter_is_not() {
    let (mut packets, sent) = stream(&[10_000, 10_000, 10_000], 0, false);
    packets.drain(10..26);
    let mut demuxer = Demuxer::new();
    let (mut frames, mut incomplete) = (Vec::new(), 0);
    for packet in &packets {
        demuxer.push(packet, meta(0));
        drain(&mut demuxer, &mut frames, &mut incomplete);
    }
    // The length of the PES packet tells.
    assert_eq!((&frames[..], incomplete), (&sent[1..], 1));
    assert_eq!(demuxer.stats().discontinuities, 0);
}

#[test]
fn a_gap_that_the_counter_cannot_show_spoils_an_open_ended_frame() {
    let (mut packets, sent) = stream(&[100_000, 100_000, 300], 0, false);
    packets.drain(10..26);
    let mut demuxer = Demuxer::new();
    let (mut frames, mut incomplete) = (Vec::new(), 0);
    for (index, packet) in packets.iter().enumerate() {
        if index == 10 {
            demuxer.gap();
        }
        demuxer.push(packet, meta(0));
        drain(&mut demuxer, &mut frames, &mut incomplete);
    }
    assert_eq!((&frames[..], incomplete), (&sent[1..], 1));
}

#[test]
fn a_damaged_packet_spoils_its_frame_only() {
    let (mut packets, sent) = stream(&[5_000, 5_000, 5_000], 0, false);
    packets[5][1] |= 0x80;
    let mut demuxer = Demuxer::new();
    let (mut frames, mut incomplete) = (Vec::new(), 0);
    for packet in &packets {
        demuxer.push(packet, meta(0));
        drain(&mut demuxer, &mut frames, &mut incomplete);
    }
    assert_eq!((&frames[..], incomplete), (&sent[1..], 1));
    assert_eq!(demuxer.stats().transport_errors, 1);
}

#[test]
fn a_sender_that_restarts_with_other_pids_is_followed() {
    let (packets, sent) = stream(&[400, 100_000], 0, false);
    let mut demuxer = Demuxer::new();
    let (mut frames, mut incomplete) = (Vec::new(), 0);
    for packet in &packets {
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
fn tables_that_name_reserved_pids_do_not_cut_off_the_tables() {
    let (packets, sent) = stream(&[300; 3], 0, false);
    // A PMT (with a good CRC) that claims the PAT's PID for the video, out of our own writer's bytes.
    let mut hostile = Muxer::new(MuxConfig { video_pid: 0x1ffe, ..MuxConfig::default() });
    let mut out = Vec::new();
    hostile.poll_pcr(MediaTime::from_ticks(0), &mut out);
    let pmt = &mut out[TS_PACKET..2 * TS_PACKET];
    let section = TS_PACKET - 21;
    assert_eq!(pmt[section - 1..section + 1], [0, 2], "pointer field and table id");
    pmt[section + 13..section + 15].copy_from_slice(&[0xe0, 0]);
    let crc = mpeg2ts_reader::mpegts_crc::sum32(&pmt[section..section + 17]);
    pmt[section + 17..].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(mpeg2ts_reader::mpegts_crc::sum32(&pmt[section..]), 0);
    let pieces = [out, packets.concat()];
    assert_eq!(receive(&pieces), sent);
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

/// PCR in 90 kHz ticks, and whether it is marked as discontinuous.
type Pcr = (i64, bool);

/// PCR, and PTS and DTS, of one packet.
fn clocks(packet: &[u8]) -> (Option<Pcr>, Option<(u64, u64)>) {
    let parsed = mpeg2ts_reader::packet::Packet::new(packet);
    let field = parsed.adaptation_field();
    let pcr = field.as_ref().and_then(|field| Some((field.pcr().ok()?, field.discontinuity_indicator())));
    let pcr = pcr.map(|(pcr, jump)| ((u64::from(pcr) / 300).cast_signed(), jump));
    let start = parsed.payload_unit_start_indicator() && u16::from(parsed.pid()) == 0x100;
    let times = parsed.payload().filter(|_| start).map(|payload| {
        let header = mpeg2ts_reader::pes::PesHeader::from_bytes(payload).unwrap();
        let mpeg2ts_reader::pes::PesContents::Parsed(Some(parsed)) = header.contents() else { panic!() };
        match parsed.pts_dts().unwrap() {
            mpeg2ts_reader::pes::PtsDts::PtsOnly(Ok(pts)) => (pts.value(), pts.value()),
            mpeg2ts_reader::pes::PtsDts::Both { pts: Ok(pts), dts: Ok(dts) } => (pts.value(), dts.value()),
            other => panic!("{other:?}"),
        }
    });
    (pcr, times)
}

#[test]
fn pcr_comes_every_40_ms_never_goes_back_and_never_passes_dts() {
    let mut muxer = Muxer::new(MuxConfig::default());
    let millis = |ms: i64| MediaTime::from_ticks(1_000_000 + ms * 90);
    let mut last: Option<(i64, i64)> = None;
    let mut next_frame = 3;
    for ms in 0..4_000 {
        let mut out = Vec::new();
        if ms == next_frame {
            // 5 frames a second, each 30 to 90 ms late; one stalls for 600 ms.
            let latency = if ms > 2_000 && ms < 2_300 { 600 } else { 30 + ms % 60 };
            let pts = millis(ms - latency);
            muxer.write_access_unit(&unit(1, 700, false), pts, None, false, millis(ms), &mut out);
            next_frame += 200;
        } else if muxer.poll_timeout().is_none_or(|due| due <= millis(ms)) {
            muxer.poll_pcr(millis(ms), &mut out);
            assert!(!out.is_empty(), "a timeout came with nothing to do");
        }
        for packet in out.chunks(TS_PACKET) {
            let (pcr, times) = clocks(packet);
            if let (Some((pcr, _)), Some((pts, dts))) = (pcr, times) {
                assert!(pcr <= dts.cast_signed() && dts <= pts, "{pcr} {dts} {pts}");
            }
            let Some((pcr, jump)) = pcr else { continue };
            if let Some((at, before)) = last {
                assert!(ms - at <= 40, "no PCR from {at} ms to {ms} ms");
                assert!(
                    jump || pcr - before == (ms - at) * 90,
                    "PCR ran unevenly at {ms} ms without saying so"
                );
            }
            last = Some((ms, pcr));
        }
    }
    assert_eq!(muxer.late_frames(), 1);
}

#[test]
fn tables_come_before_every_key_frame_and_every_200_ms() {
    let mut muxer = Muxer::new(MuxConfig::default());
    let mut last = None;
    for frame in 0..60 {
        let time = MediaTime::from_ticks(frame * FRAME);
        let key = frame % 17 == 0;
        let mut out = Vec::new();
        muxer.write_access_unit(&unit(1, 700, key), time, None, key, time, &mut out);
        if out[1..3] == [0x40, 0] {
            assert_eq!(out[TS_PACKET + 1..TS_PACKET + 3], [0x50, 0]);
            last = Some(frame);
        }
        assert!(!key || last == Some(frame), "key frame {frame} has no tables");
        assert!(frame - last.unwrap() <= 6, "no tables from {last:?} to {frame}");
        let random_access = out.chunks(TS_PACKET).any(|p| p[1] == 0x41 && p[5] & 0x40 != 0);
        assert_eq!(random_access, key);
    }
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_never_panic(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..700), 0..8)) {
        let mut demuxer = Demuxer::new();
        for piece in &pieces {
            demuxer.push(piece, meta(0));
        }
        demuxer.flush();
    }

    /// Packets with a good sync byte and PID, the rest of the header and the payload arbitrary.
    #[test]
    fn arbitrary_packets_never_panic(
        bodies in proptest::collection::vec((prop_oneof![Just(0_u16), Just(0x1000), Just(0x100)], any::<bool>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 184)), 0..40),
        tables_first: bool,
    ) {
        let mut demuxer = Demuxer::new();
        if tables_first {
            demuxer.push(&stream(&[100], 0, false).0.concat(), meta(0));
        }
        for (pid, start, flags, body) in bodies {
            let [high, low] = pid.to_be_bytes();
            let mut packet = vec![SYNC_BYTE, high | u8::from(start) << 6, low, flags & 0x3f];
            packet.extend(body);
            demuxer.push(&packet, meta(0));
        }
        demuxer.flush();
    }

    #[test]
    fn a_stream_with_wrong_bytes_never_panics(
        wrong in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..60),
        step in 1_usize..3000,
    ) {
        let mut data = stream(&[100, 3_000, 70_000, 10], 0, true).0.concat();
        for (index, value) in wrong {
            let at = index.index(data.len());
            data[at] = value;
        }
        let mut demuxer = Demuxer::new();
        for piece in data.chunks(step) {
            demuxer.push(piece, meta(0));
        }
        demuxer.flush();
    }

    /// Whatever is lost, a frame that is called complete is the one that was sent.
    #[test]
    fn loss_never_makes_a_bad_frame_complete(
        sizes in proptest::collection::vec(prop_oneof![6_usize..2_000, 60_000..70_000_usize, Just(65_521)], 1..25),
        lost in proptest::collection::vec((any::<prop::sample::Index>(), 1_usize..40), 0..12),
        reorder: bool,
    ) {
        let (packets, sent) = stream(&sizes, (1 << 33) - 10 * FRAME, reorder);
        let datagrams: Vec<Vec<u8>> = packets.chunks(7).map(|some| some.concat()).collect();
        let mut keep = vec![true; datagrams.len()];
        for (index, count) in lost {
            let from = index.index(datagrams.len());
            let to = (from + count).min(datagrams.len());
            keep[from..to].fill(false);
        }
        let mut demuxer = Demuxer::new();
        let (mut frames, mut incomplete) = (Vec::new(), 0);
        let mut gap = false;
        for (datagram, keep) in datagrams.iter().zip(&keep) {
            if !keep {
                gap = true;
                continue;
            }
            if std::mem::take(&mut gap) {
                demuxer.gap();
            }
            demuxer.push(datagram, meta(0));
            drain(&mut demuxer, &mut frames, &mut incomplete);
        }
        if gap {
            demuxer.gap();
        }
        demuxer.flush();
        drain(&mut demuxer, &mut frames, &mut incomplete);
        check_subsequence(&frames, &sent)?;
        if keep.iter().all(|&keep| keep) {
            prop_assert_eq!(frames.len(), sent.len());
        }
    }

    /// The same without RTP to tell of a gap: single packets lost, fewer than sixteen together.
    #[test]
    fn loss_without_sequence_numbers_never_makes_a_bad_frame_complete(
        sizes in proptest::collection::vec(prop_oneof![6_usize..2_000, 60_000..70_000_usize], 1..25),
        lost in proptest::collection::vec(any::<prop::sample::Index>(), 1..15),
    ) {
        let (packets, sent) = stream(&sizes, 0, false);
        let lost: Vec<usize> = lost.iter().map(|index| index.index(packets.len())).collect();
        let mut demuxer = Demuxer::new();
        let (mut frames, mut incomplete) = (Vec::new(), 0);
        for (index, packet) in packets.iter().enumerate() {
            if !lost.contains(&index) {
                demuxer.push(packet, meta(0));
                drain(&mut demuxer, &mut frames, &mut incomplete);
            }
        }
        drain(&mut demuxer, &mut frames, &mut incomplete);
        check_subsequence(&frames, &sent)?;
    }
}

#[test]
fn packets_across_datagrams_survive_the_loss_of_one() {
    // ffmpeg sends 1472 bytes a datagram over UDP where it is not told otherwise.
    let (packets, sent) = stream(&[3_000; 40], 0, false);
    let data = packets.concat();
    let datagrams: Vec<&[u8]> = data.chunks(1472).collect();
    for lost in 0..datagrams.len() {
        let mut demuxer = Demuxer::new();
        let (mut frames, mut incomplete) = (Vec::new(), 0);
        for (index, datagram) in datagrams.iter().enumerate() {
            if index != lost {
                demuxer.push(datagram, meta(0));
                drain(&mut demuxer, &mut frames, &mut incomplete);
            }
        }
        demuxer.flush();
        drain(&mut demuxer, &mut frames, &mut incomplete);
        check_subsequence(&frames, &sent).unwrap();
        assert!(lost < 10 || frames.len() >= 37, "datagram {lost} cost {} frames", 40 - frames.len());
    }
}

/// `frames` are some of `sent`, in order and unchanged. After a gap of hours PTS may come out
/// unwrapped by another multiple of 2^33; these streams are short, so it may not.
fn check_subsequence(frames: &[Sent], sent: &[Sent]) -> Result<(), TestCaseError> {
    let mut rest = sent.iter();
    for frame in frames {
        // A stream joined late may begin behind the wrap, one turn lower.
        let same =
            |other: &&Sent| other.data == frame.data && (other.pts - frame.pts).rem_euclid(1 << 33) == 0;
        prop_assert!(rest.by_ref().any(|other| same(&other)), "PTS {} was not sent like this", frame.pts);
    }
    Ok(())
}
