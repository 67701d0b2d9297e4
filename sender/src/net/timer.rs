//! A timer of the kernel's (`timerfd`): any thread sets it, the network loop waits for it.
//!
//! The event loop's own timers are set by the loop alone, and count in slots of a millisecond and of 64: a timer
//! that lies across a slot's border wakes the loop twice. Here the next instant changes with every frame and
//! hardly ever comes. When something is due is decided in `stream` and `link`.

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
}

impl Timer {
    /// A timer that is not set; must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// When the kernel has no more file descriptors for this process.
    pub(super) fn new(clock: BoardClock) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK.union(TimerfdFlags::CLOEXEC);
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { timer: watch(timer, Interest::READABLE)?, clock })
    }

    /// Sets it to `due` and to nothing else; an expiry that nobody saw is taken back.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn set(&self, due: BoardTime) -> io::Result<()> {
        // Zero would switch it off, and the past is as good as the first nanosecond.
        let since_boot = Span::from_nanos(self.clock.to_kernel(due)).max(Span::from_nanos(1)).to_duration();
        let value = Timespec::try_from(since_boot).map_err(io::Error::other)?;
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }

    /// Waits until the instant that it is set to, also where that changes meanwhile.
    ///
    /// # Errors
    /// When the event loop ends.
    pub(super) async fn expiry(&self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            let expiries = rustix::io::read(self.timer.get_ref(), &mut [0; 8]);
            // Whether it has come or was set anew, there is nothing more to read.
            ready.clear_ready();
            match expiries {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::SimulatedError;

    #[tokio::test]
    async fn it_comes_at_the_instant_set_last_also_on_a_wrong_clock() {
        let error = SimulatedError { offset: Span::from_secs(9), drift_ppb: 500_000 };
        for clock in [BoardClock::real(), BoardClock::simulated(error)] {
            let timer = Timer::new(clock).unwrap();
            let start = clock.now();
            let near = start + Span::from_millis(20);
            // Neither one that never came nor one that came unseen counts any more.
            timer.set(start + Span::from_secs(3_600)).unwrap();
            timer.set(start + Span::from_millis(1)).unwrap();
            std::thread::sleep(Duration::from_millis(2));
            timer.set(near).unwrap();
            timer.expiry().await.unwrap();
            // A few ns early is the rounding of the simulated drift.
            assert!(clock.now() + Span::from_micros(1) >= near);
            // It comes once, and at once for what is past.
            assert!(tokio::time::timeout(Duration::from_millis(5), timer.expiry()).await.is_err());
            timer.set(BoardTime::from_nanos(-5)).unwrap();
            timer.expiry().await.unwrap();
        }
    }

    #[tokio::test]
    async fn another_thread_may_set_it_while_it_is_waited_for() {
        let clock = BoardClock::real();
        let timer = Timer::new(clock).unwrap();
        timer.set(clock.now() + Span::from_secs(3_600)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(5));
                timer.set(clock.now()).unwrap();
            });
        });
        timer.expiry().await.unwrap();
    }
}
