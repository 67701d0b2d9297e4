//! Packets back in sequence order, with a bounded wait for those that are missing.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};

use crate::rtp::{RtpError, RtpPacket, ntp64};
use crate::time::{HostTime, NtpTimestamp, RtpTimestamp, Span};

/// The most packets kept behind a hole; with more, the hole is given up at once. Nothing can still come in
/// order that is [`super::sequence::MAX_MISORDER`] packets late.
pub(super) const MAX_HELD: usize = 128;

/// The payload of a received packet, in the buffer it was received into: nothing is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload<B> {
    datagram: B,
    range: Range<usize>,
}

impl<B: AsRef<[u8]>> Deref for Payload<B> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.datagram.as_ref().get(self.range.clone()).unwrap_or_default()
    }
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Payload<B> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// A received RTP packet in its place in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<B = Vec<u8>> {
    /// The unwrapped sequence number. Consecutive packets differ by one unless a gap was told between them,
    /// or events were dropped because nobody polled.
    pub sequence: u64,
    /// The unwrapped RTP timestamp in ticks, on the same scale as those of sender reports.
    pub timestamp: i64,
    /// The marker bit.
    pub marker: bool,
    /// The payload type.
    pub payload_type: u8,
    /// The payload.
    pub payload: Payload<B>,
    /// UTC at `timestamp`, if the packet says so (RFC 6051 section 3.3).
    pub ntp64: Option<NtpTimestamp>,
    /// When the packet arrived.
    pub arrival: HostTime,
}

/// A packet that was parsed and not yet judged.
#[derive(Debug)]
pub(super) struct Incoming<B> {
    pub(super) sequence: u16,
    pub(super) timestamp: RtpTimestamp,
    pub(super) arrival: HostTime,
    marker: bool,
    payload_type: u8,
    payload: Payload<B>,
    ntp64: Option<NtpTimestamp>,
}

impl<B: AsRef<[u8]>> Incoming<B> {
    /// The packet and its SSRC.
    pub(super) fn parse(datagram: B, arrival: HostTime) -> Result<(u32, Self), RtpError> {
        let packet = RtpPacket::parse(datagram.as_ref())?;
        let start = packet.payload_offset();
        let range = start..start + packet.payload().len();
        let (ssrc, sequence, timestamp) = (packet.ssrc(), packet.sequence(), packet.timestamp());
        let (marker, payload_type, ntp64) = (packet.marker(), packet.payload_type(), ntp64(&packet));
        let payload = Payload { datagram, range };
        Ok((ssrc, Self { sequence, timestamp, arrival, marker, payload_type, payload, ntp64 }))
    }
}

impl<B> Incoming<B> {
    /// The packet with its counters unwrapped.
    pub(super) fn place(self, sequence: i64, timestamp: i64) -> Packet<B> {
        Packet {
            sequence: sequence.unsigned_abs(),
            timestamp,
            marker: self.marker,
            payload_type: self.payload_type,
            payload: self.payload,
            ntp64: self.ntp64,
            arrival: self.arrival,
        }
    }
}

/// What leaves the buffer.
#[derive(Debug)]
pub(super) enum Released<B> {
    Packet(Packet<B>),
    Gap(u64),
}

/// What became of a packet put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Accepted,
    Duplicate,
    /// Its place was given up, or is before the first packet.
    Late,
}

/// Packets in order; those behind a hole wait.
#[derive(Debug)]
pub(super) struct ReorderBuffer<B> {
    /// The number that leaves next.
    next: i64,
    /// Bit `i`: packet `next - 1 - i` was released as a packet. Longer than MAX_MISORDER.
    released: u128,
    held: BTreeMap<i64, Packet<B>>,
}

impl<B> ReorderBuffer<B> {
    pub(super) fn new(first: i64) -> Self {
        Self { next: first, released: 0, held: BTreeMap::new() }
    }

    /// The number that leaves next.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Packets waiting behind a hole.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes packet number `sequence` and releases what is in order then.
    pub(super) fn insert(
        &mut self,
        sequence: i64,
        packet: Packet<B>,
        out: &mut dyn FnMut(Released<B>),
    ) -> Fate {
        if sequence < self.next {
            let age = u32::try_from(self.next - 1 - sequence).unwrap_or(u32::MAX);
            let known = self.released.checked_shr(age).unwrap_or(0) & 1 == 1;
            return if known { Fate::Duplicate } else { Fate::Late };
        }
        if sequence == self.next {
            self.step(packet, out);
            self.release_ready(out);
            return Fate::Accepted;
        }
        if self.held.contains_key(&sequence) {
            return Fate::Duplicate;
        }
        self.held.insert(sequence, packet);
        while self.held.len() > MAX_HELD {
            self.give_up(out);
        }
        Fate::Accepted
    }

    /// When the first hole is given up: `window` after the first packet behind it arrived.
    pub(super) fn deadline(&self, window: Span) -> Option<HostTime> {
        self.held.values().map(|packet| packet.arrival + window).min()
    }

    /// Gives up the holes whose time has come.
    pub(super) fn expire(&mut self, now: HostTime, window: Span, out: &mut dyn FnMut(Released<B>)) {
        while self.deadline(window).is_some_and(|deadline| now >= deadline) {
            self.give_up(out);
        }
    }

    /// Gives up all holes.
    pub(super) fn flush(&mut self, out: &mut dyn FnMut(Released<B>)) {
        while !self.held.is_empty() {
            self.give_up(out);
        }
    }

    fn give_up(&mut self, out: &mut dyn FnMut(Released<B>)) {
        let Some((&first, _)) = self.held.first_key_value() else { return };
        let lost = first - self.next;
        self.released =
            u32::try_from(lost).ok().and_then(|lost| self.released.checked_shl(lost)).unwrap_or(0);
        self.next = first;
        out(Released::Gap(lost.unsigned_abs()));
        self.release_ready(out);
    }

    fn release_ready(&mut self, out: &mut dyn FnMut(Released<B>)) {
        while let Some(entry) = self.held.first_entry().filter(|entry| *entry.key() == self.next) {
            let packet = entry.remove();
            self.step(packet, out);
        }
    }

    fn step(&mut self, packet: Packet<B>, out: &mut dyn FnMut(Released<B>)) {
        self.next += 1;
        self.released = (self.released << 1) | 1;
        out(Released::Packet(packet));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: i64, ms: i64) -> Packet<Vec<u8>> {
        let payload = Payload { datagram: Vec::new(), range: 0..0 };
        let arrival = HostTime::from_nanos(ms * 1_000_000);
        let sequence = sequence.unsigned_abs();
        Packet { sequence, timestamp: 0, marker: false, payload_type: 0, payload, ntp64: None, arrival }
    }

    struct Bench(ReorderBuffer<Vec<u8>>);

    impl Bench {
        /// The fate, the packets released, and the sum of the gaps told.
        fn insert(&mut self, sequence: i64, ms: i64) -> (Fate, Vec<u64>, u64) {
            let (mut out, mut lost) = (Vec::new(), 0);
            let fate = self.0.insert(sequence, packet(sequence, ms), &mut |released| match released {
                Released::Packet(packet) => out.push(packet.sequence),
                Released::Gap(n) => lost += n,
            });
            (fate, out, lost)
        }

        fn expire(&mut self, ms: i64) -> (Vec<u64>, u64) {
            let (mut out, mut lost) = (Vec::new(), 0);
            let now = HostTime::from_nanos(ms * 1_000_000);
            self.0.expire(now, Span::from_millis(20), &mut |released| match released {
                Released::Packet(packet) => out.push(packet.sequence),
                Released::Gap(n) => lost += n,
            });
            (out, lost)
        }
    }

    #[test]
    fn in_order_at_once_and_behind_a_hole_after_it_is_filled() {
        let mut bench = Bench(ReorderBuffer::new(5));
        assert_eq!(bench.insert(5, 0), (Fate::Accepted, vec![5], 0));
        assert_eq!(bench.insert(7, 0), (Fate::Accepted, vec![], 0));
        assert_eq!(bench.insert(9, 5), (Fate::Accepted, vec![], 0));
        assert_eq!(bench.insert(6, 6), (Fate::Accepted, vec![6, 7], 0));
        assert_eq!(bench.expire(24), (vec![], 0));
        assert_eq!(bench.expire(25), (vec![9], 1));
        assert_eq!(bench.0.deadline(Span::ZERO), None);
    }

    #[test]
    fn the_wait_starts_with_the_first_packet_behind_the_hole() {
        let mut bench = Bench(ReorderBuffer::new(1));
        bench.insert(4, 0);
        bench.insert(3, 15);
        assert_eq!(bench.expire(20), (vec![3, 4], 2));
    }

    #[test]
    fn duplicates_are_known_from_late_packets() {
        let mut bench = Bench(ReorderBuffer::new(1));
        for sequence in [1, 2, 5, 6] {
            bench.insert(sequence, 0);
        }
        bench.expire(20);
        let fates: Vec<_> = [0, 1, 2, 3, 4, 5, 6].map(|sequence| bench.insert(sequence, 21).0).to_vec();
        use Fate::{Duplicate, Late};
        assert_eq!(fates, [Late, Duplicate, Duplicate, Late, Late, Duplicate, Duplicate]);
        bench.insert(8, 22);
        assert_eq!(bench.insert(8, 23).0, Duplicate);
    }

    #[test]
    fn a_full_buffer_gives_up_the_oldest_hole() {
        let mut bench = Bench(ReorderBuffer::new(0));
        for sequence in 1..=MAX_HELD as i64 {
            assert_eq!(bench.insert(sequence, 0).1, Vec::<u64>::new());
        }
        let (_, out, lost) = bench.insert(500, 0);
        assert_eq!((out.len(), lost, bench.0.held()), (MAX_HELD, 1, 1));
    }
}
