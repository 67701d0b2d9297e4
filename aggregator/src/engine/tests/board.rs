//! A simulated board: the real packetizers and RTP session of the sending end, a camera of numbers, and a
//! clock of its own that may be wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use framelock_common::clock::{ClockMapping, ClockState};
use framelock_common::h264::nal_units;
use framelock_common::mpegts::{MuxConfig, Muxer};
use framelock_common::rtcp::{CaptureKind, ClockInfo};
use framelock_common::rtp::h264::Packetizer;
use framelock_common::rtp::session::{SendConfig, SendEvent, SendSession};
use framelock_common::rtp::{MAX_PAYLOAD, PT_H264, PT_MP2T, mp2t};
use framelock_common::time::{BoardTime, MediaClock, NtpTimestamp, Span, Utc};

use super::picture::{Kind, access_unit};
use super::sim::{START, host_utc};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    RtpTs,
    RtpH264,
    UdpTs,
}

#[derive(Clone, Debug)]
pub(super) struct BoardConfig {
    pub(super) transport: Transport,
    pub(super) address: SocketAddr,
    pub(super) port: usize,
    pub(super) ssrc: u32,
    pub(super) cname: &'static str,
    pub(super) period: Span,
    pub(super) phase: Span,
    /// How much faster the board's monotonic clock runs than true time.
    pub(super) drift_ppb: i64,
    /// `None`: the board knows nothing of UTC.
    pub(super) synchronized: bool,
    /// How long after its start it knows UTC, if ever.
    pub(super) known_after: Span,
    /// By how much the UTC is ahead of the truth that it claims to be.
    pub(super) clock_error: Span,
    /// Every third frame is P, the two before it in presentation are B.
    pub(super) b_frames: bool,
    /// Width and height in macroblocks.
    pub(super) blocks: (u32, u32),
    /// When it starts, in true time.
    pub(super) start: Span,
    pub(super) rtcp: bool,
}

impl BoardConfig {
    pub(super) fn new(port: usize, transport: Transport) -> Self {
        let n = u32::try_from(port).unwrap();
        Self {
            transport,
            address: SocketAddr::from(([10, 0, 0, 1 + u8::try_from(port).unwrap()], 40_000)),
            port,
            ssrc: 0x1111_0000 + n,
            cname: ["left", "right", "top", "back"][port % 4],
            period: Span::from_nanos(33_333_333),
            phase: Span::from_millis(i64::from(n) * 7),
            drift_ppb: i64::from(n) * 40_000 - 30_000,
            synchronized: true,
            known_after: Span::ZERO,
            clock_error: Span::ZERO,
            b_frames: false,
            blocks: (40, 30),
            start: Span::ZERO,
            rtcp: true,
        }
    }
}

pub(super) struct Board {
    pub(super) config: BoardConfig,
    session: SendSession,
    media: MediaClock,
    muxer: Muxer,
    next_frame: u64,
    want_key: bool,
    /// Whether it knows UTC by now, and whether the next packet has to carry it.
    known: bool,
    announce: bool,
    pub(super) keys_asked: u64,
    /// What was sent: capture instant (true UTC, in ns) and access unit of each frame number.
    pub(super) sent: BTreeMap<u64, (Utc, Vec<u8>)>,
    pub(super) running: bool,
}

impl Board {
    pub(super) fn new(config: BoardConfig) -> Self {
        let media = MediaClock::new(0xffff_0000 ^ config.ssrc);
        let start = mono(&config, config.start);
        let send = SendConfig {
            ssrc: config.ssrc,
            first_sequence: 65_500,
            payload_type: if config.transport == Transport::RtpH264 { PT_H264 } else { PT_MP2T },
            cname: config.cname.to_owned(),
            rtcp_interval: Span::from_secs(1),
            media,
        };
        Self {
            session: SendSession::new(send, start),
            media,
            muxer: Muxer::new(MuxConfig::default()),
            next_frame: 0,
            want_key: false,
            known: false,
            announce: true,
            keys_asked: 0,
            sent: BTreeMap::new(),
            running: true,
            config,
        }
    }

    /// When the next frame has been captured and encoded, in true time.
    pub(super) fn next(&self) -> Span {
        self.capture(self.next_frame) + Span::from_millis(8)
    }

    fn capture(&self, number: u64) -> Span {
        let n = i64::try_from(number).unwrap();
        self.config.start + self.config.phase + self.config.period * n
    }

    /// The datagrams of the next frame; RTCP where due.
    pub(super) fn send(&mut self) -> Vec<Vec<u8>> {
        let now = mono(&self.config, self.next());
        let known = self.config.synchronized && self.next() >= self.config.start + self.config.known_after;
        self.announce |= known && !self.known;
        self.known = known;
        self.session.set_clock(mapping(&self.config).filter(|_| known), info(&self.config));
        let mut out = Vec::new();
        if let Some(report) = self
            .session
            .poll_rtcp(now)
            .filter(|_| self.config.rtcp && self.config.transport != Transport::UdpTs)
        {
            out.push(report);
        }
        while let Some(event) = self.session.poll_event() {
            if event == SendEvent::KeyframeRequested {
                self.want_key = true;
                self.keys_asked += 1;
            }
        }
        // Decoding order with B-frames: 0 | 3 1 2 | 6 4 5 | ...
        let decode = self.next_frame;
        let (number, kind) = match (self.config.b_frames, decode % 3) {
            (true, 1) => (decode + 2, Kind::P),
            (true, _) if decode > 0 => (decode - 1, Kind::B),
            _ => (decode, Kind::P),
        };
        let key = decode == 0 || decode.is_multiple_of(60) || (self.want_key && kind == Kind::P);
        let kind = if key { Kind::Key } else { kind };
        let number = if key { decode } else { number };
        self.want_key &= !key;
        let size = if key { 15_000 } else { 3_000 + usize::try_from(number % 7).unwrap() * 500 };
        let unit = access_unit(kind, self.config.blocks, number, size);
        self.write(&unit, number, decode, key, now, &mut out);
        self.sent.insert(number, (host_utc(self.capture(number)), unit));
        self.next_frame += 1;
        out
    }

    fn write(
        &mut self,
        unit: &[u8],
        number: u64,
        decode: u64,
        key: bool,
        now: BoardTime,
        out: &mut Vec<Vec<u8>>,
    ) {
        let pts = self.media.at(mono(&self.config, self.capture(number)));
        let ntp =
            |at: Span| self.known.then(|| NtpTimestamp::from_utc(host_utc(at) + self.config.clock_error));
        let (now_ntp, capture_ntp) = (ntp(self.next()), ntp(self.capture(number)));
        let session = &mut self.session;
        let mut first = std::mem::take(&mut self.announce) || key;
        let mut rtp = |timestamp, marker, ntp: Option<NtpTimestamp>, payload: &[u8]| {
            let mut datagram = Vec::new();
            let ntp = ntp.filter(|_| std::mem::take(&mut first));
            session.write_rtp(timestamp, marker, ntp, payload, &mut datagram);
            datagram
        };
        if self.config.transport == Transport::RtpH264 {
            Packetizer::new().packetize(nal_units(unit), MAX_PAYLOAD, |payload, marker| {
                out.push(rtp(pts.to_rtp(), marker, capture_ntp, payload));
            });
            return;
        }
        let mut ts = Vec::new();
        let dts = self.config.b_frames.then(|| {
            // Decoded one frame period after its place in decoding order at the latest.
            let n = i64::try_from(decode).unwrap();
            self.media
                .at(mono(&self.config, self.config.start + self.config.phase + self.config.period * (n - 1)))
        });
        let media_now = self.media.at(now);
        self.muxer.write_access_unit(unit, pts, dts, key, media_now, &mut ts);
        for payload in mp2t::payloads(&ts, MAX_PAYLOAD) {
            match self.config.transport {
                Transport::UdpTs => out.push(payload.to_vec()),
                _ => out.push(rtp(media_now.to_rtp(), false, now_ntp, payload)),
            }
        }
    }

    pub(super) fn handle_rtcp(&mut self, datagram: &[u8], now: Span) {
        self.session.handle_rtcp(datagram, mono(&self.config, now)).expect("our own RTCP is valid");
    }

    pub(super) fn goodbye(&mut self, now: Span) -> Vec<u8> {
        self.session.goodbye(mono(&self.config, now))
    }
}

/// What the board's monotonic clock shows at a true instant.
fn mono(config: &BoardConfig, at: Span) -> BoardTime {
    let boot = Span::from_secs(1_000 + i64::from(config.ssrc % 97));
    BoardTime::from_nanos(0) + boot + at + at.mul_div(config.drift_ppb, 1_000_000_000)
}

fn mapping(config: &BoardConfig) -> Option<ClockMapping> {
    config.synchronized.then(|| ClockMapping {
        mono0: mono(config, Span::ZERO),
        utc0: START + config.clock_error,
        rate_ppb: -config.drift_ppb,
        uncertainty: Span::from_micros(200),
        drift_ppb: 0,
        epoch: 0,
    })
}

fn info(config: &BoardConfig) -> ClockInfo {
    let state = if config.synchronized { ClockState::Synchronized } else { ClockState::Unsynchronized };
    ClockInfo { pts_on_rtp_clock: true, state, uncertainty: Span::ZERO, capture_kind: CaptureKind::Synthetic }
}
