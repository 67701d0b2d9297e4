//! Keeps sessions up: runs each, watches whether anything comes, and tries again after it failed.

use std::collections::HashMap;

use framelock_common::time::{HostTime, Span};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::backoff::Backoff;
use super::event::Progress;
use super::file::Program;
use super::spec::Running;
use super::{Session, SessionError, SessionEvent, SessionSpec, Sink};
use crate::clock;
use crate::source::SourceSpec;

/// Events of all sessions that may wait for the receive loop, each an image at most.
const QUEUE: usize = 8;

/// The sessions of an aggregator. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Sessions {
    tasks: JoinSet<()>,
    /// The task of each port.
    handles: HashMap<usize, AbortHandle>,
    sender: Sender<(usize, SessionEvent)>,
    program: Program,
    events: Receiver<(usize, SessionEvent)>,
}

impl Sessions {
    /// Starts a session for every source that is one; those that can wait do while `hold` says so. Must be called
    /// inside a tokio runtime.
    pub(crate) fn start(
        sources: impl Iterator<Item = (usize, SourceSpec)>,
        hold: watch::Receiver<bool>,
    ) -> Self {
        let (sender, events) = channel(QUEUE);
        let (tasks, handles, program) = (JoinSet::new(), HashMap::new(), Program::new(hold));
        let mut sessions = Self { tasks, handles, sender, program, events };
        sources.for_each(|(port, source)| sessions.add(port, source));
        sessions
    }

    /// Starts a session for a source that is one. Must be called inside a tokio runtime.
    pub(crate) fn add(&mut self, port: usize, source: SourceSpec) {
        let SourceSpec::Session(spec) = source else { return };
        let sender = self.sender.clone();
        // Not in the task: files that begin together have to know of each other.
        let session = spec.open(port, &self.program);
        let handle = self.tasks.spawn(async move {
            let sink = |progress| Sink::new(port, sender.clone(), progress);
            supervise(&spec, session, sink).await;
        });
        self.handles.insert(port, handle);
    }

    /// Ends a source's session. What it told before may still come.
    pub(crate) fn remove(&mut self, port: usize) {
        if let Some(handle) = self.handles.remove(&port) {
            handle.abort();
        }
    }

    /// The next event and whose it is; waits for ever where there is no session. Can be cancelled: no event is
    /// lost.
    pub(crate) async fn next(&mut self) -> (usize, SessionEvent) {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Whether there is no session.
    pub(crate) fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// The next event if there is one already.
    pub(crate) fn ready(&mut self) -> Option<(usize, SessionEvent)> {
        // Sessions end by failing for good; nobody asks for what they leave.
        while self.tasks.try_join_next().is_some() {}
        self.events.try_recv().ok()
    }
}

async fn supervise(
    spec: &SessionSpec,
    mut session: Running,
    sink: impl Fn(std::sync::Arc<Progress>) -> Sink,
) {
    let mut backoff = Backoff::default();
    loop {
        let progress = Progress::new(clock::now());
        let mut sink = sink(progress.clone());
        let error = watched(&mut session, &mut sink, &progress, spec.timeout()).await;
        if progress.worked() {
            backoff.reset();
        }
        let over = spec.is_over(&error);
        sink.failed(error, over).await;
        if over {
            return;
        }
        sleep(backoff.next(clock::random())).await;
    }
}

/// Runs a session until it fails or hangs.
async fn watched(session: &mut Running, sink: &mut Sink, progress: &Progress, timeout: Span) -> SessionError {
    let hangs = async {
        loop {
            let now = clock::now();
            // Whoever waits to be connected to hangs only after that.
            let due = progress.last().map_or(now + timeout, |last| last + timeout);
            if due <= now {
                return SessionError::Stalled(timeout);
            }
            sleep_until(due, now).await;
        }
    };
    tokio::select! {
        result = session.run(sink) => match result {
            Ok(never) => match never {},
            Err(error) => error,
        },
        error = hangs => error,
    }
}

async fn sleep_until(due: HostTime, now: HostTime) {
    sleep(due - now).await;
}

async fn sleep(span: Span) {
    tokio::time::sleep(span.to_duration()).await;
}
