//! Images with their length before them. The first byte chooses how the length is written.
#![no_main]

use framelock_aggregator::source::session::fuzz::length_prefixed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((kind, stream)) = input.split_first() else { return };
    // Each takes two bytes at least, those of its length.
    assert!(length_prefixed(usize::from(*kind), stream) <= stream.len() / 2);
});
