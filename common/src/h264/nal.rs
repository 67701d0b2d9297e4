//! NAL units of an Annex B byte stream.

/// The four-byte start code (ITU-T H.264 B.1.1: `zero_byte` and `start_code_prefix_one_3bytes`).
pub const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// `nal_unit_type` (ITU-T H.264 table 7-1), as far as anything here treats it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NalType {
    /// 1: slice of a picture that is not IDR.
    Slice,
    /// 2, 3, 4: data partitions A, B and C of a slice.
    Partition(u8),
    /// 5: slice of an IDR picture.
    Idr,
    /// 6: supplemental enhancement information.
    Sei,
    /// 7: sequence parameter set.
    Sps,
    /// 8: picture parameter set.
    Pps,
    /// 9: access unit delimiter.
    AccessUnitDelimiter,
    /// 10: end of sequence.
    EndOfSequence,
    /// 11: end of stream.
    EndOfStream,
    /// 12: filler data.
    Filler,
    /// Any other type; 0 and 24 to 31 never occur in a valid stream.
    Other(u8),
}

impl NalType {
    /// The type of `nal`, which has no start code; `None` if it is empty.
    #[must_use]
    pub fn of(nal: &[u8]) -> Option<Self> {
        nal.first().map(|&header| Self::from_header(header))
    }

    /// The type in the first byte of a NAL unit.
    #[must_use]
    pub const fn from_header(header: u8) -> Self {
        match header & 0x1f {
            1 => Self::Slice,
            id @ 2..=4 => Self::Partition(id),
            5 => Self::Idr,
            6 => Self::Sei,
            7 => Self::Sps,
            8 => Self::Pps,
            9 => Self::AccessUnitDelimiter,
            10 => Self::EndOfSequence,
            11 => Self::EndOfStream,
            12 => Self::Filler,
            id => Self::Other(id),
        }
    }

    /// Whether this unit carries coded picture data of the base layer (VCL, types 1 to 5).
    #[must_use]
    pub const fn is_vcl(self) -> bool {
        matches!(self, Self::Slice | Self::Partition(_) | Self::Idr)
    }
}

/// The NAL units of `annex_b`, without start codes and trailing zeros; empty ones are left out.
/// Bytes before the first start code are not a NAL unit and are skipped.
#[must_use]
pub fn nal_units(annex_b: &[u8]) -> NalUnits<'_> {
    NalUnits { data: annex_b, next: find_start_code(annex_b, 0) }
}

/// Iterator of [`nal_units`].
#[derive(Clone, Debug)]
pub struct NalUnits<'a> {
    data: &'a [u8],
    /// Offset of the next 00 00 01.
    next: Option<usize>,
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let start = self.next? + 3;
            self.next = find_start_code(self.data, start);
            let end = self.next.unwrap_or(self.data.len());
            let nal = trim_zeros(&self.data[start..end]);
            if !nal.is_empty() {
                return Some(nal);
            }
        }
    }
}

/// The offset of the start code, with the `zero_byte` where there is one, of the first NAL unit that is not empty and
/// whose type is `wanted`. Of the unit itself only the first byte is looked at: a slice is nearly the whole frame.
pub(super) fn offset_of(annex_b: &[u8], wanted: impl Fn(NalType) -> bool) -> Option<usize> {
    let mut next = find_start_code(annex_b, 0);
    while let Some(code) = next {
        let header = *annex_b.get(code + 3)?;
        // Zero is no type; it is what follows an empty unit.
        if header != 0 && wanted(NalType::from_header(header)) {
            let long = code > 0 && annex_b[code - 1] == 0;
            return Some(code - usize::from(long));
        }
        next = find_start_code(annex_b, code + 3);
    }
    None
}

/// A NAL unit never ends in a zero byte; what follows it are `trailing_zero_8bits` or the
/// `zero_byte` of the next start code (ITU-T H.264 B.1).
fn trim_zeros(nal: &[u8]) -> &[u8] {
    let end = nal.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &nal[..end]
}

/// The offset of the first 00 00 01 at or after `from`.
pub(super) fn find_start_code(data: &[u8], from: usize) -> Option<usize> {
    memchr::memmem::find(data.get(from..)?, &[0, 0, 1]).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(data: &[u8]) -> Vec<&[u8]> {
        nal_units(data).collect()
    }

    #[test]
    fn both_start_codes_and_trailing_zeros() {
        let data = [0xaa, 0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 7, 1, 2, 0, 0, 0, 0, 0, 1, 0, 0, 1, 5, 0x80, 0];
        assert_eq!(all(&data), [&[9, 0xf0][..], &[7, 1, 2], &[5, 0x80]]);
    }

    #[test]
    fn offsets_point_at_the_whole_start_code() {
        let data = [0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 5, 1];
        let offset = |kind| offset_of(&data, |found| found == kind);
        assert_eq!(offset(NalType::AccessUnitDelimiter), Some(0));
        assert_eq!(offset(NalType::Idr), Some(6));
        assert_eq!(offset(NalType::Sps), None);
    }

    #[test]
    fn no_start_code_is_no_nal() {
        for data in [&[][..], &[0, 0, 1], &[0, 0, 0, 0], &[1, 2, 3]] {
            assert!(all(data).is_empty(), "{data:?}");
        }
    }

    proptest! {
        #[test]
        fn an_offset_is_that_of_the_first_unit_of_its_kind(
            data in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(5), any::<u8>()], 0..64),
        ) {
            let first = all(&data).into_iter().find(|nal| NalType::of(nal).is_some_and(NalType::is_vcl));
            let offset = offset_of(&data, NalType::is_vcl);
            let behind = offset.map(|at| nal_units(&data[at..]).next().expect("a unit is there"));
            prop_assert_eq!(behind, first);
        }

        #[test]
        fn finds_what_a_naive_search_finds(data in proptest::collection::vec(0_u8..3, 0..64), from in 0_usize..8) {
            let naive = (from..data.len()).find(|&at| data[at..].starts_with(&[0, 0, 1]));
            prop_assert_eq!(find_start_code(&data, from), naive);
        }

        #[test]
        fn units_survive_being_joined(nals in proptest::collection::vec(proptest::collection::vec(4_u8.., 1..20), 0..8)) {
            let mut data = Vec::new();
            for nal in &nals {
                data.extend_from_slice(&START_CODE);
                data.extend_from_slice(nal);
            }
            prop_assert_eq!(all(&data), nals.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }
}
