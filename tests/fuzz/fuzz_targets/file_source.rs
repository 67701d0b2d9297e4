//! Files as cameras: MP4, whole and in fragments, and MPEG-TS.
#![no_main]

use std::io::Write;
use std::path::PathBuf;

use framelock_sender::capture::fuzz::read_file;
use libfuzzer_sys::fuzz_target;

/// Frames read of one file: tables of a few bytes may claim billions.
const FRAMES: usize = 10_000;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file in memory");
    file.write_all(bytes).expect("room in memory");
    let path: PathBuf = file.path().to_owned();
    let _ = read_file(&path, FRAMES);
});
