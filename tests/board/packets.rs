//! The aggregator under test, and the packets that it prints.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use framelock_common::time::Utc;
use framelock_tests::packets::Packet;
use framelock_tests::process::{free_port, program};

use crate::child::{Child, deadline, now};

/// How long the rig waits for packets that must come.
const PATIENCE: Duration = Duration::from_secs(120);
/// Full packets in a row that count as recovered.
pub(crate) const RECOVERED: usize = 20;

/// `framelock-aggregator packets`, taking every board that arrives.
pub(crate) struct Aggregator {
    child: Child,
    pub(crate) port: u16,
    cameras: Vec<&'static str>,
}

/// A packet and the host's UTC when the rig read it.
pub(crate) struct Received {
    pub(crate) packet: Packet,
    pub(crate) at: Utc,
}

impl Aggregator {
    /// Starts it on a free port.
    pub(crate) fn start(dir: &Path, cameras: Vec<&'static str>) -> Result<Self> {
        let port = free_port();
        let args = ["packets".to_owned(), "--camera".to_owned(), format!("*=rtp://:{port}")];
        let child = Child::start("aggregator", &program("framelock-aggregator"), &args, dir)?;
        Ok(Self { child, port, cameras })
    }

    /// The next packet, `None` when none comes in time.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Option<Received>> {
        let Some(line) = self.child.line(deadline(timeout))? else { return Ok(None) };
        let packet =
            serde_json::from_str(&line.text).with_context(|| format!("not a packet: {}", line.text))?;
        Ok(Some(Received { packet, at: line.at }))
    }

    /// Has every board's frame.
    pub(crate) fn is_full(&self, packet: &Packet) -> bool {
        packet.complete && self.cameras.iter().all(|camera| has_frame(packet, camera))
    }

    /// Has a frame of every board but `camera`.
    pub(crate) fn lacks_only(&self, packet: &Packet, camera: &str) -> bool {
        self.cameras.iter().all(|name| has_frame(packet, name) != (*name == camera))
    }

    /// Waits for `wanted` full packets, however many others are between them, as long as no frame among them goes
    /// by its arrival time. Frames sent before a board's clock was corrected do, and are said to: after one of
    /// those the count starts again.
    pub(crate) fn full_packets(&mut self, wanted: usize) -> Result<Vec<Received>> {
        let mut full = Vec::new();
        self.read_until(wanted, |aggregator, received| {
            if by_arrival(&received.packet) {
                full.clear();
            } else if aggregator.is_full(&received.packet) {
                full.push(received);
            }
            full.len()
        })?;
        Ok(full)
    }

    /// Waits for [`RECOVERED`] full packets in a row of frames captured after `after`.
    pub(crate) fn recovered(&mut self, after: Utc) -> Result<Vec<Received>> {
        let mut row = Vec::new();
        self.read_until(RECOVERED, |aggregator, received| {
            if !aggregator.is_full(&received.packet) {
                row.clear();
            } else if received.packet.time_ns.is_some_and(|time| time > after.as_unix_nanos()) {
                row.push(received);
            }
            row.len()
        })?;
        Ok(row)
    }

    /// Hands packets to `take` until it has `wanted` of those it looks for.
    fn read_until(&mut self, wanted: usize, mut take: impl FnMut(&Self, Received) -> usize) -> Result<()> {
        let limit = deadline(PATIENCE);
        let mut found = 0;
        while found < wanted {
            let Some(received) = self.next(limit.saturating_duration_since(now()))? else {
                bail!(
                    "only {found} of {wanted} packets with a frame of every board within {} s; \
                     see aggregator.out and aggregator.err",
                    PATIENCE.as_secs()
                )
            };
            found = take(self, received);
        }
        Ok(())
    }

    /// Forgets the packets that wait to be read.
    pub(crate) fn skip_waiting(&self) {
        self.child.skip_waiting();
    }
}

fn by_arrival(packet: &Packet) -> bool {
    packet.frames.iter().any(|frame| frame.time_source.as_deref() == Some("arrival"))
}

fn has_frame(packet: &Packet, camera: &str) -> bool {
    packet.frames.iter().any(|frame| frame.camera == camera && frame.status == "okay")
}
