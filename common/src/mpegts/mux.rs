//! Access units to transport stream packets.

use mpeg2ts::es::{StreamId, StreamType};
use mpeg2ts::pes::PesHeader;
use mpeg2ts::time::{ClockReference, Timestamp};
use mpeg2ts::ts::payload::{Bytes, Pat, Pes, Pmt};
use mpeg2ts::ts::{
    AdaptationField, ContinuityCounter, EsInfo, Pid, ProgramAssociation, TransportScramblingControl,
    TsHeader, TsPacket, TsPacketWriter, TsPayload, VersionNumber, WriteTsPacket,
};

use super::{SYNC_BYTE, TS_PACKET, end_mark};
use crate::h264::{NalType, START_CODE, nal_units};
use crate::time::{MediaTime, Span};

/// Longest time between two PCRs. The standard allows 100 ms (ITU-T H.222.0 section 2.7.2), DVB
/// 40 ms; a little less leaves room for a late timer, and frames at 30/s need no PCR between them.
pub const PCR_INTERVAL: Span = Span::from_millis(38);

/// Longest time between two repetitions of PAT and PMT, which also stand before every key frame.
pub const PSI_INTERVAL: Span = Span::from_millis(200);

/// A presentation delay that grew to cover late frames stops here; a frame later still is sent, too
/// late to be shown.
const MAX_PRESENTATION_DELAY: Span = Span::from_secs(2);

/// Space in a packet behind its four-byte header.
const BODY: usize = TS_PACKET - 4;
/// Adaptation field with a PCR: length, flags, PCR.
const PCR_FIELD: usize = 8;
/// PES header up to and with `PES_packet_length`.
const PES_FIXED: usize = 6;
/// Delimiter with `primary_pic_type` 7: any slice types (ITU-T H.264 table 7-5).
const DELIMITER: [u8; 6] = [START_CODE[0], START_CODE[1], START_CODE[2], START_CODE[3], 0x09, 0xf0];

/// What a [`Muxer`] writes.
#[derive(Clone, Copy, Debug)]
pub struct MuxConfig {
    /// How far PCR lags the media clock: what a player may buffer. Default 200 ms, at most 2 s.
    pub presentation_delay: Span,
    /// `program_number`, at least 1.
    pub program: u16,
    /// PID of the PMT, 0x0010 to 0x1ffe.
    pub pmt_pid: u16,
    /// PID of the video, 0x0010 to 0x1ffe, other than `pmt_pid`.
    pub video_pid: u16,
}

impl Default for MuxConfig {
    fn default() -> Self {
        Self { presentation_delay: Span::from_millis(200), program: 1, pmt_pid: 0x1000, video_pid: 0x100 }
    }
}

/// Writes one H.264 stream as an MPEG transport stream.
///
/// It keeps three clocks apart as `PTS` (media time at capture), `DTS` (only where frames are reordered)
/// and `PCR` (media time now, less the presentation delay), and holds PCR <= DTS <= PTS always: where a frame comes
/// later than the presentation delay, the delay grows to cover it (up to 2 s) and the PCR is marked
/// as discontinuous.
#[derive(Debug)]
pub struct Muxer {
    config: MuxConfig,
    pat: TsPayload,
    pmt: TsPayload,
    pat_counter: ContinuityCounter,
    pmt_counter: ContinuityCounter,
    video_counter: ContinuityCounter,
    last_psi: Option<MediaTime>,
    last_pcr: Option<MediaTime>,
    /// `now` minus the PCR written last.
    shift: Option<Span>,
    delay: Span,
    late_frames: u64,
}

impl Muxer {
    /// A muxer at the start of a stream.
    ///
    /// # Panics
    ///
    /// If a number of `config` is out of its range: they are constants of the program.
    #[must_use]
    pub fn new(config: MuxConfig) -> Self {
        assert!(config.program > 0, "program number 0 names the network table");
        for pid in [config.pmt_pid, config.video_pid] {
            assert!((0x10..0x1fff).contains(&pid), "PID {pid:#x} is reserved");
        }
        assert_ne!(config.pmt_pid, config.video_pid, "PMT and video need PIDs of their own");
        let delay = config.presentation_delay.clamp(Span::ZERO, MAX_PRESENTATION_DELAY);
        Self {
            config,
            pat: pat(&config),
            pmt: pmt(&config),
            pat_counter: ContinuityCounter::new(),
            pmt_counter: ContinuityCounter::new(),
            video_counter: ContinuityCounter::new(),
            last_psi: None,
            last_pcr: None,
            shift: None,
            delay,
            late_frames: 0,
        }
    }

    /// Frames that came later than the presentation delay of that time.
    #[must_use]
    pub const fn late_frames(&self) -> u64 {
        self.late_frames
    }

    /// Appends the access unit `annex_b` to `out` as whole packets: PAT and PMT where due, then one
    /// PES packet with a PCR. A delimiter is put before it where it has none
    /// (ITU-T H.222.0 section 2.14.1). Nothing is written for a unit without NAL units.
    ///
    /// `pts` is the media time at capture, `dts` that of decoding where it differs, `now` the media time now.
    /// `PES_packet_length` is given whenever it fits (65,535 bytes), so any receiver knows the last packet.
    /// Of a longer unit the last packet is marked for [`Demuxer`](super::Demuxer).
    pub fn write_access_unit(
        &mut self,
        annex_b: &[u8],
        pts: MediaTime,
        dts: Option<MediaTime>,
        key: bool,
        now: MediaTime,
        out: &mut Vec<u8>,
    ) {
        let Some(first) = nal_units(annex_b).next() else { return };
        let delimited = NalType::of(first) == Some(NalType::AccessUnitDelimiter);
        let delimiter: &[u8] = if delimited { &[] } else { &DELIMITER };
        // What would become due before the next frame goes with this one: a datagram of its own costs more.
        if key || self.psi_due(now + PCR_INTERVAL) {
            self.write_psi(now, out);
        }
        let dts = dts.filter(|&dts| dts < pts);
        let header = PesHeader {
            stream_id: StreamId::new(StreamId::VIDEO_MIN),
            priority: false,
            data_alignment_indicator: true,
            copyright: false,
            original_or_copy: false,
            pts: Some(timestamp(pts)),
            dts: dts.map(timestamp),
            escr: None,
        };
        let optional = if dts.is_some() { 13 } else { 8 };
        let length = delimiter.len() + annex_b.len();
        let pes_packet_len = u16::try_from(optional + length).unwrap_or(0);
        let field = self.clock_field(now, Some(dts.unwrap_or(pts)), key);
        let room = BODY - PCR_FIELD - PES_FIXED - optional - delimiter.len();
        let (head, rest) = annex_b.split_at(room.min(annex_b.len()));
        let mut data = [0; BODY];
        data[..delimiter.len()].copy_from_slice(delimiter);
        data[delimiter.len()..delimiter.len() + head.len()].copy_from_slice(head);
        let data = bytes(&data[..delimiter.len() + head.len()]);
        self.write_video(Some(field), Some(TsPayload::PesStart(Pes { header, pes_packet_len, data })), out);
        let mark = if pes_packet_len == 0 { u32::try_from(length).ok() } else { None };
        self.write_continuation(rest, mark, out);
    }

    /// The packets of a PES packet behind its first; the last one gets the end `mark` of that payload length.
    fn write_continuation(&mut self, mut rest: &[u8], mark: Option<u32>, out: &mut Vec<u8>) {
        while !rest.is_empty() {
            let last = mark.filter(|_| rest.len() <= BODY - end_mark::FIELD);
            // What would just fill a packet leaves a byte for another: the mark needs room.
            let keep = usize::from(mark.is_some() && last.is_none());
            let (chunk, next) = rest.split_at((rest.len() - keep).min(BODY));
            rest = next;
            if chunk.len() == BODY {
                self.write_full(chunk, out);
                continue;
            }
            let field = last.map(|length| AdaptationField {
                transport_private_data: end_mark::write(length).to_vec(),
                ..flags(false)
            });
            self.write_video(field, Some(TsPayload::PesContinuation(bytes(chunk))), out);
        }
    }

    /// A packet with nothing but payload, as nine of ten are: the library would copy it three times.
    fn write_full(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        const PAYLOAD_ONLY: u8 = 0b01 << 4;
        self.video_counter.increment();
        let [high, low] = self.config.video_pid.to_be_bytes();
        out.extend_from_slice(&[SYNC_BYTE, high, low, PAYLOAD_ONLY | self.video_counter.as_u8()]);
        out.extend_from_slice(chunk);
    }

    /// Appends what is due between frames: PAT and PMT, and a packet with nothing but a PCR.
    pub fn poll_pcr(&mut self, now: MediaTime, out: &mut Vec<u8>) {
        if self.psi_due(now) {
            self.write_psi(now, out);
        }
        if self.last_pcr.is_none_or(|last| now - last >= PCR_INTERVAL) {
            let field = self.clock_field(now, None, false);
            self.write_video(Some(field), None, out);
        }
    }

    /// When [`Self::poll_pcr`] will have something to write; `None`: at once.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<MediaTime> {
        let (pcr, psi) = (self.last_pcr? + PCR_INTERVAL, self.last_psi? + PSI_INTERVAL);
        Some(pcr.min(psi))
    }

    fn psi_due(&self, now: MediaTime) -> bool {
        self.last_psi.is_none_or(|last| now - last >= PSI_INTERVAL)
    }

    fn write_psi(&mut self, now: MediaTime, out: &mut Vec<u8>) {
        write(Pid::from(0), &mut self.pat_counter, None, Some(self.pat.clone()), out);
        write(pid(self.config.pmt_pid), &mut self.pmt_counter, None, Some(self.pmt.clone()), out);
        self.last_psi = Some(now);
    }

    fn write_video(&mut self, field: Option<AdaptationField>, payload: Option<TsPayload>, out: &mut Vec<u8>) {
        write(pid(self.config.video_pid), &mut self.video_counter, field, payload, out);
    }

    /// An adaptation field with the PCR of `now`, not after `limit`, the frame's DTS.
    fn clock_field(&mut self, now: MediaTime, limit: Option<MediaTime>, key: bool) -> AdaptationField {
        let lateness = limit.map_or(Span::ZERO, |limit| now - limit);
        if lateness > self.delay {
            self.late_frames += 1;
            self.delay = lateness.min(MAX_PRESENTATION_DELAY);
        }
        let pcr = now + -self.delay;
        let pcr = limit.map_or(pcr, |limit| pcr.min(limit));
        let shift = now - pcr;
        // Rounding to ticks may move the shift by one of them; that is jitter, not a new time base.
        let same_base = self.shift.is_none_or(|last| (shift - last).abs() <= Span::from_micros(100));
        self.shift = Some(shift);
        self.last_pcr = Some(now);
        AdaptationField {
            discontinuity_indicator: !same_base,
            pcr: Some(ClockReference::from(timestamp(pcr))),
            ..flags(key)
        }
    }
}

/// An adaptation field without a clock.
fn flags(key: bool) -> AdaptationField {
    AdaptationField {
        discontinuity_indicator: false,
        random_access_indicator: key,
        es_priority_indicator: false,
        pcr: None,
        opcr: None,
        splice_countdown: None,
        transport_private_data: Vec::new(),
        extension: None,
    }
}

fn pat(config: &MuxConfig) -> TsPayload {
    TsPayload::Pat(Pat {
        transport_stream_id: 1,
        version_number: VersionNumber::new(),
        table: vec![ProgramAssociation { program_num: config.program, program_map_pid: pid(config.pmt_pid) }],
    })
}

fn pmt(config: &MuxConfig) -> TsPayload {
    TsPayload::Pmt(Pmt {
        program_num: config.program,
        pcr_pid: Some(pid(config.video_pid)),
        version_number: VersionNumber::new(),
        program_info: Vec::new(),
        es_info: vec![EsInfo {
            stream_type: StreamType::H264,
            elementary_pid: pid(config.video_pid),
            descriptors: Vec::new(),
        }],
    })
}

/// Appends one packet. The counter counts packets with a payload (ITU-T H.222.0 section 2.4.3.3).
fn write(
    pid: Pid,
    counter: &mut ContinuityCounter,
    adaptation_field: Option<AdaptationField>,
    payload: Option<TsPayload>,
    out: &mut Vec<u8>,
) {
    if payload.is_some() {
        counter.increment();
    }
    let header = TsHeader {
        transport_error_indicator: false,
        transport_priority: false,
        pid,
        transport_scrambling_control: TransportScramblingControl::NotScrambled,
        continuity_counter: *counter,
    };
    let packet = TsPacket { header, adaptation_field, payload };
    TsPacketWriter::new(out).write_ts_packet(&packet).expect("every field is in range and fits its packet");
}

fn pid(value: u16) -> Pid {
    Pid::new(value).expect("checked when the muxer was made")
}

fn timestamp(time: MediaTime) -> Timestamp {
    Timestamp::new(time.to_pts()).expect("33 bits")
}

fn bytes(data: &[u8]) -> Bytes {
    Bytes::new(data).expect("no more than a packet holds")
}
