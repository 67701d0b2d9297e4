//! Payloads to access units: RFC 6184 (raw H.264) and RFC 2250 (MPEG-TS) behind one face.

use framelock_common::mpegts::{Demuxer, PacketMeta, TsEvent};
use framelock_common::rtp::PT_MP2T;
use framelock_common::rtp::h264::AccessUnitAssembler;
use framelock_common::time::{HostTime, MediaTime};

/// The first and last dynamic payload type (RFC 3551 section 6); all are taken for H.264.
const DYNAMIC: std::ops::RangeInclusive<u8> = 96..=127;

/// An access unit as it came off the network, before anybody asked whether it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccessUnit {
    /// The NAL units, Annex B.
    pub data: Vec<u8>,
    /// Presentation time: the PTS, or the RTP timestamp for raw H.264.
    pub presentation: MediaTime,
    /// Decoding time, where the container has one that differs.
    pub decode: Option<MediaTime>,
    /// The RTP timestamp of the packet in which it starts.
    pub rtp: Option<MediaTime>,
    /// Whether it came in MPEG-TS.
    pub mpegts: bool,
    /// When the packet in which it starts arrived.
    pub started: HostTime,
    /// When the packet in which it ends arrived.
    pub ended: HostTime,
    /// Whether every part of it is here.
    pub complete: bool,
}

/// What the payloads gave, in decoding order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UnitEvent {
    /// An access unit, whole or not.
    Unit(AccessUnit),
    /// Something is missing between the access unit before and the next.
    Hole,
}

/// An RTP packet in sequence, as far as this module needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payload<'a> {
    /// RTP payload type.
    pub payload_type: u8,
    /// Unwrapped RTP timestamp.
    pub timestamp: MediaTime,
    /// The RTP marker.
    pub marker: bool,
    /// The payload.
    pub data: &'a [u8],
    /// When it arrived.
    pub arrival: HostTime,
}

/// A payload type that no camera of ours sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("RTP payload type {0} is neither MPEG-TS (33) nor dynamic H.264 (96 to 127)")]
pub(super) struct UnknownPayload(u8);

/// Puts access units together from payloads in order. What kind of payload it is, the first tells.
#[derive(Debug, Default)]
pub(super) struct UnitAssembler {
    format: Option<Format>,
}

#[derive(Debug)]
enum Format {
    H264(Box<AccessUnitAssembler<HostTime>>),
    Ts(Box<Demuxer>),
}

impl UnitAssembler {
    /// Whether payloads of this type can be put together.
    #[must_use]
    pub(super) fn knows(payload_type: u8) -> bool {
        payload_type == PT_MP2T || DYNAMIC.contains(&payload_type)
    }

    /// Takes the next RTP payload and appends the access units that it completes to `out`.
    ///
    /// # Errors
    /// When the payload type is unknown; the payload is dropped.
    pub(super) fn handle_rtp(
        &mut self,
        payload: &Payload<'_>,
        out: &mut Vec<UnitEvent>,
    ) -> Result<(), UnknownPayload> {
        if payload.payload_type == PT_MP2T {
            let meta =
                PacketMeta { rtp_timestamp: Some(payload.timestamp.as_ticks()), arrival: payload.arrival };
            self.handle_ts(payload.data, meta, out);
            return Ok(());
        }
        if !DYNAMIC.contains(&payload.payload_type) {
            return Err(UnknownPayload(payload.payload_type));
        }
        if !matches!(self.format, Some(Format::H264(_))) {
            // Nothing says that the first packet that arrives begins an access unit.
            let mut assembler = AccessUnitAssembler::new();
            assembler.gap();
            self.format = Some(Format::H264(Box::new(assembler)));
        }
        let Some(Format::H264(assembler)) = &mut self.format else { return Ok(()) };
        let ticks = payload.timestamp.as_ticks();
        assembler.handle(ticks, payload.marker, payload.data, payload.arrival, |unit| {
            let timestamp = MediaTime::from_ticks(unit.timestamp);
            out.push(UnitEvent::Unit(AccessUnit {
                data: unit.data,
                presentation: timestamp,
                decode: None,
                rtp: Some(timestamp),
                mpegts: false,
                started: unit.start,
                ended: unit.end,
                complete: unit.damage.is_none(),
            }));
        });
        Ok(())
    }

    /// Takes transport stream packets and appends the access units that they complete to `out`.
    pub(super) fn handle_ts(&mut self, data: &[u8], meta: PacketMeta, out: &mut Vec<UnitEvent>) {
        if !matches!(self.format, Some(Format::Ts(_))) {
            self.format = Some(Format::Ts(Box::new(Demuxer::new())));
        }
        let Some(Format::Ts(demuxer)) = &mut self.format else { return };
        demuxer.push(data, meta);
        drain(demuxer, out);
    }

    /// Packets were lost here. Access units that were whole before come out, and a hole.
    pub(super) fn gap(&mut self, out: &mut Vec<UnitEvent>) {
        match &mut self.format {
            Some(Format::H264(assembler)) => assembler.gap(),
            Some(Format::Ts(demuxer)) => {
                demuxer.gap();
                drain(demuxer, out);
            }
            None => {}
        }
        out.push(UnitEvent::Hole);
    }
}

fn drain(demuxer: &mut Demuxer, out: &mut Vec<UnitEvent>) {
    while let Some(event) = demuxer.poll() {
        match event {
            TsEvent::AccessUnit { data, pts, dts, start, end, complete } => {
                out.push(UnitEvent::Unit(AccessUnit {
                    data,
                    presentation: MediaTime::from_ticks(pts),
                    decode: dts.map(MediaTime::from_ticks),
                    rtp: start.rtp_timestamp.map(MediaTime::from_ticks),
                    mpegts: true,
                    started: start.arrival,
                    ended: end.arrival,
                    complete,
                }))
            }
            TsEvent::Problem(problem) => {
                tracing::trace!(%problem, "transport stream");
                out.push(UnitEvent::Hole);
            }
        }
    }
}
