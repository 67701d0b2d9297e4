//! The times that people read in the picture: the test source's clock, which shows the truth, and the one that
//! `--overlay-time` burns in, which shows UTC as the board knows it.

use framelock_aggregator::{Aggregator, Picture};
use framelock_common::time::{Span, Utc};
use framelock_common::timecode;
use framelock_sender::overlay::draw_time;
use framelock_tests::process::{PATIENCE, Process, free_port};

/// How wrong the board's clock is, which believes itself.
const WRONG: Span = Span::from_secs(100);
/// Pictures looked at.
const PICTURES: usize = 20;

/// The share of the text's pixels that are as they would be if `picture` showed `utc`, to the millisecond.
fn likeness(picture: &Picture, utc: Utc) -> f64 {
    const UNTOUCHED: u8 = 128;
    let likeness = |utc| {
        let luma = picture.y();
        let mut drawn = vec![UNTOUCHED; luma.data.len()];
        draw_time(&mut drawn, luma.stride, picture.width(), picture.height(), utc);
        let text = drawn.iter().zip(luma.data).filter(|(drawn, _)| **drawn != UNTOUCHED);
        let (alike, all) = text.fold((0, 0), |(alike, all), (drawn, seen)| {
            (alike + u32::from((*drawn > UNTOUCHED) == (*seen > UNTOUCHED)), all + 1)
        });
        f64::from(alike) / f64::from(all)
    };
    // The strip and the board's estimate may be on both sides of a millisecond's end.
    [-1, 0, 1].map(|ms| likeness(utc + Span::from_millis(ms))).into_iter().fold(0.0, f64::max)
}

/// What pictures of the test source look like with `args`: by how much they are like the truth, and like what
/// the board takes for UTC.
fn likenesses(args: &[&str]) -> Vec<(f64, f64)> {
    let port = free_port();
    let builder = Aggregator::builder().camera("a", &format!("rtp://127.0.0.1:{port}"));
    let mut aggregator = builder.and_then(|builder| builder.decode(true).start()).expect("a free port");
    let to = format!("rtp://127.0.0.1:{port}");
    let clock = format!("sim:offset={}s", WRONG.as_secs_f64());
    let test =
        ["run", "--source", "test", "--size", "320x240", "--bitrate", "1M", "--clock", &clock, "--to", &to];
    let _sender = Process::ours("framelock-sender", test.iter().chain(args));
    let mut found = Vec::new();
    while found.len() < PICTURES {
        let packet = aggregator.next(PATIENCE).expect("it runs").expect("a packet in time");
        let Some(picture) = packet.entries[0].frame.as_ref().and_then(|frame| frame.picture()) else {
            continue;
        };
        let strip = timecode::read(picture.y().data, picture.y().stride, picture.width(), picture.height());
        let truth = strip.expect("a strip in every picture").capture;
        found.push((likeness(picture, truth), likeness(picture, truth + WRONG)));
    }
    found
}

#[test]
fn the_test_source_shows_the_truth_and_the_overlay_what_the_board_knows() {
    for (truth, believed) in likenesses(&[]) {
        assert!(truth > 0.98 && truth > believed + 0.005, "{truth} {believed}");
    }
    for (truth, believed) in likenesses(&["--overlay-time"]) {
        assert!(believed > 0.98 && believed > truth + 0.005, "{truth} {believed}");
    }
}
