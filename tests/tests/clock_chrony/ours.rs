//! Our client as the sender runs it: real sockets, kernel receive timestamps.

use std::time::{Duration, Instant};

use framelock_common::clock::ClockMapping;
use framelock_common::time::Span;
use framelock_sender::clock::{self, BoardClock, ClockWatch, Trust};
use framelock_sender::config::{ClockSpec, HostPort};
use framelock_tests::process::PATIENCE;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::figures::Reading;
use crate::relay::WrongClock;

/// Runs until dropped.
pub(crate) struct Ours {
    watch: ClockWatch,
    clock: BoardClock,
    _stop: oneshot::Sender<()>,
}

impl Ours {
    pub(crate) fn start(port: u16) -> Self {
        let clock = BoardClock::real();
        let server = HostPort { host: "127.0.0.1".to_owned(), port };
        let (stop, stopped) = oneshot::channel();
        let (give, take) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // As in the sender: one thread for all.
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                give.send(clock::start(ClockSpec::Ntp(vec![server]), clock, Trust::Kernel)).unwrap();
                let _dropped = stopped.await;
            });
        });
        Self { watch: take.recv().unwrap(), clock, _stop: stop }
    }

    #[expect(clippy::disallowed_methods, reason = "a real client needs real time")]
    pub(crate) fn wait_until_synchronized(&self) {
        let start = Instant::now();
        while self.watch.borrow().is_none() {
            assert!(start.elapsed() < PATIENCE, "never synchronized");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn error(&self, truth: &WrongClock) -> Reading {
        let mapping: ClockMapping = (*self.watch.borrow()).unwrap();
        // A reading that was interrupted says little.
        let readings = std::array::from_fn::<_, 5, _>(|_| self.clock.reading());
        let reading = readings.into_iter().min_by_key(|r| r.after - r.before).unwrap();
        let half = (reading.after - reading.before) / 2;
        let estimate = mapping.utc_at(reading.before + half);
        let error = estimate.utc - truth.at(reading.realtime);
        Reading { error, bound: estimate.uncertainty, slack: half + Span::from_nanos(1) }
    }
}
