//! The aggregator's stages without sockets: what a datagram costs in each, and how long the synchronizer
//! waits for frames that could make a set tighter.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use framelock_aggregator::config::Settings;
use framelock_aggregator::engine::Engine;
use framelock_aggregator::source::{Channel, Datagram};
use framelock_aggregator::sync::{CameraIndex, SyncCamera, SyncConfig, SyncFrame, Synchronizer};
use framelock_aggregator::timestamp::HostClock;
use framelock_common::clock::ClockMapping;
use framelock_common::mpegts::{Demuxer, PacketMeta, TsEvent};
use framelock_common::rtcp::CaptureKind;
use framelock_common::rtp::session::{ReceiveConfig, ReceiveEvent, ReceiveSession};
use framelock_common::rtp::{RtpPacket, is_rtcp};
use framelock_common::time::{BoardTime, HostTime, Span, Utc};
use framelock_sender::config::Transport;
use framelock_sender::net::stream::{Frame, Stream, StreamConfig};
use framelock_tests::rig::{FPS, camera, clip};

/// Every stage handles its input this many times; the median counts.
const ROUNDS: usize = 9;
/// The clip is sent this many times in a row.
const LOOPS: usize = 4;
const BOARDS: usize = 16;
const PERIOD: Span = Span::from_nanos(1_000_000_000 / FPS as i64);
/// UTC where the simulated monotonic clocks show zero.
const UTC: Utc = Utc::from_unix_nanos(1_790_000_000_000_000_000);

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let units = access_units(&clip(dir.path()));
    stages(&units);
    waiting();
}

/// A datagram of one of the boards, and when it arrives.
struct Sent {
    board: u16,
    at: HostTime,
    data: Vec<u8>,
}

fn stages(units: &[(Vec<u8>, bool)]) {
    let one = sent(units, 1);
    let many = sent(units, BOARDS);
    let media: Vec<_> = one.iter().filter(|sent| !is_rtcp(&sent.data)).collect();
    let frames = units.len() * LOOPS;
    println!(
        "aggregator without sockets: ns for each datagram of {} to {} bytes",
        sizes(&media).0,
        sizes(&media).1
    );
    println!("  {:<44} {:>10} {:>10}", "", "ns", "to a copy");
    let copy = time(media.len(), || {
        for sent in &media {
            black_box(sent.data.clone());
        }
    });
    let row = |what: &str, ns: f64| println!("  {what:<44} {ns:>10.0} {:>10.1}", ns / copy);
    row("copy of the datagram", copy);
    row(
        "RTP header",
        time(media.len(), || {
            for sent in &media {
                black_box(RtpPacket::parse(&sent.data).is_ok());
            }
        }),
    );
    row("receive session", time(media.len(), || receive(&media, None)));
    row(
        "receive session, TS demultiplexer",
        time(media.len(), || {
            let mut demuxer = Demuxer::new();
            receive(&media, Some(&mut demuxer));
            assert!(demuxer.stats().access_units as usize >= frames - 1, "{:?}", demuxer.stats());
        }),
    );
    row("whole engine, 1 board", time(one.len(), || engine(&one, frames)));
    row("whole engine, 16 boards on one port", time(many.len(), || engine(&many, frames)));
    println!("  {:<44} {:>10} {:>10}", "and for each frame", "", "");
    for cameras in [1, 4, BOARDS, 64] {
        let phases: Vec<_> = (0..cameras).map(|n| Span::from_micros((n as i64 * 20_601) % 33_333)).collect();
        let count = cameras * 300;
        row(
            &format!("synchronizer, {cameras} cameras"),
            time(count, || {
                black_box(synchronize(&phases, Span::ZERO, 300, 1));
            }),
        );
    }
    println!();
}

fn sizes(sent: &[&Sent]) -> (usize, usize) {
    let sizes = || sent.iter().map(|sent| sent.data.len());
    (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0))
}

/// Median time for one of `count` things that `work` does.
fn time(count: usize, mut work: impl FnMut()) -> f64 {
    work();
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = now();
            work();
            (now() - start).as_nanos()
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2] as f64 / count as f64
}

fn receive(media: &[&Sent], mut demuxer: Option<&mut Demuxer>) {
    let mut session = ReceiveSession::new(ReceiveConfig {
        local_ssrc: 1,
        cname: "bench".to_owned(),
        reorder_window: Span::from_millis(20),
        rtcp_interval: Span::from_secs(1),
        clock_rate: 90_000,
    });
    for sent in media {
        session.handle_rtp(sent.data.clone(), sent.at).expect("good RTP");
        while let Some(event) = session.poll_event() {
            let (ReceiveEvent::Packet(packet), Some(demuxer)) = (event, demuxer.as_deref_mut()) else {
                continue;
            };
            let meta = PacketMeta { rtp_timestamp: Some(packet.timestamp), arrival: packet.arrival };
            demuxer.push(&packet.payload, meta);
            while let Some(event) = demuxer.poll() {
                black_box(event);
            }
        }
    }
}

fn engine(sent: &[Sent], frames: usize) {
    let mut settings = Settings::default();
    settings.add_camera("*", "rtp://:5000").expect("a good source");
    let mut engine = Engine::new(&settings, 1);
    let (mut packets, mut complete) = (0, 0);
    for Sent { board, at, data } in sent {
        while let Some(due) = engine.poll_timeout().filter(|due| due < at) {
            engine.handle_timeout(due, &host(due));
            while let Some(transmit) = engine.poll_transmit(due) {
                black_box(transmit);
            }
        }
        let from = ([10, 0, 0, 1], 40_000 + board).into();
        let datagram = Datagram { channel: Channel::Main, from, data, arrival: *at };
        engine.handle_datagram(0, &datagram, &host(*at));
        while let Some(packet) = engine.poll_packet() {
            packets += 1;
            complete += usize::from(packet.complete);
        }
        while let Some(transmit) = engine.poll_transmit(*at) {
            black_box(transmit);
        }
    }
    // A board whose name is not known yet is no camera: up to the next key frame its frames do not count.
    assert!(packets + 70 > frames && complete + 70 > frames, "{packets} {complete} of {frames}");
}

fn host(now: HostTime) -> HostClock {
    HostClock::new(now, UTC + (now - HostTime::from_nanos(0)), Span::from_micros(1))
}

/// What `boards` boards with different phases send of the frames in `units`, in order of arrival.
fn sent(units: &[(Vec<u8>, bool)], boards: usize) -> Vec<Sent> {
    let mut all = Vec::new();
    for board in 0..boards {
        let phase = Span::from_micros((board as i64 * 20_601) % 33_333);
        board_sends(u16::try_from(board).expect("few boards"), phase, units, &mut all);
    }
    all.sort_by_key(|sent| sent.at);
    all
}

fn board_sends(board: u16, phase: Span, units: &[(Vec<u8>, bool)], out: &mut Vec<Sent>) {
    let config = StreamConfig {
        transport: Transport::RtpMpegts,
        cname: camera(usize::from(board)),
        random: [u32::from(board) + 1, 7, 11],
    };
    let zero = BoardTime::from_nanos(0);
    let start = zero + phase;
    let mut stream = Stream::new(config, start);
    stream.handle_clock(Some(ClockMapping {
        mono0: zero,
        utc0: UTC,
        rate_ppb: 0,
        uncertainty: Span::from_micros(50),
        drift_ppb: 0,
        epoch: 0,
    }));
    let mut datagrams = Vec::new();
    let mut send = |stream: &mut Stream, now: BoardTime| {
        while let Some(burst) = stream.poll_transmit(now, &mut datagrams) {
            let at = HostTime::from_nanos(now.as_nanos() + 100_000);
            out.extend(datagrams.chunks(burst.size).map(|datagram| Sent {
                board,
                at,
                data: datagram.to_vec(),
            }));
        }
    };
    let mut at = start;
    for n in 0..units.len() * LOOPS {
        let (data, key) = &units[n % units.len()];
        let mono = start + PERIOD * n as i64;
        let now = mono + Span::from_millis(5);
        while let Some(due) = stream.poll_timeout().filter(|due| *due < now) {
            at = due.max(at + Span::from_nanos(1));
            stream.handle_timeout(at);
            send(&mut stream, at);
        }
        at = now;
        let frame = Frame {
            data: data.clone(),
            mono,
            dts: None,
            key: *key,
            kind: CaptureKind::Synthetic,
            uncertainty: Span::ZERO,
            period: PERIOD,
        };
        stream.handle_frame(&frame, now);
        send(&mut stream, now);
    }
}

/// How long sets wait after the arrival of their last frame, over many rigs with random phases.
fn waiting() {
    const RIGS: u64 = 200;
    const FRAMES: usize = 240;
    println!("synchronizer in simulated time: from the arrival of a set's last frame to the set, ms");
    println!("  ({RIGS} rigs with random phases; each frame arrives 5 to 7 ms after its capture)");
    println!("  {:<10} {:>10} {:>8} {:>8} {:>8} {:>8}", "cameras", "jitter ms", "mean", "p50", "p99", "max");
    for cameras in [4, 7, BOARDS] {
        for jitter in [Span::ZERO, Span::from_micros(20), Span::from_micros(200), Span::from_millis(1)] {
            let mut waits = Vec::new();
            for rig in 0..RIGS {
                let mut random = fastrand::Rng::with_seed(rig);
                let phases: Vec<_> =
                    (0..cameras).map(|_| Span::from_nanos(random.i64(0..PERIOD.as_nanos()))).collect();
                waits.extend(synchronize(&phases, jitter, FRAMES, rig));
            }
            waits.sort_unstable();
            let at = |permille: usize| 1e3 * waits[((waits.len() - 1) * permille) / 1_000].as_secs_f64();
            let mean = waits.iter().map(|wait| wait.as_secs_f64()).sum::<f64>() / waits.len() as f64;
            println!(
                "  {cameras:<10} {:>10.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
                1e3 * jitter.as_secs_f64(),
                1e3 * mean,
                at(500),
                at(990),
                at(1_000)
            );
        }
    }
    println!();
}

/// Runs free-running cameras through the synchronizer; how long each complete set waited, without those of
/// the first second.
fn synchronize(phases: &[Span], jitter: Span, frames: usize, seed: u64) -> Vec<Span> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut arrivals: Vec<(HostTime, usize, Utc)> = Vec::with_capacity(phases.len() * frames);
    for (camera, phase) in phases.iter().enumerate() {
        for n in 0..frames {
            let off = Span::from_nanos(random.i64(-jitter.as_nanos()..=jitter.as_nanos()));
            let since = *phase + PERIOD * n as i64 + off;
            let delay = Span::from_micros(random.i64(5_000..7_000));
            arrivals.push((HostTime::from_nanos(1_000_000_000) + since + delay, camera, UTC + since));
        }
    }
    arrivals.sort_unstable_by_key(|(at, ..)| *at);
    let cameras = vec![SyncCamera::default(); phases.len()];
    let mut sync: Synchronizer<HostTime> = Synchronizer::new(&SyncConfig::default(), cameras);
    let mut waits = Vec::with_capacity(frames);
    for (at, camera, time) in arrivals {
        while let Some(due) = sync.poll_timeout().filter(|due| *due < at) {
            sync.handle_timeout(due);
        }
        sync.handle_frame(CameraIndex::new(camera), SyncFrame::new(time, at), at);
        while let Some(set) = sync.poll_set() {
            let frames = set.entries.iter().filter_map(|entry| entry.frame.as_ref());
            let last = frames.map(|frame| frame.payload).max();
            if let Some(last) = last.filter(|_| set.complete && set.number >= u64::from(FPS)) {
                waits.push(set.ready - last);
            }
        }
    }
    waits
}

/// The access units of `clip` and whether each is a key frame.
fn access_units(clip: &Path) -> Vec<(Vec<u8>, bool)> {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-i"])
        .arg(clip)
        .args(["-c", "copy", "-f", "mpegts", "-"])
        .output()
        .unwrap_or_else(|error| panic!("ffmpeg cannot be started ({error}); `make bench` installs it"));
    assert!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr));
    let mut demuxer = Demuxer::new();
    demuxer.push(&output.stdout, PacketMeta { rtp_timestamp: None, arrival: HostTime::from_nanos(0) });
    demuxer.flush();
    let mut inspector = framelock_common::h264::Inspector::default();
    let mut units = Vec::new();
    while let Some(event) = demuxer.poll() {
        if let TsEvent::AccessUnit { data, .. } = event {
            let key = inspector.inspect(&data).key;
            units.push((data, key));
        }
    }
    assert!(units.len() > FPS as usize, "a clip of several seconds");
    units
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> HostTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    HostTime::from_nanos(now.tv_sec * 1_000_000_000 + now.tv_nsec)
}
