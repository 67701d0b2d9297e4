//! Movie fragments (ISO/IEC 14496-12 section 8.8), one at a time.

use std::collections::VecDeque;

use re_mp4::{TfdtBox, TfhdBox, TrexBox, TrunBox};

use super::super::{Input, ReadError};
use super::boxes::{BoxAt, Child, children, find, parse, require};
use super::{MAX_FRAGMENT_INDEX, Sample, read_box};

/// Frames that a fragment may have: an hour at 30 fps. A run without sizes of its own could claim
/// any number.
const MAX_SAMPLES: u32 = 108_000;

/// The fragments of a file, walked in order.
pub(super) struct Fragments {
    track: u32,
    defaults: Option<TrexBox>,
    /// Where the first fragment can be, and where the next one to look at is.
    first: u64,
    at: u64,
    samples: VecDeque<Sample>,
    /// Decoding time after the last fragment, for those that tell none.
    dts: i64,
}

impl Fragments {
    /// The fragments of `track` behind the index, whose inside is `moov`.
    pub(super) fn new(track: u32, moov: &[u8], index: &BoxAt) -> Result<Self, ReadError> {
        let mut defaults = None;
        if let Some(mvex) = find(moov, index.start, *b"mvex")? {
            for child in children(mvex.bytes, mvex.at) {
                let child = child?;
                if child.name == *b"trex" {
                    let trex: TrexBox = parse(&child)?;
                    if trex.track_id == track {
                        defaults = Some(trex);
                    }
                }
            }
        }
        let first = index.end();
        Ok(Self { track, defaults, first, at: first, samples: VecDeque::new(), dts: 0 })
    }

    pub(super) fn rewind(&mut self) {
        self.at = self.first;
        self.samples.clear();
        self.dts = 0;
    }

    /// The next frame; `None` after the last fragment.
    pub(super) fn next(&mut self, file: &mut impl Input, length: u64) -> Result<Option<Sample>, ReadError> {
        loop {
            if let Some(sample) = self.samples.pop_front() {
                return Ok(Some(sample));
            }
            // A file without this table has no fragments.
            if self.defaults.is_none() {
                return Ok(None);
            }
            let Some(found) = BoxAt::read(file, self.at, length)? else { return Ok(None) };
            self.at = found.end();
            if found.name == *b"moof" {
                let bytes = read_box(file, &found, MAX_FRAGMENT_INDEX)?;
                self.read(&bytes, &found)?;
            }
        }
    }

    fn read(&mut self, moof: &[u8], found: &BoxAt) -> Result<(), ReadError> {
        for child in children(moof, found.start) {
            let child = child?;
            if child.name != *b"traf" {
                continue;
            }
            let header: TfhdBox = parse(&require(child.bytes, child.at, *b"tfhd")?)?;
            if header.track_id == self.track {
                self.read_track(&child, &header, found)?;
            }
        }
        Ok(())
    }

    fn read_track(&mut self, traf: &Child<'_>, header: &TfhdBox, moof: &BoxAt) -> Result<(), ReadError> {
        if let Some(found) = find(traf.bytes, traf.at, *b"tfdt")? {
            let time: TfdtBox = parse(&found)?;
            self.dts = i64::try_from(time.base_media_decode_time)
                .map_err(|_| ReadError::format(moof.start, "a fragment in the far future"))?;
        }
        // Data lies relative to the fragment, unless told otherwise.
        let base = header.base_data_offset.unwrap_or(moof.start);
        let mut position = base;
        for child in children(traf.bytes, traf.at) {
            let child = child?;
            if child.name == *b"trun" {
                position = self.read_run(&child, header, base, position)?;
            }
        }
        Ok(())
    }

    /// Reads a run of frames that follows what ends at `position`; returns where it ends itself.
    fn read_run(
        &mut self,
        child: &Child<'_>,
        header: &TfhdBox,
        base: u64,
        position: u64,
    ) -> Result<u64, ReadError> {
        let error = |what: &str| ReadError::format(child.at, what);
        // Checked before parsing: the count may stand for nothing that follows.
        let count =
            child.bytes.get(4..).and_then(|bytes| bytes.first_chunk()).map_or(0, |&n| u32::from_be_bytes(n));
        if count > MAX_SAMPLES || self.samples.len() > MAX_SAMPLES as usize {
            return Err(error("a fragment with too many frames"));
        }
        let run: TrunBox = parse(child)?;
        let mut position = match run.data_offset {
            Some(offset) => {
                base.checked_add_signed(i64::from(offset)).ok_or_else(|| error("data before the file"))?
            }
            None => position,
        };
        let trex = self.defaults.as_ref();
        let default_size = header.default_sample_size.or(trex.map(|trex| trex.default_sample_size));
        let default_duration =
            header.default_sample_duration.or(trex.map(|trex| trex.default_sample_duration));
        for index in 0..run.sample_count as usize {
            let size = run.sample_sizes.get(index).copied().or(default_size).unwrap_or(0);
            let duration = run.sample_durations.get(index).copied().or(default_duration).unwrap_or(0);
            // Signed since version 1, and written so in version 0 by some.
            let shown_after = run.sample_cts.get(index).map_or(0, |&offset| i64::from(offset.cast_signed()));
            let (dts, offset) = (self.dts, position);
            self.samples.push_back(Sample { offset, size, dts, pts: dts.saturating_add(shown_after) });
            self.dts = dts.saturating_add(i64::from(duration));
            position = position.checked_add(u64::from(size)).ok_or_else(|| error("data beyond any file"))?;
        }
        Ok(position)
    }
}
