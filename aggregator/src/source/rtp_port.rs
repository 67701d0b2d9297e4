//! One RTP port: which stream belongs to which camera, and RTCP both ways.
//!
//! Streams are told apart by (source address, SSRC). A port has one camera with a name of ours, or a
//! camera for every sender that arrives, named by its SDES CNAME. A camera keeps its place when its
//! sender restarts with another SSRC or from another address; see `owner` for who may take it.
//!
//! Anybody can send anything here. A stream that has no camera is looked at only once it has sent two
//! packets in sequence and there is a camera for it; a new camera takes a name and a good frame. How many
//! such streams are remembered is limited, and nobody gets more bytes from us than came from there.

use std::collections::VecDeque;
use std::net::SocketAddr;

use framelock_common::rtcp::{self, RtcpPacket};
use framelock_common::rtp::{RtpPacket, is_rtcp};
use framelock_common::time::{HostTime, Span};

use super::owner::{Owner, Ruling, rule};
use super::pipeline::{Sink, StreamOutput};
use super::probation::{Probation, Stranger, least};
use super::rtp_stream::{FORGET_AFTER, RtpStream};
use super::unit::UnitAssembler;
use super::{BROKEN_AFTER, Channel, Datagram, DownReason, PortCounters, PortEvent, StreamStatus, Transmit};
use crate::timestamp::HostClock;

/// Streams without a camera that are remembered at a time; for one more, another is forgotten.
const MAX_STRANGERS: usize = 32;
/// The longest camera name made of a CNAME, in characters.
const MAX_NAME: usize = 64;
/// How long a stream waits that has no camera, until it is asked again whether there is one.
const RETRY: Span = Span::from_millis(50);
/// At most this often the log says why a sender is ignored.
const EXPLAIN: Span = Span::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct RtpPort {
    streams: Vec<Stream>,
    cameras: Vec<Camera>,
    /// `None` for one camera with a name of ours, else the most that may become cameras.
    limit: Option<usize>,
    local_ssrc: u32,
    events: VecDeque<PortEvent>,
    counters: PortCounters,
    outputs: Vec<StreamOutput>,
    /// When the log last said why a sender is ignored.
    explained: Option<HostTime>,
}

#[derive(Debug)]
struct Stream {
    rtp: RtpStream,
    camera: Option<usize>,
    probation: Probation,
    /// It becomes a camera with its first good frame.
    candidate: bool,
    /// Packets of it were passed over while it had no camera.
    unseen: bool,
    /// Not asked for a camera before.
    retry: HostTime,
}

/// What a stream without a camera can have.
enum Place {
    Nothing,
    /// One that is there.
    Camera(usize),
    /// A new one of this name.
    New(String),
}

impl Stream {
    /// Whether its sender is answered.
    fn is_heeded(&self) -> bool {
        self.camera.is_some() || self.candidate
    }
}

#[derive(Debug, Default)]
struct Camera {
    name: String,
    /// Counts frames, across senders.
    number: u64,
    up: bool,
    /// What the log says of its stream is said in here.
    span: Option<tracing::Span>,
}

impl RtpPort {
    /// A port whose only camera has a name of ours.
    #[must_use]
    pub fn single(local_ssrc: u32) -> Self {
        Self::new(None, vec![Camera::default()], local_ssrc)
    }

    /// A port on which every sender becomes a camera, up to `limit` of them.
    #[must_use]
    pub fn many(limit: usize, local_ssrc: u32) -> Self {
        Self::new(Some(limit), Vec::new(), local_ssrc)
    }

    fn new(limit: Option<usize>, cameras: Vec<Camera>, local_ssrc: u32) -> Self {
        Self {
            streams: Vec::new(),
            cameras,
            limit,
            local_ssrc,
            events: VecDeque::new(),
            counters: PortCounters::default(),
            outputs: Vec::new(),
            explained: None,
        }
    }

    /// Counters of what belongs to no camera.
    #[must_use]
    pub fn counters(&self) -> PortCounters {
        self.counters
    }

    /// What is known of the stream that the n-th camera has now.
    #[must_use]
    pub fn status(&mut self, camera: usize) -> StreamStatus {
        let stream = self.streams.iter_mut().find(|stream| stream.camera == Some(camera));
        stream.map(|stream| stream.rtp.status()).unwrap_or_default()
    }

    /// What the log says of the n-th camera's stream from now on is said in `span`.
    pub fn set_span(&mut self, camera: usize, span: tracing::Span) {
        self.cameras[camera].span = Some(span);
    }

    /// Asks the n-th camera's sender for a key frame.
    pub fn request_key_frame(&mut self, camera: usize, now: HostTime) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.camera == Some(camera)) {
            stream.rtp.request_key_frame(now);
        }
    }

    /// A datagram arrived. Drain [`Self::poll_event`] after.
    pub fn handle_datagram(&mut self, datagram: &Datagram<'_>, host: &HostClock) {
        let &Datagram { channel, from, data, arrival } = datagram;
        let control = channel == Channel::Rtcp || is_rtcp(data);
        let found = if control {
            self.rtcp_stream(from, data, arrival)
        } else {
            self.rtp_stream(from, data, arrival)
        };
        let Some(at) = found else { return };
        if control {
            self.with_sink(at, host, |rtp, sink| rtp.handle_rtcp(datagram, sink));
        } else if self.admit(at, datagram) {
            for held in self.streams[at].probation.take() {
                self.with_sink(at, host, |rtp, sink| rtp.handle_rtp(&held.datagram(), sink));
            }
            self.with_sink(at, host, |rtp, sink| rtp.handle_rtp(datagram, sink));
        }
        self.emit(at, arrival);
    }

    /// Time passed. Drain [`Self::poll_event`] after.
    pub fn handle_timeout(&mut self, now: HostTime, host: &HostClock) {
        for at in 0..self.streams.len() {
            self.with_sink(at, host, |rtp, sink| rtp.handle_timeout(now, sink));
            self.emit(at, now);
            if let Some(camera) = self.streams[at].camera
                && now - self.streams[at].rtp.last >= BROKEN_AFTER
            {
                self.down(camera, DownReason::Silent);
            }
        }
        self.streams.retain(|stream| stream.camera.is_some() || now - stream.rtp.last < FORGET_AFTER);
    }

    /// When to call [`Self::handle_timeout`] if nothing arrives.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<HostTime> {
        // What the others wait for is of no use to anybody.
        let heeded = self.streams.iter().filter(|stream| stream.is_heeded());
        let times = heeded.flat_map(|Stream { camera, rtp, .. }| {
            let up = camera.is_some_and(|camera| self.cameras[camera].up);
            [rtp.poll_timeout(), up.then(|| rtp.last + BROKEN_AFTER)]
        });
        times.flatten().min()
    }

    /// The next RTCP to send. Only senders that have a camera, or will with a good frame, are answered.
    pub fn poll_transmit(&mut self, now: HostTime) -> Option<Transmit> {
        let heeded = self.streams.iter_mut().filter(|stream| stream.is_heeded());
        heeded.filter_map(|stream| stream.rtp.poll_transmit(now)).next()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<PortEvent> {
        self.events.pop_front()
    }

    fn rtp_stream(&mut self, from: SocketAddr, datagram: &[u8], now: HostTime) -> Option<usize> {
        let ssrc = match RtpPacket::parse(datagram) {
            Ok(packet) if UnitAssembler::knows(packet.payload_type()) => packet.ssrc(),
            _ => {
                self.counters.malformed += 1;
                return None;
            }
        };
        let same = |stream: &Stream| {
            stream.rtp.ssrc == ssrc
                && (stream.rtp.address == from
                    || (!stream.rtp.seen_rtp && stream.rtp.address.ip() == from.ip()))
        };
        self.streams.iter().position(same).or_else(|| self.follow(ssrc, from, now))
    }

    fn rtcp_stream(&mut self, from: SocketAddr, datagram: &[u8], now: HostTime) -> Option<usize> {
        let Ok(packets) = rtcp::parse(datagram) else {
            self.counters.malformed += 1;
            return None;
        };
        let (ssrc, sends) = packets.iter().find_map(|packet| match packet {
            RtcpPacket::SenderReport { report, .. } => Some((report.ssrc, true)),
            RtcpPacket::ReceiverReport { ssrc, .. } => Some((*ssrc, false)),
            _ => None,
        })?;
        let exact = |s: &Stream| s.rtp.ssrc == ssrc && s.rtp.address == from;
        let near = |s: &Stream| s.rtp.ssrc == ssrc && s.rtp.reports_from(from, now);
        let known = self.streams.iter().position(exact).or_else(|| self.streams.iter().position(near));
        // Whoever only receives is no camera.
        known.or_else(|| if sends { self.follow(ssrc, from, now) } else { None })
    }

    /// Begins to follow a stream; where there are too many already, another one is forgotten.
    fn follow(&mut self, ssrc: u32, from: SocketAddr, now: HostTime) -> Option<usize> {
        let all = self.streams.iter().enumerate().filter(|(_, stream)| stream.camera.is_none());
        let strangers: Vec<_> = all
            .map(|(at, Stream { rtp, .. })| Stranger {
                at,
                ip: rtp.address.ip(),
                packets: rtp.packets,
                last: rtp.last,
            })
            .collect();
        if strangers.len() >= MAX_STRANGERS
            && let Some(at) = least(&strangers)
        {
            self.streams.remove(at);
            self.counters.forgotten += 1;
        }
        let rtp = RtpStream::new(ssrc, from, self.local_ssrc, now);
        let probation = Probation::default();
        self.streams.push(Stream {
            rtp,
            camera: None,
            probation,
            candidate: false,
            unseen: false,
            retry: now,
        });
        Some(self.streams.len() - 1)
    }

    /// Whether an RTP packet is to be looked into: its stream has a camera, gets one now, or would have one
    /// with a good frame.
    fn admit(&mut self, at: usize, datagram: &Datagram<'_>) -> bool {
        let stream = &mut self.streams[at];
        if stream.camera.is_some() {
            return true;
        }
        let sequence = RtpPacket::parse(datagram.data).map_or(0, |packet| packet.sequence());
        if !stream.probation.passes(sequence, datagram) {
            stream.rtp.last = stream.rtp.last.max(datagram.arrival);
            return false;
        }
        match self.place(at, datagram.arrival) {
            Place::Camera(camera) => {
                self.take(at, camera, datagram.arrival);
                true
            }
            Place::New(_) => {
                let stream = &mut self.streams[at];
                if !std::mem::replace(&mut stream.candidate, true) {
                    stream.rtp.adopt(std::mem::take(&mut stream.unseen), datagram.arrival);
                }
                true
            }
            Place::Nothing => {
                let stream = &mut self.streams[at];
                stream.rtp.heard_rtp(datagram);
                stream.probation.take();
                (stream.candidate, stream.unseen) = (false, true);
                self.counters.unclaimed += 1;
                false
            }
        }
    }

    /// Gives the stream this camera.
    fn take(&mut self, at: usize, camera: usize, now: HostTime) {
        if let Some(old) = self.streams.iter().position(|stream| stream.camera == Some(camera)) {
            self.streams[old].rtp.flush(&mut self.outputs);
            self.emit(old, now);
            self.streams[old].camera = None;
            self.streams[old].rtp.set_has_camera(false);
        }
        let stream = &mut self.streams[at];
        (stream.camera, stream.candidate) = (Some(camera), false);
        stream.rtp.set_has_camera(true);
        stream.rtp.adopt(std::mem::take(&mut stream.unseen), now);
        self.events.push_back(PortEvent::Taken(camera, stream.rtp.address));
    }

    fn place(&mut self, at: usize, now: HostTime) -> Place {
        if now < self.streams[at].retry {
            return Place::Nothing;
        }
        let place = if self.limit.is_none() { self.only_place(at, now) } else { self.named_place(at, now) };
        if matches!(place, Place::Nothing) {
            self.streams[at].retry = now + RETRY;
        }
        place
    }

    fn only_place(&mut self, at: usize, now: HostTime) -> Place {
        match self.ruling(at, 0, now) {
            Ruling::Take => return Place::Camera(0),
            Ruling::Wait => {}
            Ruling::Refuse => self.explain(
                at,
                now,
                "another sender has this port's camera; give each its own port, or use *=rtp://:PORT",
            ),
        }
        Place::Nothing
    }

    fn named_place(&mut self, at: usize, now: HostTime) -> Place {
        let Some(base) = self.streams[at].rtp.cname.as_deref().map(sanitize) else { return Place::Nothing };
        // A second sender of the same name is another camera.
        for copy in 1..=self.cameras.len() + 1 {
            let name = if copy == 1 { base.clone() } else { format!("{base}-{copy}") };
            let Some(camera) = self.cameras.iter().position(|camera| camera.name == name) else {
                if self.limit.is_none_or(|limit| self.cameras.len() < limit) {
                    return Place::New(name);
                }
                self.explain(at, now, "there are as many cameras as allowed; raise max-cameras");
                return Place::Nothing;
            };
            match self.ruling(at, camera, now) {
                Ruling::Take => return Place::Camera(camera),
                Ruling::Wait => return Place::Nothing,
                Ruling::Refuse => {}
            }
        }
        Place::Nothing
    }

    /// Makes a candidate that has given a good frame a camera.
    fn promote(&mut self, at: usize, now: HostTime) {
        let frames = self.outputs.iter().filter(|output| matches!(output, StreamOutput::Decode(_))).count();
        if frames == 0 || !self.streams[at].candidate {
            return;
        }
        match self.place(at, now) {
            Place::New(name) => {
                let index = self.cameras.len();
                let camera = Camera { name: name.clone(), number: frames as u64, ..Camera::default() };
                self.cameras.push(camera);
                self.events.push_back(PortEvent::Camera(name));
                self.take(at, index, now);
            }
            Place::Camera(camera) => self.take(at, camera, now),
            Place::Nothing => (self.streams[at].candidate, self.streams[at].unseen) = (false, true),
        }
    }

    fn ruling(&self, at: usize, camera: usize, now: HostTime) -> Ruling {
        let newcomer = &self.streams[at].rtp;
        match self.streams.iter().find(|stream| stream.camera == Some(camera)) {
            None => Ruling::Take,
            // The same socket goes on with another SSRC (RFC 3550 section 8.2), or a clean end before.
            Some(Stream { rtp: owner, .. })
                if owner.goodbye || owner.address == newcomer.address && owner.last <= newcomer.first =>
            {
                Ruling::Take
            }
            Some(Stream { rtp: owner, .. }) => {
                let owner = Owner { heard: owner.last, productive: owner.productive };
                rule(owner, newcomer.first, now)
            }
        }
    }

    fn explain(&mut self, at: usize, now: HostTime, why: &str) {
        if self.explained.is_none_or(|last| now - last >= EXPLAIN) {
            self.explained = Some(now);
            let RtpStream { address, ssrc, .. } = self.streams[at].rtp;
            tracing::warn!(%address, ssrc, "sender ignored: {why}");
        }
    }

    /// Lets a stream work; what comes of it waits for [`Self::emit`].
    fn with_sink(&mut self, at: usize, host: &HostClock, work: impl FnOnce(&mut RtpStream, &mut Sink<'_>)) {
        let stream = &mut self.streams[at];
        let mut unowned = 0;
        let (number, span) = match stream.camera.map(|camera| &mut self.cameras[camera]) {
            Some(Camera { number, span, .. }) => (number, span.as_ref()),
            None => (&mut unowned, None),
        };
        let _in_stream = span.map(tracing::Span::enter);
        work(&mut stream.rtp, &mut Sink { host, number, out: &mut self.outputs });
    }

    /// Turns what a stream gave into events of its camera.
    fn emit(&mut self, at: usize, now: HostTime) {
        if self.streams[at].camera.is_none() {
            self.promote(at, now);
        }
        let Some(camera) = self.streams[at].camera else {
            self.outputs.clear();
            return;
        };
        if !self.outputs.is_empty() {
            self.cameras[camera].up = true;
        }
        self.events.extend(self.outputs.drain(..).map(|output| PortEvent::Output(camera, output)));
        if self.streams[at].rtp.goodbye {
            self.down(camera, DownReason::Goodbye);
        }
    }

    fn down(&mut self, camera: usize, reason: DownReason) {
        if std::mem::replace(&mut self.cameras[camera].up, false) {
            self.events.push_back(PortEvent::Down(camera, reason));
        }
    }
}

/// A camera name out of a CNAME, which is data from the network: printable, without control or path
/// characters, of bounded length, never empty.
fn sanitize(cname: &str) -> String {
    let name: String = cname
        .trim()
        .chars()
        .take(MAX_NAME)
        .map(|c| if c.is_alphanumeric() || "-_.@:+ ".contains(c) { c } else { '_' })
        .collect();
    let name = name.trim_matches(|c: char| c == '.' || c.is_whitespace());
    if name.is_empty() { "camera".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_data_and_never_paths() {
        for (cname, name) in [
            ("left@board-1", "left@board-1"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("a\0b\n\u{1b}[2Jc", "a_b__[2Jc".replace('[', "_").as_str()),
            ("", "camera"),
            ("..", "camera"),
            ("Kamera \u{fc}", "Kamera \u{fc}"),
        ] {
            assert_eq!(sanitize(cname), name, "{cname:?}");
        }
        assert_eq!(sanitize(&"x".repeat(255)).len(), MAX_NAME);
    }
}
