//! Network captures: file format, link layers, and all that is in the datagrams.
#![no_main]

use std::path::Path;

use framelock_aggregator::config::Settings;
use framelock_aggregator::engine::offline::replay_pcap;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let mut settings = Settings::parse("", Path::new("fuzz.toml")).unwrap_or_default();
    for (name, source) in [("left", "rtp://:5000"), ("*", "rtp://:5002"), ("right", "udp://:5004")] {
        settings.add_camera(name, source).expect("a camera");
    }
    let _ = replay_pcap(file, &settings, Some(1000), &mut std::io::sink());
});
