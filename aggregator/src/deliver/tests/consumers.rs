//! Consumers in threads and tasks of their own.

use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::clock;

const PATIENCE: Duration = Duration::from_secs(30);

/// A hub, and the frames that it wanted decoded lazily.
fn hub() -> (Arc<Hub>, Arc<Mutex<Vec<Frame>>>) {
    let lazy = Arc::new(Mutex::new(Vec::new()));
    let asked = lazy.clone();
    let hub = Hub::new(Box::new(move |frame| asked.lock().unwrap().push(frame)), clock::now());
    (Arc::new(hub), lazy)
}

fn push(hub: &Hub, number: u64, frames: &[Frame]) {
    let mut packet = packet(number, 0, frames);
    packet.ready = clock::now();
    hub.push(&packet, clock::now());
}

fn all(limit: usize) -> Subscription {
    Subscription { queue: Queue::All { limit }, ..Subscription::default() }
}

#[test]
fn each_consumer_has_its_own_pace() {
    let (hub, _) = hub();
    let (mut slow, mut fast) = (hub.subscribe(Subscription::default()), hub.subscribe(all(5)));
    for number in 0..10 {
        push(&hub, number, &[frame(0)]);
        assert_eq!(fast.next(PATIENCE).unwrap().expect("its packet").number, number);
    }
    assert_eq!(slow.try_next().unwrap().expect("the newest").number, 9);
    assert!(slow.try_next().unwrap().is_none());
    let counters = |consumer: &Consumer| {
        let ConsumerCounters { offered, delivered, skipped } = consumer.counters();
        (offered, delivered, skipped)
    };
    assert_eq!((counters(&slow), counters(&fast)), ((10, 1, 9), (10, 10, 0)));
    let late = hub.subscribe(all(5));
    assert_eq!(counters(&late), (0, 0, 0), "what came before it subscribed is not its business");
}

#[test]
fn only_who_wants_pixels_waits_for_them() {
    let (hub, _) = hub();
    let mut times = hub.subscribe(all(5));
    let mut pictures = hub.subscribe(Subscription { pixels: Pixels::Decoded, ..all(5) });
    let frame = frame(0);
    push(&hub, 0, std::slice::from_ref(&frame));
    assert!(times.try_next().unwrap().is_some());
    assert!(pictures.try_next().unwrap().is_none());
    let waiting = std::thread::spawn(move || pictures.next(PATIENCE));
    frame.settle(tiny());
    hub.settled();
    let packet = waiting.join().unwrap().unwrap().expect("woken");
    assert!(packet.entries[0].frame.as_ref().unwrap().picture().is_some());
}

#[test]
fn demand_follows_the_living_consumers() {
    let (hub, _) = hub();
    let demand = |hub: &Hub| {
        let Demand { pictures, motion_vectors } = hub.demand();
        (pictures, motion_vectors)
    };
    let _times = hub.subscribe(Subscription::default());
    assert_eq!(demand(&hub), (false, false));
    let pictures = hub.subscribe(Subscription::decoded());
    assert_eq!(demand(&hub), (true, false));
    let vectors = hub.subscribe(Subscription { motion_vectors: true, ..Subscription::default() });
    drop(pictures);
    assert_eq!(demand(&hub), (true, true));
    drop(vectors);
    assert_eq!(demand(&hub), (false, false));
}

#[test]
fn images_are_decoded_only_when_they_are_taken() {
    let (hub, lazy) = hub();
    let mut consumer = hub.subscribe(Subscription::decoded());
    let images: Vec<_> = (0..4).map(|n| Frame::new(CodedFrame { codec: Codec::Jpeg, ..coded(n) })).collect();
    for (number, pair) in (0..).zip(images.chunks(2)) {
        push(&hub, number, pair);
    }
    assert!(lazy.lock().unwrap().is_empty());
    let waiting = std::thread::spawn(move || (consumer.next(PATIENCE), consumer));
    while lazy.lock().unwrap().len() < 2 {
        std::thread::yield_now();
    }
    let asked = lazy.lock().unwrap().clone();
    let times: Vec<_> = asked.iter().map(|frame| frame.time.utc.as_unix_nanos()).collect();
    assert_eq!(times, [2, 3], "those of the packet that was skipped are never decoded");
    asked.iter().for_each(|frame| frame.settle(tiny()));
    hub.settled();
    let (packet, consumer) = waiting.join().unwrap();
    assert!(packet.unwrap().expect("its pictures are there").complete);
    assert_eq!(consumer.counters().skipped, 1);
}

#[test]
fn everybody_is_told_of_the_end_after_what_is_left() {
    let (hub, _) = hub();
    let mut first = hub.subscribe(all(5));
    let mut second = hub.subscribe(all(5));
    push(&hub, 0, &[frame(0)]);
    first.next(PATIENCE).unwrap().expect("a packet");
    let waiting = std::thread::spawn(move || first.next(PATIENCE));
    hub.end(ConsumerError::Ended);
    hub.end(ConsumerError::Stopped);
    assert_eq!(waiting.join().unwrap().unwrap_err(), ConsumerError::Ended, "the first word counts");
    assert!(second.next(PATIENCE).unwrap().is_some());
    assert_eq!(second.next(PATIENCE).unwrap_err(), ConsumerError::Ended);
    assert_eq!(hub.subscribe(all(5)).try_next().unwrap_err(), ConsumerError::Ended);
}

#[test]
fn a_closed_aggregator_keeps_nobody_waiting_for_pictures() {
    let (hub, _) = hub();
    let mut consumer = hub.subscribe(Subscription::decoded());
    push(&hub, 0, &[frame(0)]);
    hub.end(ConsumerError::Closed);
    assert_eq!(consumer.next(PATIENCE).unwrap_err(), ConsumerError::Closed);
}

#[test]
fn waiting_in_a_task_can_be_cancelled_without_losing_a_packet() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (hub, lazy) = hub();
        let mut consumer = hub.subscribe(Subscription { pixels: Pixels::Decoded, ..all(5) });
        let soon = Duration::from_millis(5);
        assert!(tokio::time::timeout(soon, consumer.next_async()).await.is_err());
        let image = Frame::new(CodedFrame { codec: Codec::Jpeg, ..coded(0) });
        push(&hub, 0, std::slice::from_ref(&image));
        assert!(tokio::time::timeout(soon, consumer.next_async()).await.is_err(), "it is being decoded");
        assert_eq!(lazy.lock().unwrap().len(), 1);
        image.settle(tiny());
        hub.settled();
        assert_eq!(consumer.next_async().await.unwrap().number, 0);
        let frame = frame(0);
        push(&hub, 1, std::slice::from_ref(&frame));
        let later = tokio::spawn(async move { consumer.next_async().await.map(|packet| packet.number) });
        tokio::task::yield_now().await;
        frame.settle(tiny());
        hub.settled();
        assert_eq!(later.await.unwrap(), Ok(1));
        assert_eq!(lazy.lock().unwrap().len(), 1);
    });
}
