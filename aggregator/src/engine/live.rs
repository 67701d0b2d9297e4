//! The thin loop between sockets and the engine, on a thread of its own.
//!
//! Nothing is decided here: datagrams go in with their arrival times, what the engine has to say goes
//! out, and time is told when it is due.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use framelock_common::time::{HostTime, Span};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};

use super::{DecodeInput, Engine, PortIndex};
use crate::aggregator::{AggregatorError, Shared};
use crate::clock;
use crate::config::CameraConfig;
use crate::decode::DecoderOptions;
use crate::deliver::Demand;
use crate::source::session::Sessions;
use crate::source::socket::{Batch, SocketError, UdpPort};
use crate::source::{Channel, Datagram, PortSpec, SourceSpec};
use crate::sync::CameraIndex;

/// How often the status that consumers see is renewed.
const STATUS_INTERVAL: Span = Span::from_millis(250);
/// Batches read from one socket before the others get their turn.
const BATCHES_IN_A_ROW: usize = 4;

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

/// The sockets of all sources.
#[derive(Debug)]
pub struct Sockets {
    ports: Vec<(PortIndex, Channel, UdpPort)>,
}

impl Sockets {
    /// Binds every source. RTCP's own port is done without where something else has it: RTCP also
    /// travels on the RTP port.
    ///
    /// # Errors
    /// When a source's port cannot be had.
    pub fn bind(sources: &[SourceSpec]) -> Result<Self, SocketError> {
        let mut sockets = Self { ports: Vec::new() };
        let listening =
            || sources.iter().enumerate().filter_map(|(index, source)| Some((index, source.port()?)));
        listening().try_for_each(|(index, source)| sockets.bind_main(index, source))?;
        listening().for_each(|(index, source)| sockets.bind_rtcp(index, source));
        Ok(sockets)
    }

    /// Binds one more source.
    fn add(&mut self, index: PortIndex, source: &SourceSpec) -> Result<(), SocketError> {
        let Some(source) = source.port() else { return Ok(()) };
        self.bind_main(index, source)?;
        self.bind_rtcp(index, source);
        Ok(())
    }

    fn remove(&mut self, index: PortIndex) {
        self.ports.retain(|(other, ..)| *other != index);
    }

    fn bind_main(&mut self, index: PortIndex, source: PortSpec) -> Result<(), SocketError> {
        self.ports.push((index, Channel::Main, UdpPort::bind(source.bind)?));
        tracing::info!(%source, "listening");
        Ok(())
    }

    fn bind_rtcp(&mut self, index: PortIndex, source: PortSpec) {
        let Some(rtcp) = source.rtcp_port() else { return };
        match UdpPort::bind(SocketAddr::new(source.bind.ip(), rtcp)) {
            Ok(port) => self.ports.push((index, Channel::Rtcp, port)),
            Err(error) => {
                tracing::info!(%source, %error, "no RTCP on the port above; it is taken on the RTP port only");
            }
        }
    }

    /// Waits until a socket may have something.
    async fn readable(&self) -> io::Result<()> {
        let any = |context: &mut Context<'_>| {
            // Every socket must be asked, so that each of them can wake us.
            let mut ready = Poll::Pending;
            for (_, _, port) in &self.ports {
                if let Poll::Ready(result) = port.poll_readable(context) {
                    ready = Poll::Ready(result);
                }
            }
            ready
        };
        poll_fn(any).await
    }

    fn receive(&self, engine: &mut Engine, batch: &mut Batch) {
        for (index, channel, port) in &self.ports {
            for _ in 0..BATCHES_IN_A_ROW {
                let each = |data: &[u8], from, arrival, host: &_| {
                    let datagram = Datagram { channel: *channel, from, data, arrival };
                    engine.handle_datagram(*index, &datagram, host);
                };
                match port.receive(batch, each) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => {
                        // ICMP errors of what we sent come back here; the socket works on.
                        tracing::trace!(address = %port.address(), %error, "receive");
                        break;
                    }
                }
            }
        }
    }

    fn send(&self, engine: &mut Engine, now: HostTime) {
        while let Some((index, transmit)) = engine.poll_transmit(now) {
            let port = self.ports.iter().find(|(i, c, _)| (*i, *c) == (index, transmit.channel));
            if let Some((_, _, port)) = port
                && let Err(error) = port.send(transmit.to, &transmit.datagram)
            {
                tracing::trace!(to = %transmit.to, %error, "RTCP not sent");
            }
        }
    }
}

/// Runs the engine on `sockets` and the sessions of its sources until told to stop.
pub(crate) async fn run(
    mut engine: Engine,
    mut sockets: Sockets,
    shared: Arc<Shared>,
    mut commands: Receiver<Command>,
    mut requests: UnboundedReceiver<Request>,
) {
    let mut batch = Batch::default();
    let mut sessions = Sessions::start(engine.sources().enumerate());
    let mut demand = Demand::default();
    let mut status_due = clock::now();
    loop {
        if shared.hub.demand() != demand {
            demand = shared.hub.demand();
            apply(demand, &mut engine, &shared);
        }
        let now = clock::now();
        let due = engine.poll_timeout().map_or(status_due, |due| due.min(status_due));
        tokio::select! {
            // Datagrams before time: a timeout must not overtake what has already arrived.
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
            ready = sockets.readable() => {
                if let Err(error) = ready {
                    tracing::debug!(%error, "waiting for datagrams");
                }
                sockets.receive(&mut engine, &mut batch);
            }
            (port, event) = sessions.next() => engine.handle_session(port, event, &clock::sandwich()),
            () = sleep(due - now) => {}
        }
        // Whoever fills the sockets must not keep the sessions out.
        while let Some((port, event)) = sessions.ready() {
            engine.handle_session(port, event, &clock::sandwich());
        }
        let now = clock::now();
        if engine.poll_timeout().is_some_and(|due| due <= now) {
            engine.handle_timeout(now, &clock::sandwich());
        }
        sockets.send(&mut engine, now);
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
        while let Some(packet) = engine.poll_packet() {
            shared.hub.push(&packet, now);
        }
        shared.renew_hold(now);
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
