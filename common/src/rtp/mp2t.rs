//! The MP2T payload format (RFC 2250 section 2): whole transport stream packets, several to a datagram.
//!
//! The RTP timestamp of such a packet is its *transmission* instant on the media clock, not a capture
//! time: those are in the PES headers inside. Muxing and demuxing live in `mpegts`.

use crate::mpegts::TS_PACKET;

/// How many fit in a datagram without fragmentation on Ethernet.
pub const PACKETS_PER_DATAGRAM: usize = 7;

/// Splits `ts`, whole 188-byte packets, into payloads of at most `max_payload` bytes, each again of
/// whole packets. A `max_payload` below 188 counts as 188. Bytes after the last whole packet belong to
/// no payload.
pub fn payloads(ts: &[u8], max_payload: usize) -> impl ExactSizeIterator<Item = &[u8]> {
    let whole = ts.len() - ts.len() % TS_PACKET;
    let per_datagram = (max_payload / TS_PACKET).max(1);
    ts[..whole].chunks(per_datagram * TS_PACKET)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::MAX_PAYLOAD;

    #[test]
    fn payloads_are_whole_packets_and_lose_nothing() {
        let ts: Vec<u8> = (0..15 * TS_PACKET).map(|i| (i / TS_PACKET) as u8).collect();
        let lengths: Vec<_> = payloads(&ts, MAX_PAYLOAD).map(<[u8]>::len).collect();
        assert_eq!(lengths, [7 * TS_PACKET, 7 * TS_PACKET, TS_PACKET]);
        assert_eq!(payloads(&ts, 1400).collect::<Vec<_>>().concat(), ts);
    }

    #[test]
    fn odd_sizes_are_cut_to_whole_packets() {
        assert_eq!(payloads(&[0; 200], 0).map(<[u8]>::len).collect::<Vec<_>>(), [188]);
        assert_eq!(payloads(&[0; 187], MAX_PAYLOAD).len(), 0);
    }
}
