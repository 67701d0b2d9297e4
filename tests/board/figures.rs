//! What the rig asks of the times in good packets, and what it shows of them.

use std::fmt;

use anyhow::{Context, Result, ensure};
use framelock_common::time::{Span, Utc};
use framelock_tests::packets::Frame;

use crate::packets::Received;

/// A frame reaches the rig at most this long after its capture. Emulation is slow: the aim of a real board
/// is below 0.1 s. A board whose clock was not corrected would be minutes off.
pub(crate) const LATEST: Span = Span::from_secs(10);

/// What good packets looked like.
pub(crate) struct Figures {
    packets: usize,
    spread: Span,
    cameras: Vec<Camera>,
}

/// One camera's frames in them; medians.
struct Camera {
    name: &'static str,
    uncertainty: Span,
    latency: Span,
    sources: Vec<String>,
}

impl Figures {
    /// Checks times, their sources and the spread of full packets from `cameras` of period `period`.
    pub(crate) fn of(packets: &[Received], cameras: &[&'static str], period: Span) -> Result<Self> {
        let mut spreads = Vec::new();
        for received in packets {
            spreads.push(received.packet.spread_ns.context("a packet with frames has a spread")?);
        }
        let spread = median(spreads)?;
        // Two free-running cameras are at most half a period apart; emulation delays single frames.
        ensure!(spread <= period, "the median spread is {spread}, more than the period of {period}");
        let cameras = cameras.iter().map(|name| Camera::of(name, packets, period)).collect::<Result<_>>()?;
        Ok(Self { packets: packets.len(), spread, cameras })
    }
}

impl Camera {
    fn of(name: &'static str, packets: &[Received], period: Span) -> Result<Self> {
        let (mut uncertainties, mut latencies, mut sources) = (Vec::new(), Vec::new(), Vec::new());
        for Received { packet, at } in packets {
            let frame = packet.frames.iter().find(|frame| frame.camera == name);
            let frame = frame.with_context(|| format!("{name} is missing in packet {}", packet.packet))?;
            let (uncertainty, latency, source) =
                check(frame, *at, period).with_context(|| format!("packet {}, {name}", packet.packet))?;
            uncertainties.push(uncertainty);
            latencies.push(latency);
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        Ok(Self { name, uncertainty: median(uncertainties)?, latency: median(latencies)?, sources })
    }
}

/// The time of a frame that was read `at`: from the board's clock, and right.
fn check(frame: &Frame, at: Utc, period: Span) -> Result<(i64, i64, String)> {
    let time = frame.time_ns.context("no time")?;
    let uncertainty = frame.uncertainty_ns.context("no uncertainty")?;
    let source = frame.time_source.clone().context("no time source")?;
    ensure!(
        source == "sender-report" || source == "in-band",
        "the time is from `{source}`, not from the board's clock"
    );
    ensure!(uncertainty > 0, "it claims to know its time exactly");
    // Captured before it was read here, give or take what the board itself admits; and not long before. vivid
    // hands a frame out up to a period before the end that it stamps it with.
    let latency = at - Utc::from_unix_nanos(time);
    ensure!(
        latency >= Span::from_nanos(-uncertainty) - period
            && latency <= LATEST + Span::from_nanos(uncertainty),
        "captured {latency} before it arrived, give or take {}: the clock is wrong",
        Span::from_nanos(uncertainty)
    );
    Ok((uncertainty, latency.as_nanos(), source))
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets with a frame of every board, median spread {}", self.packets, self.spread)?;
        for camera in &self.cameras {
            write!(
                f,
                "\n  {}: time from {}, known within {}, here {} after capture (medians)",
                camera.name,
                camera.sources.join(" and "),
                camera.uncertainty,
                camera.latency
            )?;
        }
        Ok(())
    }
}

/// The median of times in ns.
pub(crate) fn median(mut values: Vec<i64>) -> Result<Span> {
    values.sort_unstable();
    values.get(values.len() / 2).copied().map(Span::from_nanos).context("no packets to look at")
}
