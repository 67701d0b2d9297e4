//! RTCP packets to a datagram.

use rtcp_types::{
    App, Bye, Fir, PayloadFeedback, Pli, ReceiverReport, ReportBlock as BlockView, ReportBlockBuilder,
    RtcpPacketWriter, RtcpPacketWriterExt, Sdes, SdesChunk, SdesItem, SenderReport as SenderView,
};

use super::{Cname, MAX_CNAME, ReportBlock, RtcpPacket, clock_info};

/// The most reports, chunks or sources that a five-bit count can say.
const MAX_COUNT: usize = 31;

/// The compound of `packets`, without padding. The caller puts a report first and the CNAME in, as RFC
/// 3550 section 6.1 asks.
///
/// Lists longer than their count field can say are cut at 31, names at [`MAX_CNAME`] bytes; a loss count
/// saturates at its 24 bits. [`RtcpPacket::Other`] has no contents and is left out.
#[must_use]
pub fn write(packets: &[RtcpPacket]) -> Vec<u8> {
    let mut out = Vec::new();
    for packet in packets {
        append(packet, &mut out);
    }
    out
}

fn append(packet: &RtcpPacket, out: &mut Vec<u8>) {
    match packet {
        RtcpPacket::SenderReport { report, blocks } => {
            let mut builder = SenderView::builder(report.ssrc)
                .ntp_timestamp(report.ntp.to_bits())
                .rtp_timestamp(report.rtp.to_bits())
                .packet_count(report.packets)
                .octet_count(report.octets);
            for item in blocks.iter().take(MAX_COUNT) {
                builder = builder.add_report_block(block(item));
            }
            append_built(&builder, out);
        }
        RtcpPacket::ReceiverReport { ssrc, blocks } => {
            let mut builder = ReceiverReport::builder(*ssrc);
            for item in blocks.iter().take(MAX_COUNT) {
                builder = builder.add_report_block(block(item));
            }
            append_built(&builder, out);
        }
        RtcpPacket::SourceDescription(names) => {
            let mut builder = Sdes::builder();
            for Cname { ssrc, name } in names.iter().take(MAX_COUNT) {
                let item = SdesItem::builder(SdesItem::CNAME, cut(name));
                builder = builder.add_chunk(SdesChunk::builder(*ssrc).add_item(item));
            }
            append_built(&builder, out);
        }
        RtcpPacket::Goodbye { sources } => {
            let builder = sources.iter().take(MAX_COUNT).fold(Bye::builder(), |b, ssrc| b.add_source(*ssrc));
            append_built(&builder, out);
        }
        RtcpPacket::ClockInfo { ssrc, info } => {
            let data = info.to_bytes();
            let builder = App::builder(*ssrc, clock_info::NAME).subtype(clock_info::VERSION).data(&data);
            append_built(&builder, out);
        }
        RtcpPacket::PictureLoss { sender, media } => {
            let fci = Pli::builder();
            append_built(&PayloadFeedback::builder(&fci).sender_ssrc(*sender).media_ssrc(*media), out);
        }
        RtcpPacket::FullIntraRequest { sender, entries } => {
            let fci =
                entries.iter().take(MAX_COUNT).fold(Fir::builder(), |b, (ssrc, n)| b.add_ssrc(*ssrc, *n));
            append_built(&PayloadFeedback::builder(&fci).sender_ssrc(*sender), out);
        }
        RtcpPacket::Other { .. } => {}
    }
}

fn append_built(builder: &impl RtcpPacketWriter, out: &mut Vec<u8>) {
    let start = out.len();
    let size = builder.calculate_size().expect("counts, names and values were cut to their fields");
    out.resize(start + size, 0);
    builder.write_into(&mut out[start..]).expect("the size was asked for");
}

fn block(block: &ReportBlock) -> ReportBlockBuilder {
    let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff);
    BlockView::builder(block.ssrc)
        .fraction_lost(block.fraction_lost)
        .cumulative_lost(lost.cast_unsigned() & 0xff_ffff)
        .extended_sequence_number(block.highest_sequence)
        .interarrival_jitter(block.jitter)
        .last_sender_report_timestamp(block.last_sr)
        .delay_since_last_sender_report_timestamp(block.delay_since_last_sr.to_bits())
}

/// `name` cut at a character boundary to what the length field can say.
fn cut(name: &str) -> &str {
    let end = (0..=name.len().min(MAX_CNAME)).rev().find(|at| name.is_char_boundary(*at));
    &name[..end.unwrap_or_default()]
}
