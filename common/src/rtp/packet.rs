//! One RTP packet: a view on a received datagram, a writer for one to send, header extensions.

use rtp_rs::{RtpPacketBuilder, RtpReader, RtpReaderError};
use thiserror::Error;

use crate::time::{NtpTimestamp, RtpTimestamp};

/// The local identifier of the RFC 6051 NTP-64 element in the header extension. There is no SDP to agree
/// on one, so both ends fix it; a foreign sender's element counts only if it has this identifier and
/// exactly eight bytes.
pub const NTP64_EXTENSION_ID: u8 = 7;

/// Bytes that [`write_packet`] puts before the payload without a header extension (RFC 3550 section 5.1).
pub const MIN_HEADER: usize = 12;

/// The most bytes that [`write_packet`] puts before the payload.
pub const MAX_HEADER: usize = MIN_HEADER + NTP64_EXTENSION_LEN;

const ONE_BYTE_PROFILE: u16 = 0xbede;
/// Profile and length, one element of 1 + 8 bytes, padding to a multiple of four.
const NTP64_EXTENSION_LEN: usize = 16;

/// Why a datagram is not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RtpError {
    /// Shorter than the fixed header.
    #[error("RTP packet of {len} bytes: the fixed header alone takes 12")]
    TooShort {
        /// Bytes in the datagram.
        len: usize,
    },
    /// Another version than 2 (RFC 3550 section 5.1).
    #[error("RTP version {version}, not 2: is this port receiving something else?")]
    Version {
        /// The version found.
        version: u8,
    },
    /// The CSRC list or the header extension reaches past the end.
    #[error("RTP headers need {need} bytes, the packet has {len}")]
    HeaderTruncated {
        /// Bytes that the headers announce.
        need: usize,
        /// Bytes in the datagram.
        len: usize,
    },
    /// The padding count in the last byte is zero or larger than the payload.
    #[error("RTP padding of {padding} bytes does not fit the payload")]
    Padding {
        /// The count found.
        padding: u8,
    },
}

impl From<RtpReaderError> for RtpError {
    fn from(error: RtpReaderError) -> Self {
        match error {
            RtpReaderError::BufferTooShort(len) => Self::TooShort { len },
            RtpReaderError::UnsupportedVersion(version) => Self::Version { version },
            RtpReaderError::HeadersTruncated { header_len, buffer_len } => {
                Self::HeaderTruncated { need: header_len, len: buffer_len }
            }
            RtpReaderError::PaddingLengthInvalid(padding) => Self::Padding { padding },
        }
    }
}

/// A view on a received RTP packet (RFC 3550 section 5.1); nothing is copied.
#[derive(Debug)]
pub struct RtpPacket<'a> {
    reader: RtpReader<'a>,
}

impl<'a> RtpPacket<'a> {
    /// Checks that `datagram` is an RTP packet: version, header and extension lengths, padding.
    ///
    /// # Errors
    /// An [`RtpError`] that says what is wrong with it.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, RtpError> {
        Ok(Self { reader: RtpReader::new(datagram)? })
    }

    /// The payload type, 0 to 127.
    #[must_use]
    pub fn payload_type(&self) -> u8 {
        self.reader.payload_type()
    }

    /// The marker bit; for H.264 the last packet of an access unit (RFC 6184 section 5.1).
    #[must_use]
    pub fn marker(&self) -> bool {
        self.reader.mark()
    }

    /// The 16-bit sequence number.
    #[must_use]
    pub fn sequence(&self) -> u16 {
        self.reader.sequence_number().into()
    }

    /// The RTP timestamp.
    #[must_use]
    pub fn timestamp(&self) -> RtpTimestamp {
        RtpTimestamp::from_bits(self.reader.timestamp())
    }

    /// The synchronization source.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.reader.ssrc()
    }

    /// The payload without padding.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.reader.payload()
    }

    /// Where the payload starts in the datagram, in bytes.
    #[must_use]
    pub fn payload_offset(&self) -> usize {
        self.reader.payload_offset()
    }

    /// The header extension, if the X bit is set.
    #[must_use]
    pub fn extension(&self) -> Option<Extension<'a>> {
        self.reader.extension().map(|(profile, data)| Extension { profile, data })
    }
}

/// A header extension (RFC 3550 section 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// The 16 bits "defined by profile": `0xbede` and `0x100x` announce RFC 8285 elements.
    pub profile: u16,
    /// The words after the length field.
    pub data: &'a [u8],
}

impl<'a> Extension<'a> {
    /// The data of the RFC 8285 element `id`, from the one-byte (section 4.2) or the two-byte form
    /// (section 4.3); none in any other extension or after a malformed element.
    #[must_use]
    pub fn element(&self, id: u8) -> Option<&'a [u8]> {
        let one_byte = self.profile == ONE_BYTE_PROFILE;
        if !one_byte && self.profile & 0xfff0 != 0x1000 {
            return None;
        }
        let mut rest = self.data;
        while let Some((&first, tail)) = rest.split_first() {
            if first == 0 {
                rest = tail; // padding
                continue;
            }
            let (found, len, body) = if one_byte {
                (first >> 4, usize::from(first & 0xf) + 1, tail)
            } else {
                let (&len, body) = tail.split_first()?;
                (first, usize::from(len), body)
            };
            if one_byte && matches!(found, 0 | 15) {
                return None; // reserved: processing must end here
            }
            let data = body.get(..len)?;
            if found == id {
                return Some(data);
            }
            rest = &body[len..];
        }
        None
    }
}

/// The UTC instant of the packet's RTP timestamp, where the sender put it in the header extension
/// (RFC 6051 section 3.3).
#[must_use]
pub fn ntp64(packet: &RtpPacket<'_>) -> Option<NtpTimestamp> {
    let data = packet.extension()?.element(NTP64_EXTENSION_ID)?;
    let bits = u64::from_be_bytes(data.try_into().ok()?);
    Some(NtpTimestamp::from_bits(bits)).filter(|ntp| !ntp.is_unknown())
}

/// What goes in front of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// The payload type; only the low seven bits count.
    pub payload_type: u8,
    /// The marker bit.
    pub marker: bool,
    /// The sequence number.
    pub sequence: u16,
    /// The RTP timestamp.
    pub timestamp: RtpTimestamp,
    /// The synchronization source.
    pub ssrc: u32,
    /// UTC at `timestamp`, for the RFC 6051 section 3.3 header extension.
    pub ntp64: Option<NtpTimestamp>,
}

/// Appends one RTP packet to `out`. The payload is copied once, the header is at most [`MAX_HEADER`]
/// bytes.
pub fn write_packet(header: &RtpHeader, payload: &[u8], out: &mut Vec<u8>) {
    let mut element = [0; NTP64_EXTENSION_LEN - 4];
    let mut builder = RtpPacketBuilder::new()
        .payload_type(header.payload_type & 0x7f)
        .marked(header.marker)
        .sequence(header.sequence.into())
        .timestamp(header.timestamp.to_bits())
        .ssrc(header.ssrc);
    if let Some(ntp) = header.ntp64 {
        element[0] = (NTP64_EXTENSION_ID << 4) | 7; // eight bytes: RFC 8285 section 4.2 counts from one
        element[1..9].copy_from_slice(&ntp.to_bits().to_be_bytes());
        builder = builder.extension(ONE_BYTE_PROFILE, &element);
    }
    let mut front = [0; MAX_HEADER];
    let len = builder.build_into(&mut front).expect("seven-bit type, whole words, room for both forms");
    out.reserve(len + payload.len());
    out.extend_from_slice(&front[..len]);
    out.extend_from_slice(payload);
}

/// Whether a datagram on a port shared by RTP and RTCP is RTCP: by its packet type (RFC 5761 section 4).
/// Says nothing about whether it is valid.
#[must_use]
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.get(1).is_some_and(|&packet_type| (192..=223).contains(&packet_type))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(ntp64: Option<NtpTimestamp>) -> RtpHeader {
        RtpHeader {
            payload_type: 33,
            marker: true,
            sequence: 0xfffe,
            timestamp: RtpTimestamp::from_bits(0x0102_0304),
            ssrc: 0xdead_beef,
            ntp64,
        }
    }

    #[test]
    fn plain_packet_on_the_wire() {
        let mut out = vec![0x55];
        write_packet(&header(None), b"abc", &mut out);
        let expected = b"\x55\x80\xa1\xff\xfe\x01\x02\x03\x04\xde\xad\xbe\xefabc";
        assert_eq!(out, expected);
    }

    #[test]
    fn ntp64_extension_on_the_wire() {
        let mut out = Vec::new();
        write_packet(&header(Some(NtpTimestamp::from_bits(0x1122_3344_5566_7788))), b"x", &mut out);
        let expected = b"\x90\xa1\xff\xfe\x01\x02\x03\x04\xde\xad\xbe\xef\
            \xbe\xde\x00\x03\x77\x11\x22\x33\x44\x55\x66\x77\x88\x00\x00\x00x";
        assert_eq!(out, expected);
        assert_eq!(out.len(), MAX_HEADER + 1);
    }

    #[test]
    fn csrc_extension_and_padding_are_not_payload() {
        let data =
            b"\xb1\x60\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03CSRC\x12\x34\x00\x01EXT.payload\x00\x00\x03";
        let packet = RtpPacket::parse(data).unwrap();
        assert_eq!(packet.payload(), b"payload");
        assert_eq!(packet.extension(), Some(Extension { profile: 0x1234, data: b"EXT." }));
        assert_eq!(packet.extension().unwrap().element(NTP64_EXTENSION_ID), None);
    }

    #[test]
    fn elements_of_both_forms_are_found_behind_others() {
        let one = Extension { profile: 0xbede, data: b"\x10a\x00\x00\x72xyz\xf0\x70" };
        assert_eq!(one.element(1), Some(&b"a"[..]));
        assert_eq!(one.element(7), Some(&b"xyz"[..]));
        assert_eq!(one.element(0), None);
        // Identifier 15 ends the processing; what follows must not be looked at.
        let stop = Extension { profile: 0xbede, data: b"\xf0a\x70b" };
        assert_eq!(stop.element(7), None);
        // So does identifier 0 with a length, which is not padding.
        let stop = Extension { profile: 0xbede, data: b"\x01ab\x70c" };
        assert_eq!((stop.element(0), stop.element(7)), (None, None));
        let two = Extension { profile: 0x1005, data: b"\x01\x00\x00\x07\x02ab" };
        assert_eq!((two.element(1), two.element(7)), (Some(&b""[..]), Some(&b"ab"[..])));
        let cut = Extension { profile: 0x1000, data: b"\x07\x09ab" };
        assert_eq!(cut.element(7), None);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        assert_eq!(RtpPacket::parse(&[0x80; 11]).unwrap_err(), RtpError::TooShort { len: 11 });
        assert_eq!(RtpPacket::parse(&[0x40; 12]).unwrap_err(), RtpError::Version { version: 1 });
        let csrc = RtpPacket::parse(&[0x8f; 12]).unwrap_err();
        assert_eq!(csrc, RtpError::HeaderTruncated { need: 72, len: 12 });
        let padding = RtpPacket::parse(b"\xa0\x60\0\0\0\0\0\0\0\0\0\0\x02").unwrap_err();
        assert_eq!(padding, RtpError::Padding { padding: 2 });
    }

    #[test]
    fn shared_port_is_split_by_packet_type() {
        assert!(is_rtcp(&[0x80, 200]) && is_rtcp(&[0x84, 0xce]));
        assert!(!is_rtcp(&[0x80, 33]) && !is_rtcp(&[0x80, 0x80 | 96]) && !is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn never_panics(mut data in proptest::collection::vec(any::<u8>(), 0..100), id in 0_u8..16) {
            if let Some(first) = data.first_mut() {
                *first = (*first & 0x3f) | 0x80; // the other versions end at once
            }
            if let Ok(packet) = RtpPacket::parse(&data) {
                prop_assert!(packet.payload().len() + packet.payload_offset() <= data.len());
                let _ = (ntp64(&packet), packet.extension().and_then(|e| e.element(id)));
            }
        }

        #[test]
        fn what_is_written_is_read(
            payload_type in 0_u8..128, marker: bool, sequence: u16, timestamp: u32, ssrc: u32,
            ntp in proptest::option::of(1_u64..), payload in proptest::collection::vec(any::<u8>(), 0..1400),
        ) {
            let header = RtpHeader {
                payload_type, marker, sequence, ssrc,
                timestamp: RtpTimestamp::from_bits(timestamp),
                ntp64: ntp.map(NtpTimestamp::from_bits),
            };
            let mut out = Vec::new();
            write_packet(&header, &payload, &mut out);
            let packet = RtpPacket::parse(&out).unwrap();
            let read = RtpHeader {
                payload_type: packet.payload_type(), marker: packet.marker(), sequence: packet.sequence(),
                timestamp: packet.timestamp(), ssrc: packet.ssrc(), ntp64: ntp64(&packet),
            };
            prop_assert_eq!(read, header);
            prop_assert_eq!(packet.payload(), &payload[..]);
        }
    }
}
