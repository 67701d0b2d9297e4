//! RTP payloads back to NAL units in Annex B form.

use thiserror::Error;

use super::nal;
use crate::h264::{MAX_ACCESS_UNIT, START_CODE};

/// Why an access unit is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DepayError {
    /// A packet without payload.
    #[error("H.264 payload is empty")]
    Empty,
    /// A type that packetization mode 1 does not have: STAP-B, MTAP, FU-B, reserved.
    #[error("H.264 payload of type {found}, which packetization mode 1 does not have")]
    Type {
        /// The type in the low five bits of the first byte.
        found: u8,
    },
    /// An aggregate or fragment whose own lengths do not fit the payload.
    #[error("H.264 payload of type {found} is cut off at byte {at}")]
    Truncated {
        /// The type in the low five bits of the first byte.
        found: u8,
        /// The byte of the payload at which something is missing.
        at: usize,
    },
    /// A fragment that continues or ends nothing, or a new NAL unit inside an unfinished fragment.
    #[error("H.264 fragments do not join: a packet is missing")]
    Fragments,
    /// A packet of this access unit was lost.
    #[error("packets of this access unit were lost")]
    Lost,
    /// Larger than [`MAX_ACCESS_UNIT`].
    #[error("access unit larger than {MAX_ACCESS_UNIT} bytes")]
    TooLarge,
}

/// Turns payloads, in sequence order, into NAL units with start codes.
///
/// After an error, [`Self::gap`] or a missing marker, the access unit is damaged: every further payload of
/// it gives the same error, until the marker has passed or [`Self::reset`] says that another one begins.
#[derive(Debug, Default)]
pub struct Depacketizer {
    damage: Option<DepayError>,
    in_fragment: bool,
}

impl Depacketizer {
    /// A depacketizer at the start of an access unit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the NAL units in `payload` to `out`, each with a four-byte start code; fragments are
    /// appended as they come.
    ///
    /// # Errors
    /// The access unit that `out` holds is damaged and stays so; drop it at its end.
    pub fn handle(&mut self, payload: &[u8], marker: bool, out: &mut Vec<u8>) -> Result<(), DepayError> {
        let mut result = match self.damage {
            Some(damage) => Err(damage),
            None => self.append(payload, out),
        };
        if result.is_ok() && marker && self.in_fragment {
            result = Err(DepayError::Fragments);
        }
        self.damage = result.err();
        if marker {
            self.reset();
        }
        result
    }

    /// Packets were lost here: the access unit is damaged.
    pub fn gap(&mut self) {
        self.damage.get_or_insert(DepayError::Lost);
    }

    /// Another access unit begins: forget what was wrong with the last.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Why the access unit in progress is damaged, if it is: also when it ends inside a fragment.
    #[must_use]
    pub fn damage(&self) -> Option<DepayError> {
        self.damage.or(self.in_fragment.then_some(DepayError::Fragments))
    }

    fn append(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), DepayError> {
        let &header = payload.first().ok_or(DepayError::Empty)?;
        // Each aggregated unit grows by two bytes, its size field becoming a start code.
        if out.len() + 2 * payload.len() + START_CODE.len() > MAX_ACCESS_UNIT {
            return Err(DepayError::TooLarge);
        }
        let found = header & nal::TYPE_MASK;
        if self.in_fragment && found != nal::FU_A {
            return Err(DepayError::Fragments);
        }
        match found {
            1..=nal::LAST_SINGLE => append_nal(payload, out),
            nal::STAP_A => append_aggregate(payload, out)?,
            nal::FU_A => self.append_fragment(payload, out)?,
            _ => return Err(DepayError::Type { found }),
        }
        Ok(())
    }

    fn append_fragment(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), DepayError> {
        let [indicator, fu, body @ ..] = payload else {
            return Err(DepayError::Truncated { found: nal::FU_A, at: 1 });
        };
        let start = fu & nal::FU_START != 0;
        if start == self.in_fragment {
            return Err(DepayError::Fragments);
        }
        if start {
            let found = fu & nal::TYPE_MASK;
            if !(1..=nal::LAST_SINGLE).contains(&found) {
                return Err(DepayError::Type { found });
            }
            out.extend_from_slice(&START_CODE);
            out.push((indicator & !nal::TYPE_MASK) | found);
        }
        out.extend_from_slice(body);
        self.in_fragment = fu & nal::FU_END == 0;
        Ok(())
    }
}

fn append_nal(nal: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&START_CODE);
    out.extend_from_slice(nal);
}

fn append_aggregate(payload: &[u8], out: &mut Vec<u8>) -> Result<(), DepayError> {
    let truncated =
        |rest: &[u8]| DepayError::Truncated { found: nal::STAP_A, at: payload.len() - rest.len() };
    let mut rest = &payload[1..];
    if rest.is_empty() {
        return Err(truncated(rest));
    }
    while !rest.is_empty() {
        let (size, tail) = rest.split_first_chunk::<2>().ok_or_else(|| truncated(rest))?;
        let size = usize::from(u16::from_be_bytes(*size));
        let unit = tail.get(..size).filter(|unit| !unit.is_empty()).ok_or_else(|| truncated(tail))?;
        let found = unit[0] & nal::TYPE_MASK;
        if !(1..=nal::LAST_SINGLE).contains(&found) {
            return Err(DepayError::Type { found });
        }
        append_nal(unit, out);
        rest = &tail[size..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Packetizer;
    use super::*;

    fn run(payloads: &[(&[u8], bool)]) -> (Vec<Result<(), DepayError>>, Vec<u8>) {
        let (mut depacketizer, mut out) = (Depacketizer::new(), Vec::new());
        let results = payloads.iter().map(|(p, marker)| depacketizer.handle(p, *marker, &mut out)).collect();
        (results, out)
    }

    #[test]
    fn the_three_forms_on_the_wire() {
        let (results, out) = run(&[
            (b"\x78\x00\x02\x67s\x00\x02\x68p", false),
            (b"\x06sei", false),
            (b"\x7c\x85ab", false),
            (b"\x7c\x05cd", false),
            (b"\x7c\x45e", true),
        ]);
        assert_eq!(results, [Ok(()); 5]);
        assert_eq!(out, b"\0\0\0\x01\x67s\0\0\0\x01\x68p\0\0\0\x01\x06sei\0\0\0\x01\x65abcde");
    }

    #[test]
    fn a_missing_fragment_damages_the_unit_until_its_marker() {
        let (results, _) =
            run(&[(b"\x7c\x05cd", false), (b"\x7c\x45e", false), (b"\x41x", true), (b"\x41y", true)]);
        let bad = Err(DepayError::Fragments);
        assert_eq!(results, [bad, bad, bad, Ok(())]);
    }

    #[test]
    fn an_unfinished_fragment_is_an_error_at_the_marker_or_the_next_unit() {
        let (results, _) = run(&[(b"\x7c\x85ab", true), (b"\x7c\x85ab", false), (b"\x41x", true)]);
        assert_eq!(results, [Err(DepayError::Fragments), Ok(()), Err(DepayError::Fragments)]);
    }

    #[test]
    fn a_gap_between_whole_units_is_told() {
        let (mut depacketizer, mut out) = (Depacketizer::new(), Vec::new());
        depacketizer.handle(b"\x41a", false, &mut out).unwrap();
        depacketizer.gap();
        assert_eq!(depacketizer.handle(b"\x41b", true, &mut out), Err(DepayError::Lost));
        assert_eq!(depacketizer.handle(b"\x41c", true, &mut out), Ok(()));
    }

    #[test]
    fn malformed_payloads_are_typed_errors() {
        for (payload, error) in [
            (&b""[..], DepayError::Empty),
            (b"\x79x", DepayError::Type { found: 25 }),
            (b"\x60", DepayError::Type { found: 0 }),
            (b"\x7c", DepayError::Truncated { found: 28, at: 1 }),
            (b"\x7c\x9c", DepayError::Type { found: 28 }),
            (b"\x78", DepayError::Truncated { found: 24, at: 1 }),
            (b"\x78\x00", DepayError::Truncated { found: 24, at: 1 }),
            (b"\x78\x00\x00", DepayError::Truncated { found: 24, at: 3 }),
            (b"\x78\x00\x02a", DepayError::Truncated { found: 24, at: 3 }),
            (b"\x78\x00\x01\x78", DepayError::Type { found: 24 }),
        ] {
            assert_eq!(run(&[(payload, false)]).0, [Err(error)], "{payload:x?}");
        }
    }

    #[test]
    fn an_endless_access_unit_is_bounded() {
        let (mut depacketizer, mut out) = (Depacketizer::new(), Vec::new());
        let payload = [0x41; 1400];
        let error = (0..10_000).find_map(|_| depacketizer.handle(&payload, false, &mut out).err());
        assert_eq!(error, Some(DepayError::TooLarge));
        assert!(out.len() <= MAX_ACCESS_UNIT);
    }

    proptest! {
        #[test]
        fn never_panics(payloads in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..20,
        )) {
            let mut depacketizer = Depacketizer::new();
            let mut out = Vec::new();
            for (payload, marker) in payloads {
                let _ = depacketizer.handle(&payload, marker, &mut out);
            }
        }

        #[test]
        fn nal_units_survive_the_round_trip(
            nals in proptest::collection::vec((0_u8..=255, 1_usize..5000), 1..8), max_payload in 0_usize..1500,
        ) {
            let nals: Vec<Vec<u8>> = nals.iter().map(|&(header, len)| {
                std::iter::once((header & 0xe0) | (header % 23 + 1))
                    .chain((1..len).map(|i| (i * 31) as u8))
                    .collect()
            }).collect();
            let (mut depacketizer, mut out, mut ends) = (Depacketizer::new(), Vec::new(), 0);
            Packetizer::new().packetize(nals.iter().map(Vec::as_slice), max_payload, |payload, last| {
                assert!(payload.len() <= max_payload.max(Packetizer::MIN_PAYLOAD));
                depacketizer.handle(payload, last, &mut out).unwrap();
                ends += usize::from(last);
            });
            let expected: Vec<u8> = nals.iter().flat_map(|nal| [&START_CODE[..], nal].concat()).collect();
            prop_assert_eq!((out, ends), (expected, 1));
        }
    }
}
