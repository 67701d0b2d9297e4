//! A timer of the kernel's (`timerfd`) for the network loop.
//!
//! The event loop's own timers count in slots of a millisecond and of 64: a timer that lies across a slot's
//! border wakes the loop twice. Here the next instant changes with every frame and hardly ever comes, so that
//! would be half of all wake-ups. When something is due is decided in `stream` and `link`.

use std::io;
use std::os::fd::OwnedFd;

use framelock_common::time::{BoardTime, Span};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::socket::watch;
use crate::clock::BoardClock;

/// A single instant to wait for.
#[derive(Debug)]
pub(super) struct Timer {
    timer: AsyncFd<OwnedFd>,
    clock: BoardClock,
    /// What the kernel's timer is set to.
    set: Option<BoardTime>,
}

impl Timer {
    /// A timer that is not set; must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// When the kernel has no more file descriptors for this process.
    pub(super) fn new(clock: BoardClock) -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK.union(TimerfdFlags::CLOEXEC))?;
        Ok(Self { timer: watch(timer, Interest::READABLE)?, clock, set: None })
    }

    /// Waits until `due`; may be given up and called again with another instant.
    pub(super) async fn wait_until(&mut self, due: BoardTime) {
        if self.set != Some(due) && self.arm(due).is_err() || self.expiry().await.is_err() {
            // The kernel does not refuse what it has once granted; if it did, its timer would never ring.
            tokio::time::sleep((due - self.clock.now()).to_duration()).await;
        }
        self.set = None;
    }

    async fn expiry(&self) -> io::Result<()> {
        // Setting it anew takes back an expiry that nobody saw, but the event loop still remembers it.
        self.timer.async_io(Interest::READABLE, |timer| Ok(rustix::io::read(timer, &mut [0; 8])?)).await?;
        Ok(())
    }

    fn arm(&mut self, due: BoardTime) -> io::Result<()> {
        self.set = None;
        // Zero would switch it off, and the past is as good as the first nanosecond.
        let since_boot = Span::from_nanos(self.clock.to_kernel(due)).max(Span::from_nanos(1)).to_duration();
        let value = Timespec::try_from(since_boot).map_err(io::Error::other)?;
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
        self.set = Some(due);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedError;

    #[tokio::test]
    async fn it_waits_to_the_instant_also_on_a_wrong_clock_and_for_another_one() {
        let error = SimulatedError { offset: Span::from_secs(9), drift_ppb: 500_000 };
        for clock in [BoardClock::real(), BoardClock::simulated(error)] {
            let mut timer = Timer::new(clock).unwrap();
            let start = clock.now();
            let near = start + Span::from_millis(20);
            // Far ones that are given up leave nothing behind, nor does one that has come unseen.
            for ms in [3_600_000, 1, 7_200_000] {
                let other = start + Span::from_millis(ms);
                tokio::select! {
                    biased;
                    _ = timer.wait_until(other) => panic!("{ms} ms have not gone by"),
                    () = std::future::ready(()) => {}
                }
                while ms == 1 && clock.now() < other {
                    std::thread::yield_now();
                }
            }
            timer.wait_until(near).await;
            // A few ns early is the rounding of the simulated drift.
            assert!(clock.now() + Span::from_micros(1) >= near);
            // What is past comes at once, again and again.
            timer.wait_until(near).await;
            timer.wait_until(BoardTime::from_nanos(-5)).await;
        }
    }
}
