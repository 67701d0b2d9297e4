//! Parameter sets before every key frame: receivers that join late need them, and cameras and files
//! give them once.

use super::{Inspector, NalType, START_CODE, SeiTime, SpsInfo, nal_units};

/// Bytes of parameter sets kept at most; real ones take about a hundred.
const LIMIT: usize = 64 << 10;

/// The last parameter sets of a stream.
#[derive(Clone, Debug, Default)]
pub struct ParameterSets {
    inspector: Inspector,
    /// Annex B.
    last: Vec<u8>,
    sps: Option<SpsInfo>,
}

/// An access unit that can be handed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Complete {
    /// Annex B.
    pub data: Vec<u8>,
    /// Whether it is an IDR frame.
    pub key: bool,
    /// The capture time in its SEI.
    pub sei_time: Option<SeiTime>,
}

impl ParameterSets {
    /// Learns parameter sets that come apart from any frame, in Annex B.
    pub fn learn(&mut self, annex_b: &[u8]) {
        self.last.clear();
        let is_set = |nal: &&[u8]| matches!(NalType::of(nal), Some(NalType::Sps | NalType::Pps));
        for nal in nal_units(annex_b).filter(is_set) {
            if self.last.len() + nal.len() <= LIMIT {
                self.last.extend(START_CODE);
                self.last.extend(nal);
            }
        }
    }

    /// `access_unit` in Annex B, with parameter sets if it is a key frame; `None` if no picture is in it.
    pub fn complete(&mut self, mut access_unit: Vec<u8>) -> Option<Complete> {
        let info = self.inspector.inspect(&access_unit);
        if info.parameter_sets {
            self.learn(&access_unit);
        }
        if info.slices == 0 {
            return None;
        }
        if info.key && !info.parameter_sets && !self.last.is_empty() {
            // An access unit delimiter stays in front (ITU-T H.264 section 7.4.1.2.3).
            let at = if info.delimiter { end_of_first(&access_unit) } else { 0 };
            access_unit.splice(at..at, self.last.iter().copied());
            self.sps = self.inspector.inspect(&access_unit).sps;
        }
        self.sps = info.sps.or(self.sps);
        Some(Complete { data: access_unit, key: info.key, sei_time: info.sei_time })
    }

    /// What the stream's pictures are, once a key frame was seen.
    #[must_use]
    pub const fn sps(&self) -> Option<SpsInfo> {
        self.sps
    }
}

/// Where the second NAL unit's start code begins.
fn end_of_first(annex_b: &[u8]) -> usize {
    let Some(first) = nal_units(annex_b).next() else { return 0 };
    let start = annex_b.windows(3).position(|window| window == [0, 0, 1]).map_or(0, |at| at + 3);
    (start + first.len()).min(annex_b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: [u8; 13] = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3];
    const KEY: [u8; 7] = [0, 0, 0, 1, 0x65, 0x88, 9];
    const OTHER: [u8; 6] = [0, 0, 1, 0x41, 0x9a, 7];
    const DELIMITER: [u8; 6] = [0, 0, 0, 1, 0x09, 0x10];

    #[test]
    fn every_key_frame_gets_parameter_sets() {
        let mut sets = ParameterSets::default();
        let mut complete = |parts: &[&[u8]]| sets.complete(parts.concat()).map(|unit| (unit.data, unit.key));
        assert_eq!(complete(&[&OTHER]), Some((OTHER.to_vec(), false)));
        assert_eq!(complete(&[&SETS]), None, "kept for the next key frame");
        assert_eq!(complete(&[&KEY]), Some(([&SETS[..], &KEY].concat(), true)));
        assert_eq!(complete(&[&SETS, &KEY]), Some(([&SETS[..], &KEY].concat(), true)));
        let delimited = [&DELIMITER[..], &SETS, &KEY].concat();
        assert_eq!(complete(&[&DELIMITER, &KEY]), Some((delimited, true)));
        assert_eq!(complete(&[&OTHER]), Some((OTHER.to_vec(), false)));
        for nothing in [&[1, 2, 3][..], &[]] {
            assert_eq!(complete(&[nothing]), None);
        }
    }
}
