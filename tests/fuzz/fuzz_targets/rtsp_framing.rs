//! What RTSP servers send, as far as it is looked at before the client library has it. The first byte is the size of
//! the pieces in which it comes.
#![no_main]

use framelock_aggregator::source::session::fuzz::rtsp_framing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((size, stream)) = input.split_first() else { return };
    let in_pieces = rtsp_framing(stream, usize::from(*size));
    assert_eq!(in_pieces, rtsp_framing(stream, stream.len()), "the pieces make a difference");
});
