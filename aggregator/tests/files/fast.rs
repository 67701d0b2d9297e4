//! As fast as possible: nothing is lost, nothing runs ahead, and the packets are those of real time.

use framelock_aggregator::{Pixels, Queue, Subscription};
use framelock_common::time::Span;

use super::*;

#[test]
fn every_frame_comes_once_at_the_times_that_ffprobe_sees() {
    for (name, rate, args) in CLIPS {
        let clip = Clip::make(name, "3", rate, args);
        let mut aggregator = aggregator(&[clip.source(",fast")]);
        let packets = all(&mut aggregator);
        let (times, expected) = (times(&packets, 0), clip.shown());
        assert!(alike(&times, &expected), "{name}: {times:?} {expected:?}");
        let frames: Vec<_> = packets.iter().filter_map(|packet| packet.entries[0].frame.as_ref()).collect();
        let is = |kind| frames.iter().any(|frame| frame.frame_type == Some(kind));
        assert!(is(FrameType::I) && is(FrameType::P), "{name}");
        assert!(is(FrameType::B) || !args.contains("-bf 3"), "{name}");
        assert!(!is(FrameType::B) || !args.contains("-bf 0"), "{name}");
        for frame in frames {
            assert_eq!((frame.width, frame.height), (Some(160), Some(96)), "{name}");
            assert_eq!(frame.time_source, TimeSource::Arrival, "{name}");
        }
        let status = &aggregator.status()[0];
        assert_eq!(status.reason.as_deref(), Some("the file ended"), "{name}");
        let (stream, good) = (&status.stream, expected.len() as u64);
        assert_eq!(
            (stream.connects, stream.failures, stream.frames.good),
            (1, 0, good),
            "{name}: {status:?}"
        );
        assert_eq!(aggregator.counters().skipped, 0, "{name}");
    }
}

/// Who read it later knows less: the bound covers what lies between a frame's time and when it was here.
#[test]
fn the_bound_of_a_frame_covers_when_it_was_read() {
    let clip = Clip::make("long.mp4", "60", "10", "-bf 0");
    let packets = all(&mut aggregator(&[clip.source(",fast")]));
    let frames = packets.iter().filter_map(|packet| packet.entries[0].frame.as_ref());
    let bounds: Vec<_> = frames.map(|frame| frame.time.uncertainty).collect();
    assert_eq!(bounds.len(), 600);
    assert!(bounds.iter().all(|bound| *bound >= Span::from_secs(1)), "{bounds:?}");
    // Its last frame would have been here a minute after the first, and was long before, unless this machine is
    // slower than ten frames a second.
    assert!(bounds[599] > bounds[0] + Span::from_secs(10), "{:?} {:?}", bounds[0], bounds[599]);
}

#[test]
fn a_consumer_that_wants_everything_holds_the_files_and_loses_nothing() {
    let clips =
        [Clip::make("one.mp4", "10", "50", "-bf 2 -g 25"), Clip::make("other.ts", "10", "50", "-bf 0 -g 25")];
    for pixels in [Pixels::None, Pixels::Decoded] {
        let aggregator = aggregator(&[clips[0].source(",fast"), clips[1].source(",fast")]);
        // Nobody takes packets yet: what comes would be lost.
        std::thread::park_timeout(Duration::from_millis(300));
        let limit = 5;
        let queue = Queue::All { limit };
        let mut consumer =
            aggregator.subscribe(Subscription { pixels, queue, ..Subscription::default() }).unwrap();
        let (mut packets, end) = (Vec::new(), now() + PATIENCE);
        loop {
            if packets.len() % 50 == 0 {
                // What can come without being asked for is here after this, if the machine is not very slow.
                std::thread::park_timeout(Duration::from_millis(200));
                let counters = consumer.counters();
                let waiting = counters.offered - counters.delivered;
                // Those that are ready, and in a decoder or on the way to it a few more.
                assert!(waiting <= limit as u64 + 40, "{waiting} wait");
            }
            match consumer.next(Duration::from_millis(100)) {
                Ok(packet) => packets.extend(packet),
                Err(error) => {
                    assert_eq!(error, ConsumerError::Ended);
                    break;
                }
            }
            assert!(now() < end, "{} packets: {:?}", packets.len(), aggregator.status());
        }
        assert_eq!(packets.len(), 500, "{pixels:?}");
        assert_eq!(consumer.counters().skipped, 0);
        for packet in &packets {
            assert!(packet.complete, "{packet:?}");
            let pictures = packet
                .entries
                .iter()
                .filter(|entry| entry.frame.as_ref().is_some_and(|frame| frame.picture().is_some()));
            assert_eq!(pictures.count(), if pixels == Pixels::Decoded { 2 } else { 0 });
        }
        assert_eq!(aggregator.decoding().skipped, 0);
    }
}

#[test]
fn the_packets_are_those_of_real_time() {
    // Three rates, one with a phase of its own, and one of which the middle is missing.
    let clips = [
        Clip::make("one.mp4", "2", "25", "-bf 3 -g 30 -x264-params b-adapt=0"),
        Clip::make("two.ts", "2", "50", "-bf 0"),
        Clip::make(
            "three.mp4",
            "2",
            "30",
            "-bf 0 -vf select=not(between(n\\,20\\,35)) -fps_mode passthrough",
        ),
    ];
    let sets = |options: &str| -> Vec<Vec<Option<i64>>> {
        let sources: Vec<_> = clips.iter().map(|clip| clip.source(options)).collect();
        let packets = all(&mut aggregator(&sources));
        let first =
            packets.iter().flat_map(|packet| &packet.entries).filter_map(|entry| entry.frame.as_ref());
        let first = first.map(|frame| frame.time.utc).min().unwrap();
        let time = |entry: &framelock_aggregator::Entry| {
            let millis = |span: Span| (span.as_nanos() + 500_000) / 1_000_000;
            entry.frame.as_ref().map(|frame| millis(frame.time.utc - first))
        };
        packets.iter().map(|packet| packet.entries.iter().map(time).collect()).collect()
    };
    let fast = sets(",fast");
    assert!(fast.len() >= 49, "{fast:?}");
    assert_eq!(fast, sets(",fast"), "twice the same");
    // In real time, timers and threads have their say at the very ends and around the gap.
    let real = sets("");
    let same = fast.iter().filter(|set| real.contains(set)).count();
    assert!(same + 6 >= fast.len() && real.len().abs_diff(fast.len()) <= 3, "{fast:?} {real:?}");
}

#[test]
fn what_is_live_cannot_be_beside_it() {
    let clip = Clip::make("clip.mp4", "0.2", "25", "");
    let both = Aggregator::builder()
        .camera("a", &clip.source(",fast"))
        .and_then(|builder| builder.camera("b", &clip.source("")))
        .and_then(|builder| builder.start());
    let error = both.unwrap_err().to_string();
    assert!(error.contains("is read as fast as possible and cannot be put together with"), "{error}");
    let aggregator = aggregator(&[clip.source(",fast")]);
    assert!(
        aggregator.add_camera("live", "udp://:1").unwrap_err().to_string().contains("as fast as possible")
    );
    aggregator.remove_camera("cam0").unwrap();
    assert!(aggregator.add_camera("live", &clip.source("")).is_err(), "its time is not the host's any more");
}

#[test]
fn a_file_that_is_taken_away_does_not_hold_the_others() {
    let clips = [Clip::make("one.mp4", "4", "25", ""), Clip::make("two.mp4", "4", "25", "")];
    let mut aggregator = aggregator(&[clips[0].source(",fast,loop"), clips[1].source(",fast")]);
    let packet = aggregator.next(PATIENCE).unwrap().unwrap();
    assert_eq!(packet.entries.len(), 2);
    aggregator.remove_camera("cam0").unwrap();
    let packets = all(&mut aggregator);
    assert_eq!(packets.last().unwrap().entries.len(), 1);
}
