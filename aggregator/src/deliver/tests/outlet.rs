//! What waits for one consumer, told the time.

use super::super::outlet::{DECODE_WAIT, Outlet};
use super::*;

fn ms(ms: i64) -> HostTime {
    HostTime::from_nanos(ms * 1_000_000)
}

/// An outlet with a patience that counts from the beginning.
struct Rig {
    outlet: Outlet,
    now: i64,
    offered: u64,
}

impl Rig {
    fn new(pixels: Pixels, queue: Queue) -> Self {
        let subscription = Subscription { pixels, queue, ..Subscription::default() };
        Self { outlet: Outlet::new(subscription), now: 0, offered: 0 }
    }

    /// Offers a packet of these frames.
    fn offer(&mut self, frames: &[Frame]) {
        self.outlet.push(&packet(self.offered, self.now, frames));
        self.offered += 1;
        self.settle();
    }

    fn settle(&mut self) -> bool {
        self.outlet.settle(ms(self.now), Some(ms(0)))
    }

    fn take(&mut self) -> Option<Packet> {
        let packet = self.outlet.pop()?;
        Some(self.outlet.finish(packet))
    }

    fn numbers(&mut self) -> Vec<u64> {
        std::iter::from_fn(|| self.take()).map(|packet| packet.number).collect()
    }

    fn counts(&self) -> (u64, u64, u64) {
        let ConsumerCounters { offered, delivered, skipped } = self.outlet.counters();
        (offered, delivered, skipped)
    }
}

#[test]
fn a_slow_consumer_gets_the_newest_and_what_it_missed_is_counted() {
    let mut rig = Rig::new(Pixels::None, Queue::Newest(2));
    (0..5).for_each(|_| rig.offer(&[frame(0)]));
    assert_eq!(rig.numbers(), [3, 4]);
    assert_eq!(rig.counts(), (5, 2, 3));
    let mut rig = Rig::new(Pixels::None, Queue::Newest(0));
    (0..3).for_each(|_| rig.offer(&[frame(0)]));
    assert_eq!(rig.numbers(), [2], "none at all is taken for one");
}

#[test]
fn one_that_wants_all_gets_all_up_to_the_stated_bound() {
    let mut rig = Rig::new(Pixels::None, Queue::All { limit: 3 });
    for offered in 1..=3 + Queue::UNDER_WAY as u64 {
        rig.offer(&[frame(0)]);
        assert_eq!(rig.outlet.is_full(), offered >= 3);
    }
    assert_eq!(rig.counts(), (259, 0, 0), "sources that can wait would have stopped at the third");
    rig.offer(&[frame(0)]);
    assert_eq!(rig.counts(), (260, 0, 1), "one that cannot wait loses the oldest");
    let numbers = rig.numbers();
    assert_eq!((numbers.len(), numbers.first()), (259, Some(&1)));
    assert!(!rig.outlet.is_full() && rig.outlet.is_empty());
}

#[test]
fn packets_wait_for_their_pictures_and_stay_in_order() {
    let mut rig = Rig::new(Pixels::Decoded, Queue::Newest(10));
    let frames: Vec<_> = (0..6).map(frame).collect();
    frames.chunks(2).for_each(|pair| rig.offer(pair));
    assert!(rig.take().is_none());
    for at in [2, 3, 0] {
        frames[at].settle(tiny());
        assert!(!rig.settle());
    }
    assert!(rig.take().is_none(), "the first packet still waits for one");
    frames[1].settle(tiny());
    assert!(rig.settle());
    assert_eq!(rig.numbers(), [0, 1]);
    assert!(!rig.outlet.is_empty());
}

#[test]
fn a_consumer_that_wants_no_pixels_waits_for_none_and_holds_none() {
    let mut rig = Rig::new(Pixels::None, Queue::Newest(10));
    let frame = frame(0);
    rig.offer(std::slice::from_ref(&frame));
    frame.settle(tiny());
    let packet = rig.take().expect("at once");
    let held = packet.entries[0].frame.as_ref().expect("the frame");
    assert!(frame.picture().is_some() && held.picture().is_none());
    assert_eq!(held.data, frame.data);
}

#[test]
fn what_came_of_decoding_is_the_status() {
    let mut rig = Rig::new(Pixels::Decoded, Queue::Newest(1));
    let frames: Vec<_> = (0..5).map(|n| frame(n * 1_000)).collect();
    rig.offer(&frames);
    let outcomes = [tiny(), Outcome::Failed, Outcome::Skipped, Outcome::NotYet, tiny()];
    frames.iter().zip(outcomes).for_each(|(frame, outcome)| frame.settle(outcome));
    rig.settle();
    let packet = rig.take().expect("all are settled");
    let statuses: Vec<_> = packet.entries.iter().map(|entry| entry.status.as_str()).collect();
    assert_eq!(statuses, ["okay", "read-error", "dropped", "starting", "okay"]);
    for entry in &packet.entries {
        assert_eq!(entry.frame.is_some(), entry.status == FrameStatus::Okay);
    }
    assert!(!packet.complete);
    assert_eq!(packet.spread, Span::from_nanos(4_000), "of the frames that are left");
}

#[test]
fn a_picture_that_never_comes_is_waited_for_a_second() {
    let mut rig = Rig::new(Pixels::Decoded, Queue::Newest(5));
    rig.now = 100;
    rig.offer(&[frame(0)]);
    assert_eq!(rig.outlet.due(Some(ms(0))), Some(ms(100) + DECODE_WAIT));
    rig.now = 1_099;
    assert!(!rig.settle());
    rig.now = 1_100;
    assert!(rig.settle());
    assert_eq!(rig.take().expect("given up").entries[0].status, FrameStatus::ReadError);
}

#[test]
fn time_does_not_count_while_sources_are_held_back() {
    let mut rig = Rig::new(Pixels::Decoded, Queue::All { limit: 1 });
    let late = frame(0);
    rig.offer(std::slice::from_ref(&late));
    // Held back for an hour: the picture after which this one comes out of the decoder was not even read.
    assert!(!rig.outlet.settle(ms(3_600_000), None));
    assert_eq!(rig.outlet.due(None), None);
    let again = ms(3_600_000);
    assert!(!rig.outlet.settle(ms(3_600_999), Some(again)));
    late.settle(tiny());
    assert!(rig.outlet.settle(ms(3_600_999), Some(again)));
    assert_eq!(rig.take().expect("its picture").entries[0].status, FrameStatus::Okay);
}

#[test]
fn what_waits_for_pictures_is_bounded() {
    let mut rig = Rig::new(Pixels::Decoded, Queue::Newest(1));
    (0..10_000).for_each(|_| rig.offer(&[frame(0)]));
    let (offered, _, skipped) = rig.counts();
    assert!(offered - skipped <= 257, "{offered} offered, {skipped} skipped");
}

#[test]
fn frames_that_are_decoded_when_taken_wait_for_nothing() {
    let mut rig = Rig::new(Pixels::Decoded, Queue::Newest(1));
    let mut coded = Frame::new(CodedFrame { codec: Codec::Jpeg, ..coded(0) });
    rig.offer(std::slice::from_ref(&coded));
    assert!(coded.outcome().is_none());
    let packet = rig.outlet.pop().expect("ready as it is");
    coded = packet.entries[0].frame.clone().expect("the frame");
    coded.settle(tiny());
    assert!(rig.outlet.finish(packet).complete);
}

#[test]
fn a_consumer_is_told_of_decoding_only_when_it_can_go_on() {
    let mut rig = Rig::new(Pixels::Decoded, Queue::Newest(5));
    let frames: Vec<_> = (0..4).map(frame).collect();
    frames.chunks(2).for_each(|pair| rig.offer(pair));
    let told = |settled: usize| {
        frames[settled].settle(tiny());
        rig.outlet.may_go_on()
    };
    assert_eq!([told(2), told(3), told(0)], [false; 3], "the first packet waits for its second frame");
    assert!(told(1));
    assert!(rig.settle());
    assert!(!rig.outlet.may_go_on(), "both are ready: of those it was told when they came");

    let mut rig = Rig::new(Pixels::None, Queue::Newest(5));
    rig.offer(std::slice::from_ref(&frames[0]));
    assert!(!rig.outlet.may_go_on(), "who wants no pixels waits for none");

    let mut rig = Rig::new(Pixels::Decoded, Queue::Newest(5));
    rig.offer(&[Frame::new(CodedFrame { codec: Codec::Jpeg, ..coded(0) })]);
    let taken = rig.outlet.pop().expect("ready as it is");
    assert!(rig.outlet.may_go_on(), "it waits for the frames of the packet that it took");
    rig.outlet.finish(taken);
    assert!(!rig.outlet.may_go_on());
}

#[test]
fn who_wants_vectors_gets_no_frame_without() {
    let subscription = Subscription { motion_vectors: true, ..Subscription::default() };
    let mut outlet = Outlet::new(subscription);
    let (frame, image) = (frame(0), Frame::new(CodedFrame { codec: Codec::Jpeg, ..coded(0) }));
    outlet.push(&packet(0, 0, &[frame.clone(), image.clone()]));
    // The decoder was opened before anybody wanted them.
    frame.settle(tiny());
    image.settle(tiny());
    outlet.settle(ms(0), None);
    let popped = outlet.pop().expect("settled");
    let statuses: Vec<_> = outlet.finish(popped).entries.iter().map(|entry| entry.status).collect();
    assert_eq!(statuses, [FrameStatus::Starting, FrameStatus::Okay], "JPEG has none at all");
}
