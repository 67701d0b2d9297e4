//! The sample table of a whole file (ISO/IEC 14496-12 sections 8.6 and 8.7), walked one sample at a
//! time.

use re_mp4::{Co64Box, CttsBox, StcoBox, StscBox, StszBox, SttsBox};

use super::super::ReadError;
use super::Sample;
use super::boxes::{find, parse, require};

/// The compact tables, and where the walk is.
pub(super) struct SampleTable {
    durations: SttsBox,
    offsets: Option<CttsBox>,
    chunks: StscBox,
    sizes: StszBox,
    positions: Positions,
    /// Added to every composition offset, so that none is negative.
    shift: i64,
    /// For errors.
    at: u64,
    cursor: Cursor,
}

/// Where the chunks are.
enum Positions {
    Short(StcoBox),
    Long(Co64Box),
}

impl Positions {
    fn get(&self, chunk: usize) -> Option<u64> {
        match self {
            Self::Short(short) => short.entries.get(chunk).map(|&offset| u64::from(offset)),
            Self::Long(long) => long.entries.get(chunk).copied(),
        }
    }
}

/// The walk: what the next sample has.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    sample: u32,
    /// Chunk, entry of the chunk table, samples left in the chunk, and bytes into it.
    chunk: usize,
    chunk_run: usize,
    left_in_chunk: u32,
    in_chunk: u64,
    started: bool,
    /// Entries of the time tables, and samples of them used up.
    duration_run: usize,
    in_duration_run: u32,
    offset_run: usize,
    in_offset_run: u32,
    dts: i64,
}

impl SampleTable {
    /// Reads the tables of an `stbl` box that lies in one at `at`.
    pub(super) fn read(stbl: &[u8], at: u64) -> Result<Self, ReadError> {
        let positions = match find(stbl, at, *b"stco")? {
            Some(short) => Positions::Short(parse(&short)?),
            None => Positions::Long(parse(&require(stbl, at, *b"co64")?)?),
        };
        let offsets: Option<CttsBox> = find(stbl, at, *b"ctts")?.map(|found| parse(&found)).transpose()?;
        let least =
            offsets.iter().flat_map(|ctts| &ctts.entries).map(|entry| i64::from(entry.sample_offset)).min();
        Ok(Self {
            durations: parse(&require(stbl, at, *b"stts")?)?,
            offsets,
            chunks: parse(&require(stbl, at, *b"stsc")?)?,
            sizes: parse(&require(stbl, at, *b"stsz")?)?,
            positions,
            shift: least.map_or(0, |least| (-least).max(0)),
            at,
            cursor: Cursor::default(),
        })
    }

    /// The most by which showing follows decoding, in ticks.
    pub(super) fn reorder(&self) -> i64 {
        let most = self
            .offsets
            .iter()
            .flat_map(|ctts| &ctts.entries)
            .map(|entry| i64::from(entry.sample_offset))
            .max();
        most.map_or(0, |most| most + self.shift)
    }

    pub(super) fn rewind(&mut self) {
        self.cursor = Cursor::default();
    }

    /// The next sample; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Sample>, ReadError> {
        if self.cursor.sample >= self.sizes.sample_count {
            return Ok(None);
        }
        let size = self.size().ok_or_else(|| self.error("sizes (stsz)"))?;
        let offset = self.place(size).ok_or_else(|| self.error("chunks (stsc, stco)"))?;
        let dts = self.cursor.dts;
        let shown_after = self.composition_offset().ok_or_else(|| self.error("composition times (ctts)"))?;
        let duration = self.duration().ok_or_else(|| self.error("times (stts)"))?;
        self.cursor.dts = dts.saturating_add(i64::from(duration));
        self.cursor.sample += 1;
        Ok(Some(Sample { offset, size, dts, pts: dts.saturating_add(shown_after) }))
    }

    fn error(&self, table: &str) -> ReadError {
        ReadError::format(
            self.at,
            format!("the table of {table} has no entry for frame {}", self.cursor.sample),
        )
    }

    fn size(&self) -> Option<u32> {
        match self.sizes.sample_size {
            0 => self.sizes.sample_sizes.get(self.cursor.sample as usize).copied(),
            same => Some(same),
        }
    }

    /// Where the next sample is, and steps over its `size` bytes.
    fn place(&mut self, size: u32) -> Option<u64> {
        let cursor = &mut self.cursor;
        while cursor.left_in_chunk == 0 {
            if cursor.started {
                cursor.chunk += 1;
            }
            cursor.started = true;
            cursor.in_chunk = 0;
            // Ends for sure: the chunks do.
            self.positions.get(cursor.chunk)?;
            // Entries count chunks from 1 and hold until the next one's first chunk.
            while let Some(next) = self.chunks.entries.get(cursor.chunk_run + 1)
                && next.first_chunk as usize <= cursor.chunk + 1
            {
                cursor.chunk_run += 1;
            }
            cursor.left_in_chunk = self.chunks.entries.get(cursor.chunk_run)?.samples_per_chunk;
        }
        let offset = self.positions.get(cursor.chunk)?.checked_add(cursor.in_chunk)?;
        cursor.in_chunk = cursor.in_chunk.checked_add(u64::from(size))?;
        cursor.left_in_chunk -= 1;
        Some(offset)
    }

    fn duration(&mut self) -> Option<u32> {
        let cursor = &mut self.cursor;
        loop {
            let entry = self.durations.entries.get(cursor.duration_run)?;
            if cursor.in_duration_run < entry.sample_count {
                cursor.in_duration_run += 1;
                return Some(entry.sample_delta);
            }
            cursor.duration_run += 1;
            cursor.in_duration_run = 0;
        }
    }

    fn composition_offset(&mut self) -> Option<i64> {
        let Some(offsets) = &self.offsets else { return Some(0) };
        let cursor = &mut self.cursor;
        loop {
            let entry = offsets.entries.get(cursor.offset_run)?;
            if cursor.in_offset_run < entry.sample_count {
                cursor.in_offset_run += 1;
                return Some(i64::from(entry.sample_offset) + self.shift);
            }
            cursor.offset_run += 1;
            cursor.in_offset_run = 0;
        }
    }
}
