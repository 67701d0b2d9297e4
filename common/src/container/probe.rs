//! What a file is like, by its first frames.

use super::{ReadError, Units};
use crate::h264::{ParameterSets, SeiTime, SpsInfo};

/// Frames looked at to find out what the file is like: this many from the first key frame on.
const PROBED_FRAMES: usize = 64;
/// Frames among which there must be a key frame.
const KEY_WITHIN: usize = 1_000;

const NO_VIDEO: &str = "no H.264 key frame in it; convert it: ffmpeg -i FILE -c:v libx264 -an out.mp4";

/// What the first frames tell about a file.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What its pictures are.
    pub sps: SpsInfo,
    /// When its first frames are to be decoded, in the reader's ticks.
    pub times: Vec<i64>,
    /// The most by which showing follows decoding, in the reader's ticks.
    pub reorder: i64,
    /// The first capture time in it.
    pub capture: Option<SeiTime>,
}

impl Probe {
    /// Reads the first frames of `units`. To read them again, rewind it.
    ///
    /// # Errors
    /// When the file cannot be read, or not as far as to a key frame to begin with.
    pub fn of(units: &mut dyn Units) -> Result<Self, ReadError> {
        let mut sets = ParameterSets::default();
        sets.learn(units.parameter_sets());
        let mut times = Vec::new();
        let mut reorder = units.reorder();
        let mut capture = None;
        for _ in 0..KEY_WITHIN {
            let unit = match units.next() {
                Ok(Some(unit)) => unit,
                // Whoever plays what there is will get there.
                Err(_) if !times.is_empty() => break,
                Err(error) => return Err(error),
                Ok(None) => break,
            };
            if unit.damaged {
                continue;
            }
            let Some(complete) = sets.complete(unit.data) else { continue };
            if times.is_empty() && !complete.key {
                continue;
            }
            reorder = reorder.max(unit.pts.saturating_sub(unit.dts));
            times.push(unit.dts);
            capture = capture.or(complete.sei_time);
            if times.len() >= PROBED_FRAMES {
                break;
            }
        }
        let sps = sets.sps().filter(|_| !times.is_empty());
        let sps = sps.ok_or_else(|| ReadError::format(0, NO_VIDEO))?;
        Ok(Self { sps, times, reorder, capture })
    }
}
