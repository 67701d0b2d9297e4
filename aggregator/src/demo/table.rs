//! The live table of a demonstration; on a terminal in place, else plain lines.

use std::io::{self, Write};

use framelock_common::time::{Span, Utc};

use super::truth::Truth;
use crate::cli::CameraRates;
use crate::deliver::{FrameStatus, Packet};
use crate::engine::CameraStatus;

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    terminal: bool,
    /// Lines that are on the terminal now.
    shown: usize,
    /// Spread of the last complete packet, and the bound on it.
    spread: (Span, Span),
    /// Latency from capture to delivery of each camera's last delivered frame.
    latency: Vec<Option<Span>>,
}

/// What is to be seen.
pub(super) struct View<'a> {
    pub(super) cameras: &'a [CameraStatus],
    pub(super) rates: &'a [CameraRates],
    pub(super) truth: &'a Truth,
}

impl Table {
    pub(super) fn new(terminal: bool) -> Self {
        Self { terminal, shown: 0, spread: (Span::ZERO, Span::ZERO), latency: Vec::new() }
    }

    /// A packet was delivered.
    pub(super) fn note(&mut self, packet: &Packet, delivered: Utc) {
        if packet.complete {
            self.spread = (packet.spread, packet.spread_bound);
        }
        self.latency.resize(packet.entries.len(), None);
        for (latency, entry) in self.latency.iter_mut().zip(&packet.entries) {
            if entry.status == FrameStatus::Okay {
                *latency = entry.frame.as_ref().map(|frame| delivered - frame.time.utc);
            }
        }
    }

    /// Whether the table is drawn in place.
    pub(super) const fn is_drawn(&self) -> bool {
        self.terminal
    }

    /// What to write to show `view`.
    pub(super) fn show(&mut self, view: &View<'_>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        if self.terminal {
            self.draw(view, &mut out)?;
        } else {
            self.line(view, &mut out)?;
        }
        Ok(out)
    }

    fn draw(&mut self, view: &View<'_>, out: &mut impl Write) -> io::Result<()> {
        if self.shown > 0 {
            // Up to the table's first line, and clear from there.
            write!(out, "\x1b[{}A\x1b[J", self.shown)?;
        }
        writeln!(
            out,
            "{:<10} {:<9} {:>6} {:>11} {:>6} {:>12} {:>12} {:>14}",
            "camera", "state", "fps", "kbit/s", "lost", "latency", "uncertainty", "time source"
        )?;
        for (index, (camera, rate)) in view.cameras.iter().zip(view.rates).enumerate() {
            let text = |span: Option<Span>| span.map_or_else(|| "-".to_owned(), |span| span.to_string());
            writeln!(
                out,
                "{:<10} {:<9} {:>6.1} {:>11.0} {:>6} {:>12} {:>12} {:>14}",
                camera.name.as_str(),
                camera.state.as_str(),
                rate.fps,
                rate.bitrate / 1e3,
                camera.stream.lost,
                text(self.latency.get(index).copied().flatten()),
                text(camera.last.map(|last| last.uncertainty)),
                camera.last.map_or("-", |last| last.source.as_str()),
            )?;
        }
        let (packets, complete) = (view.truth.packets(), view.truth.complete_packets());
        let (spread, bound) = self.spread;
        writeln!(out, "packets {packets}, complete {complete}, spread now {spread}, at most {bound}")?;
        self.shown = view.cameras.len().min(view.rates.len()) + 2;
        Ok(())
    }

    fn line(&self, view: &View<'_>, out: &mut impl Write) -> io::Result<()> {
        let (packets, complete) = (view.truth.packets(), view.truth.complete_packets());
        let (spread, bound) = self.spread;
        write!(out, "packets {packets} complete {complete} spread {spread} at most {bound}")?;
        for (index, (camera, rate)) in view.cameras.iter().zip(view.rates).enumerate() {
            write!(
                out,
                " | {} {} {:.1} fps {:.0} kbit/s",
                camera.name,
                camera.state.as_str(),
                rate.fps,
                rate.bitrate / 1e3
            )?;
            write!(out, " lost {}", camera.stream.lost)?;
            if let Some(Some(latency)) = self.latency.get(index) {
                write!(out, " latency {latency}")?;
            }
            if let Some(last) = camera.last {
                write!(out, " +-{} {}", last.uncertainty, last.source)?;
            }
        }
        writeln!(out)
    }
}
