//! Alignment: 188-byte packets out of bytes that may begin anywhere and hold garbage.

use super::{SYNC_BYTE, TS_PACKET};

/// Cuts pushed bytes into packets.
///
/// A packet counts only if another sync byte follows it. In lock, the last packet of a push is taken
/// without: it must not wait for the next datagram. A packet that two pushes make up always waits, for if
/// a datagram between them was lost, its two ends are not of one packet.
#[derive(Debug, Default)]
pub(super) struct Aligner {
    locked: bool,
    /// Bytes of a packet, or of a search, that the last push did not finish; fewer than two packets.
    carry: Vec<u8>,
}

/// What the aligner hands over.
pub(super) enum Aligned<'a> {
    /// A packet, and whether it began in an earlier push.
    Packet(&'a [u8; TS_PACKET], bool),
    /// Bytes thrown away between packets.
    Skipped(usize),
}

impl Aligner {
    /// Calls `sink` for everything in `data`, in order.
    pub(super) fn push(&mut self, data: &[u8], mut sink: impl FnMut(Aligned<'_>)) {
        let carried = self.carry.len();
        if carried == 0 {
            let used = self.cut(data, 0, &mut sink);
            self.carry.extend_from_slice(&data[used..]);
        } else {
            let mut joined = std::mem::take(&mut self.carry);
            joined.extend_from_slice(data);
            let used = self.cut(&joined, carried, &mut sink);
            joined.drain(..used);
            self.carry = joined;
        }
    }

    /// Throws away what the last push did not finish.
    pub(super) fn discard(&mut self) {
        self.carry.clear();
    }

    /// The stream ends: the last packet, which waited for another one, unless it never was in lock.
    pub(super) fn finish(&mut self) -> Option<[u8; TS_PACKET]> {
        let carry = std::mem::take(&mut self.carry);
        carry.first_chunk().copied().filter(|_| self.locked)
    }

    /// Cuts `data`, of which the first `carried` bytes came earlier; says how many bytes are done with.
    fn cut(&mut self, data: &[u8], carried: usize, sink: &mut impl FnMut(Aligned<'_>)) -> usize {
        let mut at = 0;
        let mut skipped = 0;
        while let Some(packet) = data[at..].first_chunk::<TS_PACKET>() {
            let here = packet[0] == SYNC_BYTE;
            let confirmed = match data.get(at + TS_PACKET) {
                Some(&next) => next == SYNC_BYTE,
                None if here && (!self.locked || at < carried) => break,
                None => true,
            };
            if here && confirmed {
                if skipped > 0 {
                    sink(Aligned::Skipped(skipped));
                    skipped = 0;
                }
                self.locked = true;
                sink(Aligned::Packet(packet, at < carried));
                at += TS_PACKET;
            } else {
                self.locked = false;
                at += 1;
                skipped += 1;
            }
        }
        // What is left is shorter than a packet, or a packet in doubt; it cannot begin without a sync byte.
        let rest = &data[at..];
        let garbage = rest.iter().position(|&byte| byte == SYNC_BYTE).unwrap_or(rest.len());
        if garbage > 0 {
            self.locked = false;
            skipped += garbage;
        }
        if skipped > 0 {
            sink(Aligned::Skipped(skipped));
        }
        at + garbage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(tag: u8) -> Vec<u8> {
        let mut packet = vec![0xff; TS_PACKET];
        packet[0] = SYNC_BYTE;
        packet[1] = tag;
        packet
    }

    /// Tags of the packets found and bytes skipped, for `data` in pushes of `step` bytes.
    fn run(data: &[u8], step: usize) -> (Vec<u8>, usize) {
        let (mut tags, mut skipped) = (Vec::new(), 0);
        let mut aligner = Aligner::default();
        for piece in data.chunks(step) {
            aligner.push(piece, |aligned| match aligned {
                Aligned::Packet(packet, _) => tags.push(packet[1]),
                Aligned::Skipped(count) => skipped += count,
            });
            assert!(aligner.carry.len() <= 2 * TS_PACKET);
        }
        tags.extend(aligner.finish().map(|packet| packet[1]));
        (tags, skipped)
    }

    #[test]
    fn any_cut_of_a_clean_stream_gives_every_packet() {
        let data: Vec<u8> = (0..6).flat_map(packet).collect();
        for step in [1, 7, 187, 188, 189, 376, 1316] {
            assert_eq!(run(&data, step), (vec![0, 1, 2, 3, 4, 5], 0), "pushes of {step}");
        }
    }

    #[test]
    fn joins_in_the_middle_of_a_packet_and_passes_garbage() {
        let mut data = packet(9)[100..].to_vec();
        data.extend((0..3).flat_map(packet));
        data.extend([SYNC_BYTE, 1, 2, SYNC_BYTE, 3]);
        data.extend((3..6).flat_map(packet));
        for step in [1, 188, 5000] {
            let (tags, skipped) = run(&data, step);
            // False sync bytes behind a packet may cost the packets beside them, no more.
            assert!(tags.starts_with(&[0, 1]) && tags.ends_with(&[4, 5]), "{tags:?}");
            assert!(skipped >= 88, "{skipped}");
        }
    }

    #[test]
    fn the_last_packet_of_a_datagram_does_not_wait_in_lock() {
        let mut aligner = Aligner::default();
        let mut count = 0;
        let data: Vec<u8> = (0..2).flat_map(packet).collect();
        aligner.push(&data, |_| count += 1);
        assert_eq!(count, 2);
        aligner.push(&packet(2), |_| count += 1);
        assert_eq!(count, 3);
    }

    #[test]
    fn the_ends_of_two_packets_are_not_taken_for_one() {
        let mut aligner = Aligner::default();
        let mut tags = Vec::new();
        let mut push = |data: &[u8]| {
            aligner.push(data, |aligned| {
                if let Aligned::Packet(packet, _) = aligned {
                    tags.push(packet[1]);
                }
            });
        };
        push(&[packet(0), packet(1), packet(2)[..100].to_vec()].concat());
        // The datagram with the rest of packet 2 is lost; the one after it ends in packet 5.
        push(&packet(4)[100..]);
        push(&packet(5)[30..]);
        push(&[packet(6), packet(7)].concat());
        assert_eq!(tags, [0, 1, 6, 7]);
    }
}
