//! The thin loop between sockets and the engine, on a thread of its own.
//!
//! Nothing is decided here: datagrams go in with their arrival times, what the engine has to say goes
//! out, and time is told when it is due.

use std::sync::Arc;
use std::time::Duration;

use framelock_common::time::Span;
use tokio::sync::mpsc::Receiver;

use super::Engine;
use super::sockets::Sockets;
use crate::aggregator::Shared;
use crate::clock;
use crate::decode::{self, DecodeError, DecodeWorker};
use crate::deliver::{Decoded, Frame};
use crate::source::socket::Batch;
use crate::sync::CameraIndex;

/// How often the status that consumers see is renewed.
const STATUS_INTERVAL: Span = Span::from_millis(250);

/// What the loop can be told.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// Ask a camera's sender for a key frame.
    KeyFrame(CameraIndex),
}

/// Runs the engine on `sockets` until told to stop.
pub(crate) async fn run(
    mut engine: Engine,
    mut sockets: Sockets,
    shared: Arc<Shared>,
    mut commands: Receiver<Command>,
) {
    let mut batch = Batch::default();
    let mut workers = Workers { workers: Vec::new(), shared: shared.clone() };
    let mut status_due = clock::now();
    loop {
        let now = clock::now();
        let due = engine.poll_timeout().map_or(status_due, |due| due.min(status_due));
        tokio::select! {
            biased;
            () = shared.stopping() => break,
            Some(Command::KeyFrame(camera)) = commands.recv() => engine.request_key_frame(camera),
            ready = sockets.readable() => {
                if let Err(error) = ready {
                    tracing::debug!(%error, "waiting for datagrams");
                }
            }
            () = sleep(due - now) => {}
        }
        // However long this thread was held up: no timer is served before what arrived before it.
        let now = clock::now();
        let timers = engine.poll_timeout().is_some_and(|due| due <= now);
        let behind = sockets
            .receive(&mut batch, timers, |port, datagram, host| engine.handle_datagram(port, datagram, host));
        let reached = behind.map_or(now, |behind| behind.min(now));
        if timers && engine.poll_timeout().is_some_and(|due| due <= reached) {
            engine.handle_timeout(reached, &clock::sandwich());
        }
        while let Some((port, transmit)) = engine.poll_transmit(now) {
            sockets.send(port, &transmit);
        }
        while let Some((camera, frame)) = engine.poll_decode() {
            let _in_stream = engine.span(camera).entered();
            workers.submit(camera, frame);
        }
        while let Some(packet) = engine.poll_packet() {
            shared.push(packet);
        }
        if now >= status_due {
            status_due = now + STATUS_INTERVAL;
            shared.set_status(engine.status(now), engine.strangers());
        }
    }
    shared.set_status(engine.status(clock::now()), engine.strangers());
}

async fn sleep(span: Span) {
    match span.to_duration() {
        Duration::ZERO => tokio::task::yield_now().await,
        duration => tokio::time::sleep(duration).await,
    }
}

/// The decoding threads, by camera.
struct Workers {
    workers: Vec<Option<DecodeWorker>>,
    shared: Arc<Shared>,
}

impl Workers {
    fn submit(&mut self, camera: CameraIndex, frame: Arc<Frame>) {
        let index = camera.get();
        while self.workers.len() <= index {
            let started = self.start(CameraIndex::new(self.workers.len()));
            let worker = started.inspect_err(|error| tracing::error!(%error, "frames are not decoded")).ok();
            self.workers.push(worker);
        }
        match &mut self.workers[index] {
            Some(worker) => worker.submit(frame),
            None => {
                let _ = frame.picture.set(Decoded::Failed);
            }
        }
    }

    fn start(&self, camera: CameraIndex) -> Result<DecodeWorker, DecodeError> {
        let shared = self.shared.clone();
        let notify = Box::new(move |failed: bool| {
            shared.decoded();
            if failed {
                shared.command(Command::KeyFrame(camera));
            }
        });
        DecodeWorker::start(camera.get(), decode::open()?, notify)
    }
}
