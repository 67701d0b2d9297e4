//! `rtsp://` and `rtsps://` (RFC 2326) through `retina`: RTP in the RTSP connection, or over UDP where asked for.
//!
//! `retina` does the session, `Basic` and `Digest`, RTP sequence numbers and timestamps; access units are put
//! together here as they are for every other source. UTC comes from the server's sender reports (RFC 3550
//! section 6.4.1). H.264 is taken, JPEG (RFC 2435), and MPEG-TS (RFC 2250).

mod guard;
mod pump;

use std::convert::Infallible;
use std::net::SocketAddr;

use framelock_common::h264::{ParameterSets, decoder_configuration};
use framelock_common::rtcp::{self, RtcpPacket};
use framelock_common::rtp::PT_MP2T;
use framelock_common::time::MediaTime;
use futures_util::StreamExt;
use retina::client::{
    Described, PacketItem, PlayOptions, Playing, SessionOptions, SetupOptions, Transport, UdpTransportOptions,
};
use retina::codec::{CodecItem, ParametersRef};

pub(super) use self::guard::Guard;
use self::pump::Pump;
use super::error::printable;
use super::event::Image;
use super::spec::SessionKind;
use super::web::Web;
use super::{Session, SessionError, Sink};
use crate::clock;
use crate::source::SpecError;
use crate::source::spec::{Parts, options};
use crate::source::unit::{Payload, UnitAssembler, UnitEvent};

/// The payload type under which H.264 is put together, whatever number the server gave it.
const PT_H264: u8 = 96;
/// Ticks a second of the RTP clock, for video always.
const CLOCK_RATE: u32 = 90_000;

/// An `rtsp://` source, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RtspSpec {
    web: Web,
    udp: bool,
}

impl SessionKind for RtspSpec {
    const OPTIONS: &'static str = "user, password, transport, tls, ca, timeout";
    const QUERY_IS_OURS: bool = false;

    fn parse(parts: &Parts<'_>) -> Result<Self, SpecError> {
        let mut web = Web::parse(parts, "rtsps", 554, 322)?;
        // `?transport=` is ours, although the rest of the query is the server's.
        let ours = options(parts.query).filter(|(key, _)| *key == "transport").last();
        if ours.is_some() {
            let rest: Vec<_> = parts.query.unwrap_or_default().split('&').collect();
            let rest: Vec<_> = rest.into_iter().filter(|pair| !pair.starts_with("transport=")).collect();
            web.url.set_query(Some(rest.join("&").as_str()).filter(|rest| !rest.is_empty()));
        }
        let mut spec = Self { web, udp: false };
        match ours.map(|(key, value)| spec.set(key, value)) {
            Some(Some(Err(expected))) => Err(parts.bad_option("transport", expected)),
            _ => Ok(spec),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Option<Result<(), &'static str>> {
        if key != "transport" {
            return self.web.set(key, value);
        }
        Some(match (value, &self.web.tls) {
            ("tcp", _) | ("udp", None) => {
                self.udp = value == "udp";
                Ok(())
            }
            ("udp", Some(_)) => Err("tcp with rtsps: over UDP the pictures would travel without TLS"),
            _ => Err("tcp (the default) or udp"),
        })
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Rtsp {
    spec: RtspSpec,
}

/// What a stream that we take carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carries {
    H264,
    Jpeg,
    Ts,
}

impl Rtsp {
    pub(super) fn new(spec: RtspSpec) -> Self {
        Self { spec }
    }
}

impl Session for Rtsp {
    async fn run(&mut self, sink: &mut Sink) -> Result<Infallible, SessionError> {
        let web = &self.spec.web;
        let mut url = web.url.clone();
        if self.spec.udp {
            // The library tells the server our address, so it must connect by itself.
            return self.play(url, None, sink).await;
        }
        let (server, peer) = web.connect().await?;
        let pump = Pump::new(server).await?;
        let local = pump.address()?;
        // Only the scheme of one kind of URL can be changed to that of another.
        let plain = url.as_str().replacen("rtsps:", "rtsp:", 1);
        url = url::Url::parse(&plain).map_err(|_| SessionError::Protocol("a URL"))?;
        let changed = url.set_ip_host(local.ip()).is_ok() && url.set_port(Some(local.port())).is_ok();
        debug_assert!(changed, "a URL with a host takes another");
        tokio::select! {
            biased;
            result = pump.run() => result,
            result = self.play(url, peer, sink) => result,
        }
    }
}

impl Rtsp {
    async fn play(
        &self,
        url: url::Url,
        peer: Option<SocketAddr>,
        sink: &mut Sink,
    ) -> Result<Infallible, SessionError> {
        let credentials = self.spec.web.credentials();
        let known = credentials.is_some();
        let credentials = credentials.map(|known| retina::client::Credentials {
            username: known.user,
            password: known.password.reveal().to_owned(),
        });
        let options = SessionOptions::default().creds(credentials).user_agent("framelock".to_owned());
        let failed = |error: retina::Error| failed(&error, known);
        let mut session = retina::client::Session::describe(url, options).await.map_err(failed)?;
        let (index, carries) = choose(&session)?;
        let mut sets = ParameterSets::default();
        if let Some(ParametersRef::Video(video)) = session.streams()[index].parameters()
            && let Some((_, annex_b)) = decoder_configuration(video.extra_data())
        {
            sets.learn(&annex_b);
        }
        let transport =
            if self.spec.udp { Transport::Udp(UdpTransportOptions::default()) } else { Transport::default() };
        session.setup(index, SetupOptions::default().transport(transport)).await.map_err(failed)?;
        let playing = session.play(PlayOptions::default()).await.map_err(failed)?;
        sink.connected(peer).await;
        let ended = if carries == Carries::Jpeg {
            images(playing, sink).await
        } else {
            units(playing, carries, sets, sink).await
        };
        ended.map_err(failed)?;
        Err(SessionError::Closed)
    }
}

/// The stream to take, of those that the server offers.
fn choose(session: &retina::client::Session<Described>) -> Result<(usize, Carries), SessionError> {
    let streams = session.streams();
    let find = |name: &str, carries| {
        let wanted = |stream: &retina::client::Stream| {
            matches!(stream.media(), "video" | "image") && stream.encoding_name() == name
        };
        streams.iter().position(wanted).map(|index| (index, carries))
    };
    let found = find("h264", Carries::H264)
        .or_else(|| find("jpeg", Carries::Jpeg))
        .or_else(|| find("mp2t", Carries::Ts));
    if let Some((index, carries)) = found {
        return match streams[index].clock_rate_hz() {
            CLOCK_RATE => Ok((index, carries)),
            _ => Err(SessionError::Protocol("a video stream whose clock is not one of 90 kHz")),
        };
    }
    match streams.iter().find(|stream| stream.media() == "video") {
        Some(video) => Err(SessionError::Codec(printable(video.encoding_name()))),
        None => Err(SessionError::NoVideo),
    }
}

/// Takes RTP packets until the server ends.
async fn units(
    mut playing: retina::client::Session<Playing>,
    carries: Carries,
    mut sets: ParameterSets,
    sink: &mut Sink,
) -> Result<(), retina::Error> {
    let mut assembler = UnitAssembler::default();
    let mut out = Vec::new();
    let payload_type = if carries == Carries::Ts { PT_MP2T } else { PT_H264 };
    while let Some(item) = playing.next().await {
        match item? {
            PacketItem::Rtp(packet) => {
                let arrival = clock::now();
                if packet.loss() > 0 {
                    sink.lost(packet.loss().into()).await;
                    assembler.gap(&mut out);
                }
                let payload = Payload {
                    payload_type,
                    timestamp: MediaTime::from_ticks(packet.timestamp().timestamp()),
                    marker: packet.mark(),
                    data: packet.payload(),
                    arrival,
                };
                // It is one of the two that are known.
                let _known = assembler.handle_rtp(&payload, &mut out);
                for event in out.drain(..) {
                    if let Some(event) = with_sets(event, &mut sets) {
                        sink.unit(event).await;
                    }
                }
            }
            PacketItem::Rtcp(compound) => report(&compound, sink).await,
            _ => {}
        }
    }
    Ok(())
}

/// Key frames with parameter sets, which many servers tell in the session description only.
fn with_sets(event: UnitEvent, sets: &mut ParameterSets) -> Option<UnitEvent> {
    match event {
        UnitEvent::Unit(mut unit) if unit.complete => {
            unit.data = sets.complete(unit.data)?.data;
            Some(UnitEvent::Unit(unit))
        }
        other => Some(other),
    }
}

/// Takes JPEG images until the server ends.
async fn images(playing: retina::client::Session<Playing>, sink: &mut Sink) -> Result<(), retina::Error> {
    let mut frames = playing.demuxed()?;
    while let Some(item) = frames.next().await {
        match item? {
            CodecItem::VideoFrame(frame) => {
                let now = clock::now();
                if frame.loss() > 0 {
                    sink.lost(frame.loss().into()).await;
                }
                let media = Some(MediaTime::from_ticks(frame.timestamp().timestamp()));
                sink.image(Image { data: frame.into_data(), media, started: now, ended: now }).await;
            }
            CodecItem::Rtcp(compound) => report(&compound, sink).await,
            _ => {}
        }
    }
    Ok(())
}

/// Hands on what a sender report says.
async fn report(compound: &retina::rtcp::ReceivedCompoundPacket, sink: &mut Sink) {
    let Some(rtp) = compound.rtp_timestamp() else { return };
    let Ok(packets) = rtcp::parse(compound.raw()) else { return };
    // What the clock is worth first: a report of one that is not synchronized is none.
    for packet in &packets {
        if let RtcpPacket::ClockInfo { info, .. } = packet {
            sink.clock_info(*info).await;
        }
    }
    for packet in &packets {
        if let RtcpPacket::SenderReport { report, .. } = packet {
            sink.report(MediaTime::from_ticks(rtp.timestamp()), report.ntp).await;
        }
    }
}

/// What `retina` failed with, in our words.
fn failed(error: &retina::Error, credentials: bool) -> SessionError {
    match error.status_code() {
        Some(401 | 403) if credentials => SessionError::Refused,
        Some(401 | 403) => SessionError::NeedsCredentials,
        Some(status @ 300..=599) => SessionError::Status(status),
        _ => SessionError::Rtsp(printable(&error.to_string())),
    }
}
