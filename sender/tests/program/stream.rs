//! The real sender on loopback, its stream taken apart with `common`'s parsers.

use framelock_common::clock::ClockState;
use framelock_common::h264::{AccessUnitInfo, inspect};
use framelock_common::mpegts::{Demuxer, PacketMeta, TsEvent};
use framelock_common::rtcp::{CaptureKind, RtcpPacket, SenderReport};
use framelock_common::rtp::h264::Depacketizer;
use framelock_common::rtp::{MAX_PAYLOAD, PT_H264, PT_MP2T, RtpPacket, ntp64};
use framelock_common::time::{HostTime, MediaTime, RtpTimestamp, Span, Utc};

use crate::support::{Datagram, NtpServer, Receiver, Sender, is_goodbye, output, report, utc_now, vouched};

const FRAMES: usize = 75;

/// A frame as it arrived.
struct Arrived {
    timestamp: RtpTimestamp,
    info: AccessUnitInfo,
}

/// UTC at `timestamp` by a sender report, as a receiver computes it.
fn utc_at(report: &SenderReport, timestamp: RtpTimestamp) -> Utc {
    let ticks = i64::from(timestamp.ticks_since(report.rtp));
    report.ntp.to_utc(utc_now()) + (MediaTime::from_ticks(ticks) - MediaTime::from_ticks(0))
}

/// What part of a stream was caught.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// All of it.
    Whole,
    /// Its beginning: the last frame may be cut.
    Beginning,
    /// Something in between.
    Middle,
}

/// The frames in a transport stream, which must be without fault where it was not cut.
fn demux<'a>(payloads: impl Iterator<Item = &'a [u8]>, part: Part) -> Vec<Arrived> {
    let mut demuxer = Demuxer::new();
    for payload in payloads {
        demuxer.push(payload, PacketMeta { rtp_timestamp: None, arrival: HostTime::from_nanos(0) });
    }
    if part == Part::Whole {
        demuxer.flush();
    }
    let mut units = Vec::new();
    while let Some(event) = demuxer.poll() {
        match event {
            TsEvent::AccessUnit { data, pts, complete: true, .. } => {
                let timestamp = MediaTime::from_ticks(pts).to_rtp();
                units.push(Arrived { timestamp, info: inspect(&data) });
            }
            fault => assert!(part == Part::Middle, "{fault:?}"),
        }
    }
    units
}

/// Every frame's SEI says what the sender report says of its timestamp, to a tick (11.1 us).
fn capture_times_agree(frames: &[Arrived], report: &SenderReport) {
    for frame in frames {
        let sei = frame.info.sei_time.expect("a capture time in every frame");
        assert_eq!(sei.state, ClockState::Synchronized);
        let error = sei.utc - utc_at(report, frame.timestamp);
        assert!(error.abs() <= Span::from_micros(13), "{error}");
    }
}

fn rtp_packets(datagrams: &[Datagram]) -> Vec<RtpPacket<'_>> {
    let media = datagrams.iter().filter_map(Datagram::media);
    media.map(|bytes| RtpPacket::parse(bytes).expect("valid RTP")).collect()
}

/// What holds for RTP whatever it carries. Gives the first and last sender reports.
fn check_rtp_stream(datagrams: &[Datagram], payload_type: u8) -> (SenderReport, SenderReport) {
    let first = datagrams[0].rtcp().expect("a report before anything else");
    let (first, name, info) = report(first);
    assert_eq!((name.as_str(), info.state), ("left", ClockState::Synchronized));
    assert!(info.pts_on_rtp_clock);
    assert_eq!(first.packets, 0);
    assert!((first.ntp.to_utc(utc_now()) - utc_now()).abs() < Span::from_secs(120));

    let packets = rtp_packets(datagrams);
    for pair in packets.windows(2) {
        assert_eq!(pair[1].sequence(), pair[0].sequence().wrapping_add(1));
    }
    for packet in &packets {
        assert_eq!((packet.ssrc(), packet.payload_type()), (first.ssrc, payload_type));
        assert!(packet.payload().len() <= MAX_PAYLOAD);
        if let Some(ntp) = ntp64(packet) {
            let error = ntp.to_utc(utc_now()) - utc_at(&first, packet.timestamp());
            assert!(error.abs() <= Span::from_micros(13), "{error}");
        }
    }
    assert!(ntp64(&packets[0]).is_some(), "UTC on the first packet");

    let last = datagrams.last().and_then(Datagram::rtcp).expect("a goodbye at the end");
    let (last, _, info) = report(last);
    assert_eq!(info.capture_kind, CaptureKind::Synthetic);
    assert_eq!(last.packets as usize, packets.len());
    assert_eq!(last.octets as usize, packets.iter().map(|packet| packet.payload().len()).sum::<usize>());
    (first, last)
}

#[test]
fn rtp_mpegts_carries_capture_times_from_the_first_packet_to_the_goodbye() {
    let mut receiver = Receiver::new();
    let frames = FRAMES.to_string();
    let dir = tempfile::tempdir().unwrap();
    let mut sender =
        Sender::run(&receiver.url("rtp"), &["--frames", &frames, "--config", &vouched(dir.path())]);
    let datagrams = receiver.until(is_goodbye);
    assert!(sender.wait().success());
    let (first, last) = check_rtp_stream(&datagrams, PT_MP2T);

    let packets = rtp_packets(&datagrams);
    let units = demux(packets.iter().map(RtpPacket::payload), Part::Whole);
    assert_eq!(units.len(), FRAMES);
    assert!(units[0].info.key && units[0].info.parameter_sets);
    capture_times_agree(&units, &first);
    capture_times_agree(&units, &last);
    // The RTP timestamp is the instant of transmission: never before capture, and never going back.
    assert!(packets.windows(2).all(|pair| pair[1].timestamp().ticks_since(pair[0].timestamp()) >= 0));
    assert!(packets.iter().any(|packet| packet.timestamp().ticks_since(units[0].timestamp) >= 0));
    // UTC stands on the stream's first packet and on the first of each key frame.
    let with_utc = packets.iter().filter(|packet| ntp64(packet).is_some()).count();
    assert_eq!(with_utc, 1 + units.iter().filter(|unit| unit.info.key).count());
    // Reports came about every second; how many is a matter of the machine's load.
    let reports = datagrams.iter().filter(|datagram| datagram.rtcp().is_some()).count();
    assert!(reports >= 3, "{reports} reports in 2.5 s");
}

#[test]
fn rtp_h264_has_the_capture_time_as_its_timestamp() {
    let mut receiver = Receiver::new();
    let frames = FRAMES.to_string();
    let dir = tempfile::tempdir().unwrap();
    let config = vouched(dir.path());
    let args = ["--frames", &frames, "--config", &config, "--transport", "rtp-h264"];
    let mut sender = Sender::run(&receiver.url("rtp"), &args);
    let datagrams = receiver.until(is_goodbye);
    assert!(sender.wait().success());
    let (first, _) = check_rtp_stream(&datagrams, PT_H264);

    let mut depacketizer = Depacketizer::new();
    let (mut units, mut unit) = (Vec::new(), Vec::new());
    for packet in rtp_packets(&datagrams) {
        depacketizer.handle(packet.payload(), packet.marker(), &mut unit).expect("whole units");
        if packet.marker() {
            let info = inspect(&std::mem::take(&mut unit));
            units.push(Arrived { timestamp: packet.timestamp(), info });
        }
    }
    assert_eq!(units.len(), FRAMES);
    assert!(units[0].info.key && units[0].info.parameter_sets);
    capture_times_agree(&units, &first);
}

#[test]
fn udp_mpegts_is_whole_packets_and_carries_capture_times_in_the_picture() {
    let mut receiver = Receiver::new();
    let dir = tempfile::tempdir().unwrap();
    let mut sender = Sender::run(&receiver.url("udp"), &["--config", &vouched(dir.path())]);
    // The stream has no end mark: enough is enough.
    let mut count = 0;
    let datagrams = receiver.until(|_| {
        count += 1;
        count == 100
    });
    sender.terminate();
    assert!(sender.wait().success());
    let payloads: Vec<&[u8]> = datagrams.iter().map(|datagram| datagram.media().expect("no RTCP")).collect();
    assert!(payloads.iter().all(|payload| payload.len() % 188 == 0 && payload.len() <= MAX_PAYLOAD));
    let units = demux(payloads.into_iter(), Part::Beginning);
    assert!(units.len() > 10);
    let now = utc_now();
    for unit in &units {
        let sei = unit.info.sei_time.expect("a capture time in every frame");
        assert!((now - sei.utc).abs() < Span::from_secs(120));
    }
}

#[test]
fn a_lost_picture_is_answered_with_a_key_frame_and_sigterm_with_a_goodbye() {
    let dir = tempfile::tempdir().unwrap();
    // No key frame comes by itself while the test runs.
    let config = crate::support::file(dir.path(), "sender.toml", "keyframe-interval = \"60s\"\n");
    let mut receiver = Receiver::new();
    let args = ["--config", &config, "--transport", "rtp-h264"];
    let mut sender = Sender::run(&receiver.url("rtp"), &args);
    // The start of an IDR slice, alone or as FU-A fragment (RFC 6184 section 5.8).
    let is_key = |datagram: &Datagram| {
        let Some(bytes) = datagram.media() else { return false };
        let payload = RtpPacket::parse(bytes).expect("valid RTP").payload();
        match payload[0] & 0x1f {
            5 => true,
            28 => payload[1] & 0x80 != 0 && payload[1] & 0x1f == 5,
            _ => false,
        }
    };
    let _ = receiver.until(is_key);
    // Some frames later nothing else has made one.
    for _ in 0..20 {
        let datagram = receiver.next();
        assert!(!is_key(&datagram), "a key frame that nobody asked for");
    }
    let media = receiver.until(|datagram| datagram.media().is_some());
    let ssrc = rtp_packets(&media)[0].ssrc();
    receiver.reply(&[
        RtcpPacket::ReceiverReport { ssrc: 1, blocks: Vec::new() },
        RtcpPacket::PictureLoss { sender: 1, media: ssrc },
    ]);
    let until_key = receiver.until(is_key);
    let frames = rtp_packets(&until_key).iter().filter(|packet| packet.marker()).count();
    assert!(frames < 60 * 30, "that was the interval, not the request");
    // A report alone asks for nothing, and garbage hurts nobody.
    receiver.reply(&[RtcpPacket::ReceiverReport { ssrc: 1, blocks: Vec::new() }]);
    sender.terminate();
    let _ = receiver.until(is_goodbye);
    assert!(sender.wait().success());
}

#[test]
fn a_board_with_a_wrong_clock_claims_no_utc_until_it_knows_it() {
    // The server is an hour ahead of this machine, the board's own clock a day behind.
    let hour = Span::from_secs(3_600);
    let server = NtpServer::new(hour);
    let mut receiver = Receiver::new();
    let clock = format!("sim:offset=-86400s,drift=50ppm,ntp:{}", server.address());
    let mut sender = Sender::run(&receiver.url("rtp"), &["--clock", &clock]);
    let mut media = 0;
    let before = receiver.until(|datagram| {
        media += usize::from(datagram.media().is_some());
        media == 60
    });
    for packets in before.iter().filter_map(Datagram::rtcp) {
        let (report, _, info) = report(packets);
        assert!(report.ntp.is_unknown(), "UTC out of nowhere");
        assert_eq!(info.state, ClockState::Unsynchronized);
    }
    let packets = rtp_packets(&before);
    assert!(packets.iter().all(|packet| ntp64(packet).is_none()));
    for unit in demux(packets.iter().map(RtpPacket::payload), Part::Beginning) {
        assert_eq!(unit.info.sei_time, None);
    }

    server.answer();
    let synchronized = |datagram: &Datagram| {
        datagram.rtcp().is_some_and(|packets| report(packets).2.state == ClockState::Synchronized)
    };
    let mut after = receiver.until(synchronized);
    let (report, _, info) = report(after.pop().expect("one datagram").rtcp().expect("a report"));
    // The report was made after its UTC and arrived before now; the bound is that of loopback.
    let lateness = utc_now() + hour - report.ntp.to_utc(utc_now());
    assert!(lateness > -info.uncertainty && lateness < Span::from_secs(30), "{lateness}");
    assert!(info.uncertainty < Span::from_secs(1), "{}", info.uncertainty);
    // The change is announced in-band at once.
    let next = receiver.until(|datagram| datagram.media().is_some());
    assert!(ntp64(&rtp_packets(&next)[0]).is_some());
    // And frames captured from now on carry it.
    let mut more = next;
    let mut media = 0;
    more.extend(receiver.until(|datagram| {
        media += usize::from(datagram.media().is_some());
        media == 60
    }));
    let with_time = demux(rtp_packets(&more).iter().map(RtpPacket::payload), Part::Middle);
    assert!(with_time.iter().any(|unit| unit.info.sei_time.is_some()));
    sender.terminate();
    assert!(sender.wait().success());
}

/// Where a server answers, nothing goes out by an unknown clock: a stream whose first frames had no UTC would
/// move in time against other cameras when it came.
#[test]
fn the_first_frame_has_utc_where_a_server_gives_it() {
    let server = NtpServer::new(Span::ZERO);
    server.answer();
    let mut receiver = Receiver::new();
    let clock = format!("sim:offset=-86400s,drift=50ppm,ntp:{}", server.address());
    let mut sender = Sender::run(&receiver.url("rtp"), &["--clock", &clock, "--frames", "10"]);
    let datagrams = receiver.until(is_goodbye);
    assert!(sender.wait().success());
    for packets in datagrams.iter().filter_map(Datagram::rtcp) {
        let (report, _, info) = report(packets);
        assert_eq!(info.state, ClockState::Synchronized);
        let lateness = utc_now() - report.ntp.to_utc(utc_now());
        assert!(lateness > -info.uncertainty && lateness < Span::from_secs(30), "{lateness}");
    }
    let packets = rtp_packets(&datagrams);
    assert!(ntp64(&packets[0]).is_some(), "UTC on the first packet");
    for unit in demux(packets.iter().map(RtpPacket::payload), Part::Whole) {
        assert!(unit.info.sei_time.is_some(), "UTC in every frame");
    }
}

/// A machine whose kernel does not call the clock synchronized sends no UTC from it; one whose kernel does
/// sends the kernel's bound.
#[test]
fn the_system_clock_is_utc_exactly_where_the_kernel_says_so() {
    let kernel = framelock_timex::read().expect("adjtimex is allowed");
    let mut receiver = Receiver::new();
    let mut sender = Sender::run(&receiver.url("rtp"), &["--frames", "30", "--clock", "system"]);
    let datagrams = receiver.until(is_goodbye);
    assert!(sender.wait().success());
    let reports: Vec<_> = datagrams.iter().filter_map(Datagram::rtcp).map(report).collect();
    assert!(!reports.is_empty());
    for (report, _, info) in reports {
        assert_eq!(info.state, kernel.state());
        assert_eq!(report.ntp.is_unknown(), !kernel.synchronized);
        if kernel.synchronized {
            assert!(info.uncertainty > Span::ZERO && info.uncertainty < Span::from_secs(16));
        }
    }
    let packets = rtp_packets(&datagrams);
    assert_eq!(packets.iter().any(|packet| ntp64(packet).is_some()), kernel.synchronized);
    for unit in demux(packets.iter().map(RtpPacket::payload), Part::Whole) {
        assert_eq!(unit.info.sei_time.is_some(), kernel.synchronized);
    }
}

/// `auto` takes the NTP server where the system clock is not synchronized or has the larger bound; the
/// server here is on loopback, far better than any kernel's bound, and agrees with the system clock.
#[test]
fn auto_takes_the_better_clock() {
    let server = NtpServer::new(Span::ZERO);
    server.answer();
    let mut receiver = Receiver::new();
    let clock = format!("auto:{}", server.address());
    let mut sender = Sender::run(&receiver.url("rtp"), &["--clock", &clock]);
    let synchronized = |datagram: &Datagram| {
        datagram.rtcp().is_some_and(|packets| report(packets).2.state == ClockState::Synchronized)
    };
    let mut until = receiver.until(synchronized);
    let (report, _, info) = report(until.pop().expect("one datagram").rtcp().expect("a report"));
    assert!(info.uncertainty < Span::from_secs(1), "{}", info.uncertainty);
    let lateness = utc_now() - report.ntp.to_utc(utc_now());
    assert!(lateness > -info.uncertainty && lateness < Span::from_secs(30), "{lateness}");
    sender.terminate();
    assert!(sender.wait().success());
}

#[test]
fn a_receiver_that_comes_later_is_served_from_a_key_frame_on() {
    let address = Receiver::new().address();
    let dir = tempfile::tempdir().unwrap();
    let config = crate::support::file(dir.path(), "sender.toml", "keyframe-interval = \"60s\"\n");
    let stats = dir.path().join("stats.json");
    let stats_name = stats.to_string_lossy().into_owned();
    let url = format!("rtp://{address}");
    let mut sender = Sender::run(&url, &["--config", &config, "--stats", &stats_name]);
    // Wait until the sender has met a closed port.
    let refused = || {
        let text = std::fs::read_to_string(&stats).ok()?;
        serde_json::from_str::<serde_json::Value>(&text).expect("whole JSON")["send_refused"].as_u64()
    };
    for _ in 0..600 {
        if refused().is_some_and(|count| count > 20) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(refused().is_some_and(|count| count > 20), "nothing was refused");

    let mut receiver = Receiver::at(address);
    let mut demuxer = Demuxer::new();
    // 60 s of frames would bring a key frame by themselves.
    for _ in 0..10_000 {
        let datagram = receiver.next();
        let Some(bytes) = datagram.media() else { continue };
        let payload = RtpPacket::parse(bytes).expect("valid RTP").payload().to_vec();
        demuxer.push(&payload, PacketMeta { rtp_timestamp: None, arrival: HostTime::from_nanos(0) });
        while let Some(event) = demuxer.poll() {
            if matches!(&event, TsEvent::AccessUnit { data, complete: true, .. } if inspect(data).key) {
                sender.terminate();
                let _ = receiver.until(is_goodbye);
                assert!(sender.wait().success());
                return;
            }
        }
    }
    panic!("no key frame for the late receiver");
}

#[test]
fn the_counters_at_the_end_say_what_was_sent() {
    let mut receiver = Receiver::new();
    let dir = tempfile::tempdir().unwrap();
    let stats = dir.path().join("stats.json");
    let stats_name = stats.to_string_lossy().into_owned();
    let config_dir = tempfile::tempdir().unwrap();
    let config = vouched(config_dir.path());
    let args = ["--frames", "30", "--stats", &stats_name, "--overlay-time", "--config", &config];
    let mut sender = Sender::run(&receiver.url("rtp"), &args);
    let datagrams = receiver.until(is_goodbye);
    assert!(sender.wait().success());
    let stats: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&stats).unwrap()).unwrap();
    assert_eq!(stats["camera"], "left");
    assert_eq!((stats["frames"].as_u64(), stats["encoded"].as_u64()), (Some(30), Some(30)));
    assert_eq!(stats["datagrams"].as_u64(), Some(datagrams.len() as u64));
    assert_eq!(stats["send_refused"], 0);
    assert_eq!(stats["clock"], "synchronized");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file was left");
}

#[test]
fn the_clock_command_measures_a_server() {
    let server = NtpServer::new(Span::from_secs(100));
    server.answer();
    let address = server.address().to_string();
    let found = output(&["clock", "--server", &address, "--samples", "4", "--interval", "20ms", "--json"]);
    assert_eq!(found.status.code(), Some(0), "{found:?}");
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).expect("one JSON object");
    assert_eq!(found["state"], "synchronized");
    assert_eq!(found["stratum"], 1);
    assert!(found["samples"].as_u64().unwrap() >= 4);
    let (offset, bound) = (found["offset_ns"].as_i64().unwrap(), found["uncertainty_ns"].as_i64().unwrap());
    assert!((offset - 100_000_000_000).abs() <= bound, "{found}");
    assert!(found["delay_ns"].as_i64().unwrap() > 0);
    assert!(found.get("skew_ppm").is_some());

    // A server that never answers is a failure, and says so.
    let silent = NtpServer::new(Span::ZERO);
    let address = silent.address().to_string();
    let found = output(&["clock", "--server", &address, "--samples", "1", "--interval", "10ms", "--json"]);
    assert_eq!(found.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&found.stdout).expect("one JSON object");
    assert_eq!((&json["state"], &json["offset_ns"]), (&"unsynchronized".into(), &serde_json::Value::Null));
    assert!(String::from_utf8_lossy(&found.stderr).contains(&address));
}
