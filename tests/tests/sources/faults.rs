//! What goes wrong with sessions in the field: servers die and come back, cables are cut, connections stand still.
//! A board beside them never suffers.

use framelock_tests::peers::{self, Peer};
use framelock_tests::process::free_port;
use framelock_tests::tcp_relay::TcpRelay;

use super::*;

/// An aggregator with a camera at `source` and a board, both of which have given pictures.
fn with_board(source: String) -> (Aggregator, Process) {
    let port = free_port();
    let mut aggregator = aggregator(&[("cam", source), ("board", format!("rtp://127.0.0.1:{port}"))]);
    let board = board("board", port);
    until(&mut aggregator, "both cameras", |packet| packet.complete);
    (aggregator, board)
}

/// Takes packets until the camera is `Broken`, and twenty more, in all of which the board is there.
fn goes_on_without(aggregator: &mut Aggregator) {
    let mut broken = 0;
    until(aggregator, "packets of the board alone", |packet| {
        if packet.entries[0].status == FrameStatus::Broken {
            assert_eq!(packet.entries[1].status, FrameStatus::Okay, "{packet:?}");
            broken += 1;
        }
        broken >= 20
    });
}

#[test]
fn an_rtsp_server_that_is_killed_and_restarted_is_taken_up_again() {
    let mut server = Peer::rtsp("");
    let (mut aggregator, _board) = with_board(format!("rtsp://127.0.0.1:{}/cam", server.port));
    server.process.kill();
    goes_on_without(&mut aggregator);
    broken(&mut aggregator, 0, "cannot connect to 127.0.0.1");
    let _server = Peer::rtsp(&format!("--port {}", server.port));
    let packet = until(&mut aggregator, "the restarted server", |packet| packet.complete);
    error(&packet.entries[0]);
    status(&mut aggregator, 0, "connected again", |status| status.stream.connects == 2);
}

#[test]
fn a_cut_cable_is_noticed_and_mends() {
    let server = Peer::rtsp("");
    let relay = TcpRelay::start(server.port);
    let (mut aggregator, _board) = with_board(format!("rtsp://127.0.0.1:{}/cam#timeout=3s", relay.port()));
    relay.set_cut(true);
    goes_on_without(&mut aggregator);
    broken(&mut aggregator, 0, "no picture for 3");
    // It tries again while nothing gets through.
    failed(&mut aggregator, 0, 2);
    assert!(relay.connections() >= 2);
    relay.set_cut(false);
    let packet = until(&mut aggregator, "the mended cable", |packet| packet.complete);
    error(&packet.entries[0]);
}

#[test]
fn an_http_server_that_stands_still_or_ends_is_taken_up_again() {
    let port = free_port();
    let serve = || {
        let output = format!("-- -c:v mjpeg -q:v 3 -f mpjpeg -listen 1 http://127.0.0.1:{port}/video");
        peers::start("ffmpeg_camera.py", &output)
    };
    let server = serve();
    let (mut aggregator, _board) = with_board(format!("http://127.0.0.1:{port}/video#timeout=3s"));
    server.signal(rustix::process::Signal::STOP);
    // The script stands still, and so does the stream that its ffmpeg sends.
    broken(&mut aggregator, 0, "no picture for 3");
    drop(server);
    goes_on_without(&mut aggregator);
    let _server = serve();
    let packet = until(&mut aggregator, "the restarted server", |packet| packet.complete);
    error(&packet.entries[0]);
}
