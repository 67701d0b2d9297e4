//! Wire vectors, hostile input and round trips.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::clock::ClockState;
use crate::time::Span;

const RR: &[u8] = b"\x80\xc9\0\x01\0\0\0\x05";

fn after_rr(packet: &[u8]) -> Result<Vec<RtcpPacket>, RtcpError> {
    parse(&[RR, packet].concat())
}

#[test]
fn sender_report_on_the_wire() {
    let data = b"\x81\xc8\0\x0c\x01\x02\x03\x04\
        \xe8\x00\x00\x01\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x20\x00\
        \x0a\x0b\x0c\x0d\x40\xff\xff\xfe\x00\x01\x00\x07\x00\x00\x00\x2a\x00\x01\x80\x00\x00\x00\x80\x00";
    let expected = RtcpPacket::SenderReport {
        report: SenderReport {
            ssrc: 0x0102_0304,
            ntp: NtpTimestamp::from_bits(0xe800_0001_8000_0000),
            rtp: RtpTimestamp::from_bits(0), // a value, not "none"
            packets: 16,
            octets: 0x2000,
        },
        blocks: vec![ReportBlock {
            ssrc: 0x0a0b_0c0d,
            fraction_lost: 64,
            cumulative_lost: -2,
            highest_sequence: 0x1_0007,
            jitter: 42,
            last_sr: 0x1_8000,
            delay_since_last_sr: NtpShort::from_bits(0x8000),
        }],
    };
    assert_eq!(parse(data).unwrap(), std::slice::from_ref(&expected));
    assert_eq!(write(&[expected]), data);
}

#[test]
fn clock_info_on_the_wire() {
    let data = b"\x81\xcc\0\x05\0\0\0\x09FLCK\x03\x03\0\0\0\0\0\0\0\x01\x86\xa0";
    let info = ClockInfo {
        pts_on_rtp_clock: true,
        state: ClockState::Synchronized,
        uncertainty: Span::from_micros(100),
        capture_kind: CaptureKind::FirstPayload,
    };
    let packet = RtcpPacket::ClockInfo { ssrc: 9, info };
    assert_eq!(after_rr(data).unwrap()[1], packet);
    assert_eq!(write(&[packet]), data);
    let unknown = ClockInfo { uncertainty: Span::MAX, state: ClockState::Unsynchronized, ..info };
    let bytes = write(&[RtcpPacket::ClockInfo { ssrc: 9, info: unknown }]);
    assert_eq!(&bytes[12..], b"\x01\x03\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_eq!(ClockInfo::from_bytes(&bytes[12..]), Some(unknown));
}

#[test]
fn other_app_packets_are_left_alone() {
    let other = [RtcpPacket::Other { packet_type: 204 }];
    for data in [
        &b"\x82\xcc\0\x05\0\0\0\x09FLCK\x03\x03\0\0\0\0\0\0\0\x01\x86\xa0"[..], // another version
        b"\x81\xcc\0\x05\0\0\0\x09ABCD\x03\x03\0\0\0\0\0\0\0\x01\x86\xa0",
        b"\x81\xcc\0\x04\0\0\0\x09FLCK\x03\x03\0\0\0\0\0\0", // too short
    ] {
        assert_eq!(after_rr(data).unwrap()[1..], other, "{data:x?}");
    }
    // A later version that appends stays readable.
    let longer = b"\x81\xcc\0\x06\0\0\0\x09FLCK\x03\x03\0\0\0\0\0\0\0\x01\x86\xa0more";
    assert!(matches!(after_rr(longer).unwrap()[1], RtcpPacket::ClockInfo { ssrc: 9, .. }));
}

#[test]
fn feedback_and_goodbye_on_the_wire() {
    for (packet, data) in [
        (RtcpPacket::PictureLoss { sender: 1, media: 2 }, &b"\x81\xce\0\x02\0\0\0\x01\0\0\0\x02"[..]),
        (
            RtcpPacket::FullIntraRequest { sender: 1, entries: vec![(2, 7)] },
            b"\x84\xce\0\x04\0\0\0\x01\0\0\0\0\0\0\0\x02\x07\0\0\0",
        ),
        (RtcpPacket::Goodbye { sources: vec![3, 4] }, b"\x82\xcb\0\x02\0\0\0\x03\0\0\0\x04"),
    ] {
        assert_eq!(after_rr(data).unwrap()[1], packet);
        assert_eq!(write(&[packet]), data);
    }
    let with_reason = b"\x81\xcb\0\x02\0\0\0\x03\x03end";
    assert_eq!(after_rr(with_reason).unwrap()[1], RtcpPacket::Goodbye { sources: vec![3] });
}

#[test]
fn cname_of_a_second_source_whose_ssrc_starts_with_zeros() {
    // The first chunk ends on a boundary only after four zero bytes; the next SSRC is 0x00000102.
    let data = b"\x82\xca\0\x06\0\0\0\x01\x01\x02ab\0\0\0\0\0\0\x01\x02\x01\x02cd\0\0\0\0";
    let names = [(1, "ab"), (0x102, "cd")].map(|(ssrc, name)| Cname { ssrc, name: name.into() });
    assert_eq!(after_rr(data).unwrap()[1], RtcpPacket::SourceDescription(names.to_vec()));
}

#[test]
fn hostile_names_are_made_printable() {
    let data = b"\x81\xca\0\x03\0\0\0\x01\x01\x05\x1b[\xffa\n\0";
    let RtcpPacket::SourceDescription(names) = &after_rr(data).unwrap()[1] else { panic!("not SDES") };
    assert_eq!(names[0].name, "\u{fffd}[\u{fffd}a\u{fffd}");
    let long = Cname { ssrc: 1, name: "ü".repeat(200) };
    let parsed = after_rr(&write(&[RtcpPacket::SourceDescription(vec![long])])).unwrap();
    let RtcpPacket::SourceDescription(names) = &parsed[1] else { panic!("not SDES") };
    assert_eq!(names[0].name, "ü".repeat(127));
}

#[test]
fn feedback_that_crashed_another_library_is_an_error() {
    let data = [0x84, 0xce, 0x00, 0x01, 0xf4, 0xeb, 0x68, 0x22];
    assert_eq!(parse(&data), Err(RtcpError::FirstNotReport { packet_type: 206 }));
    assert_eq!(after_rr(&data), Err(RtcpError::Malformed { at: 8, packet_type: 206 }));
}

#[test]
fn padding_is_cut_from_the_last_packet_and_refused_elsewhere() {
    let pli = RtcpPacket::PictureLoss { sender: 1, media: 2 };
    let padded = b"\xa1\xce\0\x03\0\0\0\x01\0\0\0\x02\0\0\0\x04";
    assert_eq!(after_rr(padded).unwrap()[1], pli);
    assert_eq!(parse(&[RR, padded, RR].concat()), Err(RtcpError::Padding { at: 8 }));
    // An APP packet whose padding count is larger than the packet.
    let app = b"\xa1\xcc\0\x02\0\0\0\x09\0\0\0\xfc";
    assert_eq!(after_rr(app), Err(RtcpError::Padding { at: 8 }));
    for count in [0, 3, 16] {
        let mut bad = padded.to_vec();
        bad[15] = count;
        assert_eq!(after_rr(&bad), Err(RtcpError::Padding { at: 8 }), "{count}");
    }
}

#[test]
fn framing_errors_have_a_position() {
    assert_eq!(parse(&[]), Err(RtcpError::Truncated { at: 0, need: 4, have: 0 }));
    assert_eq!(after_rr(b"\x80\xcb"), Err(RtcpError::Truncated { at: 8, need: 4, have: 2 }));
    assert_eq!(after_rr(b"\x80\xcb\0\x02\0\0\0\0"), Err(RtcpError::Truncated { at: 8, need: 12, have: 8 }));
    assert_eq!(after_rr(b"\x40\xcb\0\0"), Err(RtcpError::Version { at: 8, version: 1 }));
    assert_eq!(parse(b"\x80\xcb\0\0"), Err(RtcpError::FirstNotReport { packet_type: 203 }));
    assert_eq!(after_rr(b"\x81\xcb\0\0"), Err(RtcpError::Malformed { at: 8, packet_type: 203 }));
    assert_eq!(after_rr(b"\x81\xca\0\x01\0\0\0\x01"), Err(RtcpError::Malformed { at: 8, packet_type: 202 }));
    assert_eq!(parse(&RR.repeat(65)), Err(RtcpError::TooMany));
    assert_eq!(parse(&RR.repeat(64)).unwrap().len(), 64);
}

fn blocks() -> impl Strategy<Value = Vec<ReportBlock>> {
    let block =
        (any::<[u32; 5]>(), any::<u8>(), -0x80_0000..0x80_0000_i32).prop_map(|(word, fraction, lost)| {
            ReportBlock {
                ssrc: word[0],
                fraction_lost: fraction,
                cumulative_lost: lost,
                highest_sequence: word[1],
                jitter: word[2],
                last_sr: word[3],
                delay_since_last_sr: NtpShort::from_bits(word[4]),
            }
        });
    vec(block, 0..32)
}

fn report() -> impl Strategy<Value = RtcpPacket> {
    prop_oneof![
        (any::<u64>(), any::<[u32; 4]>(), blocks()).prop_map(|(ntp, word, blocks)| {
            let report = SenderReport {
                ssrc: word[0],
                ntp: NtpTimestamp::from_bits(ntp),
                rtp: RtpTimestamp::from_bits(word[1]),
                packets: word[2],
                octets: word[3],
            };
            RtcpPacket::SenderReport { report, blocks }
        }),
        (any::<u32>(), blocks()).prop_map(|(ssrc, blocks)| RtcpPacket::ReceiverReport { ssrc, blocks }),
    ]
}

fn other_packet() -> impl Strategy<Value = RtcpPacket> {
    let kind = prop_oneof![
        Just(CaptureKind::Unknown),
        Just(CaptureKind::StartOfExposure),
        Just(CaptureKind::EndOfFrame),
        Just(CaptureKind::Synthetic),
        Just(CaptureKind::File),
    ];
    let state = prop_oneof![Just(ClockState::Synchronized), Just(ClockState::Unsynchronized)];
    prop_oneof![
        vec((any::<u32>(), "[ -~äß漢]{1,60}"), 0..32).prop_map(|names| {
            RtcpPacket::SourceDescription(
                names.into_iter().map(|(ssrc, name)| Cname { ssrc, name }).collect(),
            )
        }),
        vec(any::<u32>(), 0..32).prop_map(|sources| RtcpPacket::Goodbye { sources }),
        (any::<u32>(), any::<bool>(), state, 0..=i64::MAX, kind).prop_map(|(ssrc, pts, state, ns, kind)| {
            let uncertainty = Span::from_nanos(ns);
            let info = ClockInfo { pts_on_rtp_clock: pts, state, uncertainty, capture_kind: kind };
            RtcpPacket::ClockInfo { ssrc, info }
        }),
        (any::<u32>(), any::<u32>()).prop_map(|(sender, media)| RtcpPacket::PictureLoss { sender, media }),
        (any::<u32>(), any::<u32>(), any::<u8>()).prop_map(|(sender, media, n)| {
            RtcpPacket::FullIntraRequest { sender, entries: vec![(media, n)] }
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(first in report(), rest in vec(prop_oneof![report(), other_packet()], 0..6)) {
        let packets = [vec![first], rest].concat();
        prop_assert_eq!(parse(&write(&packets)), Ok(packets));
    }

    #[test]
    fn never_panics(data in vec(any::<u8>(), 0..200)) {
        let _ = parse(&data);
    }

    /// Past the framing: every packet type with arbitrary contents and padding.
    #[test]
    fn never_panics_behind_a_good_header(
        count in 0_u8..64, packet_type in 199_u8..210, body in vec(any::<u32>(), 0..20), split in 0_usize..20,
    ) {
        let mut data = RR.to_vec();
        let split = split.min(body.len());
        for (flags, words) in [(count & 0x1f, &body[..split]), (count, &body[split..])] {
            data.extend_from_slice(&[0x80 | flags, packet_type, 0, words.len() as u8]);
            data.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        }
        let _ = parse(&data);
    }

    /// One wrong byte in a good compound never panics either.
    #[test]
    fn never_panics_on_a_flipped_byte(
        first in report(), second in other_packet(), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let mut data = write(&[first, second]);
        let at = at.index(data.len());
        data[at] = byte;
        let _ = parse(&data);
    }
}
