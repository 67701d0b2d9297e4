//! Sources as they are written: on the first line the source, on each that follows one of its options. What is shown
//! of them holds no password.
#![no_main]

use framelock_aggregator::source::SourceSpec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let Some(source) = lines.next() else { return };
    let options: Vec<_> = lines.filter_map(|line| line.split_once('=')).take(16).collect();
    // The name of a local host to listen on would be looked up, which takes as long as the network likes.
    let listens = source.starts_with("rtp:")
        || source.starts_with("udp:")
        || source.contains("bind")
        || options.iter().any(|(key, _)| *key == "bind");
    if listens && source.split_once(':').is_some_and(|(_, rest)| rest.contains(|c: char| c.is_alphabetic())) {
        return;
    }
    let parsed = SourceSpec::parse(source, &options);
    let shown = match &parsed {
        Ok(spec) => format!("{spec} {spec:?} {:?} {}", spec.listens(), spec.waits()),
        Err(error) => format!("{error} {error:?}"),
    };
    for (_, password) in options.iter().filter(|(key, _)| *key == "password") {
        // A word that stands elsewhere, too, is no secret.
        let elsewhere = source.contains(password) || options.iter().any(|(key, _)| key.contains(password));
        let common = password.len() < 12;
        assert!(common || elsewhere || !shown.contains(password), "{shown}");
    }
});
