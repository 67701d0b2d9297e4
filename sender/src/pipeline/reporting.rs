//! The thread that writes the counters to the log and to the `--stats` file. It has its own, as a slow
//! disk must hold up nobody else.

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use framelock_common::clock::ClockState;
use framelock_common::time::BoardTime;

use super::{RunError, STACK, Shared};
use crate::clock::BoardClock;
use crate::config::Settings;
use crate::stats::{self, Snapshot, Summary};

/// How often the file is written.
const FILE_INTERVAL: Duration = Duration::from_secs(1);

/// Every how many of those there is a line in the log.
const LOG_EVERY: u32 = 10;

/// The running thread.
pub(super) struct Reporter {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Reporter {
    /// Starts the thread.
    pub(super) fn start(settings: &Settings, shared: &Shared) -> Result<Self, RunError> {
        let (end, ended) = channel();
        let camera = settings.camera.clone();
        let mut work = Work {
            camera,
            file: settings.stats.clone(),
            start: shared.clock.now(),
            shared: shared.clone(),
            complained: false,
        };
        let builder = std::thread::Builder::new().name("stats".to_owned()).stack_size(STACK);
        let span = tracing::Span::current();
        let thread = builder.spawn(move || {
            let _in_stream = span.entered();
            let mut logged = work.snapshot();
            for tick in 1_u32.. {
                let over = ended.recv_timeout(FILE_INTERVAL) != Err(RecvTimeoutError::Timeout);
                let now = work.snapshot();
                work.write_file(&now);
                if over || tick.is_multiple_of(LOG_EVERY) {
                    tracing::info!("{}", Summary { before: &logged, after: &now });
                    logged = now;
                }
                if over {
                    break;
                }
            }
        });
        Ok(Self { end, thread: thread.map_err(RunError::system("start a thread"))? })
    }

    /// Writes the last counters and ends the thread.
    pub(super) fn finish(self) {
        drop(self.end);
        if self.thread.join().is_err() {
            tracing::error!("the stats thread panicked");
        }
    }
}

struct Work {
    camera: String,
    file: Option<PathBuf>,
    start: BoardTime,
    shared: Shared,
    complained: bool,
}

impl Work {
    fn snapshot(&self) -> Snapshot {
        let now = self.shared.clock.now();
        let mapping = *self.shared.utc.borrow();
        let state = if mapping.is_some() { ClockState::Synchronized } else { ClockState::Unsynchronized };
        Snapshot {
            camera: self.camera.clone(),
            uptime_ns: (now - self.start).as_nanos(),
            clock: state.as_str(),
            clock_uncertainty_ns: mapping.map(|mapping| mapping.utc_at(now).uncertainty.as_nanos()),
            cpu_ns: BoardClock::process_cpu().as_nanos(),
            ..Snapshot::of(&self.shared.counters)
        }
    }

    /// Trouble with the file is logged once and ends nothing.
    fn write_file(&mut self, snapshot: &Snapshot) {
        let Some(path) = &self.file else { return };
        match stats::write_file(path, snapshot) {
            Ok(()) => self.complained = false,
            Err(error) if !std::mem::replace(&mut self.complained, true) => {
                tracing::warn!("cannot write the counters to {}: {error}; still trying", path.display());
            }
            Err(_) => {}
        }
    }
}
