//! The aggregator under test, and what the rig asks of its packets.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use framelock_common::time::{Span, Utc};
use framelock_tests::packets::Packet;
use framelock_tests::process::{free_port, program};

use crate::child::{Child, deadline, now};

/// How long the rig waits for packets that must come.
const PATIENCE: Duration = Duration::from_secs(120);
/// A frame reaches the rig at most this long after its capture. Emulation is slow: the aim of a real board
/// is below 0.1 s. A board whose clock was not corrected would be minutes off.
const LATEST: Span = Span::from_nanos(10_000_000_000);

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
        let packet = serde_json::from_str(&line).with_context(|| format!("not a packet: {line}"))?;
        Ok(Some(Received { packet, at: utc_now()? }))
    }

    /// Has every board's frame.
    pub(crate) fn is_full(&self, packet: &Packet) -> bool {
        packet.complete && self.cameras.iter().all(|camera| has_frame(packet, camera))
    }

    /// Has a frame of every board but `camera`.
    pub(crate) fn lacks_only(&self, packet: &Packet, camera: &str) -> bool {
        self.cameras.iter().all(|name| has_frame(packet, name) != (*name == camera))
    }

    /// Waits for `wanted` full packets, however many others are between them.
    pub(crate) fn full_packets(&mut self, wanted: usize) -> Result<Vec<Received>> {
        let mut full = Vec::new();
        self.read_until(wanted, |aggregator, received| {
            if aggregator.is_full(&received.packet) {
                full.push(received);
            }
            full.len()
        })?;
        Ok(full)
    }

    /// Waits for [`RECOVERED`] full packets in a row of frames captured after `after`; shows `see` every packet.
    pub(crate) fn recovered(
        &mut self,
        after: Utc,
        mut see: impl FnMut(&Self, &Packet),
    ) -> Result<Vec<Received>> {
        let mut row = Vec::new();
        self.read_until(RECOVERED, |aggregator, received| {
            see(aggregator, &received.packet);
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

fn has_frame(packet: &Packet, camera: &str) -> bool {
    packet.frames.iter().any(|frame| frame.camera == camera && frame.status == "okay")
}

/// What good packets looked like.
pub(crate) struct Figures {
    pub(crate) packets: usize,
    pub(crate) median_spread: Span,
    pub(crate) median_uncertainty: Span,
    pub(crate) median_latency: Span,
    pub(crate) sources: Vec<String>,
}

/// Checks times, their sources and the spread of full packets from cameras of period `period`.
pub(crate) fn check(packets: &[Received], period: Span) -> Result<Figures> {
    let (mut spreads, mut uncertainties, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
    let mut sources = Vec::new();
    for Received { packet, at } in packets {
        spreads.push(packet.spread_ns.context("a packet with frames has a spread")?);
        for frame in &packet.frames {
            let time = frame.time_ns.with_context(|| format!("no time in {frame:?}"))?;
            let uncertainty = frame.uncertainty_ns.with_context(|| format!("no uncertainty in {frame:?}"))?;
            let source = frame.time_source.clone().with_context(|| format!("no time source in {frame:?}"))?;
            ensure!(
                source == "sender-report" || source == "in-band",
                "packet {}: the time of {} is from `{source}`, not from the board's clock",
                packet.packet,
                frame.camera
            );
            ensure!(
                uncertainty > 0,
                "packet {}: {} claims to know its time exactly",
                packet.packet,
                frame.camera
            );
            // Captured before it was read here, give or take what the board itself admits; and not long before.
            let latency = *at - Utc::from_unix_nanos(time);
            ensure!(
                latency.as_nanos() >= -uncertainty && latency.as_nanos() <= LATEST.as_nanos() + uncertainty,
                "packet {}: {} was captured {latency} before it arrived, ± {} ns: its clock is wrong",
                packet.packet,
                frame.camera,
                uncertainty
            );
            uncertainties.push(uncertainty);
            latencies.push(latency.as_nanos());
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
    }
    let median_spread = median(&mut spreads)?;
    // Two free-running cameras are at most half a period apart; emulation delays single frames.
    ensure!(
        median_spread <= period,
        "the median spread is {median_spread}, more than the period of {period}"
    );
    Ok(Figures {
        packets: packets.len(),
        median_spread,
        median_uncertainty: median(&mut uncertainties)?,
        median_latency: median(&mut latencies)?,
        sources,
    })
}

fn median(values: &mut [i64]) -> Result<Span> {
    values.sort_unstable();
    values.get(values.len() / 2).copied().map(Span::from_nanos).context("no packets to look at")
}

/// The host's UTC, the truth of this test: `chronyd` serves it to the boards.
#[expect(clippy::disallowed_methods, reason = "the rig compares the boards' time with the host's")]
pub(crate) fn utc_now() -> Result<Utc> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.context("the host's clock is before 1970")?;
    Ok(Utc::from_unix_nanos(i64::try_from(now.as_nanos()).context("the host's clock is after 2262")?))
}
