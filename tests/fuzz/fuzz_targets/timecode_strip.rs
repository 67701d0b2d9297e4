//! Timecode strips in pictures of any size.
#![no_main]

use framelock_common::timecode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [a, b, c, luma @ ..] = input else { return };
    let (width, height) = (usize::from(*a) * 4, usize::from(*b));
    let stride = width + usize::from(*c);
    let _ = timecode::read(luma, stride, width, height);
});
