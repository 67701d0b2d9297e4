//! One RTP port: which stream belongs to which camera, and RTCP both ways.
//!
//! Streams are told apart by (source address, SSRC). A port has one camera with a name of ours, or a
//! camera for every sender that arrives, named by its SDES CNAME. A camera keeps its place when its
//! sender restarts with another SSRC or from another address; see `owner` for who may take it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use framelock_common::rtcp::{self, RtcpPacket};
use framelock_common::rtp::{RtpPacket, is_rtcp};
use framelock_common::time::HostTime;

use super::owner::{Ruling, rule};
use super::pipeline::{Sink, StreamOutput};
use super::rtp_stream::{FORGET_AFTER, RtpStream};
use super::unit::UnitAssembler;
use super::{BROKEN_AFTER, Channel, Datagram, DownReason, PortEvent, StreamStatus, Transmit};
use crate::timestamp::HostClock;

/// Streams without a camera that are followed at a time; more are ignored and counted.
const MAX_STRANGERS: usize = 32;
/// The longest camera name made of a CNAME, in characters.
const MAX_NAME: usize = 64;

/// Counters of a port for what belongs to no camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Datagrams that are neither RTP with a known payload type nor RTCP.
    pub malformed: u64,
    /// Datagrams of senders that have no camera: a second sender, or one above the limit.
    pub unclaimed: u64,
    /// Datagrams of streams that were not even followed because there were too many.
    pub ignored: u64,
}

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
}

#[derive(Debug)]
struct Stream {
    rtp: RtpStream,
    camera: Option<usize>,
    /// Frames came out while it had no camera.
    unseen: bool,
    /// It was said in the log why it has no camera.
    explained: bool,
}

#[derive(Debug, Default)]
struct Camera {
    name: String,
    /// Counts frames, across senders.
    number: u64,
    up: bool,
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
        let stream = &mut self.streams[at];
        let mut unowned = 0;
        let number = stream.camera.map_or(&mut unowned, |camera| &mut self.cameras[camera].number);
        let mut sink = Sink { host, number, out: &mut self.outputs };
        if control {
            stream.rtp.handle_rtcp(datagram, &mut sink);
        } else {
            stream.rtp.handle_rtp(datagram, &mut sink);
        }
        if stream.camera.is_none() {
            self.outputs.clear();
            self.claim(at, arrival);
        }
        self.emit(at);
    }

    /// Time passed. Drain [`Self::poll_event`] after.
    pub fn handle_timeout(&mut self, now: HostTime, host: &HostClock) {
        for at in 0..self.streams.len() {
            let stream = &mut self.streams[at];
            let mut unowned = 0;
            let number = stream.camera.map_or(&mut unowned, |camera| &mut self.cameras[camera].number);
            stream.rtp.handle_timeout(now, &mut Sink { host, number, out: &mut self.outputs });
            self.emit(at);
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
        // A stream without a camera is not answered, and what it waits for is of no use to anybody.
        let owned = self.streams.iter().filter_map(|stream| Some((stream.camera?, &stream.rtp)));
        let times = owned.flat_map(|(camera, rtp)| {
            let silence = self.cameras[camera].up.then(|| rtp.last + BROKEN_AFTER);
            [rtp.poll_timeout(), silence]
        });
        times.flatten().min()
    }

    /// The next RTCP to send. Only senders that have a camera are answered.
    pub fn poll_transmit(&mut self, now: HostTime) -> Option<Transmit> {
        let owned = self.streams.iter_mut().filter(|stream| stream.camera.is_some());
        owned.filter_map(|stream| stream.rtp.poll_transmit(now)).next()
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
        let near = |s: &Stream| s.rtp.ssrc == ssrc && s.rtp.address.ip() == from.ip();
        let known = self.streams.iter().position(exact).or_else(|| self.streams.iter().position(near));
        // Whoever only receives is no camera.
        known.or_else(|| if sends { self.follow(ssrc, from, now) } else { None })
    }

    /// Begins to follow a stream, unless there are too many strangers already.
    fn follow(&mut self, ssrc: u32, from: SocketAddr, now: HostTime) -> Option<usize> {
        let strangers = self.streams.iter().filter(|stream| stream.camera.is_none()).count();
        if strangers >= MAX_STRANGERS {
            self.counters.ignored += 1;
            return None;
        }
        let rtp = RtpStream::new(ssrc, from, self.local_ssrc, now);
        self.streams.push(Stream { rtp, camera: None, unseen: false, explained: false });
        // The one camera of a single port needs no name, so its very first packet counts.
        if self.limit.is_none() {
            self.claim(self.streams.len() - 1, now);
        }
        Some(self.streams.len() - 1)
    }

    /// Gives the stream a camera if one is due to it.
    fn claim(&mut self, at: usize, now: HostTime) {
        let Some(camera) = self.camera_for(at, now) else {
            self.streams[at].unseen |= self.streams[at].rtp.seen_rtp;
            self.counters.unclaimed += u64::from(self.streams[at].rtp.seen_rtp);
            return;
        };
        if let Some(old) = self.streams.iter().position(|stream| stream.camera == Some(camera)) {
            self.streams[old].rtp.flush(&mut self.outputs);
            self.emit(old);
            self.streams[old].camera = None;
        }
        let stream = &mut self.streams[at];
        stream.camera = Some(camera);
        stream.explained = false;
        stream.rtp.adopt(std::mem::take(&mut stream.unseen), now);
        self.events.push_back(PortEvent::Taken(camera, stream.rtp.address));
    }

    fn camera_for(&mut self, at: usize, now: HostTime) -> Option<usize> {
        if self.limit.is_none() {
            return match self.ruling(at, 0, now) {
                Ruling::Take => Some(0),
                Ruling::Wait => None,
                Ruling::Refuse => {
                    self.explain(
                        at,
                        "another sender has this port's camera; give each its own port, or use *=rtp://:PORT",
                    );
                    None
                }
            };
        }
        let base = sanitize(self.streams[at].rtp.cname.as_deref()?);
        // A second sender of the same name is another camera.
        for copy in 1..=self.cameras.len() + 1 {
            let name = if copy == 1 { base.clone() } else { format!("{base}-{copy}") };
            let Some(camera) = self.cameras.iter().position(|camera| camera.name == name) else {
                return self.new_camera(at, name);
            };
            match self.ruling(at, camera, now) {
                Ruling::Take => return Some(camera),
                Ruling::Wait => return None,
                Ruling::Refuse => {}
            }
        }
        None
    }

    fn new_camera(&mut self, at: usize, name: String) -> Option<usize> {
        if self.limit.is_some_and(|limit| self.cameras.len() >= limit) {
            self.explain(at, "there are as many cameras as allowed; raise max-cameras");
            return None;
        }
        self.cameras.push(Camera { name: name.clone(), ..Camera::default() });
        self.events.push_back(PortEvent::Camera(name));
        Some(self.cameras.len() - 1)
    }

    fn ruling(&self, at: usize, camera: usize, now: HostTime) -> Ruling {
        let newcomer = &self.streams[at].rtp;
        match self.streams.iter().find(|stream| stream.camera == Some(camera)) {
            None => Ruling::Take,
            // The same socket with another SSRC (RFC 3550 section 8.2), or a clean end before.
            Some(owner) if owner.rtp.address == newcomer.address || owner.rtp.goodbye => Ruling::Take,
            Some(owner) => rule(owner.rtp.last, newcomer.first, now),
        }
    }

    fn explain(&mut self, at: usize, why: &str) {
        let stream = &mut self.streams[at];
        if !std::mem::replace(&mut stream.explained, true) {
            let (address, ssrc) = (stream.rtp.address, stream.rtp.ssrc);
            tracing::warn!(%address, ssrc, "sender ignored: {why}");
        }
    }

    /// Turns what a stream gave into events of its camera.
    fn emit(&mut self, at: usize) {
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
