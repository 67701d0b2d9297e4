//! Transport streams, cut at places that the input chooses.
#![no_main]

use framelock_common::mpegts::{Demuxer, PacketMeta};
use framelock_common::time::HostTime;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, stream)) = input.split_first() else { return };
    let meta = PacketMeta { rtp_timestamp: None, arrival: HostTime::from_nanos(0) };
    let mut demuxer = Demuxer::new();
    for (number, piece) in stream.chunks(usize::from(cut).max(1) * 8).enumerate() {
        demuxer.push(piece, meta);
        if number % 16 == 15 {
            demuxer.gap();
        }
        while demuxer.poll().is_some() {}
    }
    demuxer.flush();
    while demuxer.poll().is_some() {}
});
