//! `framelock-sender clock`: how far the system clock is from a server's.

use framelock_common::clock::{ClockState, KernelClock, NtpConfig};
use framelock_common::time::Span;
use serde::Serialize;

use super::BoardClock;
use super::ntp::NtpShell;
use crate::config::HostPort;

/// What a measurement found, as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// The server's time minus the system clock's: positive when the system clock is behind.
    pub offset_ns: Option<i64>,
    /// Bound on the error of the server's time as it is known here.
    pub uncertainty_ns: Option<i64>,
    /// Round-trip delay to the server.
    pub delay_ns: Option<i64>,
    /// How much faster UTC runs than this board's oscillator.
    pub skew_ppm: Option<f64>,
    /// The server's stratum.
    pub stratum: Option<u8>,
    /// `synchronized` or `unsynchronized`.
    pub state: &'static str,
    /// Answers used.
    pub samples: u64,
    /// What the kernel says of the system clock: `synchronized` or `unsynchronized`.
    pub system_state: &'static str,
    /// Bound on the system clock's error by the kernel's figures; absent while it is unsynchronized.
    pub system_uncertainty_ns: Option<i64>,
}

/// Asks `server` for `samples` answers, one every `interval`, and gives up when they take twice as long
/// as they should and five seconds.
pub async fn measure(server: HostPort, samples: u64, interval: Span, clock: BoardClock) -> Measurement {
    let config = NtpConfig { min_poll: interval, max_poll: interval, ..NtpConfig::new(1) };
    let mut ntp = NtpShell::new(&[server], config, clock);
    let patience = (interval * i64::try_from(samples).unwrap_or(i64::MAX)) * 2 + Span::from_secs(5);
    let deadline = clock.now() + patience;
    while ntp.status().samples < samples && clock.now() < deadline {
        let left = (deadline - clock.now()).to_duration();
        // Giving up is no error here: what was found so far is reported.
        let _ = tokio::time::timeout(left, ntp.step()).await;
    }
    let status = ntp.status();
    let reading = clock.reading();
    let estimate = ntp.client().mapping().map(|mapping| mapping.utc_at(reading.before));
    let kernel = framelock_timex::read().unwrap_or(KernelClock::UNKNOWN);
    Measurement {
        offset_ns: estimate.map(|estimate| (estimate.utc - reading.realtime).as_nanos()),
        uncertainty_ns: estimate.map(|estimate| estimate.uncertainty.as_nanos()),
        delay_ns: status.delay.map(Span::as_nanos),
        skew_ppm: status.skew_ppb.map(to_ppm),
        stratum: status.stratum,
        state: ClockState::as_str(status.state),
        samples: status.samples,
        system_state: kernel.state().as_str(),
        system_uncertainty_ns: kernel.synchronized.then(|| kernel.bound().as_nanos()),
    }
}

/// Parts per million, for people.
fn to_ppm(ppb: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for display only")]
    let ppb = ppb as f64;
    ppb / 1_000.0
}
