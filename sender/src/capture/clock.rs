//! The kernel's clocks, as the capture sources use them, and the way from there to board time.
//!
//! Drivers stamp buffers with the kernel's `CLOCK_MONOTONIC`. On a real board that *is* board time;
//! under a simulated board clock it is not, so the two are different types here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use framelock_common::time::{BoardTime, Mono, Span, Utc};
use rustix::thread::ClockId as SleepClock;
use rustix::time::{ClockId, Timespec};

/// The domain of this machine's `CLOCK_MONOTONIC` as the kernel tells it.
#[derive(Clone, Copy, Debug)]
pub enum Kernel {}

/// An instant of the kernel's `CLOCK_MONOTONIC`.
pub type KernelTime = Mono<Kernel>;

type Transform = dyn Fn(KernelTime) -> BoardTime + Send + Sync;

/// The function from kernel time to board time: the same instant, unless the board is simulated.
#[derive(Clone, Default)]
pub struct BoardClock(Option<Arc<Transform>>);

impl BoardClock {
    /// A board whose monotonic clock is the kernel's.
    #[must_use]
    pub fn kernel() -> Self {
        Self(None)
    }

    /// A board whose clock is a function of the kernel's; it must not go backward.
    pub fn simulated(transform: impl Fn(KernelTime) -> BoardTime + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(transform)))
    }

    /// The board time at `kernel`.
    #[must_use]
    pub fn at(&self, kernel: KernelTime) -> BoardTime {
        self.0
            .as_ref()
            .map_or_else(|| BoardTime::from_nanos(kernel.as_nanos()), |transform| transform(kernel))
    }
}

impl fmt::Debug for BoardClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "BoardClock(simulated)" } else { "BoardClock(kernel)" })
    }
}

fn read(clock: ClockId) -> i64 {
    #[expect(clippy::disallowed_methods, reason = "capture is where frames meet the clock")]
    let now = rustix::time::clock_gettime(clock);
    // Before 1970 or after 2262 there is nothing to capture.
    let since_start = Duration::try_from(now).unwrap_or_default();
    Span::from(since_start).as_nanos()
}

/// The kernel's `CLOCK_MONOTONIC` now.
pub(crate) fn now() -> KernelTime {
    KernelTime::from_nanos(read(ClockId::Monotonic))
}

/// The machine's UTC minus its `CLOCK_MONOTONIC`: of a few tries, the one read the quickest.
pub(crate) fn utc_offset() -> UtcOffset {
    let tries = (0..4).map(|_| {
        let (before, utc, after) = (now(), read(ClockId::Realtime), now());
        let middle = before.as_nanos() + (after - before).as_nanos() / 2;
        (after - before, utc - middle)
    });
    let (_, offset) = tries.min_by_key(|(width, _)| *width).unwrap_or_default();
    UtcOffset(offset)
}

/// The difference between UTC and the kernel's monotonic clock at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UtcOffset(i64);

impl UtcOffset {
    /// The UTC at kernel time `at`.
    pub(crate) fn utc(self, at: KernelTime) -> Utc {
        Utc::from_unix_nanos(at.as_nanos().saturating_add(self.0))
    }

    /// The kernel time at `utc`.
    pub(crate) fn kernel(self, utc: Utc) -> KernelTime {
        KernelTime::from_nanos(utc.as_unix_nanos().saturating_sub(self.0))
    }
}

/// Sleeps until `wake`, or for `timeout` where that is sooner; tells whether `wake` was reached. An
/// absolute sleep: what happens between reading the clock and falling asleep costs nothing.
pub(crate) fn sleep_until(wake: KernelTime, timeout: Duration) -> bool {
    let limit = now() + Span::from(timeout);
    let target = wake.min(limit);
    let since_start = (target - KernelTime::from_nanos(0)).to_duration();
    let Ok(request) = Timespec::try_from(since_start) else { return false };
    // Interrupted by a signal: the absolute target makes starting again right.
    while rustix::thread::clock_nanosleep_absolute(SleepClock::Monotonic, &request)
        == Err(rustix::io::Errno::INTR)
    {}
    wake <= limit
}
