//! RFC 6184 payloads: each chunk of the input is a payload, its first byte says marker and loss.
#![no_main]

use framelock_common::h264::MAX_ACCESS_UNIT;
use framelock_common::rtp::h264::Depacketizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (mut depacketizer, mut out) = (Depacketizer::new(), Vec::new());
    for piece in input.split(|&byte| byte == 0xff) {
        let [flags, payload @ ..] = piece else { continue };
        if flags & 2 != 0 {
            depacketizer.gap();
        }
        let _ = depacketizer.handle(payload, flags & 1 != 0, &mut out);
        assert!(out.len() <= MAX_ACCESS_UNIT + 64);
    }
});
