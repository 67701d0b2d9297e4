//! Reading a file on a thread that may wait for the disk, a few frames ahead (I/O).

use std::path::{Path, PathBuf};

use framelock_common::clock::ClockState;
use framelock_common::container::{self, Probe, ReadError, Units};
use framelock_common::h264::{ParameterSets, SeiTime};
use framelock_common::time::Utc;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

/// Frames that are read ahead.
const AHEAD: usize = 8;

/// A file that can be played.
#[derive(Debug)]
pub(super) struct Opened {
    /// Ticks a second.
    pub(super) timescale: u32,
    /// The most by which showing follows decoding, in ticks.
    pub(super) reorder: i64,
    /// When the first frame that tells was captured.
    pub(super) capture: Option<Utc>,
    /// What is read; nothing more behind the last frame or an error.
    pub(super) reads: Receiver<Result<Read, ReadError>>,
}

/// What is read.
#[derive(Debug)]
pub(super) enum Read {
    Frame(Taken),
    /// The file begins again.
    Again,
}

/// A frame as it is in the file, its times in ticks.
#[derive(Debug)]
pub(super) struct Taken {
    /// Annex B, with parameter sets if it is a key frame.
    pub(super) data: Vec<u8>,
    pub(super) pts: i64,
    pub(super) dts: i64,
    /// Whether no part of it is missing.
    pub(super) whole: bool,
    /// When it was captured, if it tells.
    pub(super) capture: Option<Utc>,
}

/// Opens the file at `path`, finds out what is in it and begins to read, again and again if `looped`. Ends
/// by itself once nobody takes the frames.
pub(super) async fn open(path: PathBuf, looped: bool) -> Result<Opened, ReadError> {
    let (tell, told) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let (sender, reads) = channel(AHEAD);
        let opened = begin(&path);
        let (units, opened) = match opened {
            Ok((units, probe)) => {
                let (timescale, reorder) = (units.timescale(), probe.reorder);
                (Some(units), Ok(Opened { timescale, reorder, capture: known(probe.capture), reads }))
            }
            Err(error) => (None, Err(error)),
        };
        // Whoever opened it may be gone.
        if let (Ok(()), Some(units)) = (tell.send(opened), units) {
            read(units, looped, &sender);
        }
    });
    told.await.unwrap_or_else(|_| Err(ReadError::format(0, "reading it failed unexpectedly")))
}

fn begin(path: &Path) -> Result<(Box<dyn Units>, Probe), ReadError> {
    let mut units = container::open_file(path)?;
    let probe = Probe::of(units.as_mut())?;
    units.rewind()?;
    Ok((units, probe))
}

/// Reads to the end, or until nobody takes the frames.
fn read(mut units: Box<dyn Units>, looped: bool, sender: &Sender<Result<Read, ReadError>>) {
    let mut sets = ParameterSets::default();
    sets.learn(units.parameter_sets());
    let mut in_pass = 0_u64;
    loop {
        let read = match units.next() {
            Ok(Some(unit)) => {
                let (pts, dts) = (unit.pts, unit.dts);
                let (data, capture) = if unit.damaged {
                    (unit.data, None)
                } else {
                    let Some(complete) = sets.complete(unit.data) else { continue };
                    (complete.data, known(complete.sei_time))
                };
                in_pass += 1;
                Ok(Read::Frame(Taken { data, pts, dts, whole: !unit.damaged, capture }))
            }
            Ok(None) if !looped => return,
            Ok(None) if in_pass == 0 => Err(ReadError::format(0, "no frame that could be played again")),
            Ok(None) => {
                in_pass = 0;
                units.rewind().map(|()| Read::Again)
            }
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        if sender.blocking_send(read).is_err() || failed {
            return;
        }
    }
}

/// A capture time, unless it is a guess.
fn known(sei: Option<SeiTime>) -> Option<Utc> {
    sei.filter(|sei| sei.state != ClockState::Unsynchronized).map(|sei| sei.utc)
}
