//! What HTTP servers answer: headers, challenges, redirects, streams of images and single ones. The first byte chooses
//! what was asked for, then each answer comes behind its length.
#![no_main]

use framelock_aggregator::source::session::fuzz::http;
use libfuzzer_sys::fuzz_target;

const URLS: [&str; 3] =
    ["http://camera/video", "http://admin:s3cret@camera:8080/video?channel=1", "http://[::1]/snapshot.jpg"];

fuzz_target!(|input: &[u8]| {
    let Some((url, mut rest)) = input.split_first() else { return };
    let mut answers = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk() {
        let (answer, after) = more.split_at(usize::from(u16::from_be_bytes(*length)).min(more.len()));
        answers.push(answer);
        rest = after;
        if answers.len() == 8 {
            break;
        }
    }
    let _ = http(URLS[usize::from(*url) % URLS.len()], &answers);
});
