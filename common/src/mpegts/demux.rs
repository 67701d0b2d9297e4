//! Transport stream packets to access units.

use std::collections::VecDeque;

use mpeg2ts_reader::packet::Packet;
use thiserror::Error;

use super::pes::Assembler;
use super::psi::Tables;
use super::sync::{Aligned, Aligner};
use super::{SYNC_BYTE, TS_PACKET, end_mark};
use crate::time::HostTime;

/// Events that may wait to be polled; more push out the oldest.
const MAX_EVENTS: usize = 1024;
/// Problems are not queued beyond this, so that a broken stream cannot push out its good frames.
const MAX_PROBLEMS: usize = 64;
/// Bytes of access units that may wait to be polled; more push out the oldest.
const MAX_QUEUED: usize = 32 << 20;
const NULL_PID: u16 = 0x1fff;

/// How the bytes of a push came; handed through to the access units that begin and end in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketMeta {
    /// RTP timestamp of the datagram in ticks of 1/90000 s, unwrapped by the RTP session; `None` without RTP.
    pub rtp_timestamp: Option<i64>,
    /// When the datagram arrived.
    pub arrival: HostTime,
}

/// What a [`Demuxer`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TsEvent {
    /// A frame of the video.
    AccessUnit {
        /// Annex B byte stream.
        data: Vec<u8>,
        /// Presentation time in ticks of 1/90000 s, unwrapped.
        pts: i64,
        /// Decoding time on the same axis, where the stream gives it.
        dts: Option<i64>,
        /// Of the packet in which the frame's PES packet starts.
        start: PacketMeta,
        /// Of the frame's last packet.
        end: PacketMeta,
        /// No packet is known to be missing. False: do not decode this as a good frame.
        complete: bool,
    },
    /// Something is wrong with the stream; it goes on after it. The counters hold what is not queued.
    Problem(TsProblem),
}

/// What can be wrong with a transport stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TsProblem {
    /// No packet began where one should.
    #[error("{skipped} bytes are not transport stream packets")]
    LostSync {
        /// Bytes thrown away.
        skipped: usize,
    },
    /// The continuity counter jumped: packets were lost.
    #[error("packets of PID {pid:#x} are missing: continuity counter {got} after {last}")]
    Discontinuity {
        /// PID of the video.
        pid: u16,
        /// Counter of the packet before.
        last: u8,
        /// Counter of the packet that came.
        got: u8,
    },
    /// `transport_error_indicator` is set.
    #[error("a packet of PID {pid:#x} was marked as damaged on its way")]
    TransportError {
        /// PID as the damaged packet has it.
        pid: u16,
    },
    /// The video is encrypted.
    #[error("the video on PID {pid:#x} is scrambled; send it in the clear")]
    Scrambled {
        /// PID of the video.
        pid: u16,
    },
    /// A PES packet that cannot be read; its access unit is dropped.
    #[error("bad PES packet: {reason}")]
    BadPes {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An access unit that is too long; it is dropped.
    #[error("an access unit is longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The tables now name another PID for the video, or none; the frame under way is cut.
    #[error("the video moved from PID {from:#x} to {to:#x?}")]
    ProgramChanged {
        /// PID so far.
        from: u16,
        /// PID from here on.
        to: Option<u16>,
    },
}

/// Counters of a [`Demuxer`] since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DemuxStats {
    /// Transport stream packets, of any PID.
    pub packets: u64,
    /// Bytes thrown away in search of a packet.
    pub skipped_bytes: u64,
    /// Jumps of the video's continuity counter.
    pub discontinuities: u64,
    /// Packets of the video that were sent twice, as ITU-T H.222.0 section 2.4.3.3 allows.
    pub duplicates: u64,
    /// Packets marked as damaged.
    pub transport_errors: u64,
    /// Encrypted packets of the video.
    pub scrambled: u64,
    /// Packets of the video that continue nothing: after a loss, when joining, or after a wrong mark.
    pub stray: u64,
    /// Packets of the video's payload-bearing kind that hold no payload.
    pub empty: u64,
    /// Whole access units.
    pub access_units: u64,
    /// Access units with something missing.
    pub incomplete: u64,
    /// PES packets that could not be read.
    pub bad_pes: u64,
    /// Access units that were too long.
    pub too_large: u64,
    /// Events thrown away because they were not polled.
    pub dropped_events: u64,
}

/// Reads the H.264 video of a transport stream: the first such stream of the first program that has one.
///
/// Push bytes as they come (at most 64 KiB at a time from a file), then poll until there is nothing
/// more. A frame comes out as soon as it is known to be whole: with its last byte where the PES
/// packet tells its length or our muxer marked its end, else when the next frame begins.
///
/// Memory is bounded: one access unit of at most 4 MiB under way, 32 MiB of them waiting.
#[derive(Debug, Default)]
pub struct Demuxer {
    aligner: Aligner,
    carry_meta: Option<PacketMeta>,
    tables: Tables,
    video: Video,
    events: VecDeque<TsEvent>,
    queued_bytes: usize,
    stats: DemuxStats,
}

/// The PID of the video and where it stands.
#[derive(Debug, Default)]
struct Video {
    pid: Option<u16>,
    last: Option<LastPacket>,
    assembler: Assembler,
    /// What the packet at hand led to; empty between packets.
    out: Vec<TsEvent>,
}

/// What the next packet is compared with.
#[derive(Debug)]
struct LastPacket {
    counter: u8,
    payload: Vec<u8>,
}

impl Demuxer {
    /// A demuxer that knows no tables yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes: a datagram, or a piece of a file. They need not begin or end with a packet.
    pub fn push(&mut self, data: &[u8], meta: PacketMeta) {
        let mut aligner = std::mem::take(&mut self.aligner);
        let carry_meta = self.carry_meta.unwrap_or(meta);
        aligner.push(data, |aligned| match aligned {
            Aligned::Packet(packet, carried) => {
                self.handle_packet(packet, if carried { carry_meta } else { meta });
            }
            Aligned::Skipped(skipped) => self.handle_skipped(skipped),
        });
        self.aligner = aligner;
        self.carry_meta = Some(meta);
    }

    /// Datagrams were lost before the next push, as RTP sequence numbers tell. The frame under way
    /// comes out as incomplete, even where the continuity counter would not have noticed.
    pub fn gap(&mut self) {
        self.aligner.discard();
        self.video.last = None;
        self.video.assembler.damage(&mut self.video.out);
        self.collect();
    }

    /// A file ends: what is under way comes out, an open-ended frame as complete. Not for a network stream that went
    /// quiet: there the end of that frame may be lost.
    pub fn flush(&mut self) {
        if let (Some(packet), Some(meta)) = (self.aligner.finish(), self.carry_meta) {
            self.handle_packet(&packet, meta);
        }
        self.video.assembler.close(&mut self.video.out);
        self.video.last = None;
        self.collect();
    }

    /// The next event, in stream order.
    pub fn poll(&mut self) -> Option<TsEvent> {
        let event = self.events.pop_front()?;
        self.queued_bytes -= size(&event);
        Some(event)
    }

    /// Counters so far.
    #[must_use]
    pub const fn stats(&self) -> DemuxStats {
        self.stats
    }

    fn handle_skipped(&mut self, skipped: usize) {
        self.stats.skipped_bytes += skipped as u64;
        self.video.out.push(TsEvent::Problem(TsProblem::LostSync { skipped }));
        self.video.assembler.damage(&mut self.video.out);
        self.collect();
    }

    fn handle_packet(&mut self, packet: &[u8; TS_PACKET], meta: PacketMeta) {
        self.stats.packets += 1;
        debug_assert_eq!(packet[0], SYNC_BYTE, "the aligner checks it");
        let packet = Packet::new(packet);
        let pid = u16::from(packet.pid());
        if packet.transport_error_indicator() {
            // Not even the PID can be trusted.
            self.stats.transport_errors += 1;
            self.video.out.push(TsEvent::Problem(TsProblem::TransportError { pid }));
            self.video.assembler.damage(&mut self.video.out);
        } else if self.tables.wants(pid) {
            self.tables.handle(&packet);
            self.video.follow(self.tables.video_pid());
        } else if pid != NULL_PID && Some(pid) == self.video.pid {
            self.video.handle(pid, &packet, meta, &mut self.stats);
        }
        self.collect();
    }

    /// Moves what the last packet led to into the queue.
    fn collect(&mut self) {
        for event in self.video.out.drain(..) {
            match &event {
                TsEvent::AccessUnit { complete: true, .. } => self.stats.access_units += 1,
                TsEvent::AccessUnit { complete: false, .. } => self.stats.incomplete += 1,
                TsEvent::Problem(TsProblem::BadPes { .. }) => self.stats.bad_pes += 1,
                TsEvent::Problem(TsProblem::TooLarge { .. }) => self.stats.too_large += 1,
                TsEvent::Problem(_) => {}
            }
            if matches!(event, TsEvent::Problem(_)) && self.events.len() >= MAX_PROBLEMS {
                self.stats.dropped_events += 1;
                continue;
            }
            self.queued_bytes += size(&event);
            self.events.push_back(event);
            while self.events.len() > MAX_EVENTS || self.queued_bytes > MAX_QUEUED {
                let Some(oldest) = self.events.pop_front() else { break };
                self.queued_bytes -= size(&oldest);
                self.stats.dropped_events += 1;
            }
        }
    }
}

impl Video {
    /// Goes over to the PID that the tables name.
    fn follow(&mut self, pid: Option<u16>) {
        if pid == self.pid {
            return;
        }
        if let Some(from) = self.pid {
            self.out.push(TsEvent::Problem(TsProblem::ProgramChanged { from, to: pid }));
        }
        self.assembler.damage(&mut self.out);
        self.pid = pid;
        self.last = None;
    }

    fn handle(&mut self, pid: u16, packet: &Packet<'_>, meta: PacketMeta, stats: &mut DemuxStats) {
        if packet.transport_scrambling_control().is_scrambled() {
            stats.scrambled += 1;
            self.out.push(TsEvent::Problem(TsProblem::Scrambled { pid }));
            self.assembler.damage(&mut self.out);
            return;
        }
        // Packets without payload do not count (ITU-T H.222.0 section 2.4.3.3): nothing to check.
        if !packet.adaptation_control().has_payload() {
            return;
        }
        let payload = packet.payload().unwrap_or_default();
        if !self.continues(pid, packet.continuity_counter().count(), payload, stats) {
            return;
        }
        if payload.is_empty() {
            stats.empty += 1;
        } else if packet.payload_unit_start_indicator() {
            self.assembler.begin(payload, meta, &mut self.out);
        } else if !self.assembler.append(payload, meta, &mut self.out) {
            stats.stray += 1;
        }
        let marked =
            packet.adaptation_field().and_then(|field| end_mark::read(field.transport_private_data().ok()?));
        if let Some(length) = marked {
            self.assembler.end(length, &mut self.out);
        }
    }

    /// Checks the continuity counter; false for a packet that was sent twice.
    ///
    /// `discontinuity_indicator` would excuse a jump. It is not heeded: at a splice nothing tells
    /// whether the end of the open-ended frame before it arrived.
    fn continues(&mut self, pid: u16, got: u8, payload: &[u8], stats: &mut DemuxStats) -> bool {
        let Some(last) = &mut self.last else {
            self.last = Some(LastPacket { counter: got, payload: payload.to_vec() });
            return true;
        };
        if got == last.counter && payload == last.payload {
            stats.duplicates += 1;
            return false;
        }
        if got != (last.counter + 1) & 0x0f {
            stats.discontinuities += 1;
            self.out.push(TsEvent::Problem(TsProblem::Discontinuity { pid, last: last.counter, got }));
            self.assembler.damage(&mut self.out);
        }
        last.counter = got;
        last.payload.clear();
        last.payload.extend_from_slice(payload);
        true
    }
}

/// The memory that `event` holds: a frame's buffer may be larger than the frame.
fn size(event: &TsEvent) -> usize {
    match event {
        TsEvent::AccessUnit { data, .. } => data.capacity(),
        TsEvent::Problem(_) => 0,
    }
}
