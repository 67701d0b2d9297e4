//! The aggregator without its sockets: datagrams with their arrival times in, frame packets out.
//!
//! Sans-IO: it is told the time and the host's clock, so the same engine runs live, over a capture file
//! and under simulated networks. Live sockets are in [`live`]; capture files in [`offline`].

pub mod live;
pub mod offline;
mod said;
mod sockets;
mod status;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use framelock_common::time::{HostTime, Span};

pub(crate) use sockets::Sockets;
pub use status::{CameraStatus, LastFrame};

use said::Said;

use crate::config::{CameraConfig, Settings};
use crate::deliver::{CameraName, Frame, Packet};
use crate::source::{
    Datagram, DownReason, PortCounters, PortEvent, Protocol, RtpPort, SourceSpec, StreamOutput, TimedFrame,
    Transmit, TsPort,
};
use crate::sync::{CameraIndex, SourceState, SyncCamera, SyncEvent, SyncFrame, Synchronizer};
use crate::timestamp::{HostClock, Mapper, Trace, basis};

/// Frames that may wait for [`Engine::poll_decode`]; nobody who decodes lets it get there.
const MAX_DECODE: usize = 1_024;

/// Which source of the settings a datagram belongs to: the n-th.
pub type PortIndex = usize;

/// See the module.
#[derive(Debug)]
pub struct Engine {
    ports: Vec<Port>,
    cameras: Vec<Camera>,
    sync: Synchronizer<TimedFrame>,
    now: HostTime,
    decode: Option<VecDeque<(CameraIndex, Arc<Frame>)>>,
    /// The camera on whose frames packets are anchored.
    reference: Said<Option<usize>>,
    /// Something may have to be said of the synchronizer.
    unsaid: bool,
}

#[derive(Debug)]
struct Port {
    spec: SourceSpec,
    kind: Kind,
    /// The engine's camera of each of the port's.
    cameras: Vec<usize>,
}

#[derive(Debug)]
enum Kind {
    Rtp(Box<RtpPort>),
    Ts(Box<TsPort>),
}

#[derive(Debug)]
struct Camera {
    name: CameraName,
    port: PortIndex,
    /// Its place among the cameras of the port.
    place: usize,
    state: SourceState,
    last: Option<LastFrame>,
    /// How the last frame that the synchronizer got came to its time.
    trace: Option<Trace>,
    /// What the log says of its stream is said in here.
    span: tracing::Span,
    /// Whether packets do not wait for it.
    late: Said<bool>,
    /// How many jumps its capture times have made, and how far the last was.
    steps: Said<(u64, Span)>,
}

impl Engine {
    /// An engine for `settings`. `seed` makes our SSRCs: unpredictable live, fixed in tests.
    #[must_use]
    pub fn new(settings: &Settings, seed: u64) -> Self {
        let mut engine = Self {
            ports: Vec::new(),
            cameras: Vec::new(),
            sync: Synchronizer::new(&settings.sync, Vec::new()),
            now: HostTime::from_nanos(0),
            decode: settings.decode.then(VecDeque::new),
            reference: Said::default(),
            unsaid: false,
        };
        for (index, camera) in settings.cameras.iter().enumerate() {
            engine.add_port(index, camera, settings.max_cameras, seed);
        }
        engine
    }

    fn add_port(&mut self, index: PortIndex, camera: &CameraConfig, max_cameras: usize, seed: u64) {
        #[expect(clippy::cast_possible_truncation, reason = "32 of the seed's bits are enough")]
        let ssrc = (seed.rotate_left(7) as u32).wrapping_add(0x9e37_79b9_u32.wrapping_mul(index as u32 + 1));
        let kind = match (camera.source.protocol, &camera.name) {
            (Protocol::UdpTs, _) => Kind::Ts(Box::default()),
            (Protocol::Rtp, Some(_)) => Kind::Rtp(Box::new(RtpPort::single(ssrc))),
            (Protocol::Rtp, None) => Kind::Rtp(Box::new(RtpPort::many(max_cameras, ssrc))),
        };
        self.ports.push(Port { spec: camera.source, kind, cameras: Vec::new() });
        if let Some(name) = &camera.name {
            self.add_camera(index, name.clone());
        }
    }

    fn add_camera(&mut self, port: PortIndex, name: CameraName) {
        let place = self.ports[port].cameras.len();
        self.ports[port].cameras.push(self.cameras.len());
        let span = tracing::info_span!("stream", camera = name.as_str());
        match &mut self.ports[port].kind {
            Kind::Rtp(rtp) => rtp.set_span(place, span.clone()),
            Kind::Ts(ts) => ts.set_span(span.clone()),
        }
        self.cameras.push(Camera {
            name,
            port,
            place,
            state: SourceState::Starting,
            last: None,
            trace: None,
            span,
            late: Said::default(),
            steps: Said::default(),
        });
        let index = self.sync.add_camera(SyncCamera::default());
        debug_assert_eq!(index.get() + 1, self.cameras.len());
    }

    /// The sources to listen on, by [`PortIndex`].
    pub fn sources(&self) -> impl ExactSizeIterator<Item = SourceSpec> {
        self.ports.iter().map(|port| port.spec)
    }

    /// A datagram arrived on one of the ports.
    pub fn handle_datagram(&mut self, port: PortIndex, datagram: &Datagram<'_>, host: &HostClock) {
        self.now = self.now.max(datagram.arrival);
        match &mut self.ports[port].kind {
            Kind::Rtp(rtp) => rtp.handle_datagram(datagram, host),
            Kind::Ts(ts) => ts.handle_datagram(datagram, host),
        }
        self.handle_port_events(port, host);
        self.log_sync_events();
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: HostTime, host: &HostClock) {
        self.now = self.now.max(now);
        for port in 0..self.ports.len() {
            match &mut self.ports[port].kind {
                Kind::Rtp(rtp) => rtp.handle_timeout(now, host),
                Kind::Ts(ts) => ts.handle_timeout(now),
            }
            self.handle_port_events(port, host);
        }
        self.sync.handle_timeout(self.now);
        self.log_sync_events();
    }

    /// Nothing will arrive any more: delivers what is left, also what waits for packets that are missing.
    pub fn finish(&mut self, host: &HostClock) {
        for port in 0..self.ports.len() {
            match &mut self.ports[port].kind {
                Kind::Rtp(rtp) => rtp.finish(self.now, host),
                Kind::Ts(ts) => ts.finish(),
            }
            self.handle_port_events(port, host);
        }
        self.sync.finish(self.now);
    }

    /// When to call [`Self::handle_timeout`] if nothing arrives.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<HostTime> {
        let ports = self.ports.iter().filter_map(|port| match &port.kind {
            Kind::Rtp(rtp) => rtp.poll_timeout(),
            Kind::Ts(ts) => ts.poll_timeout(),
        });
        ports.chain(self.sync.poll_timeout()).min()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self, now: HostTime) -> Option<(PortIndex, Transmit)> {
        self.ports.iter_mut().enumerate().find_map(|(index, port)| match &mut port.kind {
            Kind::Rtp(rtp) => Some((index, rtp.poll_transmit(now)?)),
            Kind::Ts(_) => None,
        })
    }

    /// The next good frame in its camera's decoding order, where the settings ask for decoding.
    pub fn poll_decode(&mut self) -> Option<(CameraIndex, Arc<Frame>)> {
        self.decode.as_mut()?.pop_front()
    }

    /// The next packet.
    pub fn poll_packet(&mut self) -> Option<Packet> {
        let set = self.sync.poll_set()?;
        let cameras = &self.cameras;
        let set = set.map(|timed| timed.frame);
        Some(Packet::from_set(set, |index| cameras[index.get()].name.clone()))
    }

    /// Asks a camera's sender for a key frame, if it can be asked.
    pub fn request_key_frame(&mut self, camera: CameraIndex) {
        let Some(camera) = self.cameras.get(camera.get()) else { return };
        if let Kind::Rtp(rtp) = &mut self.ports[camera.port].kind {
            rtp.request_key_frame(camera.place, self.now);
        }
    }

    /// What the log says of a camera's stream belongs in here.
    #[must_use]
    pub fn span(&self, camera: CameraIndex) -> tracing::Span {
        self.cameras.get(camera.get()).map_or_else(tracing::Span::none, |camera| camera.span.clone())
    }

    /// What was thrown away because it belongs to no camera.
    #[must_use]
    pub fn strangers(&self) -> PortCounters {
        let mut sum = PortCounters::default();
        for port in &self.ports {
            sum += match &port.kind {
                Kind::Rtp(rtp) => rtp.counters(),
                Kind::Ts(ts) => ts.counters(),
            };
        }
        sum
    }

    /// What is known at `at` of every camera, in configured order.
    pub fn status(&mut self, at: HostTime) -> Vec<CameraStatus> {
        let (ports, sync) = (&mut self.ports, &self.sync);
        let of = |(index, camera): (usize, &Camera)| CameraStatus {
            name: camera.name.clone(),
            at,
            state: camera.state,
            stream: match &mut ports[camera.port].kind {
                Kind::Rtp(rtp) => rtp.status(camera.place),
                Kind::Ts(ts) => ts.status(),
            },
            sync: sync.stats(CameraIndex::new(index)).unwrap_or_default(),
            last: camera.last,
        };
        self.cameras.iter().enumerate().map(of).collect()
    }

    fn handle_port_events(&mut self, port: PortIndex, host: &HostClock) {
        loop {
            let event = match &mut self.ports[port].kind {
                Kind::Rtp(rtp) => rtp.poll_event(),
                Kind::Ts(ts) => ts.poll_event(),
            };
            match event {
                None => return,
                Some(PortEvent::Camera(name)) => {
                    let name = self.unique(name);
                    self.add_camera(port, name);
                    let _in_stream = self.cameras.last().map(|camera| camera.span.enter());
                    tracing::info!(source = %self.ports[port].spec, "a new sender is a camera now");
                }
                Some(PortEvent::Taken(place, address)) => {
                    let _in_stream = self.cameras[self.ports[port].cameras[place]].span.enter();
                    tracing::info!(%address, "receiving");
                }
                Some(PortEvent::Down(place, reason)) => {
                    self.set_state(self.ports[port].cameras[place], SourceState::Broken, Some(reason));
                }
                Some(PortEvent::Output(place, output)) => {
                    self.handle_output(self.ports[port].cameras[place], output, host);
                }
            }
        }
    }

    fn handle_output(&mut self, camera: usize, output: StreamOutput, host: &HostClock) {
        let index = CameraIndex::new(camera);
        match output {
            StreamOutput::Decode(frame) => {
                if let Some(queue) = &mut self.decode
                    && queue.len() < MAX_DECODE
                {
                    queue.push_back((index, frame));
                }
            }
            StreamOutput::Frame(frame) => {
                self.set_state(camera, SourceState::Live, None);
                let known = &mut self.cameras[camera];
                known.last = Some(LastFrame::of(&frame.frame, host));
                known.trace = Some(frame.trace.clone());
                self.sync.handle_frame(index, sync_frame(frame, host), self.now);
            }
            StreamOutput::Clock(mapper) => self.improve_times(camera, &mapper, host),
            StreamOutput::ReadError(time) => {
                self.set_state(camera, SourceState::Live, None);
                self.sync.handle_read_error(index, Some(time), self.now);
            }
        }
    }

    /// The stream's clock is known better: the frames that still wait gain from it.
    fn improve_times(&mut self, camera: usize, mapper: &Mapper, host: &HostClock) {
        let Some(newest) = &mut self.cameras[camera].trace else { return };
        let before = newest.stamped().time.utc;
        let shift = newest.improve(mapper, host).map_or(Span::ZERO, |now| now.time.utc - before);
        let better = |frame: &mut TimedFrame| frame.improve(mapper, host);
        self.sync.handle_better_times(CameraIndex::new(camera), shift, self.now, better);
    }

    fn set_state(&mut self, camera: usize, state: SourceState, reason: Option<DownReason>) {
        let known = &mut self.cameras[camera];
        if known.state == state {
            return;
        }
        known.state = state;
        let _in_stream = known.span.enter();
        match reason {
            Some(DownReason::Goodbye) => tracing::info!("the sender said goodbye"),
            Some(DownReason::Silent) => tracing::warn!("nothing arrives any more; still listening"),
            None => tracing::info!("live"),
        }
        self.sync.handle_source_state(CameraIndex::new(camera), state, self.now);
    }

    fn unique(&self, name: String) -> CameraName {
        let taken = |name: &str| self.cameras.iter().any(|camera| camera.name.as_str() == name);
        if !taken(&name) {
            return CameraName::new(&name);
        }
        // There are fewer cameras than numbers to try.
        let free = (2..).map(|n| format!("{name}-{n}")).find(|candidate| !taken(candidate));
        CameraName::new(&free.unwrap_or(name))
    }

    fn log_sync_events(&mut self) {
        while let Some(event) = self.sync.poll_event() {
            self.unsaid = true;
            match event {
                SyncEvent::ClockStep { camera, by } => {
                    let steps = &mut self.cameras[camera.get()].steps;
                    steps.set((steps.is().0 + 1, by));
                }
                SyncEvent::Reference { camera } => self.reference.set(Some(camera.get())),
                SyncEvent::Late { camera } => self.cameras[camera.get()].late.set(true),
                SyncEvent::InTime { camera } => self.cameras[camera.get()].late.set(false),
            }
        }
        if std::mem::take(&mut self.unsaid) {
            self.say();
        }
    }

    /// Logs what the synchronizer has come to, as far as that is due.
    fn say(&mut self) {
        let due = |camera: &Camera| camera.steps.is_due() || camera.late.is_due();
        for camera in self.cameras.iter_mut().filter(|camera| due(camera)) {
            let _in_stream = camera.span.enter();
            if let Some((steps, by)) = camera.steps.poll(self.now) {
                tracing::warn!(%by, steps, "capture times jumped");
            }
            match camera.late.poll(self.now) {
                Some(true) => tracing::info!("late: not waited for any more"),
                Some(false) => tracing::info!("in time again"),
                None => {}
            }
            self.unsaid |= due(camera);
        }
        if let Some(reference) = self.reference.poll(self.now).flatten() {
            let _in_stream = self.cameras[reference].span.enter();
            tracing::info!("packets are anchored on this camera");
        }
        self.unsaid |= self.reference.is_due();
    }
}

/// A frame as the synchronizer takes it.
fn sync_frame(payload: TimedFrame, host: &HostClock) -> SyncFrame<TimedFrame> {
    let stamped = payload.trace.stamped();
    let arrived = host.utc_at(payload.frame.arrival).utc;
    let (time, basis) = (stamped.time.utc, basis(stamped, arrived));
    SyncFrame { time, basis, bytes: payload.frame.data.len(), payload }
}
