//! The task that keeps the estimate of UTC up to date, whatever it comes from.

use std::time::Duration;

use framelock_common::clock::{ClockMapping, ClockReading, ClockState, NtpConfig, SystemClock};
use framelock_common::time::Span;
use tokio::sync::watch;
use tracing::Instrument;

use super::BoardClock;
use super::ntp::NtpShell;
use crate::config::{ClockSpec, HostPort};

/// From one reading of the system clock to the next.
const SYSTEM_INTERVAL: Duration = Duration::from_secs(1);

/// Readings at a time, of which the narrowest counts.
const READINGS: usize = 5;

/// What is known of UTC now; `None` while the clock is unsynchronized.
pub type ClockWatch = watch::Receiver<Option<ClockMapping>>;

/// The clocks that `spec` asks for.
#[must_use]
pub fn board_clock(spec: &ClockSpec) -> BoardClock {
    match spec {
        ClockSpec::Simulated { error, .. } => BoardClock::simulated(*error),
        ClockSpec::Auto | ClockSpec::System | ClockSpec::Ntp(_) => BoardClock::real(),
    }
}

/// Starts a task that estimates UTC as `spec` says and publishes each new estimate, for ever; must be
/// called inside a Tokio runtime. The system clock's error is taken to be at most
/// `system_uncertainty`; it is read before this returns, so nothing need go out unsynchronized.
#[must_use]
pub fn start(spec: ClockSpec, clock: BoardClock, system_uncertainty: Span) -> ClockWatch {
    let servers = match spec {
        ClockSpec::Ntp(servers) | ClockSpec::Simulated { servers, .. } => servers,
        ClockSpec::Auto | ClockSpec::System => Vec::new(),
    };
    let mut system = SystemClock::new();
    if servers.is_empty() {
        read_system(&mut system, clock, system_uncertainty);
    }
    let (publish, watch) = watch::channel(system.mapping());
    if servers.is_empty() {
        tokio::spawn(follow_system(system, clock, system_uncertainty, publish).in_current_span());
    } else {
        tokio::spawn(follow_servers(servers, clock, publish).in_current_span());
    }
    watch
}

async fn follow_system(
    mut system: SystemClock,
    clock: BoardClock,
    uncertainty: Span,
    publish: watch::Sender<Option<ClockMapping>>,
) {
    loop {
        tokio::time::sleep(SYSTEM_INTERVAL).await;
        read_system(&mut system, clock, uncertainty);
        publish.send_replace(system.mapping());
    }
}

/// Whether the kernel calls its clock disciplined is not asked: the caller has said how far to trust it.
fn read_system(system: &mut SystemClock, clock: BoardClock, uncertainty: Span) {
    let readings: [ClockReading; READINGS] = std::array::from_fn(|_| clock.reading());
    if system.handle_readings(&readings, ClockState::Synchronized, uncertainty) {
        tracing::warn!("the system clock was stepped; capture times follow it");
    }
}

async fn follow_servers(
    servers: Vec<HostPort>,
    clock: BoardClock,
    publish: watch::Sender<Option<ClockMapping>>,
) {
    let mut ntp = NtpShell::new(&servers, NtpConfig::new(servers.len()), clock);
    let mut known: Option<ClockMapping> = None;
    loop {
        ntp.step().await;
        let mapping = ntp.client().mapping();
        if mapping == known {
            continue;
        }
        report(known.as_ref(), mapping.as_ref(), clock);
        known = mapping;
        publish.send_replace(mapping);
    }
}

/// Logs what people want to know: synchronization gained, lost, and steps.
fn report(old: Option<&ClockMapping>, new: Option<&ClockMapping>, clock: BoardClock) {
    match (old, new) {
        (None, Some(new)) => {
            let now = clock.now();
            let reading = clock.reading();
            let estimate = new.utc_at(now);
            let offset = new.utc_at(reading.before).utc - reading.realtime;
            let uncertainty = estimate.uncertainty;
            tracing::info!(%uncertainty, system_clock_is_behind_by = %offset, "clock synchronized by NTP");
        }
        (Some(_), None) => tracing::warn!("no NTP server answers any more; frames go out unsynchronized"),
        (Some(old), Some(new)) if old.epoch != new.epoch => {
            tracing::warn!("the NTP server's clock was stepped; capture times follow it");
        }
        _ => {}
    }
}
