//! In real time: by the timestamps of the file, and round again.

use framelock_aggregator::FrameStatus;

use super::*;

#[test]
fn a_file_plays_at_its_pace_with_times_that_are_exactly_those_in_it() {
    for (name, rate, args) in [CLIPS[1], CLIPS[5]] {
        let clip = Clip::make(name, "2", rate, args);
        let begun = now();
        let packets = all(&mut aggregator(&[clip.source("")]));
        let took = now() - begun;
        // The last frame is due a frame before the clip's end, and with B-frames decoded before it is shown.
        assert!(took >= Duration::from_millis(1_600), "{name}: {took:?}");
        let (times, expected) = (times(&packets, 0), clip.shown());
        // A machine that stood still for a second moves what follows.
        let steps = |times: &[i64]| times.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
        let (mine, theirs) = (steps(&times), steps(&expected));
        let same = mine.iter().zip(theirs).filter(|(one, other)| (*one - other).abs() <= 30);
        assert!(same.count() + 2 >= expected.len(), "{name}: {times:?} {expected:?}");
        assert_eq!(times.len(), expected.len(), "{name}");
    }
}

#[test]
fn a_file_begins_again_without_a_seam() {
    let clip = Clip::make("loop.mp4", "0.2", "50", "-bf 2 -g 5");
    for options in [",loop", ",fast,loop", ",loop,fast"] {
        let mut aggregator = aggregator(&[clip.source(options)]);
        let (mut packets, end) = (Vec::new(), now() + PATIENCE);
        while packets.len() < 45 {
            packets.extend(aggregator.next(Duration::from_millis(100)).unwrap());
            assert!(now() < end, "{options}: {:?}", aggregator.status());
        }
        let times = times(&packets, 0);
        let steps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let even = steps.iter().filter(|step| (*step - 20_000).abs() <= 30).count();
        // As above, of one that stood still.
        assert!(even + 1 >= steps.len(), "{options}: {steps:?}");
        status(&aggregator, 0, |status| status.stream.connects == 1);
    }
}

#[test]
fn a_file_that_comes_later_is_played_then_and_others_do_not_wait_for_it() {
    let clip = Clip::make("clip.mp4", "1", "25", "");
    let long = Clip::make("long.mp4", "30", "25", "");
    let late = clip.path.with_file_name("late.mp4");
    let mut aggregator = aggregator(&[format!("file:{}", late.display()), long.source("")]);
    let down = status(&aggregator, 0, |status| status.reason.is_some());
    assert_eq!(down.reason.unwrap(), format!("{}: there is no such file", late.display()));
    let packet = aggregator.next(PATIENCE).unwrap().unwrap();
    assert_eq!(packet.entries[1].status, FrameStatus::Okay);
    std::fs::copy(&clip.path, &late).unwrap();
    let end = now() + PATIENCE;
    while aggregator.next(PATIENCE).unwrap().unwrap().entries[0].status != FrameStatus::Okay {
        assert!(now() < end, "{:?}", aggregator.status());
    }
    assert!(aggregator.status()[0].stream.failures >= 1);
}
