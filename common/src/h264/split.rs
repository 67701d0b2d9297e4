//! Access units out of a byte stream that does not mark them.

use std::collections::VecDeque;

use super::MAX_ACCESS_UNIT;
use super::nal::{NalType, find_start_code};

/// Whole access units that may wait to be polled; more push out the oldest.
const MAX_QUEUED: usize = 256;

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
            self.buf.drain(..self.scan);
            self.scan = 0;
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
        let tail = self.buf.len().saturating_sub(4);
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
