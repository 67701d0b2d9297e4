//! Recorded frame times, through every policy.
#![no_main]

use framelock_aggregator::replay::csv_from;
use framelock_aggregator::sync::{Policy, SyncConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, file)) = input.split_first() else { return };
    let policy = ["tightest", "last-before", "exact:5ms"][usize::from(choice) % 3];
    let config = SyncConfig { policy: policy.parse::<Policy>().expect("a policy"), ..SyncConfig::default() };
    let _ = csv_from(file, "input.csv", &config, Some(1000), &mut std::io::sink());
});
