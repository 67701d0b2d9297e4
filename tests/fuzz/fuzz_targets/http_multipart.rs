//! Streams of images behind boundaries. The first bytes are the size of the pieces in which the stream comes and the
//! length of the boundary that is told.
#![no_main]

use framelock_aggregator::source::session::fuzz::multipart;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [size, length, rest @ ..] = input else { return };
    let (boundary, stream) = rest.split_at(usize::from(*length).min(rest.len()));
    let boundary = String::from_utf8_lossy(boundary);
    // A part takes the line of its boundary.
    assert!(multipart(&boundary, stream, usize::from(*size)) <= stream.len());
});
