//! Frames in, datagrams out (sans-IO): the wrapping of the three transports, pacing, sender reports.
//!
//! | transport | RTP timestamp | capture time travels as |
//! |---|---|---|
//! | `rtp-mpegts` | media time at transmission (RFC 2250 section 2) | PTS, on the same clock |
//! | `rtp-h264` | media time at capture (RFC 6184 section 5.1) | the RTP timestamp |
//! | `udp-mpegts` | none | PTS, and SEI inside the frame |
//!
//! The socket and the timers live in the shell, `net::run`.

use framelock_common::clock::{ClockMapping, ClockState};
use framelock_common::h264::nal_units;
use framelock_common::mpegts::{MuxConfig, Muxer};
use framelock_common::rtcp::{CaptureKind, ClockInfo, RtcpError};
use framelock_common::rtp::h264::Packetizer;
use framelock_common::rtp::session::{SendConfig, SendEvent, SendSession};
use framelock_common::rtp::{MAX_HEADER, MAX_PAYLOAD, MIN_HEADER, PT_H264, PT_MP2T, mp2t};
use framelock_common::time::{BoardTime, MediaClock, MediaTime, NtpTimestamp, RtpTimestamp, Span};

use super::pacer::{Pacer, PacerConfig};
use super::queue::{Fields, PayloadQueue};
use crate::config::Transport;

/// The time between sender reports.
const RTCP_INTERVAL: Span = Span::from_secs(1);

/// Packets of a frame that leave at once: 21 kB, which every switch and receive buffer takes.
const BURST: usize = 16;

/// Datagrams that leave together: more than the first burst of a frame, and all of them in one UDP send.
const TOGETHER: usize = 32;
const _: () = assert!(TOGETHER > BURST && TOGETHER * (MAX_HEADER + MAX_PAYLOAD) <= 65_507);

/// An encoded frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The access unit in Annex B.
    pub data: Vec<u8>,
    /// The instant of capture.
    pub mono: BoardTime,
    /// When to decode it, where that differs from when to show it.
    pub dts: Option<BoardTime>,
    /// Whether it is an IDR frame.
    pub key: bool,
    /// What `mono` is the instant of.
    pub kind: CaptureKind,
    /// Half-width of the error of `mono` itself.
    pub uncertainty: Span,
    /// The time from one frame to the next, as the source declares it now.
    pub period: Span,
}

/// What a stream is told at its start.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// How frames are wrapped.
    pub transport: Transport,
    /// The camera's name.
    pub cname: String,
    /// Random numbers, as RFC 3550 section 5.1 asks for SSRC, first sequence number and timestamp.
    pub random: [u32; 3],
}

/// A datagram that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramKind {
    /// Part of a frame, or the clock reference between frames.
    Media,
    /// Reports.
    Rtcp,
}

/// Datagrams that leave together, one behind the other in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// What they are.
    pub kind: DatagramKind,
    /// Bytes of each one, at least 1; the last may be smaller.
    pub size: usize,
}

enum Wrapper {
    MpegTs { muxer: Box<Muxer>, buffer: Vec<u8> },
    H264(Packetizer),
}

/// One stream to one receiver.
pub struct Stream {
    wrapper: Wrapper,
    session: Option<SendSession>,
    media: MediaClock,
    pacer: Pacer,
    queue: PayloadQueue,
    clock: Option<ClockMapping>,
    /// The clock that was last told in-band.
    told: Option<ClockMapping>,
    kind: CaptureKind,
    uncertainty: Span,
    /// The next packet has to carry UTC.
    announce: bool,
}

impl Stream {
    /// A stream without frames; its first report is due at once.
    #[must_use]
    pub fn new(config: StreamConfig, now: BoardTime) -> Self {
        let [ssrc, sequence, offset] = config.random;
        let media = MediaClock::new(offset);
        let payload_type = if config.transport == Transport::RtpH264 { PT_H264 } else { PT_MP2T };
        #[expect(clippy::cast_possible_truncation, reason = "any 16 bits will do")]
        let first_sequence = sequence as u16;
        let session = config.transport.has_rtp().then(|| {
            let config = SendConfig {
                ssrc,
                first_sequence,
                payload_type,
                cname: config.cname,
                rtcp_interval: RTCP_INTERVAL,
                media,
            };
            SendSession::new(config, now)
        });
        let wrapper = match config.transport {
            Transport::RtpH264 => Wrapper::H264(Packetizer::new()),
            Transport::RtpMpegts | Transport::UdpMpegts => {
                let muxer = Box::new(Muxer::new(MuxConfig::default()));
                Wrapper::MpegTs { muxer, buffer: Vec::new() }
            }
        };
        Self {
            wrapper,
            session,
            media,
            pacer: Pacer::new(PacerConfig { burst: BURST, window: Span::ZERO }),
            queue: PayloadQueue::default(),
            clock: None,
            told: None,
            kind: CaptureKind::Unknown,
            uncertainty: Span::ZERO,
            announce: true,
        }
    }

    /// What is known of UTC from now on; `None` while the clock is unsynchronized.
    pub fn handle_clock(&mut self, clock: Option<ClockMapping>) {
        self.announce |= ClockMapping::is_news(self.told.as_ref(), clock.as_ref());
        self.clock = clock;
        self.inform_session();
    }

    /// Queues a frame. Whatever is left of the one before leaves at once.
    pub fn handle_frame(&mut self, frame: &Frame, now: BoardTime) {
        if (self.kind, self.uncertainty) != (frame.kind, frame.uncertainty) {
            (self.kind, self.uncertainty) = (frame.kind, frame.uncertainty);
            self.inform_session();
        }
        self.queue.reclaim();
        let with_utc = frame.key;
        let before = self.queue.len();
        let capture = self.media.at(frame.mono);
        let (queue, media) = (&mut self.queue, self.media);
        match &mut self.wrapper {
            Wrapper::MpegTs { muxer, buffer } => {
                buffer.clear();
                let dts = frame.dts.map(|dts| media.at(dts));
                muxer.write_access_unit(&frame.data, capture, dts, frame.key, media.at(now), buffer);
                queue_ts(buffer, with_utc, queue);
            }
            Wrapper::H264(packetizer) => {
                let timestamp = Some(capture.to_rtp());
                let mut with_utc = with_utc;
                packetizer.packetize(nal_units(&frame.data), MAX_PAYLOAD, |payload, marker| {
                    queue.push(payload, Fields { timestamp, marker, with_utc });
                    with_utc = false;
                });
            }
        }
        self.pacer.set_window(frame.period / 2);
        self.pacer.handle_frame(self.queue.len() - before, now);
    }

    /// A datagram came from the receiver.
    ///
    /// # Errors
    /// When it is no valid compound RTCP packet; it has been ignored.
    pub fn handle_rtcp(&mut self, datagram: &[u8], now: BoardTime) -> Result<(), RtcpError> {
        match &mut self.session {
            Some(session) => session.handle_rtcp(datagram, now),
            None => Ok(()),
        }
    }

    /// What the receiver wants or reports.
    pub fn poll_event(&mut self) -> Option<SendEvent> {
        self.session.as_mut()?.poll_event()
    }

    /// Time has come to `now`.
    pub fn handle_timeout(&mut self, now: BoardTime) {
        self.pacer.handle_timeout(now);
        let Wrapper::MpegTs { muxer, buffer } = &mut self.wrapper else { return };
        // A frame on its way carries the clock reference; between frames it goes alone. So it does before
        // the first frame: some receivers spend the first datagram on finding out what they receive.
        if self.queue.len() == 0 && muxer.poll_timeout().is_none_or(|due| self.media.at(now) >= due) {
            buffer.clear();
            self.queue.reclaim();
            muxer.poll_pcr(self.media.at(now), buffer);
            queue_ts(buffer, false, &mut self.queue);
            self.pacer.handle_frame(self.queue.len(), now);
        }
    }

    /// The next datagrams that may leave now replace what is in `out`: all of one size, but for the last.
    pub fn poll_transmit(&mut self, now: BoardTime, out: &mut Vec<u8>) -> Option<Burst> {
        out.clear();
        if let Some(report) = self.session.as_mut().and_then(|session| session.poll_rtcp(now)) {
            out.extend_from_slice(&report);
            return Some(Burst { kind: DatagramKind::Rtcp, size: out.len() });
        }
        if !self.pacer.poll() {
            return None;
        }
        let with_utc = std::mem::take(&mut self.announce);
        let size = self.write_next(with_utc, now, out)?;
        let (mut last, mut count) = (size, 1);
        while last == size
            && count < TOGETHER
            && self.next_size().is_some_and(|next| next <= size)
            && self.pacer.poll()
        {
            last = self.write_next(false, now, out)?;
            count += 1;
        }
        Some(Burst { kind: DatagramKind::Media, size })
    }

    /// Appends the first datagram in the queue to `out`, with UTC also where it does not need it itself;
    /// returns its size.
    fn write_next(&mut self, with_utc: bool, now: BoardTime, out: &mut Vec<u8>) -> Option<usize> {
        let before = out.len();
        let (payload, fields) = self.queue.pop()?;
        let Some(session) = &mut self.session else {
            out.extend_from_slice(payload);
            return Some(payload.len());
        };
        let timestamp = fields.timestamp.unwrap_or_else(|| self.media.at(now).to_rtp());
        let with_utc = with_utc || fields.with_utc;
        let clock = self.clock.filter(|_| with_utc);
        self.told = if with_utc { self.clock } else { self.told };
        let ntp64 = clock.map(|clock| utc_of(timestamp, &clock, self.media, now));
        session.write_rtp(timestamp, fields.marker, ntp64, payload, out);
        Some(out.len() - before)
    }

    /// The most that [`Self::write_next`] appends where it is not asked for UTC; `None` at the end of the queue.
    fn next_size(&self) -> Option<usize> {
        let (length, fields) = self.queue.front()?;
        let header = match self.session {
            None => 0,
            Some(_) if fields.with_utc => MAX_HEADER,
            Some(_) => MIN_HEADER,
        };
        Some(header + length)
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_transmit`] again if nothing happens. The
    /// first call is due at once.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<BoardTime> {
        let pcr = match &self.wrapper {
            Wrapper::MpegTs { muxer, .. } if self.queue.len() == 0 => muxer.poll_timeout(),
            _ => None,
        };
        let report = self.session.as_ref().map(SendSession::poll_timeout);
        let pcr = pcr.map(|due| self.media.to_mono(due));
        [self.pacer.poll_timeout(), report, pcr].into_iter().flatten().min()
    }

    /// The end: what is left of the last frame may leave at once, and this datagram behind it.
    pub fn goodbye(&mut self, now: BoardTime) -> Option<Vec<u8>> {
        self.pacer.flush();
        self.session.as_mut().map(|session| session.goodbye(now))
    }

    /// Tells the session what its reports have to say.
    fn inform_session(&mut self) {
        let Some(session) = &mut self.session else { return };
        let info = ClockInfo {
            pts_on_rtp_clock: true,
            state: if self.clock.is_some() { ClockState::Synchronized } else { ClockState::Unsynchronized },
            uncertainty: self.uncertainty,
            capture_kind: self.kind,
        };
        session.set_clock(self.clock, info);
    }
}

/// Queues whole transport stream packets, seven to a datagram.
fn queue_ts(ts: &[u8], with_utc: bool, queue: &mut PayloadQueue) {
    let mut with_utc = with_utc;
    for payload in mp2t::payloads(ts, MAX_PAYLOAD) {
        queue.push(payload, Fields { timestamp: None, marker: false, with_utc });
        with_utc = false;
    }
}

/// UTC at the instant that `timestamp` stands for, which is near `now`.
fn utc_of(timestamp: RtpTimestamp, clock: &ClockMapping, media: MediaClock, now: BoardTime) -> NtpTimestamp {
    let now = media.at(now);
    let ago = i64::from(now.to_rtp().ticks_since(timestamp));
    let instant = MediaTime::from_ticks(now.as_ticks() - ago);
    NtpTimestamp::from_utc(clock.utc_at(media.to_mono(instant)).utc)
}

#[cfg(test)]
mod tests;
