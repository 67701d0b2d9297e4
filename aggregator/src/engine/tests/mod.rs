//! The whole engine against simulated boards: real packetizers and sessions at both ends, a network with
//! faults from a seed, simulated time.

mod attacks;
mod board;
mod cameras;
mod decoding;
mod faults;
mod many;
mod picture;
mod reports;
mod sim;

use framelock_common::time::Span;

use board::{BoardConfig, Transport};
use sim::{Faults, Sim};

use crate::deliver::{Frame, FrameStatus, FrameType, TimeSource};
use crate::sync::SourceState;

fn secs(s: i64) -> Span {
    Span::from_secs(s)
}

fn three(transport: Transport) -> Vec<BoardConfig> {
    (0..3).map(|port| BoardConfig::new(port, transport)).collect()
}

/// Every delivered frame is byte for byte one that the camera's board sent, its time is right within its
/// bound, and frames are in order. Returns how many there were.
fn check_frames(sim: &Sim, camera: usize, board: usize) -> usize {
    let sent = &sim.boards[board].sent;
    let mut last: Option<u64> = None;
    let mut count = 0;
    for frame in frames(sim, camera) {
        let number = number_of(sim, board, frame);
        let (captured, _) = &sent[&number];
        let error = (frame.time.utc - *captured).abs();
        assert!(
            error <= frame.time.uncertainty,
            "camera {camera} frame {number}: {error} off, {:?}",
            frame.time
        );
        assert!(last.is_none_or(|last| number > last), "camera {camera}: {number} after {last:?}");
        last = Some(number);
        count += 1;
    }
    count
}

/// Which frame of the board this is, byte for byte.
fn number_of(sim: &Sim, board: usize, frame: &Frame) -> u64 {
    let sent = &sim.boards[board].sent;
    let found = sent.iter().find(|(_, (_, unit))| without_delimiter(&frame.data) == unit.as_slice());
    *found.unwrap_or_else(|| panic!("board {board}: a frame nobody sent")).0
}

fn frames(sim: &Sim, camera: usize) -> impl Iterator<Item = &Frame> {
    sim.packets.iter().filter_map(move |packet| packet.entries[camera].frame.as_ref())
}

/// The multiplexer puts a delimiter (`00 00 00 01 09 f0`) before each access unit.
fn without_delimiter(unit: &[u8]) -> &[u8] {
    match unit {
        [0, 0, 0, 1, 9, _, rest @ ..] => rest,
        _ => unit,
    }
}

#[test]
fn three_boards_with_drifting_clocks_give_complete_packets_with_true_times() {
    for transport in [Transport::RtpTs, Transport::RtpH264] {
        let mut sim = Sim::with_boards(three(transport), 1);
        sim.run_until(secs(20));
        let complete = sim.packets.iter().filter(|packet| packet.complete).count();
        assert!(complete >= 590, "{transport:?}: {complete} of {}", sim.packets.len());
        for camera in 0..3 {
            check_frames(&sim, camera, camera);
            for frame in frames(&sim, camera) {
                assert_eq!(frame.time_source, TimeSource::SenderReport);
                assert!(frame.time.uncertainty < Span::from_micros(500), "{:?}", frame.time);
                assert_eq!((frame.width, frame.height), (Some(640), Some(480)));
            }
        }
        // The phases are 0, 7 and 14 ms; the drift between two reports is the rest.
        for packet in sim.packets.iter().filter(|packet| packet.complete) {
            assert!(
                packet.spread <= Span::from_micros(14_200),
                "{transport:?} {}: {}",
                packet.number,
                packet.spread
            );
        }
    }
}

#[test]
fn rates_are_right_from_the_first_look_on_whenever_one_looks() {
    for (transport, step) in [(Transport::RtpTs, 1_003), (Transport::RtpH264, 250), (Transport::UdpTs, 777)] {
        let mut configs = three(transport);
        configs[1].start = Span::from_millis(2_310);
        let mut sim = Sim::with_boards(configs, 7);
        let mut rates = crate::cli::Rates::default();
        for look in 1..12 {
            sim.run_until(Span::from_millis(step * look));
            let status = sim.status();
            for (camera, rate) in status.iter().zip(rates.look(&status)) {
                let name = &camera.name;
                let Some(first) = camera.stream.frames.first.filter(|_| camera.stream.frames.good > 2) else {
                    assert!(rate.fps < 40.0, "{transport:?} {step} {look} {name}: {rate:?}");
                    continue;
                };
                assert!((29.8..30.2).contains(&rate.fps), "{transport:?} {step} {look} {name}: {rate:?}");
                if camera.at - first > Span::from_secs(1) {
                    // 3 to 6 kB a frame, key frames 15.
                    assert!((700e3..1_800e3).contains(&rate.bitrate), "{look} {name}: {rate:?}");
                }
            }
        }
        sim.boards.iter_mut().for_each(|board| board.running = false);
        let end = sim.now + Span::from_millis(500);
        sim.run_until(end);
        rates.look(&sim.status());
        sim.run_until(end + secs(1));
        assert!(rates.look(&sim.status()).iter().all(|rate| rate.fps == 0.0 && rate.bitrate == 0.0));
    }
}

#[test]
fn plain_mpegts_over_udp_goes_by_arrival() {
    let mut sim = Sim::with_boards(three(Transport::UdpTs), 2);
    sim.run_until(secs(10));
    assert!(sim.packets.iter().filter(|packet| packet.complete).count() > 290);
    for camera in 0..3 {
        check_frames(&sim, camera, camera);
        assert!(frames(&sim, camera).all(|frame| frame.time_source == TimeSource::Arrival));
    }
}

#[test]
fn an_unsynchronized_board_goes_by_arrival_beside_synchronized_ones() {
    let mut configs = three(Transport::RtpTs);
    configs[1].synchronized = false;
    let mut sim = Sim::with_boards(configs, 3);
    sim.run_until(secs(10));
    check_frames(&sim, 1, 1);
    assert!(frames(&sim, 1).all(|frame| frame.time_source == TimeSource::Arrival));
    assert!(frames(&sim, 0).all(|frame| frame.time_source == TimeSource::SenderReport));
    assert!(sim.packets.iter().filter(|packet| packet.complete).count() > 280);
}

#[test]
fn without_rtcp_the_in_band_times_serve() {
    let mut configs = three(Transport::RtpH264);
    configs.iter_mut().for_each(|config| config.rtcp = false);
    let mut sim = Sim::with_boards(configs, 4);
    sim.run_until(secs(10));
    for camera in 0..3 {
        assert!(check_frames(&sim, camera, camera) > 290);
        assert!(frames(&sim, camera).all(|frame| frame.time_source == TimeSource::InBand));
    }
}

#[test]
fn b_frames_reach_the_packets_in_capture_order() {
    for transport in [Transport::RtpTs, Transport::UdpTs, Transport::RtpH264] {
        let mut config = BoardConfig::new(0, transport);
        config.b_frames = true;
        let mut sim = Sim::with_boards(vec![config], 5);
        sim.run_until(secs(10));
        let kinds: Vec<_> = frames(&sim, 0).filter_map(|frame| frame.frame_type).collect();
        assert!(kinds.contains(&FrameType::B) && kinds.contains(&FrameType::P), "{transport:?}");
        let times: Vec<_> = frames(&sim, 0).map(|frame| frame.time.utc).collect();
        assert!(times.is_sorted(), "{transport:?}");
        // Where no container tells decoding times, the reordering depth is learnt from a late frame.
        assert!(times.len() > 285, "{transport:?}: {}", times.len());
    }
}

#[test]
fn an_aggregator_that_joins_late_begins_with_a_key_frame() {
    for transport in [Transport::RtpTs, Transport::RtpH264] {
        let mut sim = Sim::with_boards(vec![BoardConfig::new(0, transport)], 6);
        // Nothing arrives in the first 1.5 s: the network is down, the key frame and the first reports gone.
        sim.faults = Faults { loss_permille: 1_000, ..Faults::default() };
        sim.run_until(Span::from_millis(1_500));
        sim.faults = Faults::default();
        sim.run_until(secs(5));
        assert!(check_frames(&sim, 0, 0) > 90, "{transport:?}");
        assert!(frames(&sim, 0).next().unwrap().key, "{transport:?}");
        assert_eq!(sim.count(0, 0, FrameStatus::ReadError), 0, "joining is no error");
        assert_eq!(sim.status()[0].state, SourceState::Live);
    }
}
