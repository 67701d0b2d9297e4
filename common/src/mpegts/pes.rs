//! PES packets to access units: one PES packet is one access unit, as ITU-T H.222.0 section 2.14
//! suggests and every known muxer of cameras does.

use mpeg2ts_reader::pes::{PesContents, PesHeader, PesLength, PtsDts};

use super::demux::{PacketMeta, TsEvent, TsProblem};
use crate::h264::MAX_ACCESS_UNIT;
use crate::time::Unwrapper;

/// Bytes of a PES header up to and with `PES_header_data_length`.
const FIXED_HEADER: usize = 9;

/// Collects the PES packet of the video that is under way. Holds at most [`MAX_ACCESS_UNIT`].
#[derive(Debug, Default)]
pub(super) struct Assembler {
    current: Option<Pes>,
    /// The one place where PTS and DTS lose their wrap at 33 bits.
    pts: Unwrapper<33>,
    last_size: usize,
}

#[derive(Debug)]
struct Pes {
    /// The whole packet until the header is read, then its payload.
    data: Vec<u8>,
    header: Option<Header>,
    start: PacketMeta,
    end: PacketMeta,
}

#[derive(Debug)]
struct Header {
    pts: i64,
    dts: Option<i64>,
    /// Length of the payload, where `PES_packet_length` tells.
    length: Option<usize>,
}

/// A header as far as it has come.
enum Parsed {
    More,
    Bad(&'static str),
    Whole { pts: u64, dts: Option<u64>, length: Option<usize>, payload_at: usize },
}

impl Assembler {
    /// A packet with `payload_unit_start_indicator`: ends the PES packet under way, begins the next.
    pub(super) fn begin(&mut self, payload: &[u8], meta: PacketMeta, out: &mut Vec<TsEvent>) {
        self.close(out);
        let data = Vec::with_capacity(self.last_size.max(payload.len()));
        self.current = Some(Pes { data, header: None, start: meta, end: meta });
        self.append(payload, meta, out);
    }

    /// A packet that continues; false if there is nothing that it could continue.
    pub(super) fn append(&mut self, payload: &[u8], meta: PacketMeta, out: &mut Vec<TsEvent>) -> bool {
        let Some(mut pes) = self.current.take() else { return false };
        pes.data.extend_from_slice(payload);
        pes.end = meta;
        if let Err(problem) = self.read_header(&mut pes) {
            out.push(TsEvent::Problem(problem));
            return true;
        }
        let length = pes.header.as_ref().and_then(|header| header.length);
        match length {
            Some(length) if pes.data.len() >= length && pes.header.is_some() => {
                pes.data.truncate(length);
                self.emit(pes, true, out);
            }
            _ if pes.data.len() > MAX_ACCESS_UNIT => {
                out.push(TsEvent::Problem(TsProblem::TooLarge { limit: MAX_ACCESS_UNIT }));
            }
            _ => self.current = Some(pes),
        }
        true
    }

    /// The next PES packet begins, or the stream ends: an open-ended packet is whole, one that
    /// has not reached its length is not.
    pub(super) fn close(&mut self, out: &mut Vec<TsEvent>) {
        let Some(pes) = self.current.take() else { return };
        match &pes.header {
            Some(header) => {
                let complete = header.length.is_none();
                self.emit(pes, complete, out);
            }
            None => out.push(TsEvent::Problem(TsProblem::BadPes { reason: "header is cut off" })),
        }
    }

    /// The sender marked the end of an open-ended packet with a payload of `length` bytes. A packet that
    /// tells its length needs no mark.
    pub(super) fn end(&mut self, length: usize, out: &mut Vec<TsEvent>) {
        let open_ended = |pes: &mut Pes| pes.header.as_ref().is_some_and(|header| header.length.is_none());
        if let Some(pes) = self.current.take_if(open_ended) {
            let complete = pes.data.len() == length;
            self.emit(pes, complete, out);
        }
    }

    /// Packets were lost: what is under way can no longer become whole.
    pub(super) fn damage(&mut self, out: &mut Vec<TsEvent>) {
        if let Some(pes) = self.current.take_if(|pes| pes.header.is_some()) {
            self.emit(pes, false, out);
        }
        self.current = None;
    }

    fn emit(&mut self, pes: Pes, complete: bool, out: &mut Vec<TsEvent>) {
        let Pes { data, header: Some(Header { pts, dts, .. }), start, end } = pes else { return };
        if data.is_empty() {
            out.push(TsEvent::Problem(TsProblem::BadPes { reason: "no payload" }));
            return;
        }
        self.last_size = data.len();
        out.push(TsEvent::AccessUnit { data, pts, dts, start, end, complete });
    }

    fn read_header(&mut self, pes: &mut Pes) -> Result<(), TsProblem> {
        if pes.header.is_some() {
            return Ok(());
        }
        match parse(&pes.data) {
            Parsed::More => Ok(()),
            Parsed::Bad(reason) => Err(TsProblem::BadPes { reason }),
            Parsed::Whole { pts, dts, length, payload_at } => {
                pes.data.drain(..payload_at);
                let pts = self.pts.unwrap(pts);
                let dts = dts.map(|dts| self.pts.peek(dts));
                pes.header = Some(Header { pts, dts, length });
                Ok(())
            }
        }
    }
}

/// Reads the PES header at the start of `data` (ITU-T H.222.0 section 2.4.3.6).
fn parse(data: &[u8]) -> Parsed {
    let prefix = &data[..data.len().min(3)];
    if ![0, 0, 1].starts_with(prefix) {
        return Parsed::Bad("no start code prefix");
    }
    if data.len() < FIXED_HEADER {
        return Parsed::More;
    }
    let payload_at = FIXED_HEADER + usize::from(data[8]);
    if data.len() < payload_at {
        return Parsed::More;
    }
    let Some(header) = PesHeader::from_bytes(data) else { return Parsed::Bad("no start code prefix") };
    let PesContents::Parsed(contents) = header.contents() else {
        return Parsed::Bad("not a video stream id");
    };
    let Some(contents) = contents else { return Parsed::Bad("header fields do not fit the header") };
    let (pts, dts) = match contents.pts_dts() {
        Ok(PtsDts::PtsOnly(Ok(pts))) => (pts.value(), None),
        Ok(PtsDts::Both { pts: Ok(pts), dts: Ok(dts) }) => (pts.value(), Some(dts.value())),
        Ok(_) => return Parsed::Bad("marker bits of PTS or DTS are wrong"),
        Err(_) => return Parsed::Bad("no PTS"),
    };
    let length = match header.pes_packet_length() {
        PesLength::Unbounded => None,
        // The length counts from behind itself, byte 6.
        PesLength::Bounded(length) => match (usize::from(length.get()) + 6).checked_sub(payload_at) {
            Some(length) => Some(length),
            None => return Parsed::Bad("length is shorter than the header"),
        },
    };
    Parsed::Whole { pts, dts, length, payload_at }
}
