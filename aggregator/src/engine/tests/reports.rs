//! Reports that come after the frames they are for.

use super::*;
use crate::config::Settings;
use crate::deliver::Outcome;

/// Three cameras, the last of which starts 600 ms after the others, so that packets wait for it.
fn waiting(transport: Transport, b_frames: bool, known_after: Span) -> Sim {
    let mut configs = three(transport);
    configs[1].known_after = known_after;
    configs[1].b_frames = b_frames;
    configs[2].start = Span::from_millis(600);
    let mut settings = Settings::default();
    settings.sync.max_wait = Some(secs(2));
    for config in &configs {
        settings.add_camera(config.cname, &format!("rtp://:{}", 5_000 + 2 * config.port)).unwrap();
    }
    let mut sim = Sim::new(&settings, 40);
    for config in configs {
        sim.add(config);
    }
    sim
}

#[test]
fn a_report_that_comes_before_delivery_improves_the_frames_that_wait() {
    for transport in [Transport::RtpTs, Transport::RtpH264] {
        for b_frames in [false, true] {
            let mut sim = waiting(transport, b_frames, Span::from_millis(400));
            sim.run_until(secs(5));
            // Its clock was not known for twelve frames, and all of them have times by its report.
            let improved: Vec<_> = frames(&sim, 1).take(12).collect();
            for frame in &improved {
                assert_eq!(frame.time_source, TimeSource::SenderReport, "{transport:?} {b_frames}");
                // The simulated B-frames are sent before they are captured, and the bound says so.
                assert!(b_frames || frame.time.uncertainty < Span::from_millis(1), "{:?}", frame.time);
            }
            assert_eq!(improved[0].sequence, 0);
            assert!(frames(&sim, 1).count() > 120, "{transport:?} {b_frames}");
            if !b_frames {
                check_frames(&sim, 1, 1);
            }
            let times: Vec<_> = frames(&sim, 1).map(|frame| frame.time.utc).collect();
            assert!(times.is_sorted_by(|a, b| a < b), "{transport:?} {b_frames}");
            // The decoder has the same frames, and their pictures are shared.
            let decoded = sim.good[1].iter().find(|frame| frame.sequence == 0).unwrap();
            assert_eq!(decoded.time_source, TimeSource::Arrival);
            decoded.settle(Outcome::Skipped);
            assert!(matches!(improved[0].outcome(), Some(Outcome::Skipped)));
        }
    }
}

#[test]
fn frames_that_are_out_before_their_report_keep_what_they_were_given() {
    let mut configs = three(Transport::RtpTs);
    configs[1].known_after = secs(2);
    let mut sim = Sim::with_boards(configs, 41);
    sim.run_until(secs(5));
    check_frames(&sim, 1, 1);
    let sources: Vec<_> = frames(&sim, 1).map(|frame| frame.time_source).collect();
    let known = sources.iter().position(|source| *source == TimeSource::SenderReport).unwrap();
    // Two seconds of frames, less the few that waited for the others.
    assert!((50..=61).contains(&known), "{known}");
    assert!(sources[..known].iter().all(|source| *source == TimeSource::Arrival));
    assert!(sources[known..].iter().all(|source| *source == TimeSource::SenderReport));
}

#[test]
fn the_frames_of_a_sender_that_is_gone_do_not_go_by_its_successors_reports() {
    // The second sender of the camera has another media clock, and UTC; the first had none.
    let mut sim = waiting(Transport::RtpTs, false, secs(60));
    sim.run_until(Span::from_millis(300));
    sim.goodbye(1);
    let first = sim.boards[1].sent.len();
    let mut second = BoardConfig::new(1, Transport::RtpTs);
    second.start = Span::from_millis(310);
    (second.ssrc, second.address) = (0x3333_0000, std::net::SocketAddr::from(([10, 0, 0, 9], 40_000)));
    sim.add(second);
    sim.run_until(secs(3));
    let sources: Vec<_> = frames(&sim, 1).map(|frame| frame.time_source).collect();
    assert!(sources.len() > 60 && first > 5);
    assert_eq!(sources.iter().filter(|source| **source == TimeSource::Arrival).count(), first);
    assert!(sources[first..].iter().all(|source| *source == TimeSource::SenderReport));
}
