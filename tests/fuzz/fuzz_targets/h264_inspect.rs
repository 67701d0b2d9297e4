//! Annex B streams: NAL units, parameter sets, slice headers, SEI times.
#![no_main]

use framelock_common::h264::{Inspector, insert_sei, nal_units};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut inspector = Inspector::new();
    let _ = inspector.inspect(input);
    let mut out = Vec::new();
    insert_sei(input, &[0, 0, 0, 1, 6, 0x80], &mut out);
    assert!(nal_units(&out).count() <= nal_units(input).count() + 1);
});
