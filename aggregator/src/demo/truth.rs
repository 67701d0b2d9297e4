//! Reported capture times against the truth, which the test cameras draw into their pictures.
//!
//! Frames that came before their board knew UTC are dated by their arrival; they are counted apart, since
//! the errors of the others say what synchronization is worth. Their bounds are checked all the same.

use std::io::{self, Write};

use framelock_common::time::{HostTime, Span, Utc};
use framelock_common::timecode;

use crate::deliver::{Frame, Packet, TimeSource};

/// Errors kept for the percentiles of one camera; from then on every new one replaces the oldest.
const MAX_ERRORS: usize = 100_000;

/// What was found so far.
#[derive(Debug)]
pub(super) struct Truth {
    cameras: Vec<Camera>,
    packets: u64,
    complete: u64,
    spreads: Vec<Span>,
    /// The bounds on them.
    spread_bounds: Vec<Span>,
    /// Complete packets whose frames were truly further apart than their bound says.
    wider: u64,
    start: HostTime,
    /// From the start to the first packet in which every frame's time comes from its board's clock.
    synchronized_after: Option<Span>,
}

#[derive(Debug, Default)]
struct Camera {
    name: String,
    read: u64,
    unreadable: u64,
    /// Frames without their board's UTC.
    undated: u64,
    outside: u64,
    errors: Vec<Span>,
    bounds: Vec<Span>,
}

impl Truth {
    pub(super) fn new(names: Vec<String>, start: HostTime) -> Self {
        let cameras = names.into_iter().map(|name| Camera { name, ..Camera::default() }).collect();
        Self {
            cameras,
            packets: 0,
            complete: 0,
            spreads: Vec::new(),
            spread_bounds: Vec::new(),
            wider: 0,
            start,
            synchronized_after: None,
        }
    }

    /// Frames whose reported time was further from the truth than its bound says, and packets whose spread was.
    pub(super) fn outside(&self) -> u64 {
        self.cameras.iter().map(|camera| camera.outside).sum::<u64>() + self.wider
    }

    /// Packets with a frame of every camera.
    pub(super) fn complete_packets(&self) -> u64 {
        self.complete
    }

    /// All packets.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// Reads the strips of a packet's pictures.
    pub(super) fn note(&mut self, packet: &Packet, now: HostTime) {
        self.packets += 1;
        let mut frames = packet.entries.iter().filter_map(|entry| entry.frame.as_ref());
        if packet.complete && frames.all(|frame| frame.time_source != TimeSource::Arrival) {
            self.synchronized_after.get_or_insert(now - self.start);
        }
        if packet.complete {
            keep(&mut self.spreads, packet.spread, self.complete);
            keep(&mut self.spread_bounds, packet.spread_bound, self.complete);
            self.complete += 1;
        }
        let mut truths = Vec::new();
        for (camera, entry) in self.cameras.iter_mut().zip(&packet.entries) {
            truths.extend(entry.frame.as_ref().and_then(|frame| camera.note(frame)));
        }
        let truly = truths.iter().max().zip(truths.iter().min()).map(|(last, first)| *last - *first);
        self.wider += u64::from(packet.complete && truly > Some(packet.spread_bound));
    }

    /// Says how far the reported times are from the truth.
    pub(super) fn report(&mut self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out)?;
        writeln!(out, "{} packets, {} of them with every camera", self.packets, self.complete)?;
        if let Some((p50, p99, max)) = percentiles(&mut self.spreads) {
            writeln!(out, "spread of complete packets: median {p50}, p99 {p99}, max {max}")?;
        }
        if let Some((p50, p99, max)) = percentiles(&mut self.spread_bounds) {
            let wider = self.wider;
            writeln!(out, "bound on the spread: median {p50}, p99 {p99}, max {max}; truly wider: {wider}")?;
        }
        match self.synchronized_after {
            Some(after) => writeln!(out, "every camera synchronized {after} after the start")?,
            None => writeln!(out, "not every camera was synchronized")?,
        }
        writeln!(out, "reported capture times against the truth in the decoded timecode strips:")?;
        writeln!(
            out,
            "{:<10} {:>8} {:>11} {:>8} {:>12} {:>12} {:>12} {:>14} {:>13}",
            "camera",
            "strips",
            "unreadable",
            "no UTC",
            "error p50",
            "error p99",
            "error max",
            "median bound",
            "outside bound"
        )?;
        for camera in &mut self.cameras {
            camera.report(out)?;
        }
        Ok(())
    }
}

impl Camera {
    /// Looks at a frame; gives the instant of its capture.
    fn note(&mut self, frame: &Frame) -> Option<Utc> {
        let strip = frame.picture().map(|p| timecode::read(p.y().data, p.y().stride, p.width(), p.height()));
        let Some(Ok(strip)) = strip else {
            self.unreadable += 1;
            return None;
        };
        let error = (frame.time.utc - strip.capture).abs();
        if error > frame.time.uncertainty {
            self.outside += 1;
            let (bound, source) = (frame.time.uncertainty, frame.time_source);
            tracing::warn!(camera = self.name, frame = frame.sequence, %error, %bound, %source, "outside its bound");
        }
        if frame.time_source == TimeSource::Arrival {
            self.undated += 1;
            return Some(strip.capture);
        }
        keep(&mut self.errors, error, self.read);
        keep(&mut self.bounds, frame.time.uncertainty, self.read);
        self.read += 1;
        Some(strip.capture)
    }

    fn report(&mut self, out: &mut impl Write) -> io::Result<()> {
        let Self { name, read, unreadable, undated, outside, .. } = self;
        let errors = percentiles(&mut self.errors);
        let (Some((p50, p99, max)), Some((bound, _, _))) = (errors, percentiles(&mut self.bounds)) else {
            return writeln!(out, "{name:<10} {read:>8} {unreadable:>11} {undated:>8} {:>12}", "-");
        };
        let [p50, p99, max, bound] = [p50, p99, max, bound].map(|span| span.to_string());
        writeln!(
            out,
            "{name:<10} {read:>8} {unreadable:>11} {undated:>8} {p50:>12} {p99:>12} {max:>12} {bound:>14} {outside:>13}"
        )
    }
}

fn keep(values: &mut Vec<Span>, value: Span, counted: u64) {
    if values.len() < MAX_ERRORS {
        values.push(value);
    } else {
        let at = usize::try_from(counted).unwrap_or(0) % MAX_ERRORS;
        values[at] = value;
    }
}

/// Median, 99th percentile and maximum.
fn percentiles(values: &mut [Span]) -> Option<(Span, Span, Span)> {
    values.sort_unstable();
    let at = |permille: usize| values.get((values.len() * permille / 1_000).min(values.len() - 1)).copied();
    let max = *values.last()?;
    Some((at(500)?, at(990)?, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_few_and_many() {
        assert_eq!(percentiles(&mut []), None);
        let mut values: Vec<_> = (0..1_000).rev().map(Span::from_nanos).collect();
        let ns = Span::from_nanos;
        assert_eq!(percentiles(&mut values), Some((ns(500), ns(990), ns(999))));
        assert_eq!(percentiles(&mut [ns(3)]), Some((ns(3), ns(3), ns(3))));
    }
}
