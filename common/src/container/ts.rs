//! MPEG-TS files.

use std::io::SeekFrom;

use super::{Input, ReadError, Unit, Units};
use crate::mpegts::{Demuxer, PacketMeta, TsEvent};
use crate::time::{HostTime, MEDIA_CLOCK_HZ};

/// Read at a time: 64 packets.
const CHUNK: usize = 64 * 188;

/// The H.264 frames of an MPEG-TS file.
pub(super) struct TsReader<R> {
    file: R,
    demuxer: Demuxer,
    chunk: Vec<u8>,
    ended: bool,
}

impl<R: Input> TsReader<R> {
    pub(super) fn new(file: R) -> Self {
        Self { file, demuxer: Demuxer::new(), chunk: vec![0; CHUNK], ended: false }
    }
}

impl<R: Input> Units for TsReader<R> {
    fn next(&mut self) -> Result<Option<Unit>, ReadError> {
        loop {
            match self.demuxer.poll() {
                Some(TsEvent::AccessUnit { data, pts, dts, complete, .. }) => {
                    return Ok(Some(Unit { data, pts, dts: dts.unwrap_or(pts), damaged: !complete }));
                }
                // The frames that it spoils come as damaged ones, or not at all.
                Some(TsEvent::Problem(_)) => {}
                None if self.ended => return Ok(None),
                None => {
                    let length = self.file.read(&mut self.chunk)?;
                    // Arrival means nothing in a file.
                    let meta = PacketMeta { rtp_timestamp: None, arrival: HostTime::from_nanos(0) };
                    if length == 0 {
                        self.ended = true;
                        self.demuxer.flush();
                    } else {
                        self.demuxer.push(&self.chunk[..length], meta);
                    }
                }
            }
        }
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        self.file.seek(SeekFrom::Start(0))?;
        self.demuxer = Demuxer::new();
        self.ended = false;
        Ok(())
    }

    fn timescale(&self) -> u32 {
        const { MEDIA_CLOCK_HZ as u32 }
    }

    fn parameter_sets(&self) -> &[u8] {
        &[]
    }

    fn reorder(&self) -> i64 {
        0
    }
}
