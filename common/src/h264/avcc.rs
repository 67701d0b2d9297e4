//! H.264 as MP4 and SDP have it: lengths instead of start codes, parameter sets apart (ISO/IEC 14496-15).

use super::START_CODE;

/// NAL units behind lengths to NAL units behind start codes; false if a length reaches beyond the end.
#[must_use]
pub fn annex_b(sample: &[u8], length_size: usize) -> (Vec<u8>, bool) {
    // Four-byte lengths, the usual ones, become four-byte start codes.
    let mut data = Vec::with_capacity(sample.len() + 16);
    let mut rest = sample;
    while !rest.is_empty() {
        let Some((length, after)) = rest.split_at_checked(length_size) else { return (data, false) };
        let length = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
        let Some((nal, after)) = after.split_at_checked(length) else { return (data, false) };
        if !nal.is_empty() {
            data.extend(START_CODE);
            data.extend(nal);
        }
        rest = after;
    }
    (data, true)
}

/// Reads an `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15 section 5.3.3.1): bytes of a NAL unit's length, and
/// the parameter sets in Annex B; `None` if it ends too soon.
#[must_use]
pub fn decoder_configuration(record: &[u8]) -> Option<(usize, Vec<u8>)> {
    let length_size = usize::from(record.get(4)? & 3) + 1;
    let mut parameter_sets = Vec::new();
    let mut rest = record.get(5..)?;
    // Sequence parameter sets, their count in five bits, then picture parameter sets.
    for mask in [0x1f, 0xff] {
        let (count, after) = rest.split_first()?;
        rest = after;
        for _ in 0..count & mask {
            let (length, after) = rest.split_first_chunk()?;
            let (nal, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            parameter_sets.extend(START_CODE);
            parameter_sets.extend(nal);
            rest = after;
        }
    }
    Some((length_size, parameter_sets))
}

#[cfg(test)]
mod tests {
    use super::{annex_b, decoder_configuration};

    #[test]
    fn a_decoder_configuration_cut_short_is_none() {
        let record = [1, 66, 0, 30, 0xff, 0xe1, 0, 2, 0x67, 9, 1, 0, 1, 0x68, 99];
        let sets = vec![0, 0, 0, 1, 0x67, 9, 0, 0, 0, 1, 0x68];
        assert_eq!(decoder_configuration(&record), Some((4, sets)));
        for cut in 0..record.len() - 1 {
            assert_eq!(decoder_configuration(&record[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn lengths_become_start_codes() {
        let (data, whole) = annex_b(&[0, 0, 0, 2, 0x65, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x41], 4);
        assert_eq!((data, whole), (vec![0, 0, 0, 1, 0x65, 1, 0, 0, 0, 1, 0x41], true));
        assert_eq!(
            annex_b(&[1, 0x41, 2, 0x42, 0x43], 1),
            (vec![0, 0, 0, 1, 0x41, 0, 0, 0, 1, 0x42, 0x43], true)
        );
        for cut in [&[0, 0, 0, 9, 1][..], &[0, 0], &[0xff, 0xff, 0xff, 0xff, 1]] {
            assert!(!annex_b(cut, 4).1, "{cut:?}");
        }
    }
}
