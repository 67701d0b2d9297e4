//! What goes to the decoders, and when.

use super::*;
use crate::deliver::Outcome;

fn sim(transport: Transport, decoding: bool) -> Sim {
    let mut sim = Sim::with_boards(three(transport), 11);
    sim.engine.set_decoding(decoding);
    sim
}

#[test]
fn nothing_goes_to_the_decoders_unless_somebody_wants_pixels() {
    let mut sim = sim(Transport::RtpTs, false);
    sim.run_until(secs(3));
    assert!(sim.good.is_empty(), "no frame was handed out to be decoded");
    let count = frames(&sim, 0).count();
    assert!(count > 80);
    // Nobody has to wait for their pictures.
    assert!(frames(&sim, 0).all(|frame| matches!(frame.outcome(), Some(Outcome::NotYet))));
}

#[test]
fn who_begins_to_want_pixels_has_the_senders_asked_for_key_frames() {
    let mut sim = sim(Transport::RtpTs, false);
    sim.run_until(Span::from_millis(2_100));
    let keys_asked = |sim: &Sim| sim.boards.iter().map(|board| board.keys_asked).collect::<Vec<_>>();
    assert_eq!(keys_asked(&sim), [0, 0, 0]);
    sim.engine.set_decoding(true);
    sim.run_until(Span::from_millis(2_500));
    assert!(keys_asked(&sim).iter().all(|asked| *asked > 0), "{:?}", keys_asked(&sim));
    // The next key frames of their own would come at 4 s.
    for good in &sim.good {
        assert!(good.iter().any(|frame| frame.key));
        assert!(good.iter().all(|frame| frame.outcome().is_none()), "they are the decoders'");
    }
}

#[test]
fn what_is_left_when_nobody_wants_pixels_any_more_is_settled() {
    let mut sim = sim(Transport::RtpH264, true);
    sim.run_until(secs(1));
    let before = sim.packets.len();
    let handed_out: usize = sim.good.iter().map(Vec::len).sum();
    sim.engine.set_decoding(false);
    sim.run_until(secs(3));
    assert_eq!(sim.good.iter().map(Vec::len).sum::<usize>(), handed_out);
    // A few frames were still on their way through the synchronizer.
    let after = &sim.packets[before + 5..];
    assert!(after.len() > 50);
    let frames = after.iter().flat_map(|packet| &packet.entries).filter_map(|entry| entry.frame.as_ref());
    assert!(frames.into_iter().all(|frame| matches!(frame.outcome(), Some(Outcome::NotYet))));
}
