//! A datagram to checked RTCP packets.
//!
//! The framing (version, lengths, padding) is checked here for every packet and padding is cut off before
//! `rtcp-types` sees a packet: that crate checks the version of the first one only, trusts the padding
//! count (an APP packet with a large one panics in its `App::data`), and in SDES takes zero bytes at the start of
//! a chunk's SSRC for padding of the chunk before.

use rtcp_types::{
    App, Bye, Fir, PayloadFeedback, Pli, ReceiverReport, ReportBlock as BlockView, RtcpPacket as Typed,
    RtcpPacketParser, RtcpPacketParserExt, Sdes, SdesItem, SenderReport as SenderView,
};

use super::{ClockInfo, Cname, MAX_COMPOUND, ReportBlock, RtcpError, RtcpPacket, SenderReport, clock_info};
use crate::time::{NtpShort, NtpTimestamp, RtpTimestamp};

const HEADER: usize = 4;
const PADDING_BIT: u8 = 0x20;

/// Parses a compound packet: all of it or an error (RFC 3550 section 6.1, appendix A.2). Padding is
/// accepted on the last packet only.
///
/// # Errors
/// An [`RtcpError`] with the position in the datagram.
pub fn parse(datagram: &[u8]) -> Result<Vec<RtcpPacket>, RtcpError> {
    let mut packets = Vec::new();
    let mut at = 0;
    while at < datagram.len() || at == 0 {
        if packets.len() == MAX_COMPOUND {
            return Err(RtcpError::TooMany);
        }
        let packet = framed(datagram, at)?;
        if at == 0 && ![SenderView::PACKET_TYPE, ReceiverReport::PACKET_TYPE].contains(&packet[1]) {
            return Err(RtcpError::FirstNotReport { packet_type: packet[1] });
        }
        let len = packet.len();
        packets.push(if packet[0] & PADDING_BIT == 0 {
            parse_one(packet, at)?
        } else {
            parse_one(&without_padding(packet, at, at + len == datagram.len())?, at)?
        });
        at += len;
    }
    Ok(packets)
}

/// The packet that starts at byte `at`, as long as its header says.
fn framed(datagram: &[u8], at: usize) -> Result<&[u8], RtcpError> {
    let rest = &datagram[at..];
    let truncated = |need| RtcpError::Truncated { at, need, have: rest.len() };
    let header = rest.first_chunk::<HEADER>().ok_or_else(|| truncated(HEADER))?;
    let version = header[0] >> 6;
    if version != 2 {
        return Err(RtcpError::Version { at, version });
    }
    let len = HEADER * (usize::from(u16::from_be_bytes([header[2], header[3]])) + 1);
    rest.get(..len).ok_or_else(|| truncated(len))
}

/// A copy of `packet` as if it had been sent without padding. Rare, so the copy does not matter.
fn without_padding(packet: &[u8], at: usize, last: bool) -> Result<Vec<u8>, RtcpError> {
    let padding = usize::from(packet[packet.len() - 1]);
    if !last || padding == 0 || !padding.is_multiple_of(4) || padding > packet.len() - HEADER {
        return Err(RtcpError::Padding { at });
    }
    let mut plain = packet[..packet.len() - padding].to_vec();
    plain[0] &= !PADDING_BIT;
    let words = u16::try_from(plain.len() / 4 - 1).expect("shorter than a length that fitted");
    plain[2..HEADER].copy_from_slice(&words.to_be_bytes());
    Ok(plain)
}

fn parse_one(packet: &[u8], at: usize) -> Result<RtcpPacket, RtcpError> {
    let packet_type = packet[1];
    let malformed = RtcpError::malformed(at, packet_type);
    Ok(match packet_type {
        SenderView::PACKET_TYPE => {
            let view = SenderView::parse(packet).map_err(malformed)?;
            let report = SenderReport {
                ssrc: view.ssrc(),
                ntp: NtpTimestamp::from_bits(view.ntp_timestamp()),
                rtp: RtpTimestamp::from_bits(view.rtp_timestamp()),
                packets: view.packet_count(),
                octets: view.octet_count(),
            };
            RtcpPacket::SenderReport { report, blocks: view.report_blocks().map(block).collect() }
        }
        ReceiverReport::PACKET_TYPE => {
            let view = ReceiverReport::parse(packet).map_err(malformed)?;
            RtcpPacket::ReceiverReport {
                ssrc: view.ssrc(),
                blocks: view.report_blocks().map(block).collect(),
            }
        }
        Sdes::PACKET_TYPE => {
            RtcpPacket::SourceDescription(cnames(packet).ok_or(RtcpError::Malformed { at, packet_type })?)
        }
        Bye::PACKET_TYPE => {
            let view = Bye::parse(packet).map_err(malformed)?;
            RtcpPacket::Goodbye { sources: view.ssrcs().collect() }
        }
        App::PACKET_TYPE => {
            let view = App::parse(packet).map_err(malformed)?;
            let ours = view.name() == *clock_info::NAME.as_bytes() && view.subtype() == clock_info::VERSION;
            match ClockInfo::from_bytes(view.data()).filter(|_| ours) {
                Some(info) => RtcpPacket::ClockInfo { ssrc: view.ssrc(), info },
                None => RtcpPacket::Other { packet_type },
            }
        }
        PayloadFeedback::PACKET_TYPE => feedback(&PayloadFeedback::parse(packet).map_err(malformed)?),
        _ => RtcpPacket::Other { packet_type },
    })
}

fn block(view: BlockView<'_>) -> ReportBlock {
    ReportBlock {
        ssrc: view.ssrc(),
        fraction_lost: view.fraction_lost(),
        // Sign extension from 24 bits.
        cumulative_lost: (view.cumulative_lost() << 8).cast_signed() >> 8,
        highest_sequence: view.extended_sequence_number(),
        jitter: view.interarrival_jitter(),
        last_sr: view.last_sender_report_timestamp(),
        delay_since_last_sr: NtpShort::from_bits(view.delay_since_last_sender_report_timestamp()),
    }
}

fn feedback(view: &PayloadFeedback<'_>) -> RtcpPacket {
    let (sender, media) = (view.sender_ssrc(), view.media_ssrc());
    if view.parse_fci::<Pli<'_>>().is_ok() {
        return RtcpPacket::PictureLoss { sender, media };
    }
    match view.parse_fci::<Fir<'_>>() {
        Ok(fir) => {
            let entries = fir.entries().map(|entry| (entry.ssrc(), entry.sequence())).collect();
            RtcpPacket::FullIntraRequest { sender, entries }
        }
        Err(_) => RtcpPacket::Other { packet_type: PayloadFeedback::PACKET_TYPE },
    }
}

/// The CNAMEs of an SDES packet; none if a chunk or item reaches past the end (RFC 3550 section 6.5).
fn cnames(packet: &[u8]) -> Option<Vec<Cname>> {
    let mut found = Vec::new();
    let mut rest = &packet[HEADER..];
    for _ in 0..packet[0] & 0x1f {
        let (ssrc, items) = rest.split_first_chunk::<4>()?;
        let mut at = 0;
        loop {
            let kind = *items.get(at)?;
            if kind == 0 {
                break;
            }
            let start = at + 2;
            let value = items.get(start..start + usize::from(*items.get(at + 1)?))?;
            if kind == SdesItem::CNAME && !value.is_empty() {
                found.push(Cname { ssrc: u32::from_be_bytes(*ssrc), name: printable(value) });
            }
            at = start + value.len();
        }
        // The list ends with one to four zero bytes, up to the next 32-bit boundary.
        rest = items.get((at / 4 + 1) * 4..)?;
    }
    Some(found)
}

fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
