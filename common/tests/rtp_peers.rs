//! The RTP sessions against real peers over loopback: ffmpeg and GStreamer's rtpbin.
//!
//! Needs `ffmpeg` and `gst-launch-1.0` with the good and ugly plugins in PATH, and fails without them. Bit
//! rates are low so that a socket's default buffer holds seconds of it, should the machine be busy.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test with real sockets and clocks")]

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use framelock_common::clock::{ClockMapping, ClockState};
use framelock_common::rtcp::{CaptureKind, ClockInfo};
use framelock_common::rtp::h264::{AccessUnit, AccessUnitAssembler};
use framelock_common::rtp::session::{
    ReceiveConfig, ReceiveEvent, ReceiveSession, SendConfig, SendEvent, SendSession,
};
use framelock_common::rtp::{PT_MP2T, is_rtcp, mp2t};
use framelock_common::time::{BoardTime, HostTime, MediaClock, NtpTimestamp, Span, Utc};

/// How long to wait for something that must happen, on a machine busy with other work.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child that does not outlive its test.
struct Peer(Child);

impl Peer {
    fn start(program: &str, args: &[String]) -> Self {
        let child = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| panic!("cannot start {program}: {error}")))
    }

    fn gstreamer(pipeline: &str) -> Self {
        let args = ["-q"].into_iter().chain(pipeline.split_whitespace());
        Self::start("gst-launch-1.0", &args.map(String::from).collect::<Vec<_>>())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port pair for RTP and RTCP.
fn sockets() -> (UdpSocket, UdpSocket, u16) {
    for _ in 0..100 {
        let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = rtp.local_addr().unwrap().port();
        let Ok(rtcp) = UdpSocket::bind(("127.0.0.1", port.saturating_add(1))) else { continue };
        if port.is_multiple_of(2) {
            rtp.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
            rtcp.set_nonblocking(true).unwrap();
            return (rtp, rtcp, port);
        }
    }
    panic!("no free pair of UDP ports on loopback");
}

fn receive(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 2048];
    let len = socket.recv(&mut buffer).ok()?;
    Some(buffer[..len].to_vec())
}

fn system_utc() -> Utc {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Utc::from_unix_nanos(i64::try_from(since.as_nanos()).unwrap())
}

/// What came out of a [`ReceiveSession`].
#[derive(Default)]
struct Heard {
    units: Vec<AccessUnit<HostTime>>,
    /// NTP timestamp, unwrapped RTP timestamp, and the system's UTC at arrival.
    reports: Vec<(NtpTimestamp, i64, Utc)>,
    names: Vec<String>,
}

/// Receives H.264 on both sockets until `enough`.
fn listen(rtp: &UdpSocket, rtcp: &UdpSocket, enough: impl Fn(&Heard) -> bool) -> (Heard, ReceiveSession) {
    let mut session = ReceiveSession::new(ReceiveConfig {
        local_ssrc: 77,
        cname: "aggregator".into(),
        reorder_window: Span::from_millis(20),
        rtcp_interval: Span::from_secs(1),
        clock_rate: 90_000,
    });
    let (mut heard, mut assembler) = (Heard::default(), AccessUnitAssembler::new());
    let start = Instant::now();
    while !enough(&heard) {
        assert!(start.elapsed() < PATIENCE, "{:?}, {} reports", session.stats(), heard.reports.len());
        for socket in [rtp, rtcp] {
            while let Some(datagram) = receive(socket) {
                let now = HostTime::from_nanos(Span::from(start.elapsed()).as_nanos());
                if is_rtcp(&datagram) {
                    session.handle_rtcp(&datagram, now).unwrap();
                } else {
                    session.handle_rtp(datagram, now).unwrap();
                }
            }
        }
        session.handle_timeout(HostTime::from_nanos(Span::from(start.elapsed()).as_nanos()));
        while let Some(event) = session.poll_event() {
            match event {
                ReceiveEvent::Packet(p) => {
                    assembler.handle(p.timestamp, p.marker, &p.payload, p.arrival, |u| heard.units.push(u));
                }
                ReceiveEvent::Gap { .. } => assembler.gap(),
                ReceiveEvent::SenderReport { ntp, rtp, .. } => heard.reports.push((ntp, rtp, system_utc())),
                ReceiveEvent::Cname(name) => heard.names.push(name),
                _ => {}
            }
        }
    }
    (heard, session)
}

/// 25 frames a second, whole, with one parameter set before each IDR picture.
fn check_stream(heard: &Heard, session: &ReceiveSession) {
    let stats = session.stats();
    assert_eq!((stats.lost, stats.malformed, stats.invalid), (0, 0, 0), "{stats:?}");
    assert!(heard.units.iter().all(|unit| unit.damage.is_none()));
    assert!(heard.units.windows(2).all(|pair| pair[1].timestamp - pair[0].timestamp == 3600));
    let contains = |unit: &AccessUnit<_>, kind| {
        unit.data.windows(5).any(|w| w[..4] == [0, 0, 0, 1] && w[4] & 0x1f == kind)
    };
    let (idr, sps) = (|u: &&AccessUnit<_>| contains(u, 5), |u: &&AccessUnit<_>| contains(u, 7));
    let keys = heard.units.iter().filter(idr).count();
    assert!(keys >= 2 && heard.units.iter().filter(sps).count() == keys);
}

#[test]
fn ffmpeg_sends_h264() {
    let (rtp, rtcp, port) = sockets();
    let input = "-v error -nostdin -re -f lavfi -i testsrc=size=320x240:rate=25 -c:v libx264 -bf 0 -g 25 \
        -preset ultrafast -b:v 300k -bsf:v dump_extra=freq=keyframe -f rtp -payload_type 96 -cname cam";
    let url = format!("rtp://127.0.0.1:{port}?pkt_size=1328");
    let args: Vec<_> = input.split_whitespace().map(String::from).chain([url]).collect();
    let _peer = Peer::start("ffmpeg", &args);
    let (heard, session) = listen(&rtp, &rtcp, |heard| heard.units.len() >= 60 && heard.reports.len() >= 2);
    check_stream(&heard, &session);
    assert_eq!(heard.names, ["cam"], "given once");
}

#[test]
fn gstreamer_rtpbin_sends_h264_with_reports() {
    let (rtp, rtcp, port) = sockets();
    let _peer = Peer::gstreamer(&format!(
        "rtpbin name=bin ntp-time-source=ntp
         videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1
         ! x264enc tune=zerolatency bitrate=300 key-int-max=25 ! rtph264pay config-interval=-1
         ! bin.send_rtp_sink_0 bin.send_rtp_src_0 ! udpsink host=127.0.0.1 port={port}
         bin.send_rtcp_src_0 ! udpsink host=127.0.0.1 port={} sync=false async=false",
        port + 1
    ));
    let (heard, session) = listen(&rtp, &rtcp, |heard| heard.units.len() >= 60 && heard.reports.len() >= 2);
    check_stream(&heard, &session);
    for (ntp, _, arrival) in &heard.reports {
        let age = *arrival - ntp.to_utc(*arrival);
        assert!(age.abs() < Span::from(PATIENCE), "the peer's wall clock is ours: {age}");
    }
    // Two reports are on one line: as much UTC as media time between them.
    let [(ntp0, rtp0, at), (ntp1, rtp1, _)] = heard.reports[..2] else { unreachable!() };
    let utc = ntp1.to_utc(at) - ntp0.to_utc(at);
    let media = Span::from_secs(1).mul_div(rtp1 - rtp0, 90_000);
    assert!((utc - media).abs() < Span::from_millis(500), "{utc} of UTC, {media} of media time");
}

#[test]
fn gstreamer_rtpbin_reports_on_our_stream() {
    let (rtp, rtcp, back) = sockets();
    let (free_rtp, free_rtcp, port) = sockets();
    drop((free_rtp, free_rtcp));
    let _peer = Peer::gstreamer(&format!(
        "rtpbin name=bin
         udpsrc port={port} caps=application/x-rtp,media=video,clock-rate=90000,encoding-name=MP2T,payload=33
         ! bin.recv_rtp_sink_0 bin. ! rtpmp2tdepay ! fakesink sync=false async=false
         udpsrc port={} ! bin.recv_rtcp_sink_0
         bin.send_rtcp_src_0 ! udpsink host=127.0.0.1 port={} sync=false async=false",
        port + 1,
        back + 1
    ));
    let start = Instant::now();
    let now = || BoardTime::from_nanos(Span::from(start.elapsed()).as_nanos());
    let media = MediaClock::new(u32::MAX - 90_000);
    let config = SendConfig {
        ssrc: 0x0102_0304,
        first_sequence: 65_500,
        payload_type: PT_MP2T,
        cname: "left".into(),
        rtcp_interval: Span::from_secs(1),
        media,
    };
    let mut session = SendSession::new(config, now());
    let uncertainty = Span::from_millis(1);
    let mapping = ClockMapping {
        mono0: now(),
        utc0: system_utc(),
        rate_ppb: 0,
        uncertainty,
        drift_ppb: 15_000,
        epoch: 1,
    };
    let info = ClockInfo {
        pts_on_rtp_clock: true,
        state: ClockState::Synchronized,
        uncertainty: Span::ZERO,
        capture_kind: CaptureKind::Synthetic,
    };
    session.set_clock(Some(mapping), info);
    let null_packets = [0x47, 0x1f, 0xff, 0x10].repeat(47 * 7);
    let round_trip = loop {
        assert!(start.elapsed() < PATIENCE, "no report with a round trip: {:?}", session.stats());
        for payload in mp2t::payloads(&null_packets, 1316) {
            let mut datagram = Vec::new();
            let utc = Some(NtpTimestamp::from_utc(mapping.utc_at(now()).utc));
            session.write_rtp(media.at(now()).to_rtp(), false, utc, payload, &mut datagram);
            // The peer may not listen yet; then loopback refuses, which is no matter here.
            let _ = rtp.send_to(&datagram, ("127.0.0.1", port));
        }
        if let Some(datagram) = session.poll_rtcp(now()) {
            let _ = rtcp.send_to(&datagram, ("127.0.0.1", port + 1));
        }
        let _pace = receive(&rtp); // nothing comes here: two milliseconds
        if let Some(datagram) = receive(&rtcp) {
            session.handle_rtcp(&datagram, now()).unwrap();
        }
        if let Some(SendEvent::Report { fraction_lost: 0, round_trip: Some(round_trip), .. }) =
            session.poll_event()
        {
            break round_trip;
        }
    };
    assert!(round_trip < Span::from(PATIENCE), "{round_trip}");
}
