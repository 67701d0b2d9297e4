//! Durations, bitrates, sizes and frequency offsets, as people write them.
#![no_main]

use framelock_common::config::{parse_bitrate, parse_duration, parse_ppm, parse_size};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = parse_duration(text);
    let _ = parse_bitrate(text);
    let _ = parse_ppm(text);
    let _ = parse_size(text);
});
