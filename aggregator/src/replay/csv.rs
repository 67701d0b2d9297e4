//! Frame times from a CSV file.
//!
//! One frame a line: `cam_id,frame_time[,arrival_time]`, times in decimal seconds, both of the same clock;
//! without an arrival time a frame arrives at the instant of its capture. A first line that begins with
//! `cam_id` is a header and tells nothing. Blank lines are passed over. The cameras of the packets are in
//! the order in which they first appear in the file. Frames arrive in order of arrival time, those of the
//! same instant in the order of the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use framelock_common::time::{HostTime, Utc};
use thiserror::Error;

use super::decimal::parse_seconds;
use crate::deliver::{FrameInfo, FrameStatus, PacketInfo, write_packet};
use crate::sync::{CameraIndex, FrameSet, SyncCamera, SyncConfig, SyncFrame, Synchronizer, usual_period};

/// Longest line that is read, in bytes.
const LONGEST_LINE: u64 = 1_024;
/// Most cameras in one file.
const MOST_CAMERAS: usize = 1_024;
/// Most frames in one file, which has to be in memory as a whole to be put in order: four cameras at 30 a second
/// for almost a day, in 360 MB.
const MOST_FRAMES: usize = 10_000_000;
const EXPECTED: &str = "expected cam_id,frame_time[,arrival_time] with times in seconds, like left,12.034";

/// Why a file could not be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("{path}:{line}: {problem}")]
    Line {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it and what is expected.
        problem: String,
    },
    /// The output could not be written.
    #[error("cannot write packets: {0}")]
    Write(#[source] io::Error),
}

/// One line of the file.
#[derive(Clone, Copy, Debug)]
struct Row {
    camera: usize,
    time: Utc,
    arrival: HostTime,
}

/// The whole file.
#[derive(Debug, Default)]
struct Recording {
    names: Vec<String>,
    rows: Vec<Row>,
}

/// Replays the frame times in the CSV file at `path` and writes one line of JSON for each packet to `out`,
/// at most `count` of them. Gives the number of packets written.
///
/// # Errors
/// A file that cannot be read, a malformed line, an `out` that fails.
pub fn csv(
    path: &Path,
    config: &SyncConfig,
    count: Option<u64>,
    out: &mut impl Write,
) -> Result<u64, ReplayError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|source| ReplayError::Read { path: name.clone(), source })?;
    csv_from(BufReader::new(file), &name, config, count, out)
}

/// As [`csv`], from any `reader`; errors call it `name`.
///
/// # Errors
/// As [`csv`].
pub fn csv_from(
    reader: impl BufRead,
    name: &str,
    config: &SyncConfig,
    count: Option<u64>,
    out: &mut impl Write,
) -> Result<u64, ReplayError> {
    let recording = read(reader, name, MOST_FRAMES)?;
    let mut player = Player { names: &recording.names, left: count, written: 0, out };
    let mut synchronizer = Synchronizer::new(config, cameras(&recording));
    for row in &recording.rows {
        while let Some(timeout) = synchronizer.poll_timeout().filter(|timeout| *timeout < row.arrival) {
            synchronizer.handle_timeout(timeout);
            player.write(&mut synchronizer)?;
        }
        let frame = SyncFrame { time: row.time, payload: () };
        synchronizer.handle_frame(CameraIndex::new(row.camera), frame, row.arrival);
        player.write(&mut synchronizer)?;
        if player.left == Some(0) {
            return Ok(player.written);
        }
    }
    if let Some(last) = recording.rows.last() {
        synchronizer.finish(last.arrival);
        player.write(&mut synchronizer)?;
    }
    Ok(player.written)
}

/// The cameras with the periods that the recording shows.
fn cameras(recording: &Recording) -> Vec<SyncCamera> {
    let mut times = vec![Vec::new(); recording.names.len()];
    for row in &recording.rows {
        times[row.camera].push(row.time);
    }
    times.into_iter().map(|times| SyncCamera { declared_period: usual_period(times) }).collect()
}

/// Writes finished sets.
struct Player<'a, W> {
    names: &'a [String],
    left: Option<u64>,
    written: u64,
    out: &'a mut W,
}

impl<W: Write> Player<'_, W> {
    fn write(&mut self, synchronizer: &mut Synchronizer<()>) -> Result<(), ReplayError> {
        while self.left != Some(0) {
            let Some(set) = synchronizer.poll_set() else { break };
            self.write_set(&set).map_err(ReplayError::Write)?;
            self.written += 1;
            self.left = self.left.map(|left| left - 1);
        }
        Ok(())
    }

    fn write_set(&mut self, set: &FrameSet<()>) -> io::Result<()> {
        let info = PacketInfo {
            number: set.number,
            time: set.time,
            spread: set.spread,
            spread_bound: None,
            complete: set.complete,
        };
        // Arrival times are of the clock of the capture times.
        let delivered = Utc::from_unix_nanos(set.ready.as_nanos());
        let entries = set.entries.iter().map(|entry| {
            let frame = entry.frame.as_ref().map(|frame| FrameInfo {
                time: frame.time,
                uncertainty: None,
                time_source: None,
                frame_type: None,
                width: None,
                height: None,
                bytes: None,
                latency: delivered - frame.time,
            });
            (self.names[entry.camera.get()].as_str(), FrameStatus::from(entry.status), frame)
        });
        write_packet(&info, entries, self.out)
    }
}

fn read(mut reader: impl BufRead, path: &str, most_frames: usize) -> Result<Recording, ReplayError> {
    let mut recording = Recording::default();
    let mut indices = HashMap::new();
    let mut bytes = Vec::new();
    for line in 1_usize.. {
        bytes.clear();
        let length = (&mut reader)
            .take(LONGEST_LINE + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| ReplayError::Read { path: path.to_owned(), source })?;
        if length == 0 {
            break;
        }
        let row = if bytes.len() as u64 > LONGEST_LINE {
            Err(format!("line longer than {LONGEST_LINE} bytes; {EXPECTED}"))
        } else {
            parse_line(&bytes, line)
        };
        let added = row.and_then(|row| match row {
            Some(_) if recording.rows.len() == most_frames => {
                Err(format!("more than {most_frames} frames; replay it in parts"))
            }
            Some((name, time, arrival)) => add(&mut recording, &mut indices, name, time, arrival),
            None => Ok(()),
        });
        added.map_err(|problem| ReplayError::Line { path: path.to_owned(), line, problem })?;
    }
    recording.rows.sort_by_key(|row| row.arrival);
    Ok(recording)
}

fn add(
    recording: &mut Recording,
    indices: &mut HashMap<String, usize>,
    name: &str,
    time: Utc,
    arrival: HostTime,
) -> Result<(), String> {
    let camera = match indices.get(name) {
        Some(camera) => *camera,
        None if recording.names.len() == MOST_CAMERAS => {
            return Err(format!("more than {MOST_CAMERAS} different cameras"));
        }
        None => {
            recording.names.push(name.to_owned());
            indices.insert(name.to_owned(), recording.names.len() - 1);
            recording.names.len() - 1
        }
    };
    recording.rows.push(Row { camera, time, arrival });
    Ok(())
}

/// The camera, capture and arrival that a line tells; `None` for a header or a blank line.
fn parse_line(bytes: &[u8], line: usize) -> Result<Option<(&str, Utc, HostTime)>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("not UTF-8 text; {EXPECTED}"))?;
    let text = if line == 1 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text }.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let mut fields = text.split(',').map(str::trim);
    let name = fields.next().unwrap_or_default();
    if line == 1 && name.eq_ignore_ascii_case("cam_id") {
        return Ok(None);
    }
    let (time, arrival) = (fields.next(), fields.next().filter(|field| !field.is_empty()));
    if fields.next().is_some() {
        return Err(format!("more than three fields; {EXPECTED}"));
    }
    let time = time.ok_or_else(|| format!("only one field; {EXPECTED}"))?;
    if name.is_empty() {
        return Err(format!("no cam_id; {EXPECTED}"));
    }
    let seconds = |field: &str, what: &str| {
        let shown: String = field.chars().take(40).collect();
        parse_seconds(field)
            .ok_or_else(|| format!("{what} \"{shown}\" is not a number of seconds; {EXPECTED}"))
    };
    let time = seconds(time, "frame_time")?;
    let arrival = arrival.map_or(Ok(time), |field| seconds(field, "arrival_time"))?;
    Ok(Some((name, Utc::from_unix_nanos(time), HostTime::from_nanos(arrival))))
}

#[cfg(test)]
mod tests;
