//! `framelock-aggregator demo`: boards whose clocks are wrong by seconds and drift by up to 50 ppm become
//! synchronized by the aggregator's own NTP service, and no capture time ever leaves its bound.

use framelock_tests::process::Process;

#[test]
fn three_wrong_clocks_are_synchronized_and_every_bound_holds() {
    let mut demo = Process::ours("framelock-aggregator", ["demo", "--cameras", "3", "--seconds", "10"]);
    let lines = demo.output();
    let text = lines.join("\n");
    // The demonstration fails by itself if no complete packet came or a bound did not hold.
    assert!(demo.wait().success(), "{text}\n{}", demo.log());
    assert!(lines.iter().any(|line| line.starts_with("every camera synchronized ")), "{text}");
    let header =
        lines.iter().position(|line| line.ends_with("outside bound")).unwrap_or_else(|| panic!("{text}"));
    let cameras: Vec<Vec<&str>> =
        lines[header + 1..].iter().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(cameras.len(), 3, "{text}");
    for fields in cameras {
        // Name, strips read, unreadable ones, frames before UTC, ..., frames outside their bound.
        let number = |field: &str| field.parse::<u64>().unwrap_or_else(|_| panic!("{text}"));
        assert!(number(fields[1]) > 0, "{text}");
        assert_eq!((number(fields[2]), fields.last().map(|field| number(field))), (0, Some(0)), "{text}");
    }
}
