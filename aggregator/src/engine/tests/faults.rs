//! What networks and boards do to streams.

use super::*;

#[test]
fn loss_never_lets_a_damaged_frame_through_and_packets_go_on() {
    for transport in [Transport::RtpTs, Transport::RtpH264] {
        for seed in 10..14 {
            let mut sim = Sim::with_boards(three(transport), seed);
            sim.faults = Faults { loss_permille: 10, ..Faults::default() };
            sim.run_until(secs(20));
            assert!(sim.packets.len() > 580, "{transport:?} {seed}: {}", sim.packets.len());
            for camera in 0..3 {
                let good = check_frames(&sim, camera, camera);
                let errors = sim.count(camera, 0, FrameStatus::ReadError);
                assert!(good > 100, "{transport:?} {seed} {camera}: {good}");
                assert!(errors > 10, "{transport:?} {seed} {camera}: {errors}");
                assert!(sim.boards[camera].keys_asked > 3, "a key frame was asked for");
                let stream = sim.status()[camera].stream.clone();
                assert!(stream.lost > 10, "{stream:?}");
                check_references(&sim, camera);
            }
        }
    }
}

/// Nothing that was called good refers to a picture that was not: every P frame follows, in decoding
/// order, the frame that its board sent just before it.
fn check_references(sim: &Sim, camera: usize) {
    let mut last = None;
    for frame in &sim.good[camera] {
        let number = number_of(sim, camera, frame);
        assert!(frame.key || last == Some(number - 1), "camera {camera}: {number} refers to a lost picture");
        last = Some(number);
    }
}

#[test]
fn reordering_and_duplicates_within_the_window_cost_nothing() {
    for transport in [Transport::RtpTs, Transport::RtpH264] {
        let mut sim = Sim::with_boards(three(transport), 20);
        sim.faults = Faults { duplicate_permille: 100, jitter: Span::from_millis(8), ..Faults::default() };
        sim.run_until(secs(10));
        for camera in 0..3 {
            assert!(check_frames(&sim, camera, camera) > 280, "{transport:?}");
            assert_eq!(sim.count(camera, 0, FrameStatus::ReadError), 0, "{transport:?}");
            let stream = sim.status()[camera].stream.clone();
            assert!(stream.duplicates > 50 && stream.reordered > 50 && stream.lost == 0, "{stream:?}");
        }
    }
}

#[test]
fn a_silent_source_is_broken_after_two_seconds_and_comes_back() {
    let mut sim = Sim::with_boards(three(Transport::RtpTs), 21);
    sim.run_until(secs(5));
    sim.boards[1].running = false;
    sim.run_until(Span::from_millis(6_900));
    assert_eq!(sim.status()[1].state, SourceState::Live);
    sim.run_until(Span::from_millis(7_100));
    assert_eq!(sim.status()[1].state, SourceState::Broken);
    let before = sim.packets.len();
    sim.run_until(secs(10));
    let others = sim.count(0, before, FrameStatus::Okay);
    assert!(others > 80, "a dead camera holds nobody up: {others}");
    assert_eq!(sim.count(1, before + 5, FrameStatus::Broken), sim.packets.len() - before - 5);
    // The board restarts: another SSRC, another port, sequence and timestamps from elsewhere.
    let mut config = BoardConfig::new(1, Transport::RtpTs);
    config.ssrc = 0x9999_0001;
    config.address.set_port(41_000);
    config.start = secs(10);
    let board = sim.add(config);
    let before = sim.packets.len();
    sim.run_until(secs(14));
    assert_eq!(sim.status()[1].state, SourceState::Live);
    assert!(sim.count(1, before, FrameStatus::Okay) > 110);
    sim.packets.drain(..before);
    assert!(check_frames(&sim, 1, board) > 110);
}

#[test]
fn goodbye_is_broken_at_once_and_a_successor_is_taken_at_once() {
    let mut sim = Sim::with_boards(three(Transport::RtpH264), 22);
    sim.run_until(secs(3));
    sim.goodbye(2);
    sim.run_until(Span::from_millis(3_100));
    assert_eq!(sim.status()[2].state, SourceState::Broken);
    let mut config = BoardConfig::new(2, Transport::RtpH264);
    config.ssrc = 7;
    config.address.set_port(41_000);
    config.start = Span::from_millis(3_100);
    let board = sim.add(config);
    let before = sim.packets.len();
    sim.run_until(secs(5));
    sim.packets.drain(..before);
    assert!(check_frames(&sim, 2, board) > 50);
}

#[test]
fn a_sender_that_restarts_without_a_word_is_followed_within_a_second() {
    let mut sim = Sim::with_boards(three(Transport::RtpTs), 23);
    sim.run_until(secs(3));
    sim.boards[0].running = false;
    let mut config = BoardConfig::new(0, Transport::RtpTs);
    config.ssrc = 8;
    config.address.set_port(41_000);
    config.start = Span::from_millis(3_100);
    let board = sim.add(config);
    sim.run_until(secs(4));
    let before = sim.packets.len();
    sim.run_until(secs(6));
    sim.packets.drain(..before);
    assert!(check_frames(&sim, 0, board) > 50);
    assert_eq!(sim.count(0, 0, FrameStatus::Okay), sim.packets.len());
}

#[test]
fn an_ssrc_change_on_the_same_socket_is_the_same_camera() {
    let mut sim = Sim::with_boards(three(Transport::RtpTs), 24);
    sim.run_until(secs(3));
    sim.boards[0].running = false;
    let mut config = BoardConfig::new(0, Transport::RtpTs);
    config.ssrc = 9;
    config.start = secs(3);
    let board = sim.add(config);
    let before = sim.packets.len();
    sim.run_until(secs(5));
    sim.packets.drain(..before + 3);
    assert!(check_frames(&sim, 0, board) > 50);
}

#[test]
fn a_second_sender_on_a_port_disturbs_nobody() {
    for transport in [Transport::RtpTs, Transport::UdpTs] {
        let mut sim = Sim::with_boards(three(transport), 25);
        sim.run_until(secs(2));
        let mut intruder = BoardConfig::new(0, transport);
        intruder.ssrc = 10;
        intruder.address.set_port(41_000);
        intruder.start = secs(2);
        sim.add(intruder);
        sim.run_until(secs(8));
        assert!(check_frames(&sim, 0, 0) > 220, "{transport:?}");
        assert_eq!(sim.count(0, 0, FrameStatus::ReadError), 0);
    }
}

#[test]
fn an_outage_ends_with_a_key_frame() {
    let mut sim = Sim::with_boards(three(Transport::RtpTs), 26);
    sim.run_until(secs(3));
    sim.faults.loss_permille = 1_000;
    sim.run_until(secs(5));
    sim.faults.loss_permille = 0;
    let before = sim.packets.len();
    sim.run_until(secs(8));
    for camera in 0..3 {
        check_frames(&sim, camera, camera);
        assert!(sim.count(camera, before, FrameStatus::Okay) > 70);
    }
}
