//! What ZeroMQ publishers send: handshake, frames, and the images in messages, raw and in base64. The first byte is
//! the size of the pieces in which it comes.
#![no_main]

use framelock_aggregator::source::session::fuzz::{zmq_image, zmtp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((size, stream)) = input.split_first() else { return };
    let in_pieces = zmtp(stream, usize::from(*size));
    assert_eq!(in_pieces, zmtp(stream, stream.len()), "the pieces make a difference");
    // A message of one frame for each line.
    let frames = stream.split(|byte| *byte == b'\n').take(16).map(<[u8]>::to_vec).collect();
    let _ = zmq_image(frames);
});
