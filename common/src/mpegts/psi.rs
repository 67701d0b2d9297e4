//! Which PID carries the video: PAT and PMT.

use mpeg2ts_reader::StreamType;
use mpeg2ts_reader::packet::Packet;
use mpeg2ts_reader::psi::pat::{PatSection, ProgramDescriptor};
use mpeg2ts_reader::psi::pmt::PmtSection;
use mpeg2ts_reader::psi::{
    BufferSectionSyntaxParser, CrcCheckWholeSectionSyntaxPayloadParser, CurrentNext, SectionCommonHeader,
    SectionPacketConsumer, SectionSyntaxSectionProcessor, TableSyntaxHeader, WholeSectionSyntaxPayloadParser,
};

/// Programs of a PAT that are looked at; a camera's stream has one.
const MAX_PROGRAMS: usize = 16;
const PAT_TABLE: u8 = 0;
const PMT_TABLE: u8 = 2;

/// Follows PAT and PMT to the first H.264 stream of the first program that has one.
#[derive(Default)]
pub(super) struct Tables {
    pat: SectionReader,
    programs: Vec<Program>,
}

struct Program {
    number: u16,
    pid: u16,
    reader: SectionReader,
    video: Option<u16>,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let programs = self.programs.iter().map(|program| (program.number, program.pid, program.video));
        f.debug_list().entries(programs).finish()
    }
}

impl Tables {
    /// PID of the video, once the tables have told.
    pub(super) fn video_pid(&self) -> Option<u16> {
        self.programs.iter().find_map(|program| program.video)
    }

    /// Whether packets of `pid` carry tables.
    pub(super) fn wants(&self, pid: u16) -> bool {
        pid == 0 || self.programs.iter().any(|program| program.pid == pid)
    }

    /// Takes a packet of a PID that [`Self::wants`] names.
    pub(super) fn handle(&mut self, packet: &Packet<'_>) {
        let pid = u16::from(packet.pid());
        if pid == 0 {
            if let Some(section) = self.pat.read(packet) {
                self.handle_pat(&section);
            }
            return;
        }
        let Some(program) = self.programs.iter_mut().find(|program| program.pid == pid) else { return };
        // Several programs may share one PID for their tables: the section names its program.
        if let Some(section) = program.reader.read(packet) {
            self.handle_pmt(pid, &section);
        }
    }

    fn handle_pat(&mut self, section: &Section) {
        if section.table != PAT_TABLE {
            return;
        }
        let found: Vec<(u16, u16)> = PatSection::new(&section.body)
            .programs()
            .filter_map(|entry| match entry {
                ProgramDescriptor::Program { program_number, pid } => Some((program_number, u16::from(pid))),
                ProgramDescriptor::Network { .. } => None,
            })
            .filter(|&(_, pid)| is_free(pid))
            .take(MAX_PROGRAMS)
            .collect();
        let known = self.programs.iter().map(|program| (program.number, program.pid));
        if known.eq(found.iter().copied()) {
            return;
        }
        self.programs = found
            .into_iter()
            .map(|(number, pid)| Program { number, pid, reader: SectionReader::default(), video: None })
            .collect();
    }

    fn handle_pmt(&mut self, pid: u16, section: &Section) {
        let program =
            self.programs.iter_mut().find(|program| (program.number, program.pid) == (section.id, pid));
        let Some(program) = program else { return };
        if section.table != PMT_TABLE {
            return;
        }
        let Ok(table) = PmtSection::from_bytes(&section.body) else { return };
        program.video = table
            .streams()
            .filter(|stream| stream.stream_type() == StreamType::H264)
            .map(|stream| u16::from(stream.elementary_pid()))
            .find(|&pid| is_free(pid));
    }
}

/// Whether `pid` may carry a program's packets (ITU-T H.222.0 table 2-3): a table that names another
/// one would cut off the tables themselves.
fn is_free(pid: u16) -> bool {
    (0x10..0x1fff).contains(&pid)
}

/// A section with a good CRC.
struct Section {
    table: u8,
    /// `table_id_extension`: the program number in a PMT.
    id: u16,
    body: Vec<u8>,
}

/// Puts the sections of one PID together; at most one of 1 KiB is held.
struct SectionReader {
    consumer: SectionPacketConsumer<
        SectionSyntaxSectionProcessor<
            BufferSectionSyntaxParser<CrcCheckWholeSectionSyntaxPayloadParser<KeepSection>>,
        >,
    >,
}

impl Default for SectionReader {
    fn default() -> Self {
        let parser = CrcCheckWholeSectionSyntaxPayloadParser::new(KeepSection);
        let parser = SectionSyntaxSectionProcessor::new(BufferSectionSyntaxParser::new(parser));
        Self { consumer: SectionPacketConsumer::new(parser) }
    }
}

impl SectionReader {
    fn read(&mut self, packet: &Packet<'_>) -> Option<Section> {
        let mut found = None;
        self.consumer.consume(&mut found, packet);
        found
    }
}

/// Hands a whole section to [`SectionReader::read`].
struct KeepSection;

impl WholeSectionSyntaxPayloadParser for KeepSection {
    type Context = Option<Section>;

    fn section<'a>(
        &mut self,
        found: &mut Option<Section>,
        header: &SectionCommonHeader,
        table: &TableSyntaxHeader<'a>,
        data: &'a [u8],
    ) {
        let head = SectionCommonHeader::SIZE + TableSyntaxHeader::SIZE;
        let Some(body) = data.len().checked_sub(4).and_then(|end| data.get(head..end)) else { return };
        // Later sections of a table serve hundreds of programs or streams; a camera's has one section.
        if table.current_next_indicator() == CurrentNext::Current && table.section_number() == 0 {
            *found = Some(Section { table: header.table_id, id: table.id(), body: body.to_vec() });
        }
    }
}
