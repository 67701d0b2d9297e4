//! The task that keeps the estimate of UTC up to date, whatever it comes from.

use std::time::Duration;

use framelock_common::clock::{ClockChooser, ClockMapping, Decision, NtpConfig};
use framelock_common::time::Span;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::Instrument;

use super::BoardClock;
use super::ntp::NtpShell;
use super::system::{SystemShell, Trust};
use crate::config::{ClockSpec, HostPort};

/// From one reading of the system clock to the next.
const SYSTEM_INTERVAL: Duration = Duration::from_secs(1);

/// A bound that is good enough to begin with. In a network that is not busy the first answer gives it.
const GOOD_START: Span = Span::from_millis(2);

/// How far a simulated wrong clock without servers is believed: tests need a board that is sure and wrong.
const SIMULATED_BOUND: Span = Span::from_millis(50);

/// What is known of UTC now; `None` while the clock is unsynchronized.
pub type ClockWatch = watch::Receiver<Option<ClockMapping>>;

/// The clocks that `spec` asks for.
#[must_use]
pub fn board_clock(spec: &ClockSpec) -> BoardClock {
    match spec {
        ClockSpec::Simulated { error, .. } => BoardClock::simulated(*error),
        ClockSpec::Auto(_) | ClockSpec::System | ClockSpec::Ntp(_) => BoardClock::real(),
    }
}

/// Starts a task that estimates UTC as `spec` says and publishes each new estimate, for ever; must be
/// called inside a Tokio runtime. A system clock that is used is read before this returns, so that nothing
/// need go out unsynchronized.
#[must_use]
pub fn start(spec: ClockSpec, clock: BoardClock, trust: Trust) -> ClockWatch {
    let (servers, with_system) = match spec {
        ClockSpec::Ntp(servers) => (servers, false),
        ClockSpec::Simulated { servers, .. } => (servers, false),
        ClockSpec::Auto(servers) => (servers, true),
        ClockSpec::System => (Vec::new(), true),
    };
    if servers.is_empty() {
        let trust = if with_system { trust } else { Trust::Within(SIMULATED_BOUND) };
        let mut system = SystemShell::new(clock, trust, true);
        let (publish, watch) = watch::channel(system.read());
        tokio::spawn(follow_system(system, publish).in_current_span());
        return watch;
    }
    if with_system {
        let mut system = SystemShell::new(clock, trust, false);
        let mut chooser = ClockChooser::new();
        let first = system.read();
        announce(chooser.handle(clock.now(), first, None));
        let (publish, watch) = watch::channel(chooser.mapping());
        tokio::spawn(follow_better(system, servers, clock, chooser, publish).in_current_span());
        return watch;
    }
    let (publish, watch) = watch::channel(None);
    tokio::spawn(follow_servers(servers, clock, publish).in_current_span());
    watch
}

/// Waits until UTC is known well, `within` at most: where a stream begins with a poor estimate or none, its frames
/// move in time against those of other cameras when a better one comes. Only servers are waited for: a
/// system clock that is not synchronized may never be.
pub async fn wait_for_utc(spec: &ClockSpec, mut utc: ClockWatch, within: Duration) {
    let servers = match spec {
        ClockSpec::Ntp(servers) | ClockSpec::Auto(servers) => servers,
        ClockSpec::Simulated { servers, .. } => servers,
        ClockSpec::System => return,
    };
    if servers.is_empty() {
        return;
    }
    let is_good = |clock: &ClockMapping| clock.uncertainty <= GOOD_START;
    let known = utc.wait_for(|clock| clock.as_ref().is_some_and(is_good));
    let in_time = tokio::time::timeout(within, known).await.is_ok();
    if !in_time && utc.borrow().is_none() {
        tracing::warn!("no NTP server has given the time yet; starting without UTC");
    }
}

async fn follow_system(mut system: SystemShell, publish: watch::Sender<Option<ClockMapping>>) {
    loop {
        tokio::time::sleep(SYSTEM_INTERVAL).await;
        publish.send_replace(system.read());
    }
}

/// Follows both clocks, and publishes the better.
async fn follow_better(
    mut system: SystemShell,
    servers: Vec<HostPort>,
    clock: BoardClock,
    mut chooser: ClockChooser,
    publish: watch::Sender<Option<ClockMapping>>,
) {
    let mut ntp = NtpShell::new(&servers, NtpConfig::new(servers.len()), clock);
    let mut readings = interval(SYSTEM_INTERVAL);
    readings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut by_system, mut by_ntp) = (None, None);
    loop {
        tokio::select! {
            () = ntp.step() => {
                let mapping = ntp.client().mapping();
                if mapping == by_ntp {
                    continue;
                }
                report(by_ntp.as_ref(), mapping.as_ref(), clock);
                by_ntp = mapping;
            }
            _ = readings.tick() => by_system = system.read(),
        }
        announce(chooser.handle(clock.now(), by_system, by_ntp));
        publish.send_if_modified(|published| {
            let mapping = chooser.mapping();
            std::mem::replace(published, mapping) != mapping
        });
    }
}

fn announce(decision: Option<Decision>) {
    match decision {
        Some(decision @ Decision::Chosen { .. }) => tracing::info!("{decision}"),
        Some(decision) => tracing::warn!("{decision}"),
        None => {}
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
        (Some(_), None) => tracing::warn!("no NTP server gives the time any more"),
        (Some(old), Some(new)) if old.epoch != new.epoch => {
            tracing::warn!("the NTP server's clock was stepped; capture times follow it");
        }
        _ => {}
    }
}
