//! Loss, repetition and hostile bytes.

use proptest::prelude::*;

use super::*;

/// The whole frames in `packets`, the number of others, and the counters; before packet `gap` the demultiplexer
/// is told of a gap.
fn received(packets: &[Vec<u8>], gap: Option<usize>) -> (Vec<Sent>, usize, DemuxStats) {
    let mut demuxer = Demuxer::new();
    let (mut frames, mut incomplete) = (Vec::new(), 0);
    for (index, packet) in packets.iter().enumerate() {
        if gap == Some(index) {
            demuxer.gap();
        }
        demuxer.push(packet, meta(0));
        drain(&mut demuxer, &mut frames, &mut incomplete);
    }
    (frames, incomplete, demuxer.stats())
}

#[test]
fn packets_sent_twice_are_counted_and_change_nothing() {
    let (packets, sent) = stream(&EDGES, 0, false);
    let twice: Vec<Vec<u8>> = packets.iter().flat_map(|packet| [packet.clone(), packet.clone()]).collect();
    assert_eq!(receive(&twice), sent);
}

#[test]
fn sixteen_lost_packets_are_seen_although_the_counter_is_not() {
    // The length of the PES packet tells, or that in the mark at its end.
    for size in [10_000, 100_000] {
        let (mut packets, sent) = stream(&[size; 3], 0, false);
        packets.drain(10..26);
        let (frames, incomplete, stats) = received(&packets, None);
        assert_eq!((&frames[..], incomplete), (&sent[1..], 1), "frames of {size} bytes");
        assert_eq!(stats.discontinuities, 0);
    }
}

#[test]
fn fifteen_lost_packets_are_not_a_packet_sent_twice() {
    let (mut packets, sent) = stream(&[100_000, 100_000, 300], 0, false);
    packets.drain(10..25);
    let (frames, incomplete, stats) = received(&packets, None);
    assert_eq!((&frames[..], incomplete), (&sent[1..], 1));
    assert_eq!((stats.discontinuities, stats.duplicates), (1, 0));
}

#[test]
fn a_gap_that_the_counter_cannot_show_spoils_an_open_ended_frame() {
    let (mut packets, sent) = stream(&[100_000, 100_000, 300], 0, false);
    packets.drain(10..26);
    let (frames, incomplete, _) = received(&packets, Some(10));
    assert_eq!((&frames[..], incomplete), (&sent[1..], 1));
}

#[test]
fn a_damaged_packet_spoils_its_frame_only() {
    let (mut packets, sent) = stream(&[5_000, 5_000, 5_000], 0, false);
    packets[5][1] |= 0x80;
    let (frames, incomplete, stats) = received(&packets, None);
    assert_eq!((&frames[..], incomplete), (&sent[1..], 1));
    assert_eq!(stats.transport_errors, 1);
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
