//! What goes wrong in the field: loss, duplicates, reordering, a cable pulled, a sender or the aggregator
//! that dies and comes back. Packets go on, statuses are right, counters add up, memory stays bounded.

use std::sync::atomic::Ordering;
use std::time::Duration;

use framelock_aggregator::{Aggregator, CameraStatus, FrameStatus, Packet};
use framelock_common::timecode;
use framelock_tests::ntp;
use framelock_tests::packets::next_where;
use framelock_tests::process::{PATIENCE, Process, free_port};
use framelock_tests::relay::{Faults, Relay};
use rustix::process::{Pid, Signal, kill_process};

fn sender(camera: &str, port: u16) -> Process {
    let to = format!("rtp://127.0.0.1:{port}");
    let args = ["run", "--source", "test", "--size", "320x240", "--fps", "20", "--bitrate", "500k"];
    Process::ours(
        "framelock-sender",
        args.into_iter().chain(["--clock", ntp::clock(), "--camera", camera, "--to", &to]),
    )
}

/// An aggregator with the cameras `left` and `right`.
fn aggregator(ports: [u16; 2], decode: bool) -> Aggregator {
    let source = |port: u16| format!("rtp://127.0.0.1:{port}");
    Aggregator::builder()
        .camera("left", &source(ports[0]))
        .and_then(|builder| builder.camera("right", &source(ports[1])))
        .and_then(|builder| builder.decode(decode).start())
        .expect("two free ports on loopback")
}

/// Takes packets until `wanted` holds for one.
fn until(aggregator: &mut Aggregator, what: &str, mut wanted: impl FnMut(&Packet) -> bool) -> Packet {
    loop {
        let packet =
            aggregator.next(PATIENCE).expect("it runs").unwrap_or_else(|| panic!("no packet: {what}"));
        if wanted(&packet) {
            return packet;
        }
    }
}

fn status(packet: &Packet, camera: usize) -> FrameStatus {
    packet.entries[camera].status
}

/// A camera's counters once they no longer change.
fn settled(aggregator: &mut Aggregator, camera: usize) -> CameraStatus {
    let mut last = aggregator.status().swap_remove(camera);
    loop {
        // Nothing is sent any more, so this only lets the status be renewed a few times.
        while aggregator.next(Duration::from_millis(600)).expect("it runs").is_some() {}
        let now = aggregator.status().swap_remove(camera);
        if now.stream == last.stream {
            return now;
        }
        last = now;
    }
}

#[test]
fn loss_duplicates_and_reordering_never_make_a_wrong_frame_and_are_counted_exactly() {
    let ports = [free_port(), free_port()];
    let faults = Faults { loss: 0.05, duplicates: 0.05, reordering: 0.05, delay: Duration::from_millis(4) };
    let relay = Relay::start(ports[0], faults, 7);
    let mut aggregator = aggregator(ports, true);
    let mut senders = [sender("left", relay.port()), sender("right", ports[1])];

    let (mut good, mut damaged) = (0, 0);
    until(&mut aggregator, "good and damaged frames through the relay", |packet| {
        for entry in &packet.entries {
            let Some(frame) = &entry.frame else { continue };
            let picture = frame.picture().expect("an okay frame of a decoding aggregator has its picture");
            let code =
                timecode::read(picture.y().data, picture.y().stride, picture.width(), picture.height())
                    .unwrap_or_else(|error| {
                        panic!("{}: a damaged picture came as a good one: {error}", entry.camera)
                    });
            let error = (frame.time.utc - code.capture).abs();
            assert!(
                error <= frame.time.uncertainty,
                "{}: {error} off, bound {}",
                entry.camera,
                frame.time.uncertainty
            );
        }
        good += u32::from(status(packet, 0) == FrameStatus::Okay);
        damaged += u32::from(status(packet, 0) == FrameStatus::ReadError);
        assert!(status(packet, 1) != FrameStatus::ReadError, "the undisturbed camera is undisturbed");
        good >= 60 && damaged >= 5
    });

    for sender in &mut senders {
        assert!(sender.terminate().success(), "{}", sender.log());
    }
    let left = settled(&mut aggregator, 0).stream;
    let count = relay.counters();
    assert_eq!(left.lost, count.lost_rtp.load(Ordering::Relaxed), "lost: {left:?} {count:?}");
    assert_eq!(
        left.duplicates,
        count.duplicated_rtp.load(Ordering::Relaxed),
        "duplicates: {left:?} {count:?}"
    );
    assert!(
        left.reordered > 0 && left.reordered <= count.reordered.load(Ordering::Relaxed),
        "{left:?} {count:?}"
    );
    assert_eq!(left.malformed, 0, "{left:?}");
    assert_eq!(settled(&mut aggregator, 1).stream.lost, 0, "nothing is lost on loopback by us");
}

#[test]
fn a_pulled_cable_breaks_one_camera_and_mends() {
    let ports = [free_port(), free_port()];
    let relay = Relay::start(ports[0], Faults::default(), 1);
    let mut aggregator = aggregator(ports, false);
    let senders = [sender("left", relay.port()), sender("right", ports[1])];
    until(&mut aggregator, "both cameras", |packet| packet.complete);

    relay.set_cut(true);
    let broken =
        until(&mut aggregator, "the broken camera", |packet| status(packet, 0) == FrameStatus::Broken);
    assert_eq!(status(&broken, 1), FrameStatus::Okay, "one camera's cable does not hold the other");
    let number = broken.number;
    until(&mut aggregator, "packets without the broken camera", |packet| packet.number >= number + 20);

    relay.set_cut(false);
    let mended = until(&mut aggregator, "the mended camera", |packet| packet.complete);
    assert!(mended.number > number);
    drop(senders);
    let lost = settled(&mut aggregator, 0).stream.lost;
    assert_eq!(lost, relay.counters().lost_rtp.load(Ordering::Relaxed), "the outage is counted");
    assert!(lost > 0);
}

#[test]
fn a_sender_that_is_killed_comes_back_under_its_name() {
    let ports = [free_port(), free_port()];
    let mut aggregator = aggregator(ports, false);
    let mut left = sender("left", ports[0]);
    let _right = sender("right", ports[1]);
    until(&mut aggregator, "both cameras", |packet| packet.complete);

    left.kill();
    until(&mut aggregator, "the broken camera", |packet| status(packet, 0) == FrameStatus::Broken);
    let _left = sender("left", ports[0]);
    let packet = until(&mut aggregator, "the restarted sender", |packet| packet.complete);
    let names: Vec<&str> = packet.entries.iter().map(|entry| entry.camera.as_str()).collect();
    assert_eq!(names, ["left", "right"]);
}

#[test]
fn senders_outlive_the_aggregator() {
    let port = free_port();
    let source = format!("*=rtp://127.0.0.1:{port}");
    let start = || Process::ours("framelock-aggregator", ["packets", "--camera", &source]);
    let senders = [sender("left", port), sender("right", port)];
    for restart in 0..2 {
        let mut aggregator = start();
        let packet = next_where(&mut aggregator, "packets of both senders", |packet| {
            packet.frames.len() == 2 && packet.complete
        });
        assert_eq!(packet.status("left"), "okay", "restart {restart}");
        aggregator.kill();
    }
    for mut sender in senders {
        assert!(sender.terminate().success(), "{}", sender.log());
    }
}

/// A machine that is busy, or a laptop that was asleep: what arrived meanwhile is read before anybody concludes that
/// it did not come in time.
#[test]
fn an_aggregator_that_was_held_up_misses_nothing_that_arrived_meanwhile() {
    let port = free_port();
    let source = format!("*=rtp://127.0.0.1:{port}");
    // A busy machine may hold a sender up, too; what is asked here is not how fast it is.
    let mut aggregator =
        Process::ours("framelock-aggregator", ["packets", "--max-wait", "1000", "--camera", &source]);
    let _senders = ["left", "right", "top", "back"].map(|name| sender(name, port));
    let whole = |packet: &framelock_tests::packets::Packet| packet.frames.len() == 4 && packet.complete;
    let first = next_where(&mut aggregator, "all cameras", whole);
    aggregator.signal(Signal::STOP);
    // Longer than a source may be silent.
    std::thread::sleep(Duration::from_secs(4));
    aggregator.signal(Signal::CONT);
    let mut last = first;
    for _ in 0..120 {
        let packet = next_where(&mut aggregator, "the next packet", |_| true);
        assert!(whole(&packet), "{packet:?} after {last:?}");
        last = packet;
    }
}

#[test]
fn a_consumer_that_never_reads_costs_no_memory_and_holds_up_no_signal() {
    let port = free_port();
    let source = format!("*=rtp://127.0.0.1:{port}");
    // Its stdout is read by nobody: the pipe fills, then the packet queue, and the oldest packets give way.
    let mut idle = std::process::Command::new(framelock_tests::process::program("framelock-aggregator"))
        .args(["packets", "--camera", &source])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the aggregator starts");
    let resident = |id: u32| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    // 1000 frames, as fast as the file can be read in 10 s of stream time, is far more than the queue holds.
    let mut sender = Process::ours(
        "framelock-sender",
        [
            "run",
            "--source",
            "test",
            "--size",
            "320x240",
            "--fps",
            "100",
            "--bitrate",
            "2M",
            "--clock",
            ntp::clock(),
        ]
        .into_iter()
        .chain(["--frames", "1000", "--camera", "left", "--to", &format!("rtp://127.0.0.1:{port}")]),
    );
    let done = sender.wait();
    let kib = resident(idle.id());
    // The full pipe does not keep it from its signals either.
    let id = i32::try_from(idle.id()).ok().and_then(Pid::from_raw).expect("it runs");
    kill_process(id, Signal::INT).expect("it runs");
    let mut status = None;
    for _ in 0..PATIENCE.as_millis() / 10 {
        status = idle.try_wait().expect("it is our child");
        if status.is_some() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let _ended_already = idle.kill();
    let _status = idle.wait();
    assert_eq!(status.and_then(|status| status.code()), Some(0), "a signal ends it");
    assert!(done.success(), "{}", sender.log());
    assert!(kib < 64 * 1024, "{kib} KiB resident after 1000 frames that nobody took");
}
