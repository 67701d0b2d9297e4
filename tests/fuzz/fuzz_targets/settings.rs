//! Configuration files of the sender and the aggregator, and the sources and targets named in them.
#![no_main]

use std::path::Path;

use framelock_aggregator::config::Settings;
use framelock_sender::capture::SourceSpec;
use framelock_sender::config::{HostPort, Target, parse_servers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Settings::parse(text, Path::new("fuzz.toml"));
    let _ = text.parse::<SourceSpec>();
    let _ = text.parse::<Target>();
    let _ = HostPort::parse(text, Some(5000));
    let _ = parse_servers(text);
    let mut settings = Settings::default();
    let _ = settings.add_camera_flag(text);
});
