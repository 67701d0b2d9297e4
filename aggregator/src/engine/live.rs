//! The thin loop between sockets and the engine, on a thread of its own.
//!
//! Nothing is decided here: datagrams go in with their arrival times, what the engine has to say goes
//! out, and time is told when it is due.

use std::sync::Arc;
use std::time::Duration;

use framelock_common::time::{HostTime, Span};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};

use super::sockets::Sockets;
use super::{DecodeInput, Engine, PortIndex};
use crate::aggregator::{AggregatorError, Shared};
use crate::clock;
use crate::config::CameraConfig;
use crate::decode::DecoderOptions;
use crate::deliver::{ConsumerError, Demand};
use crate::source::SessionEvent;
use crate::source::session::Sessions;
use crate::source::socket::Batch;
use crate::sync::CameraIndex;
use crate::timestamp::HostClock;

/// How often the status that consumers see is renewed.
const STATUS_INTERVAL: Span = Span::from_millis(250);

/// The longest and the shortest that the thread sleeps through what arrives, where no packet can come of it. Requests wait
/// that long.
const NAP: std::ops::Range<Span> = Span::from_millis(1)..Span::from_millis(40);
/// How much later than a frame can be here the thread wakes up for it: one that is late by its jitter is there by then.
const LEEWAY: Span = Span::from_micros(500);
/// How long it then waits for the one frame that a packet still needs before it looks at the others.
const GRACE: Span = Span::from_millis(4);

/// What the loop can be told.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// Ask a camera's sender for a key frame.
    KeyFrame(CameraIndex),
}

/// What the loop can be asked to do, and where it says what came of it.
#[derive(Debug)]
pub(crate) enum Request {
    /// Add a camera.
    Add(CameraConfig, Answer),
    /// Remove the camera of this name.
    Remove(String, Answer),
}

/// Where to say what came of a request.
pub(crate) type Answer = std::sync::mpsc::Sender<Result<(), AggregatorError>>;

/// Runs the engine on `sockets` and the sessions of its sources until told to stop.
pub(crate) async fn run(
    mut engine: Engine,
    mut sockets: Sockets,
    shared: Arc<Shared>,
    mut commands: Receiver<Command>,
    mut requests: UnboundedReceiver<Request>,
) {
    let mut batch = Batch::default();
    let mut sessions = Sessions::start(engine.sources().enumerate(), shared.hold.subscribe());
    let mut demand = Demand::default();
    let mut status_due = clock::now();
    let (mut full, mut ended) = (false, false);
    let mut own = None;
    loop {
        if shared.hub.demand() != demand {
            demand = shared.hub.demand();
            apply(demand, &mut engine, &shared);
        }
        let timer = timers(&engine);
        let naps = sessions.is_empty() && sockets.are_roomy();
        let quiet = if naps { engine.quiet_until() } else { None };
        let only = quiet.and_then(|quiet| sleep_through(quiet, timer));
        let now = clock::now();
        let grace = quiet.filter(|_| only.is_some()).map(|(until, _)| until + GRACE);
        let due = timer.into_iter().chain(grace).fold(status_due, HostTime::min);
        tokio::select! {
            biased;
            () = shared.stopping() => break,
            Some(Command::KeyFrame(camera)) = commands.recv() => engine.request_key_frame(camera),
            Some(request) = requests.recv() => {
                let (result, answer) = handle(request, &mut engine, &mut sockets, &mut sessions);
                shared.set_status(engine.status(clock::now()), engine.strangers());
                // Whoever asked may be gone.
                let _nobody_listens = answer.send(result);
            }
            () = shared.hub.changed() => {}
            ready = sockets.readable(only) => {
                if let Err(error) = ready {
                    tracing::debug!(%error, "waiting for datagrams");
                }
            }
            (port, event) = sessions.next(), if !(full && engine.waits()) => take(&mut engine, port, event, &mut own),
            () = sleep(due - now) => {}
        }
        // Whoever fills the sockets must not keep the sessions out.
        // Those that wait do so from one frame to the next.
        while !engine.waits()
            && let Some((port, event)) = sessions.ready()
        {
            take(&mut engine, port, event, &mut own);
        }
        // However long this thread was held up: no timer is served before what arrived before it.
        let now = clock::now();
        let overdue = timer.is_some_and(|due| due <= now);
        let behind = sockets.receive(&mut batch, overdue, |port, datagram, host| {
            engine.handle_datagram(port, datagram, host)
        });
        let reached = behind.map_or(now, |behind| behind.min(now));
        if overdue && timers(&engine).is_some_and(|due| due <= reached) {
            engine.handle_timeout(reached, &clock::sandwich());
        }
        let over = !ended && engine.is_over();
        if over {
            engine.finish(&clock::sandwich());
        }
        while let Some((port, transmit)) = engine.poll_transmit(now) {
            sockets.send(port, &transmit);
        }
        while let Some(input) = engine.poll_decode() {
            match input {
                DecodeInput::Frame(camera, frame) => {
                    let _in_stream = engine.span(camera).entered();
                    shared.pool.submit(camera, frame);
                }
                DecodeInput::Flush(camera) => shared.pool.flush(camera),
                DecodeInput::Forget(camera) => shared.pool.forget(camera),
            }
        }
        while let Some(mut packet) = engine.poll_packet() {
            if engine.waits() {
                // Whoever waits for its pictures does so by the host's clock.
                packet.ready = now;
            }
            shared.hub.push(&packet, now);
        }
        if over {
            ended = true;
            shared.set_status(engine.status(now), engine.strangers());
            shared.hub.end(ConsumerError::Ended);
        }
        full = shared.renew_hold(now);
        if now >= status_due {
            status_due = now + STATUS_INTERVAL;
            shared.set_status(engine.status(now), engine.strangers());
        }
    }
    shared.set_status(engine.status(clock::now()), engine.strangers());
}

/// When the engine is due. Where sources wait, time does, too.
fn timers(engine: &Engine) -> Option<HostTime> {
    engine.poll_timeout().filter(|_| !engine.waits())
}

/// A session told something. The time of sources that wait runs by a clock of its `own`, read once: the same files
/// give the same packets.
fn take(engine: &mut Engine, port: PortIndex, event: SessionEvent, own: &mut Option<HostClock>) {
    let (at, waits) = (event.at(), engine.waits());
    let host = if waits { *own.get_or_insert_with(clock::sandwich) } else { clock::sandwich() };
    engine.handle_session(port, event, &host);
    if waits {
        engine.handle_timeout(at, &host);
    }
}

/// Sleeps while no packet can come of what arrives, but no longer than to the `timer`: waking up costs more than what is
/// then to be done, so once for the frames of all cameras. Gives the port that alone is to be waited for from then on, if
/// its frame is due now. After a nap that was cut short what has arrived is read first: the kernel keeps it only for so long.
fn sleep_through((until, port): (HostTime, PortIndex), timer: Option<HostTime>) -> Option<PortIndex> {
    let now = clock::now();
    if until + GRACE <= now {
        return None;
    }
    let end = until + LEEWAY;
    let nap = timer.map_or(end, |timer| timer.min(end)) - now;
    if nap >= NAP.start {
        clock::nap(nap.min(NAP.end));
    }
    (end - clock::now() < NAP.start).then_some(port)
}

async fn sleep(span: Span) {
    match span.to_duration() {
        Duration::ZERO => tokio::task::yield_now().await,
        duration => tokio::time::sleep(duration).await,
    }
}

/// Does what was asked for; what came of it, and who is to be told.
fn handle(
    request: Request,
    engine: &mut Engine,
    sockets: &mut Sockets,
    sessions: &mut Sessions,
) -> (Result<(), AggregatorError>, Answer) {
    match request {
        Request::Add(camera, answer) => (add(&camera, engine, sockets, sessions), answer),
        Request::Remove(name, answer) => {
            let removed = engine.remove_camera(&name).map(|ports| {
                for port in ports {
                    sockets.remove(port);
                    sessions.remove(port);
                }
            });
            (removed.map_err(AggregatorError::from), answer)
        }
    }
}

fn add(
    camera: &CameraConfig,
    engine: &mut Engine,
    sockets: &mut Sockets,
    sessions: &mut Sessions,
) -> Result<(), AggregatorError> {
    let port = engine.add_source(camera)?;
    if let Err(error) = sockets.add(port, &camera.source) {
        engine.withdraw(port);
        return Err(error.into());
    }
    sessions.add(port, camera.source.clone());
    Ok(())
}

/// Consumers want something else now.
fn apply(demand: Demand, engine: &mut Engine, shared: &Shared) {
    shared.pool.set_options(DecoderOptions { motion_vectors: demand.motion_vectors });
    engine.set_decoding(demand.pictures);
    if !demand.pictures {
        shared.pool.forget_all();
    }
}
