//! The aggregator makes packets from senders that nobody here wrote: ffmpeg over RTP, ffmpeg over plain
//! UDP as it is, and GStreamer's rtpbin with sender reports.

use std::path::Path;

use framelock_tests::packets::{Packet, next_where};
use framelock_tests::process::{Process, free_port, wait_for_udp_port};

fn aggregator(sources: &[String], more: &[&str]) -> Process {
    let cameras = sources.iter().flat_map(|source| ["--camera", source.as_str()]);
    Process::ours("framelock-aggregator", ["packets"].into_iter().chain(cameras).chain(more.iter().copied()))
}

fn ffmpeg(output: &[&str]) -> Process {
    let input = ["-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25"];
    let encode = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "25"];
    let args = input.into_iter().chain(encode).chain(output.iter().copied());
    Process::start(Path::new("ffmpeg"), args)
}

/// Two foreign senders give complete packets with real pictures.
fn complete_packets(aggregator: &mut Process, count: usize, source: &str) -> Vec<Packet> {
    (0..count)
        .map(|_| {
            let packet = next_where(aggregator, "complete packets", |packet| packet.complete);
            for frame in &packet.frames {
                assert_eq!(frame.status, "okay");
                assert_eq!((frame.width, frame.height), (Some(320), Some(240)));
                assert!(frame.uncertainty_ns.is_some_and(|bound| bound > 0), "{frame:?}");
                assert_eq!(frame.time_source.as_deref(), Some(source), "{frame:?}");
            }
            packet
        })
        .collect()
}

#[test]
fn packets_from_ffmpeg_over_rtp() {
    let ports = [free_port(), free_port()];
    let sources =
        [format!("left=rtp://127.0.0.1:{}", ports[0]), format!("right=rtp://127.0.0.1:{}", ports[1])];
    let mut aggregator = aggregator(&sources, &[]);
    let _senders = ports.map(|port| {
        wait_for_udp_port(port);
        ffmpeg(&["-f", "rtp_mpegts", &format!("rtp://127.0.0.1:{port}?pkt_size=1328")])
    });
    // ffmpeg sends sender reports to PORT + 1; until the first one, arrival is all there is.
    next_where(&mut aggregator, "sender-report times", |packet| {
        packet.complete
            && packet.frames.iter().all(|frame| frame.time_source.as_deref() == Some("sender-report"))
    });
    let packets = complete_packets(&mut aggregator, 30, "sender-report");
    assert!(
        packets.iter().all(|packet| packet.spread_ns.is_some_and(|spread| spread <= 40_000_000)),
        "{packets:?}"
    );
    assert!(aggregator.terminate().success(), "{}", aggregator.log());
}

#[test]
fn packets_from_ffmpeg_over_plain_udp() {
    let ports = [free_port(), free_port()];
    let sources =
        [format!("left=udp://127.0.0.1:{}", ports[0]), format!("right=udp://127.0.0.1:{}", ports[1])];
    let mut aggregator = aggregator(&sources, &[]);
    let _senders = ports.map(|port| {
        wait_for_udp_port(port);
        ffmpeg(&["-f", "mpegts", &format!("udp://127.0.0.1:{port}?pkt_size=1316")])
    });
    complete_packets(&mut aggregator, 30, "arrival");
    assert!(aggregator.terminate().success(), "{}", aggregator.log());
}

#[test]
fn packets_from_gstreamer_rtpbin_with_sender_reports() {
    let port = free_port();
    let mut aggregator = aggregator(&[format!("gst=rtp://127.0.0.1:{port}")], &[]);
    wait_for_udp_port(port);
    let pipeline = format!(
        "rtpbin name=bin ntp-time-source=ntp videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1 ! x264enc tune=zerolatency key-int-max=25 ! rtph264pay config-interval=-1 ! bin.send_rtp_sink_0 bin.send_rtp_src_0 ! udpsink host=127.0.0.1 port={port} bin.send_rtcp_src_0 ! udpsink host=127.0.0.1 port={} sync=false async=false",
        port + 1
    );
    let _sender =
        Process::start(Path::new("gst-launch-1.0"), ["--quiet"].into_iter().chain(pipeline.split(' ')));
    next_where(&mut aggregator, "sender-report times", |packet| {
        packet.complete && packet.frames[0].time_source.as_deref() == Some("sender-report")
    });
    for packet in complete_packets(&mut aggregator, 30, "sender-report") {
        let frame = &packet.frames[0];
        // Sender and aggregator read the same clock here, so a latency beyond a second is a wrong time.
        let latency = frame.latency_ns.expect("an okay frame has a latency");
        assert!((0..1_000_000_000).contains(&latency), "{frame:?}");
    }
    assert!(aggregator.terminate().success(), "{}", aggregator.log());
}
