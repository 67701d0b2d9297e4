//! Frames of MJPEG cameras: the first bytes are the size that the camera was set to, then two pictures.
#![no_main]

use framelock_sender::capture::Size;
use framelock_sender::capture::fuzz::decode_jpegs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(([width, height, first_length @ ..], rest)) = input.split_first_chunk::<4>() else { return };
    // Even and odd sizes up to 255: larger ones differ in nothing but time.
    let size = Size::new(u32::from(*width).max(1), u32::from(*height).max(1));
    let first_length = usize::from(u16::from_be_bytes(*first_length)).min(rest.len());
    let (first, second) = rest.split_at(first_length);
    let _ = decode_jpegs([first, second], size);
});
