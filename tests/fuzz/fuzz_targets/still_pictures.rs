//! Images of JPEG cameras in the aggregator: what their headers say, and decoding two with one decoder. The first bytes
//! are the length of the first.
#![no_main]

use framelock_aggregator::decode::decode_stills;
use framelock_common::jpeg;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((length, rest)) = input.split_first_chunk() else { return };
    let (first, second) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
    for picture in [first, second] {
        if let Ok(info) = jpeg::inspect(picture) {
            assert!(info.length <= picture.len());
            // A picture of many pixels takes its time and shows nothing that a small one does not.
            if info.width * info.height > 512 * 512 {
                return;
            }
        }
    }
    let _ = decode_stills(&[first, second]);
});
