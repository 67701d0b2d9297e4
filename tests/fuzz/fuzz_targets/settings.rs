//! Configuration files of the sender and the aggregator, and what is written in them and on the command lines:
//! sources, targets, clocks, phases, policies and rates.
#![no_main]

use std::path::Path;

use framelock_aggregator::config::Settings;
use framelock_aggregator::{Policy, Rate};
use framelock_common::config;
use framelock_sender::capture::SourceSpec;
use framelock_sender::config::{ClockSpec, HostPort, Options, Target, parse_servers};
use framelock_sender::phase::PhaseTarget;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let path = Path::new("fuzz.toml");
    let _ = Settings::parse(text, path).map(|settings| settings.check());
    let _ = config::parse::<Options>(text, path).map(|options| options.settle("host"));
    let _ = text.parse::<SourceSpec>();
    let _ = text.parse::<Target>();
    let _ = text.parse::<ClockSpec>();
    let _ = text.parse::<PhaseTarget>();
    let _ = text.parse::<Policy>();
    let _ = text.parse::<Rate>();
    let _ = HostPort::parse(text, Some(5000));
    let _ = parse_servers(text);
    let mut settings = Settings::default();
    let _ = settings.add_camera_flag(text);
});
