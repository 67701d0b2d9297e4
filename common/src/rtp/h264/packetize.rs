//! NAL units of one access unit to RTP payloads.

use super::nal;

/// Bytes of FU indicator and FU header (RFC 6184 section 5.8).
const FU_HEADER: usize = 2;

/// Turns access units into payloads (RFC 6184 sections 5.6 to 5.8).
///
/// Small NAL units that are not slices (delimiter, parameter sets, SEI) share a STAP-A; a NAL unit larger
/// than a payload becomes FU-A fragments; all else goes as it is, without a copy.
#[derive(Debug, Default)]
pub struct Packetizer {
    payload: Vec<u8>,
    /// How many NAL units the STAP-A under construction in `payload` holds.
    aggregated: usize,
}

impl Packetizer {
    /// The smallest `max_payload` that is obeyed.
    pub const MIN_PAYLOAD: usize = 16;

    /// A packetizer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `emit` with each payload of the access unit `nals` (NAL units without start codes, in order);
    /// `last` is true exactly once, with the final payload: set the marker bit there. No payload is longer
    /// than `max_payload` bytes (at least [`Self::MIN_PAYLOAD`]).
    ///
    /// Empty NAL units, and types 0 and 24 to 31, which RTP uses for itself (RFC 6184 table 1), are left
    /// out; returns how many.
    pub fn packetize<'a>(
        &mut self,
        nals: impl IntoIterator<Item = &'a [u8]>,
        max_payload: usize,
        mut emit: impl FnMut(&[u8], bool),
    ) -> usize {
        let max_payload = max_payload.max(Self::MIN_PAYLOAD);
        let mut left_out = 0;
        let mut sendable = nals
            .into_iter()
            .filter(|nal| {
                let keep = is_sendable(nal);
                left_out += usize::from(!keep);
                keep
            })
            .peekable();
        while let Some(nal) = sendable.next() {
            let last = sendable.peek().is_none();
            if self.aggregate(nal, max_payload, &mut emit) {
                if last {
                    self.flush(true, &mut emit);
                }
                continue;
            }
            self.flush(false, &mut emit);
            if nal.len() <= max_payload {
                emit(nal, last);
            } else {
                self.fragment(nal, max_payload, last, &mut emit);
            }
        }
        left_out
    }

    /// Puts `nal` into the STAP-A under construction, flushing a full one; false if it does not belong there.
    fn aggregate(&mut self, nal: &[u8], max_payload: usize, emit: &mut impl FnMut(&[u8], bool)) -> bool {
        let small =
            matches!(nal[0] & nal::TYPE_MASK, nal::SEI | nal::SPS | nal::PPS | nal::ACCESS_UNIT_DELIMITER);
        let Ok(size) = u16::try_from(nal.len()) else { return false };
        if !small || 3 + nal.len() > max_payload {
            return false;
        }
        if self.aggregated > 0 && self.payload.len() + 2 + nal.len() > max_payload {
            self.flush(false, emit);
        }
        if self.aggregated == 0 {
            self.payload.clear();
            self.payload.push(nal::STAP_A);
        }
        // F is the OR, NRI the maximum of the aggregated units (RFC 6184 section 5.7).
        let (header, f) = (self.payload[0], nal[0] & 0x80);
        self.payload[0] = (header & 0x80) | f | (header & 0x60).max(nal[0] & 0x60) | nal::STAP_A;
        self.payload.extend_from_slice(&size.to_be_bytes());
        self.payload.extend_from_slice(nal);
        self.aggregated += 1;
        true
    }

    /// Emits the STAP-A under construction; one that holds a single NAL unit goes without the wrapping.
    fn flush(&mut self, last: bool, emit: &mut impl FnMut(&[u8], bool)) {
        match std::mem::take(&mut self.aggregated) {
            0 => {}
            1 => emit(&self.payload[3..], last),
            _ => emit(&self.payload, last),
        }
    }

    fn fragment(&mut self, nal: &[u8], max_payload: usize, last: bool, emit: &mut impl FnMut(&[u8], bool)) {
        let (header, body) = (nal[0], &nal[1..]);
        let mut pieces = body.chunks(max_payload - FU_HEADER).peekable();
        let mut position = nal::FU_START;
        while let Some(piece) = pieces.next() {
            let end = pieces.peek().is_none();
            if end {
                position |= nal::FU_END;
            }
            self.payload.clear();
            self.payload.push((header & !nal::TYPE_MASK) | nal::FU_A);
            self.payload.push(position | (header & nal::TYPE_MASK));
            self.payload.extend_from_slice(piece);
            emit(&self.payload, last && end);
            position = 0;
        }
    }
}

fn is_sendable(nal: &[u8]) -> bool {
    nal.first().is_some_and(|header| (1..=nal::LAST_SINGLE).contains(&(header & nal::TYPE_MASK)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(nals: &[&[u8]], max_payload: usize) -> Vec<(Vec<u8>, bool)> {
        let mut out = Vec::new();
        Packetizer::new()
            .packetize(nals.iter().copied(), max_payload, |p, last| out.push((p.to_vec(), last)));
        out
    }

    #[test]
    fn parameter_sets_share_a_stap_a_and_the_slice_goes_alone() {
        let out = payloads(&[b"\x67sps", b"\x28pp", b"\x65slice"], 100);
        // NRI is the maximum of 3 and 1.
        let stap = b"\x78\x00\x04\x67sps\x00\x03\x28pp".to_vec();
        assert_eq!(out, [(stap, false), (b"\x65slice".to_vec(), true)]);
    }

    #[test]
    fn large_nal_becomes_fragments_with_start_and_end() {
        let nal: Vec<u8> = std::iter::once(0x65).chain(0..30).collect();
        let out = payloads(&[&nal], 16);
        let heads: Vec<_> = out.iter().map(|(p, last)| (p[0], p[1], p.len(), *last)).collect();
        assert_eq!(heads, [(0x7c, 0x85, 16, false), (0x7c, 0x05, 16, false), (0x7c, 0x45, 4, true)]);
        let body: Vec<u8> = out.iter().flat_map(|(p, _)| p[2..].to_vec()).collect();
        assert_eq!(body, nal[1..]);
    }

    #[test]
    fn a_nal_that_just_fits_is_not_fragmented() {
        let nal = [0x41; 16];
        assert_eq!(payloads(&[&nal], 16), [(nal.to_vec(), true)]);
        assert_eq!(payloads(&[&[0x41; 17]], 16).len(), 2);
    }

    #[test]
    fn last_is_true_exactly_once_even_with_trailing_rubbish() {
        for nals in [&[&b"\x41a"[..], b""][..], &[b"\x09\xf0", b"\x1fx"], &[b"\x41a", b"\x42b", b"\x06sei"]] {
            let out = payloads(nals, 20);
            assert_eq!(out.iter().filter(|(_, last)| *last).count(), 1);
            assert!(out.last().unwrap().1);
        }
        let left_out =
            Packetizer::new().packetize([&b""[..], b"\x18stap", b"\x00"], 20, |_, _| unreachable!());
        assert_eq!(left_out, 3);
    }

    #[test]
    fn a_full_aggregate_is_flushed() {
        let out = payloads(&[b"\x67aaaaaa", b"\x68bb", b"\x06ccccccc", b"\x41s"], 16);
        let lengths: Vec<_> = out.iter().map(|(p, _)| p.len()).collect();
        assert_eq!(lengths, [15, 8, 2]);
        assert_eq!(out[1].0, b"\x06ccccccc");
    }
}
