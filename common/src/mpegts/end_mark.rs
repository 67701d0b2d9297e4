//! The mark that our muxer puts on the last packet of a frame too long for `PES_packet_length`.
//!
//! Such a PES packet is open-ended: nothing in the standard says where it ends but the start of the
//! next one, a frame later. So its last packet carries, as `transport_private_data` of the adaptation
//! field (ITU-T H.222.0 section 2.4.3.4), a field in the tag-length form of ETSI TS 101 154 annex D
//! under the tag of registered private data (ANSI/SCTE 128):
//!
//! | bytes | meaning |
//! |---|---|
//! | 1 | tag 0xdf |
//! | 1 | length of what follows, at least 8 |
//! | 4 | format identifier `FLCK` |
//! | 4 | length of the PES packet's payload in bytes, big endian |
//!
//! Receivers that do not know it pass over it.

const TAG: u8 = 0xdf;
const FORMAT: [u8; 4] = *b"FLCK";
const DATA: usize = 10;

/// Bytes of the adaptation field with the mark: length, flags, length of the private data, the mark.
pub(super) const FIELD: usize = 3 + DATA;

/// The private data that ends a PES packet with `length` bytes of payload.
pub(super) fn write(length: u32) -> [u8; DATA] {
    let [a, b, c, d] = length.to_be_bytes();
    let [f0, f1, f2, f3] = FORMAT;
    [TAG, 8, f0, f1, f2, f3, a, b, c, d]
}

/// The payload length in a mark among the fields of `private_data`, if there is one.
pub(super) fn read(mut private_data: &[u8]) -> Option<usize> {
    while let [tag, length, rest @ ..] = private_data {
        let (field, rest) = rest.split_at_checked(usize::from(*length))?;
        if *tag == TAG
            && let Some(&[a, b, c, d]) = field.strip_prefix(&FORMAT).and_then(<[u8]>::first_chunk)
        {
            return usize::try_from(u32::from_be_bytes([a, b, c, d])).ok();
        }
        private_data = rest;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_among_other_fields_and_nothing_else_is_taken_for_one() {
        let mark = write(100_000);
        assert_eq!(mark, *b"\xdf\x08FLCK\x00\x01\x86\xa0");
        assert_eq!(read(&[&[0x02, 1, 9][..], &mark, &[0xff; 3]].concat()), Some(100_000));
        for other in
            [&b""[..], b"\xdf", b"\xdf\x08FLCK\0\x01", b"\xdf\x08EBP0\0\0\0\0", b"\xdf\x04FLCK", b"\x02\xff"]
        {
            assert_eq!(read(other), None, "{other:x?}");
        }
    }
}
