//! The only place in the aggregator that reads a clock.
#![expect(clippy::disallowed_methods, reason = "this is the aggregator's clock reader")]

use std::hash::{BuildHasher, Hasher, RandomState};

use framelock_common::clock::{HostReading, KernelClock};
use framelock_common::time::{HostTime, Span, Utc};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::timestamp::HostClock;

/// This machine's `CLOCK_MONOTONIC`.
#[must_use]
pub(crate) fn now() -> HostTime {
    HostTime::from_nanos(nanos(clock_gettime(ClockId::Monotonic)))
}

/// Sleeps. What waits for this thread does so until then.
pub(crate) fn nap(span: Span) {
    std::thread::sleep(span.to_duration());
}

/// A fresh reading of both clocks of this machine: `CLOCK_REALTIME` between two reads of
/// `CLOCK_MONOTONIC`, the closest of three.
#[must_use]
pub(crate) fn reading() -> HostReading {
    let read = || {
        let before = nanos(clock_gettime(ClockId::Monotonic));
        let utc = nanos(clock_gettime(ClockId::Realtime));
        let after = nanos(clock_gettime(ClockId::Monotonic));
        (after - before, before, utc)
    };
    let (width, before, utc) = (0..3).map(|_| read()).min().unwrap_or_else(read);
    HostReading {
        mono: HostTime::from_nanos(before + width / 2),
        utc: Utc::from_unix_nanos(utc),
        error: Span::from_nanos(width / 2 + 1),
    }
}

/// The same, with what the kernel says of the clock's error; 16 s and more where it is unsynchronized.
#[must_use]
pub(crate) fn sandwich() -> HostClock {
    let reading = reading();
    let kernel = framelock_timex::read().unwrap_or(KernelClock::UNKNOWN);
    HostClock::new(reading.mono, reading.utc, reading.error + kernel.bound())
}

/// A number that nobody outside can guess: the standard library seeds its hashers from the kernel.
#[must_use]
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The monotonic instant of a kernel receive timestamp (`SO_TIMESTAMPNS`, in `CLOCK_REALTIME`), by
/// `clock` read just after the datagram was taken. One that says older than `max_age`, or from the future, is not
/// believed: the wall clock was stepped between the datagram's arrival and now. Then it is `now`.
#[must_use]
pub(crate) fn kernel_arrival(
    kernel: Option<std::time::Duration>,
    clock: &HostClock,
    now: HostTime,
    max_age: Span,
) -> HostTime {
    let Some(ns) = kernel.and_then(|since_epoch| i64::try_from(since_epoch.as_nanos()).ok()) else {
        return now;
    };
    let arrival = clock.host_at(Utc::from_unix_nanos(ns));
    let age = now - arrival;
    if age < Span::ZERO || age > max_age { now } else { arrival }
}

fn nanos(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn kernel_stamps_become_monotonic_unless_the_clock_was_stepped() {
        let now = HostTime::from_nanos(50_000_000_000);
        let clock = HostClock::new(now, Utc::from_unix_nanos(1_790_000_000_000_000_000), Span::ZERO);
        let stamp = |ms: u64| Some(Duration::from_millis(1_790_000_000_000 + ms));
        let kernel_arrival = |stamp, clock, now| kernel_arrival(stamp, clock, now, Span::from_secs(2));
        assert_eq!(kernel_arrival(stamp(0), &clock, now), now);
        let earlier = kernel_arrival(Some(Duration::from_nanos(1_789_999_999_999_999_000)), &clock, now);
        assert_eq!(now - earlier, Span::from_nanos(1_000));
        assert_eq!(kernel_arrival(stamp(3_600_000), &clock, now), now, "from the future");
        assert_eq!(kernel_arrival(Some(Duration::ZERO), &clock, now), now, "decades old");
        assert_eq!(kernel_arrival(None, &clock, now), now);
    }
}
