//! Phase (software genlock) with real senders, real clocks that are wrong, and a real `chronyd`. The two
//! minutes with their limit are in `tests/benches/phase.rs`.

use std::time::Duration;

use framelock_common::time::Span;
use framelock_tests::phase::{measure, permille};

#[test]
fn cameras_on_wrong_clocks_come_into_phase_and_stay() {
    let found = measure(Duration::from_secs(8));
    println!("{found}");
    for camera in &found.cameras {
        assert!(camera.errors.len() > 50, "{}: hardly any strip could be read", camera.name);
        // They began 9 ms and 5 ms off. The bench's limit is 300 us; a machine that runs other tests meanwhile
        // disturbs the exchanges with the time server.
        let p99 = permille(&camera.errors, 990);
        assert!(p99 < Span::from_millis(2), "{}: {p99}", camera.name);
        assert!(camera.said["moves"].as_u64().expect("a count") >= 1, "{}", camera.said);
        assert_eq!((&camera.said["restarts"], &camera.said["lost"]), (&0.into(), &0.into()));
    }
    let spread = permille(&found.spreads[1], 500);
    assert!(spread < Span::from_millis(2), "{spread}");
}
