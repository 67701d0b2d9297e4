//! Access units out of a byte stream that does not mark them.

use std::collections::VecDeque;

use super::MAX_ACCESS_UNIT;
use super::nal::{NalType, find_start_code};

/// Whole access units that may wait to be polled; more push out the oldest.
const MAX_QUEUED: usize = 256;

/// What is looked at in one go: bounds the memory beyond an access unit, and what is moved for each
/// unit found.
const PIECE: usize = 4 << 10;

/// Splits an Annex B byte stream, given in pieces of any size, into access units by the rules of
/// ITU-T H.264 section 7.4.1.2.3.
///
/// A new picture is told from a further slice of the old one by `first_mb_in_slice` = 0 or a change
/// of the IDR or reference property; the finer comparisons of section 7.4.1.2.4 matter only to
/// arbitrary slice order, which no camera or encoder here uses.
///
/// A unit is known to be whole only when the next one begins, so the last waits for
/// [`Self::end_of_frame`]. Use this only where nothing marks the boundaries: it costs a frame of latency.
#[derive(Debug)]
pub struct AccessUnitSplitter {
    buf: Vec<u8>,
    /// No start code begins before this offset of `buf` that has not been looked at.
    scan: usize,
    /// Throwing away until an access unit begins.
    seeking: bool,
    /// NAL header of the last slice in `buf`.
    slice: Option<u8>,
    ready: VecDeque<Vec<u8>>,
    dropped: u64,
}

impl Default for AccessUnitSplitter {
    fn default() -> Self {
        Self { buf: Vec::new(), scan: 0, seeking: true, slice: None, ready: VecDeque::new(), dropped: 0 }
    }
}

impl AccessUnitSplitter {
    /// A splitter at the start of a stream or in its middle.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, data: &[u8]) {
        data.chunks(PIECE).for_each(|piece| self.push_piece(piece));
    }

    fn push_piece(&mut self, data: &[u8]) {
        self.buf.extend_from_slice(data);
        while let Some(code) = find_start_code(&self.buf, self.scan) {
            let Some(&[header, first]) = self.buf.get(code + 3..code + 5) else {
                self.scan = code;
                break;
            };
            let removed = self.note_unit(code, header, first);
            self.scan = code + 3 - removed;
        }
        // All of `buf` is looked at but an incomplete start code and the two bytes behind it.
        self.scan = self.scan.max(self.buf.len().saturating_sub(4)).min(self.buf.len());
        if self.seeking {
            // The byte before may be the zero_byte of a start code that is not whole yet.
            let done = self.scan.saturating_sub(1);
            self.buf.drain(..done);
            self.scan -= done;
        } else if self.buf.len() > MAX_ACCESS_UNIT {
            self.dropped += 1;
            self.restart();
        }
    }

    /// The stream marked a boundary by other means, or ended: what is there is a whole access unit.
    pub fn end_of_frame(&mut self) {
        if self.slice.is_some() {
            let unit = std::mem::take(&mut self.buf);
            self.emit(unit);
        }
        self.buf.clear();
        self.restart();
    }

    /// Bytes were lost: drops the unit they belong to and goes on with the next.
    pub fn gap(&mut self) {
        if !self.seeking {
            self.dropped += 1;
        }
        self.buf.clear();
        self.restart();
    }

    /// The next whole access unit, Annex B.
    pub fn poll(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    /// Access units dropped: cut by a gap, longer than [`MAX_ACCESS_UNIT`], or not polled in time.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Looks at the NAL unit whose start code is at `code`; says how many bytes before it went away.
    fn note_unit(&mut self, code: usize, header: u8, first: u8) -> usize {
        let kind = NalType::from_header(header);
        // `first_mb_in_slice` = 0 is the single bit 1.
        let picture_starts = matches!(kind, NalType::Slice | NalType::Idr | NalType::Partition(2))
            && (first & 0x80 != 0 || self.slice.is_some_and(|last| differs(last, header)));
        let starts = kind.starts_access_unit() || picture_starts;
        let mut removed = 0;
        if starts && (self.seeking || self.slice.is_some()) {
            // The zero_byte of a four-byte start code goes with its unit.
            removed = if code > 0 && self.buf[code - 1] == 0 { code - 1 } else { code };
            let rest = self.buf.split_off(removed);
            let unit = std::mem::replace(&mut self.buf, rest);
            if !self.seeking {
                self.emit(unit);
            }
            self.seeking = false;
            self.slice = None;
        }
        if kind.is_vcl() && !self.seeking {
            self.slice = Some(header);
        }
        removed
    }

    fn emit(&mut self, unit: Vec<u8>) {
        if self.ready.len() == MAX_QUEUED {
            self.ready.pop_front();
            self.dropped += 1;
        }
        self.ready.push_back(unit);
    }

    fn restart(&mut self) {
        let tail = self.buf.len().saturating_sub(5);
        self.buf.drain(..tail);
        self.scan = 0;
        self.seeking = true;
        self.slice = None;
    }
}

/// Whether slices with these NAL headers cannot be of one picture: only one of them is IDR, or only
/// one is a reference.
fn differs(a: u8, b: u8) -> bool {
    let idr = |header| NalType::from_header(header) == NalType::Idr;
    let reference = |header: u8| header & 0x60 != 0;
    idr(a) != idr(b) || reference(a) != reference(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DELIMITER: &[u8] = &[0, 0, 0, 1, 9, 0xf0];
    const SETS: &[u8] = &[0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3, 4];
    const IDR: &[u8] = &[0, 0, 1, 0x65, 0x88, 7, 7];
    const IDR_MORE: &[u8] = &[0, 0, 1, 0x65, 0x08, 7, 7];
    const P: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a, 5];
    const P_MORE: &[u8] = &[0, 0, 1, 0x41, 0x1a, 5];
    const P_UNREFERENCED_MORE: &[u8] = &[0, 0, 1, 0x01, 0x1a, 5];
    const SEI: &[u8] = &[0, 0, 0, 1, 6, 5, 1, 1, 0x80];

    fn split(data: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut splitter = AccessUnitSplitter::new();
        data.chunks(step).for_each(|piece| splitter.push(piece));
        splitter.end_of_frame();
        std::iter::from_fn(|| splitter.poll()).collect()
    }

    #[test]
    fn every_rule_of_a_boundary() {
        let units = [
            [SETS, SEI, IDR, IDR_MORE].concat(),
            [P, P_MORE].concat(),
            [P].concat(),
            [P_UNREFERENCED_MORE].concat(),
            [SEI, P].concat(),
            [DELIMITER, P, P_MORE].concat(),
            [SETS, IDR].concat(),
        ];
        for step in [1, 2, 3, 5, 1000] {
            assert_eq!(split(&units.concat(), step), units, "pushes of {step}");
        }
    }

    #[test]
    fn joins_at_the_next_unit() {
        let data = [&[5, 5, 5][..], P_MORE, P, SETS, IDR].concat();
        assert_eq!(split(&data, 4), [P.to_vec(), [SETS, IDR].concat()]);
    }

    #[test]
    fn a_gap_costs_the_unit_it_is_in() {
        let mut splitter = AccessUnitSplitter::new();
        splitter.push(&[P, P_MORE].concat());
        splitter.gap();
        splitter.push(&[P_MORE, P].concat());
        splitter.end_of_frame();
        assert_eq!((splitter.poll(), splitter.poll(), splitter.dropped()), (Some(P.to_vec()), None, 1));
    }

    #[test]
    fn a_unit_without_end_is_dropped() {
        let mut splitter = AccessUnitSplitter::new();
        splitter.push(IDR);
        for _ in 0..=MAX_ACCESS_UNIT / PIECE {
            splitter.push(&[9; PIECE]);
            assert!(splitter.buf.len() <= MAX_ACCESS_UNIT + PIECE);
        }
        splitter.push(&[P, P].concat());
        assert_eq!((splitter.dropped(), splitter.poll()), (1, Some(P.to_vec())));
    }

    #[test]
    fn the_limit_holds_within_one_push_too() {
        let mut splitter = AccessUnitSplitter::new();
        splitter.push(&[IDR, &[9; MAX_ACCESS_UNIT + PIECE], P, P].concat());
        assert_eq!((splitter.dropped(), splitter.poll()), (1, Some(P.to_vec())));
        assert!(splitter.poll().is_none() && splitter.buf.len() < PIECE);
    }

    #[test]
    fn units_that_nobody_polls_push_out_the_oldest() {
        let mut splitter = AccessUnitSplitter::new();
        (0..MAX_QUEUED + 11).for_each(|_| splitter.push(P));
        assert_eq!(splitter.ready.len(), MAX_QUEUED);
        assert_eq!(splitter.dropped(), 10);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            data in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0x41), Just(0x65), Just(0x80), any::<u8>()], 0..400),
            step in 1_usize..50,
        ) {
            let whole = split(&data, usize::MAX);
            prop_assert_eq!(split(&data, step), whole);
        }
    }
}
