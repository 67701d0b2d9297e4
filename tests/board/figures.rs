//! What the rig asks of the times in good packets, and what it shows of them.

use std::fmt;

use anyhow::{Context, Result, ensure};
use framelock_common::time::{Span, Utc};
use framelock_tests::packets::Frame;

use crate::machine::Machine;
use crate::packets::Received;
use crate::truth;

/// A frame reaches the rig at most this long after its capture. Emulation is slow: the aim of a real board
/// is below 0.1 s. A board whose clock was not corrected would be minutes off.
const LATEST: Span = Span::from_secs(10);

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
    pub(crate) fn of(packets: &[Received], cameras: &[Machine], period: Span) -> Result<Self> {
        let mut spreads = Vec::new();
        for received in packets {
            spreads.push(received.packet.spread_ns.context("a packet with frames has a spread")?);
        }
        let spread = median(spreads)?;
        // Two free-running cameras are at most half a period apart; emulation delays single frames.
        ensure!(spread <= period, "the median spread is {spread}, more than the period of {period}");
        let cameras =
            cameras.iter().map(|camera| Camera::of(camera, packets, period)).collect::<Result<_>>()?;
        Ok(Self { packets: packets.len(), spread, cameras })
    }
}

impl Camera {
    fn of(machine: &Machine, packets: &[Received], period: Span) -> Result<Self> {
        let (name, ahead) = (machine.name, period.mul_div(machine.stamped_ahead, 100));
        let (mut uncertainties, mut latencies, mut sources) = (Vec::new(), Vec::new(), Vec::new());
        for Received { packet, at } in packets {
            let frame = packet.frames.iter().find(|frame| frame.camera == name);
            let frame = frame.with_context(|| format!("{name} is missing in packet {}", packet.packet))?;
            let (uncertainty, latency, source) =
                check(frame, *at, ahead).with_context(|| format!("packet {}, {name}", packet.packet))?;
            uncertainties.push(uncertainty);
            latencies.push(latency);
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        Ok(Self { name, uncertainty: median(uncertainties)?, latency: median(latencies)?, sources })
    }
}

/// The time of a frame that was read `at`: from the board's clock, and right. Its driver hands it out up to `ahead`
/// before the instant that it stamps it with.
fn check(frame: &Frame, at: Utc, ahead: Span) -> Result<(i64, i64, String)> {
    let time = frame.time_ns.context("no time")?;
    let uncertainty = frame.uncertainty_ns.context("no uncertainty")?;
    let source = frame.time_source.clone().context("no time source")?;
    ensure!(
        source == "sender-report" || source == "in-band",
        "the time is from `{source}`, not from the board's clock"
    );
    ensure!(uncertainty > 0, "it claims to know its time exactly");
    // Captured before it was read here, by clocks that are right within the limit, and not long before. The bound
    // that came with it is no excuse: the aggregator widens it where a time contradicts the arrival.
    let latency = at - Utc::from_unix_nanos(time);
    ensure!(
        latency >= -(ahead + truth::LIMIT) && latency <= LATEST,
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
