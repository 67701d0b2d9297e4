//! MP4 files, whole and fragmented (ISO/IEC 14496-12 and -15).
//!
//! `re_mp4` parses single boxes, each out of a slice that ends where the box does. What is around
//! them is done here: its own walk over a file loops and panics on hostile sizes, and holds a list of
//! all samples, where this reader holds the file's compact tables and one fragment.

mod boxes;
mod fragment;
mod table;

use std::io::SeekFrom;

use re_mp4::{MdhdBox, TkhdBox};

use self::boxes::{BoxAt, children, find, parse, require};
use self::fragment::Fragments;
use self::table::SampleTable;
use super::{Input, ReadError, Unit, Units};
use crate::h264::{MAX_ACCESS_UNIT, annex_b, decoder_configuration};

/// The largest index taken: ten hours at 60 fps with B-frames.
const MAX_INDEX: u64 = 32 << 20;
/// The largest index of a fragment.
const MAX_FRAGMENT_INDEX: u64 = 4 << 20;
/// Bytes of an `avc1` sample entry before its first child box (ISO/IEC 14496-12 section 12.1.3).
const SAMPLE_ENTRY: usize = 78;

/// Where a frame lies in the file, and its times in ticks of the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    offset: u64,
    size: u32,
    dts: i64,
    pts: i64,
}

/// The H.264 frames of an MP4 file.
pub(super) struct Mp4Reader<R> {
    file: R,
    length: u64,
    timescale: u32,
    /// Bytes of the length before each NAL unit.
    length_size: usize,
    parameter_sets: Vec<u8>,
    table: SampleTable,
    fragments: Fragments,
}

impl<R: Input> Mp4Reader<R> {
    /// Reads the index of `file`.
    pub(super) fn open(mut file: R) -> Result<Self, ReadError> {
        let length = file.seek(SeekFrom::End(0))?;
        let index = first_box(&mut file, length, *b"moov")?;
        let bytes = read_box(&mut file, &index, MAX_INDEX)?;
        let moov = &bytes[..];
        let mut other = None;
        for child in children(moov, index.start) {
            let child = child?;
            if child.name == *b"trak" {
                match Track::read(child.bytes, child.at) {
                    Ok(track) => return Self::with_track(file, length, track, moov, &index),
                    Err(error) => other = other.or(Some(error)),
                }
            }
        }
        Err(other.unwrap_or_else(|| ReadError::format(index.start, "no track in it")))
    }

    fn with_track(file: R, length: u64, track: Track, moov: &[u8], index: &BoxAt) -> Result<Self, ReadError> {
        let fragments = Fragments::new(track.id, moov, index)?;
        Ok(Self {
            file,
            length,
            timescale: track.timescale,
            length_size: track.length_size,
            parameter_sets: track.parameter_sets,
            table: track.table,
            fragments,
        })
    }

    fn next_sample(&mut self) -> Result<Option<Sample>, ReadError> {
        match self.table.next()? {
            Some(sample) => Ok(Some(sample)),
            None => self.fragments.next(&mut self.file, self.length),
        }
    }
}

impl<R: Input> Units for Mp4Reader<R> {
    fn next(&mut self) -> Result<Option<Unit>, ReadError> {
        let Some(sample) = self.next_sample()? else { return Ok(None) };
        let end = sample.offset.checked_add(u64::from(sample.size)).filter(|end| *end <= self.length);
        if end.is_none() || sample.size as usize > MAX_ACCESS_UNIT {
            let what = format!("a frame of {} bytes reaches beyond the file, or is too large", sample.size);
            return Err(ReadError::format(sample.offset, what));
        }
        self.file.seek(SeekFrom::Start(sample.offset))?;
        let mut bytes = vec![0; sample.size as usize];
        self.file.read_exact(&mut bytes)?;
        let (data, whole) = annex_b(&bytes, self.length_size);
        Ok(Some(Unit { data, pts: sample.pts, dts: sample.dts, damaged: !whole }))
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        self.table.rewind();
        self.fragments.rewind();
        Ok(())
    }

    fn timescale(&self) -> u32 {
        self.timescale
    }

    fn parameter_sets(&self) -> &[u8] {
        &self.parameter_sets
    }

    fn reorder(&self) -> i64 {
        self.table.reorder()
    }
}

/// A track that holds H.264.
struct Track {
    id: u32,
    timescale: u32,
    length_size: usize,
    parameter_sets: Vec<u8>,
    table: SampleTable,
}

impl Track {
    /// Reads a `trak` box; an error if it is not H.264.
    fn read(trak: &[u8], at: u64) -> Result<Self, ReadError> {
        let header: TkhdBox = parse(&require(trak, at, *b"tkhd")?)?;
        let mdia = require(trak, at, *b"mdia")?;
        let mdhd: MdhdBox = parse(&require(mdia.bytes, mdia.at, *b"mdhd")?)?;
        if mdhd.timescale == 0 {
            return Err(ReadError::format(mdia.at, "a track without a time scale"));
        }
        let minf = require(mdia.bytes, mdia.at, *b"minf")?;
        let stbl = require(minf.bytes, minf.at, *b"stbl")?;
        let (length_size, parameter_sets) = sample_entry(stbl.bytes, stbl.at)?;
        Ok(Self {
            id: header.track_id,
            timescale: mdhd.timescale,
            length_size,
            parameter_sets,
            table: SampleTable::read(stbl.bytes, stbl.at)?,
        })
    }
}

/// Bytes of a NAL unit's length, and the parameter sets in Annex B, of an H.264 track.
fn sample_entry(stbl: &[u8], at: u64) -> Result<(usize, Vec<u8>), ReadError> {
    let stsd = require(stbl, at, *b"stsd")?;
    // A version, flags and a count come before the entries.
    let entries = stsd.bytes.get(8..).unwrap_or_default();
    for entry in children(entries, stsd.at) {
        let entry = entry?;
        if entry.name == *b"avc1" || entry.name == *b"avc3" {
            let fields = entry.bytes.get(SAMPLE_ENTRY..).unwrap_or_default();
            let Some(avcc) = find(fields, entry.at, *b"avcC")? else { continue };
            return decoder_configuration(avcc.bytes)
                .ok_or_else(|| ReadError::format(avcc.at, "a bad \"avcC\" box: it ends too soon"));
        }
    }
    Err(ReadError::format(
        stsd.at,
        "no H.264 track in it; convert it: ffmpeg -i FILE -c:v libx264 -an out.mp4",
    ))
}

/// The first top-level box called `name`.
fn first_box(file: &mut impl Input, length: u64, name: [u8; 4]) -> Result<BoxAt, ReadError> {
    let mut at = 0;
    while let Some(found) = BoxAt::read(file, at, length)? {
        if found.name == name {
            return Ok(found);
        }
        at = found.end();
    }
    let name = String::from_utf8_lossy(&name).into_owned();
    Err(ReadError::format(at, format!("no index (\"{name}\" box): the file was cut short or never finished")))
}

/// What is inside a top-level box.
fn read_box(file: &mut impl Input, found: &BoxAt, limit: u64) -> Result<Vec<u8>, ReadError> {
    let size = found.payload_size();
    if size > limit {
        let what = format!("an index of {} MiB, where at most {} are taken", size >> 20, limit >> 20);
        return Err(ReadError::format(found.start, what));
    }
    file.seek(SeekFrom::Start(found.payload_start()))?;
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
