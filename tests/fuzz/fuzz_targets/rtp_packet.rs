//! RTP packets, their header extensions and the NTP-64 element in them.
#![no_main]

use framelock_common::rtp::{self, RtpHeader, RtpPacket};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let _ = rtp::is_rtcp(datagram);
    let Ok(packet) = RtpPacket::parse(datagram) else { return };
    assert!(packet.payload_offset() + packet.payload().len() <= datagram.len());
    let header = RtpHeader {
        payload_type: packet.payload_type(),
        marker: packet.marker(),
        sequence: packet.sequence(),
        timestamp: packet.timestamp(),
        ssrc: packet.ssrc(),
        ntp64: rtp::ntp64(&packet),
    };
    let mut out = Vec::new();
    rtp::write_packet(&header, packet.payload(), &mut out);
    let again = RtpPacket::parse(&out).expect("what we write we can read");
    assert_eq!((again.sequence(), again.payload()), (packet.sequence(), packet.payload()));
    assert_eq!(rtp::ntp64(&again), header.ntp64);
});
