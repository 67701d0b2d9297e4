//! RTCP compound packets.
#![no_main]

use framelock_common::rtcp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let _ = rtcp::parse(datagram);
});
