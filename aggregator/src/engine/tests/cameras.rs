//! Cameras that come and go while packets go on.

use std::net::SocketAddr;

use super::*;
use crate::config::{CameraConfig, SettingsError};
use crate::engine::{DecodeInput, RemoveError};

fn camera(name: &str, source: &str) -> CameraConfig {
    CameraConfig::new(name, source).expect("a camera")
}

fn names(packet: &crate::deliver::Packet) -> Vec<&str> {
    packet.entries.iter().map(|entry| entry.camera.as_str()).collect()
}

/// The packets since `from`, which must not be none.
fn since(sim: &Sim, from: usize) -> &[crate::deliver::Packet] {
    assert!(sim.packets.len() > from + 20, "packets go on: {}", sim.packets.len() - from);
    &sim.packets[from..]
}

#[test]
fn a_camera_that_is_added_is_in_every_packet_after_those_that_there_were() {
    let mut sim = Sim::with_boards(three(Transport::RtpTs), 21);
    sim.run_until(secs(3));
    let before = sim.packets.len();
    assert_eq!(sim.engine.add_source(&camera("back", "rtp://:5006")).expect("a free port"), 3);
    sim.add(BoardConfig { start: secs(4), ..BoardConfig::new(3, Transport::RtpH264) });
    sim.run_until(secs(8));
    let after = since(&sim, before);
    assert!(after.iter().all(|packet| names(packet) == ["left", "right", "top", "back"]));
    assert_eq!(after[5].entries[3].status, FrameStatus::Starting);
    assert!(after[after.len() - 30..].iter().all(|packet| packet.complete));
    check_frames(&sim, 0, 0);
    assert_eq!(sim.engine.sources().len(), 4);
}

#[test]
fn a_camera_that_is_removed_is_in_no_packet_and_the_others_go_on() {
    let mut sim = Sim::with_boards(three(Transport::RtpTs), 22);
    sim.run_until(secs(3));
    let before = sim.packets.len();
    // The one on which packets are anchored first.
    assert_eq!(sim.engine.remove_camera("left"), Ok(vec![0]));
    sim.run_until(secs(6));
    let after = &since(&sim, before)[1..];
    assert!(after.iter().all(|packet| names(packet) == ["right", "top"]), "its board still sends");
    let gap = |pair: &[crate::deliver::Packet]| (pair[1].number, pair[0].number + 1);
    assert!(sim.packets.windows(2).all(|pair| gap(pair).0 == gap(pair).1));
    assert!(after[10..].iter().all(|packet| packet.complete));
    let status = sim.status();
    let known: Vec<_> = status.iter().map(|camera| camera.name.as_str()).collect();
    assert_eq!(known, ["right", "top"]);
    assert_eq!(sim.engine.remove_camera("left"), Err(RemoveError::Unknown("left".to_owned())));
}

#[test]
fn a_name_and_a_port_are_free_again_once_their_camera_is_removed() {
    let mut sim = Sim::with_boards(three(Transport::RtpTs), 23);
    sim.run_until(secs(2));
    let again = camera("left", "rtp://:5000");
    let taken = |camera: &CameraConfig, sim: &mut Sim| sim.engine.add_source(camera).expect_err("taken");
    assert!(matches!(taken(&again, &mut sim), SettingsError::DuplicateName(_)));
    let other = camera("other", "rtp://127.0.0.1:5000");
    assert!(matches!(taken(&other, &mut sim), SettingsError::DuplicatePort { port: 5_000, .. }));
    assert!(matches!(taken(&camera("*", "rtp://:5002"), &mut sim), SettingsError::DuplicatePort { .. }));
    sim.engine.remove_camera("left").expect("it is there");
    let port = sim.engine.add_source(&again).expect("free again");
    // Its board now arrives on the new socket.
    sim.boards[0].config.port = port;
    let before = sim.packets.len();
    sim.run_until(secs(6));
    let after = since(&sim, before);
    assert!(after[5..].iter().all(|packet| names(packet) == ["right", "top", "left"]));
    assert!(after.last().is_some_and(|packet| packet.complete));
}

#[test]
fn the_decoder_of_a_removed_camera_is_forgotten() {
    let mut sim = Sim::with_boards(three(Transport::RtpTs), 24);
    sim.run_until(secs(2));
    sim.engine.remove_camera("top").expect("it is there");
    let inputs: Vec<_> = std::iter::from_fn(|| sim.engine.poll_decode()).collect();
    assert!(matches!(inputs[..], [DecodeInput::Forget(camera)] if camera.get() == 2), "{inputs:?}");
}

fn board(n: u16, cname: &'static str, start: Span) -> BoardConfig {
    BoardConfig {
        port: 0,
        address: SocketAddr::from(([10, 0, 1, 1], 40_000 + n)),
        ssrc: 0x2222_0000 + u32::from(n),
        cname,
        start,
        ..BoardConfig::new(0, Transport::RtpTs)
    }
}

#[test]
fn a_camera_that_came_by_itself_goes_when_it_is_silent_and_comes_again() {
    let mut sim = many::one_port(8);
    let left = sim.add(board(0, "left", Span::ZERO));
    sim.add(board(1, "right", Span::ZERO));
    sim.run_until(secs(3));
    let still = sim.engine.remove_camera("left").expect_err("it would come again at once");
    assert_eq!(
        still.to_string(),
        "camera \"left\" still sends to rtp://:5000; stop its sender, or remove \"*\""
    );
    sim.boards[left].running = false;
    sim.run_until(secs(6));
    assert_eq!(sim.engine.remove_camera("left"), Ok(Vec::new()), "the port stays");
    let before = sim.packets.len();
    sim.run_until(secs(8));
    assert!(since(&sim, before)[1..].iter().all(|packet| names(packet) == ["right"]));
    // Its sender starts anew.
    sim.add(board(2, "left", secs(8)));
    sim.run_until(secs(12));
    let last = sim.packets.last().expect("packets");
    assert_eq!((names(last), last.complete), (vec!["right", "left"], true));
}

#[test]
fn a_star_goes_with_all_that_came_to_it() {
    let mut sim = many::one_port(8);
    sim.add(board(0, "left", Span::ZERO));
    sim.run_until(secs(2));
    assert_eq!(sim.engine.remove_camera("*"), Ok(vec![0]));
    let before = sim.packets.len();
    sim.run_until(secs(4));
    assert!(sim.packets[before..].iter().all(|packet| packet.entries.len() <= 1));
    assert!(sim.status().is_empty());
    assert_eq!(sim.engine.remove_camera("*"), Err(RemoveError::Unknown("*".to_owned())));
}
