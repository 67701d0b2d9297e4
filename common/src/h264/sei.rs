//! Capture time in SEI `user_data_unregistered` messages (ITU-T H.264 sections D.1.7 and D.2.7).
//!
//! Two messages in one SEI NAL unit:
//!
//! 1. The MISB ST 0604 precision time stamp, which other systems read: UUID `MISPmicrosectime`, a
//!    status byte (MISB ST 0603) and microseconds in 64 bits, with 0xff after every second byte.
//! 2. Our own, with what the first cannot say: nanoseconds, the uncertainty and the clock state.
//!
//! Both count from the Unix epoch as POSIX does, without leap seconds.

use h264_reader::nal::sei::{HeaderType, SeiReader};
use h264_reader::nal::{Nal, RefNal};

use super::nal::{NalType, START_CODE, offset_of};
use crate::clock::ClockState;
use crate::time::{Span, Utc, UtcEstimate};

/// UUID of the MISB ST 0604 precision time stamp (microseconds).
pub const MISP_UUID: [u8; 16] = *b"MISPmicrosectime";

/// UUID of our own message: 5d1e0c9a-7b42-4f0e-9a3c-61d8f2b7e054.
pub const FRAMELOCK_UUID: [u8; 16] =
    [0x5d, 0x1e, 0x0c, 0x9a, 0x7b, 0x42, 0x4f, 0x0e, 0x9a, 0x3c, 0x61, 0xd8, 0xf2, 0xb7, 0xe0, 0x54];

/// `payloadType` of `user_data_unregistered` (ITU-T H.264 section D.1.1).
const USER_DATA_UNREGISTERED: u8 = 5;
/// MISB ST 0603 time stamp status: reserved bits one, locked to an absolute time reference.
const STATUS_LOCKED: u8 = 0x1f;
/// As [`STATUS_LOCKED`], but the lock is lost or unknown.
const STATUS_UNLOCKED: u8 = 0x9f;
/// Version of our message's layout.
const VERSION: u8 = 1;
/// SEI beyond this many bytes of a NAL unit is not looked at: capture time comes first.
const MAX_SEI: usize = 64 << 10;

/// A capture time read from SEI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeiTime {
    /// The instant of capture, to the nanosecond from our message, else to the microsecond.
    pub utc: Utc,
    /// Bound on its error; `None` in a stream that is not ours.
    pub uncertainty: Option<Span>,
    /// Whether the writer's clock was disciplined.
    pub state: ClockState,
}

/// An SEI NAL unit with the capture time, behind a four-byte start code.
#[must_use]
pub fn write_capture_time(time: UtcEstimate, state: ClockState) -> Vec<u8> {
    let mut rbsp = Vec::with_capacity(96);
    write_message(&mut rbsp, &MISP_UUID, &misp_payload(time.utc, state));
    write_message(&mut rbsp, &FRAMELOCK_UUID, &own_payload(time, state));
    rbsp.push(0x80);
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(&START_CODE);
    out.push(0x06);
    escape(&rbsp, &mut out);
    out
}

/// Copies the access unit `annex_b` to `out` (appended) with `sei`, from [`write_capture_time`],
/// before its first slice and so after delimiter, parameter sets and other SEI.
pub fn insert_sei(annex_b: &[u8], sei: &[u8], out: &mut Vec<u8>) {
    // A prefix NAL unit (14) or slice extension (20) belongs to the slice beside it.
    let of_slice = |kind: NalType| kind.is_vcl() || matches!(kind, NalType::Other(14 | 20));
    let at = offset_of(annex_b, of_slice).unwrap_or(annex_b.len());
    out.reserve(annex_b.len() + sei.len());
    out.extend_from_slice(&annex_b[..at]);
    out.extend_from_slice(sei);
    out.extend_from_slice(&annex_b[at..]);
}

/// The capture time in the SEI NAL unit `nal`, joined with what earlier ones said; our own message
/// wins over the microseconds beside it.
pub(super) fn capture_time(nal: &[u8], earlier: Option<SeiTime>) -> Option<SeiTime> {
    let mut found = earlier;
    if nal.is_empty() || nal.len() > MAX_SEI {
        return found;
    }
    let unit = RefNal::new(nal, &[], true);
    let mut scratch = Vec::new();
    let mut messages = SeiReader::from_rbsp_bytes(unit.rbsp_bytes(), &mut scratch);
    while let Ok(Some(message)) = messages.next() {
        if message.payload_type != HeaderType::UserDataUnregistered {
            continue;
        }
        let Some((uuid, payload)) = message.payload.split_first_chunk::<16>() else { continue };
        if *uuid == FRAMELOCK_UUID {
            found = parse_own(payload).or(found);
        } else if *uuid == MISP_UUID && found.is_none_or(|time| time.uncertainty.is_none()) {
            found = parse_misp(payload).or(found);
        }
    }
    found
}

fn misp_payload(utc: Utc, state: ClockState) -> [u8; 12] {
    let status = if state == ClockState::Synchronized { STATUS_LOCKED } else { STATUS_UNLOCKED };
    let [a, b, c, d, e, f, g, h] = utc.as_unix_nanos().div_euclid(1_000).to_be_bytes();
    [status, a, b, 0xff, c, d, 0xff, e, f, 0xff, g, h]
}

fn parse_misp(payload: &[u8]) -> Option<SeiTime> {
    let &[status, a, b, 0xff, c, d, 0xff, e, f, 0xff, g, h, ..] = payload else { return None };
    let us = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let utc = Utc::from_unix_nanos(us.checked_mul(1_000)?);
    let state = if status & 0x80 == 0 { ClockState::Synchronized } else { ClockState::Unsynchronized };
    Some(SeiTime { utc, uncertainty: None, state })
}

fn own_payload(time: UtcEstimate, state: ClockState) -> [u8; 18] {
    let mut payload = [0; 18];
    payload[0] = VERSION;
    payload[1] = u8::from(state == ClockState::Synchronized);
    payload[2..10].copy_from_slice(&time.utc.as_unix_nanos().to_be_bytes());
    payload[10..].copy_from_slice(&time.uncertainty.as_nanos().max(0).to_be_bytes());
    payload
}

fn parse_own(payload: &[u8]) -> Option<SeiTime> {
    // A later version may append fields.
    let (&[VERSION, state], rest) = payload.split_first_chunk()? else { return None };
    let (utc, rest) = rest.split_first_chunk()?;
    let (uncertainty, _) = rest.split_first_chunk()?;
    let uncertainty = i64::from_be_bytes(*uncertainty);
    if uncertainty < 0 {
        return None;
    }
    Some(SeiTime {
        utc: Utc::from_unix_nanos(i64::from_be_bytes(*utc)),
        uncertainty: Some(Span::from_nanos(uncertainty)),
        state: if state & 1 == 1 { ClockState::Synchronized } else { ClockState::Unsynchronized },
    })
}

fn write_message(rbsp: &mut Vec<u8>, uuid: &[u8; 16], payload: &[u8]) {
    let size = u8::try_from(uuid.len() + payload.len()).expect("our messages are below 255 bytes");
    rbsp.extend_from_slice(&[USER_DATA_UNREGISTERED, size]);
    rbsp.extend_from_slice(uuid);
    rbsp.extend_from_slice(payload);
}

/// Appends `rbsp` with emulation prevention bytes (ITU-T H.264 section 7.4.1).
fn escape(rbsp: &[u8], out: &mut Vec<u8>) {
    let mut zeros = 0;
    for &byte in rbsp {
        if zeros >= 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::nal_units;
    use proptest::prelude::*;

    fn estimate(utc: i64, uncertainty: i64) -> UtcEstimate {
        UtcEstimate { utc: Utc::from_unix_nanos(utc), uncertainty: Span::from_nanos(uncertainty) }
    }

    fn read(annex_b: &[u8]) -> Option<SeiTime> {
        nal_units(annex_b).fold(None, |found, nal| capture_time(nal, found))
    }

    #[test]
    fn the_precision_time_stamp_is_laid_out_as_misb_st_0604_has_it() {
        let sei =
            write_capture_time(estimate(0x0006_0102_0304_0506 * 1_000 + 999, 5), ClockState::Synchronized);
        let expected = [
            &[0, 0, 0, 1, 6, 5, 28][..],
            b"MISPmicrosectime",
            &[0x1f, 0x00, 0x06, 0xff, 0x01, 0x02, 0xff, 0x03, 0x04, 0xff, 0x05, 0x06],
        ]
        .concat();
        assert_eq!(sei[..expected.len()], expected);
        let sei = write_capture_time(estimate(0, 0), ClockState::Unsynchronized);
        assert_eq!(sei[23], 0x9f);
    }

    #[test]
    fn zeros_are_escaped_and_survive() {
        // Uncertainty 0 and a round time: long runs of zeros, which would look like start codes.
        let time = estimate(1 << 40, 0);
        let sei = write_capture_time(time, ClockState::Synchronized);
        assert_eq!(nal_units(&sei).count(), 1, "a start code was emulated");
        assert!(sei[4..].windows(3).all(|three| three[..2] != [0, 0] || three[2] >= 3), "{sei:02x?}");
        let found = read(&sei).unwrap();
        assert_eq!((found.utc, found.uncertainty), (time.utc, Some(time.uncertainty)));
    }

    #[test]
    fn a_foreign_precision_time_stamp_has_no_bound() {
        let us = 1_790_000_000_123_456_i64;
        let mut rbsp = Vec::new();
        let payload = misp_payload(Utc::from_unix_nanos(us * 1_000), ClockState::Unsynchronized);
        // Behind another message, as encoders put it.
        rbsp.extend_from_slice(&[1, 2, 0xaa, 0xbb]);
        write_message(&mut rbsp, &MISP_UUID, &payload);
        rbsp.push(0x80);
        let mut sei = vec![0, 0, 1, 6];
        escape(&rbsp, &mut sei);
        let expected = SeiTime {
            utc: Utc::from_unix_nanos(us * 1_000),
            uncertainty: None,
            state: ClockState::Unsynchronized,
        };
        assert_eq!(read(&sei), Some(expected));
    }

    #[test]
    fn a_broken_message_says_nothing() {
        assert_eq!(parse_misp(&[0x1f, 0, 0, 0xfe, 0, 0, 0xff, 0, 0, 0xff, 0, 0]), None);
        assert_eq!(
            parse_misp(&[0x1f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            None
        );
        let mut own = own_payload(estimate(1, 2), ClockState::Synchronized);
        assert!(parse_own(&own).is_some() && parse_own(&own[..17]).is_none());
        own[0] = 2;
        assert_eq!(parse_own(&own), None);
    }

    #[test]
    fn it_is_inserted_before_the_first_slice() {
        let head = [0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2];
        let slices = [0, 0, 1, 0x65, 0x88, 0, 0, 1, 0x65, 0x44];
        let sei = [0, 0, 0, 1, 6, 7];
        let mut out = vec![0xee];
        insert_sei(&[&head[..], &slices].concat(), &sei, &mut out);
        assert_eq!(out, [&[0xee][..], &head, &sei, &slices].concat());
        out.clear();
        insert_sei(&head, &sei, &mut out);
        assert_eq!(out, [&head[..], &sei].concat(), "no slice: at the end");
    }

    proptest! {
        #[test]
        fn capture_time_survives(utc: i64, uncertainty in 0..=i64::MAX, synchronized: bool) {
            let state = if synchronized { ClockState::Synchronized } else { ClockState::Unsynchronized };
            let time = estimate(utc, uncertainty);
            let found = read(&write_capture_time(time, state));
            prop_assert_eq!(found, Some(SeiTime { utc: time.utc, uncertainty: Some(time.uncertainty), state }));
        }

        #[test]
        fn arbitrary_sei_never_panics(mut nal in proptest::collection::vec(any::<u8>(), 1..200)) {
            nal[0] = 6;
            capture_time(&nal, None);
        }
    }
}
