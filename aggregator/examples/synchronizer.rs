//! The synchronizer on its own, without cameras, sockets or clocks: two cameras are computed, the second one 12 ms
//! behind; it loses every tenth frame, and its frames take longer to arrive.
//!
//!     cargo run -p framelock-aggregator --example synchronizer
#![expect(clippy::print_stdout, reason = "an example prints")]

use framelock_aggregator::sync::{CameraIndex, SyncCamera, SyncConfig, SyncFrame};
use framelock_aggregator::{FrameStatus, HostTime, Span, Synchronizer, Utc};

const PERIOD: Span = Span::from_millis(33);

fn main() {
    let names = ["left", "right"];
    let cameras = vec![SyncCamera { declared_period: Some(PERIOD) }; names.len()];
    let mut synchronizer = Synchronizer::new(&SyncConfig::default(), cameras);
    let mut now = HostTime::from_nanos(0);
    for (camera, number, captured, arrival) in frames() {
        // What was due before the frame came.
        while let Some(due) = synchronizer.poll_timeout().filter(|due| *due < arrival) {
            synchronizer.handle_timeout(due);
            tell(&mut synchronizer, names);
        }
        now = arrival;
        // The frame may be of any type; a number is enough here.
        synchronizer.handle_frame(CameraIndex::new(camera), SyncFrame::new(captured, number), now);
        tell(&mut synchronizer, names);
    }
    synchronizer.finish(now);
    tell(&mut synchronizer, names);
}

/// Camera, number, capture and arrival of every frame, in order of arrival.
fn frames() -> Vec<(usize, i64, Utc, HostTime)> {
    let frame = |camera, number, phase, way| {
        let captured = Span::from_secs(1) + PERIOD * number + Span::from_millis(phase);
        let arrival = HostTime::from_nanos(0) + captured + Span::from_millis(way);
        (camera, number, Utc::from_unix_nanos(0) + captured, arrival)
    };
    let left = (0..30).map(|number| frame(0, number, 0, 5));
    let right = (0..30).filter(|number| number % 10 != 9).map(|number| frame(1, number, 12, 9));
    let mut all: Vec<_> = left.chain(right).collect();
    all.sort_by_key(|(.., arrival)| *arrival);
    all
}

fn tell(synchronizer: &mut Synchronizer<i64>, names: [&str; 2]) {
    while let Some(set) = synchronizer.poll_set() {
        print!("set {}, {} apart:", set.number, set.spread);
        for entry in &set.entries {
            let name = names[entry.camera.get()];
            match &entry.frame {
                Some(frame) => print!(" {name} {}", frame.payload),
                None => print!(" {name} {}", FrameStatus::from(entry.status)),
            }
        }
        println!();
    }
}
