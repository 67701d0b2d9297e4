//! Recordings of boards, made by ffmpeg, as files: the times in them are those in their pictures, however long ago
//! that was.

use std::path::{Path, PathBuf};
use std::process::Command;

use framelock_aggregator::{Packet, Pixels, Queue, Subscription, TimeSource};
use framelock_tests::process::{free_port, wait_for_udp_port};

use super::*;

/// The most by which a recorded time may be off from the one in the picture.
const LIMIT: Span = Span::from_millis(5);

/// Records a board of its own for about three seconds as MPEG-TS.
fn record(folder: &Path, name: &str) -> PathBuf {
    let (port, path) = (free_port(), folder.join(name).with_extension("ts"));
    let input = format!("udp://127.0.0.1:{port}?timeout=20000000");
    let args = ["-v", "error", "-nostdin", "-i", &input, "-t", "3", "-c", "copy", "-y"];
    let output = [path.to_str().expect("a plain path")];
    let mut ffmpeg = Process::start(Path::new("ffmpeg"), args.iter().chain(&output));
    wait_for_udp_port(port);
    let to = format!("udp://127.0.0.1:{port}");
    let args = ["run", "--source", "test", "--size", "320x240", "--fps", "25", "--bitrate", "500k"];
    let more = ["--transport", "udp-mpegts", "--clock", ntp::clock(), "--camera", name, "--to", &to];
    let _board = Process::ours("framelock-sender", args.into_iter().chain(more));
    assert!(ffmpeg.wait().success(), "{}", ffmpeg.log());
    path
}

/// The same stream in MP4.
fn remuxed(path: &Path) -> PathBuf {
    let mp4 = path.with_extension("mp4");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-i"]).arg(path).args(["-c", "copy"]).arg(&mp4);
    let made = ffmpeg.output().expect("ffmpeg runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    mp4
}

/// All packets of these files, decoded.
fn all(files: &[(&PathBuf, &str)]) -> Vec<Packet> {
    let builder = files.iter().fold(Aggregator::builder(), |builder, (path, options)| {
        let name = path.file_name().expect("a file").to_string_lossy();
        builder.camera(&name, &format!("file:{}{options}", path.display())).expect("a source")
    });
    let aggregator = builder.start().expect("it starts");
    let wanted =
        Subscription { pixels: Pixels::Decoded, queue: Queue::All { limit: 8 }, ..Default::default() };
    let mut consumer = aggregator.subscribe(wanted).expect("a decoder");
    let (mut packets, end) = (Vec::new(), now() + PATIENCE);
    loop {
        match consumer.next(Duration::from_millis(200)) {
            Ok(packet) => packets.extend(packet),
            Err(error) => {
                assert_eq!(error.to_string(), "every source has come to its end");
                assert_eq!(consumer.counters().skipped, 0);
                return packets;
            }
        }
        assert!(now() < end, "no end: {:#?}", aggregator.status());
    }
}

#[test]
fn recorded_times_are_those_in_the_picture() {
    let folder = tempfile::tempdir().expect("a folder");
    let ts = record(folder.path(), "one");
    let mp4 = remuxed(&ts);
    for file in [(&ts, ",fast"), (&mp4, ",fast"), (&mp4, "")] {
        let packets = all(&[file]);
        let okay: Vec<_> = packets.iter().filter(|packet| is_okay(packet, 0)).collect();
        assert!(okay.len() >= 50, "{file:?}: {} of {}", okay.len(), packets.len());
        for packet in okay {
            let entry = &packet.entries[0];
            let source = entry.frame.as_ref().map(|frame| frame.time_source);
            assert_eq!(source, Some(TimeSource::Sei), "{file:?}");
            let off = error(entry);
            assert!(off.abs() <= LIMIT, "{file:?}: {off}");
        }
    }
    // Again and again the same instants would be no instants.
    let mut looped = aggregator(&[("loop", format!("file:{},loop", ts.display()))]);
    let packet = until(&mut looped, "a frame of a file that is repeated", |packet| is_okay(packet, 0));
    assert_eq!(packet.entries[0].frame.as_ref().map(|frame| frame.time_source), Some(TimeSource::Arrival));
}

#[test]
fn recordings_that_began_one_after_the_other_are_put_together_by_their_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| record(path, "first"));
        // A second of three.
        std::thread::park_timeout(Duration::from_millis(1_000));
        let second = record(path, "second");
        (first.join().expect("a recording"), second)
    });
    let second = remuxed(&second);
    for options in [",fast", ""] {
        let packets = all(&[(&first, options), (&second, options)]);
        let both: Vec<_> = packets.iter().filter(|packet| packet.complete).collect();
        assert!(both.len() >= 20, "{options}: {} of {}", both.len(), packets.len());
        for packet in both {
            // At 25 frames a second no more than half a period is between a frame and the nearest of another camera.
            assert!(packet.spread <= Span::from_millis(22), "{options}: {}", packet.spread);
            packet.entries.iter().for_each(|entry| assert!(error(entry).abs() <= LIMIT));
        }
        // What only the first has seen is before, what only the second has is behind.
        let alone = |camera: usize| packets.iter().position(|packet| is_okay(packet, 1 - camera));
        assert!(
            alone(0) > Some(5),
            "{options}: {:?}",
            packets.iter().map(|p| p.complete).collect::<Vec<_>>()
        );
    }
}
