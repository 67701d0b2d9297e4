//! The aggregator without its sockets: datagrams and what sessions tell, with their arrival times, in; frame
//! packets out.
//!
//! Sans-IO: it is told the time and the host's clock, so the same engine runs live, over a capture file
//! and under simulated networks. Live sockets are in [`live`]; capture files in [`offline`].

mod cameras;
pub mod live;
pub mod offline;
mod said;
mod sockets;
mod status;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use framelock_common::time::{HostTime, Span};

pub use cameras::RemoveError;
pub(crate) use sockets::Sockets;
pub use status::{CameraStatus, LastFrame};

use said::Said;

use crate::config::{CameraConfig, Settings};
use crate::deliver::{CameraName, Codec, Frame, Outcome, Packet};
use crate::source::{
    Datagram, DownReason, PortCounters, PortEvent, RtpPort, SessionEvent, SessionPort, SourceSpec,
    StreamOutput, StreamStatus, TimedFrame, Transmit, TsPort,
};
use crate::sync::{CameraIndex, SourceState, SyncEvent, SyncFrame, Synchronizer};
use crate::timestamp::{HostClock, Mapper, Trace, basis};

/// Frames that may wait for [`Engine::poll_decode`]; nobody who decodes lets it get there.
const MAX_DECODE: usize = 1_024;

/// Which source of the settings a datagram belongs to: the n-th.
pub type PortIndex = usize;

/// Something for a camera's decoder.
#[derive(Clone, Debug)]
pub enum DecodeInput {
    /// Its next good frame in decoding order.
    Frame(CameraIndex, Frame),
    /// Its source is down: what the decoder holds back is to come out.
    Flush(CameraIndex),
    /// It was removed.
    Forget(CameraIndex),
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    /// Only grows: whoever was given a number keeps it.
    ports: Vec<Port>,
    /// Only grows, too, in step with the synchronizer's.
    cameras: Vec<Camera>,
    seed: u64,
    max_cameras: usize,
    sync: Synchronizer<TimedFrame>,
    now: HostTime,
    /// Somebody wants pixels.
    decoding: bool,
    decode: VecDeque<DecodeInput>,
    /// The camera on whose frames packets are anchored.
    reference: Said<Option<usize>>,
    /// Something may have to be said of the synchronizer.
    unsaid: bool,
}

#[derive(Debug)]
struct Port {
    config: CameraConfig,
    kind: Kind,
    /// The engine's camera at each of the port's places.
    cameras: Vec<usize>,
}

#[derive(Debug)]
enum Kind {
    Rtp(Box<RtpPort>),
    Ts(Box<TsPort>),
    Session(Box<SessionPort>),
    /// It was removed.
    Gone,
}

#[derive(Debug)]
struct Camera {
    name: CameraName,
    port: PortIndex,
    /// Its place among the cameras of the port.
    place: usize,
    state: SourceState,
    /// Why it is broken.
    reason: Option<DownReason>,
    last: Option<LastFrame>,
    /// How the last frame that the synchronizer got came to its time.
    trace: Option<Trace>,
    /// What the log says of its stream is said in here.
    span: tracing::Span,
    /// Whether packets do not wait for it.
    late: Said<bool>,
    /// How many jumps its capture times have made, and how far the last was.
    steps: Said<(u64, Span)>,
    /// It is here only for its name, which packets under way may still need.
    removed: bool,
}

impl Engine {
    /// An engine for `settings`. `seed` makes our SSRCs: unpredictable live, fixed in tests.
    #[must_use]
    pub fn new(settings: &Settings, seed: u64) -> Self {
        let mut engine = Self {
            ports: Vec::new(),
            cameras: Vec::new(),
            seed,
            max_cameras: settings.max_cameras,
            sync: Synchronizer::new(&settings.sync, Vec::new()),
            now: HostTime::from_nanos(0),
            decoding: false,
            decode: VecDeque::new(),
            reference: Said::default(),
            unsaid: false,
        };
        for camera in &settings.cameras {
            engine.add_port(camera);
        }
        engine
    }

    /// The sources to listen on or to connect to, by [`PortIndex`].
    pub fn sources(&self) -> impl ExactSizeIterator<Item = SourceSpec> {
        self.ports.iter().map(|port| port.config.source.clone())
    }

    /// Whether the sources are files that are read as fast as possible: time is then what they say, see
    /// [`SessionEvent::at`].
    #[must_use]
    pub fn waits(&self) -> bool {
        self.ports.first().is_some_and(|port| port.config.source.waits())
    }

    /// Whether nothing will come any more: every source is a file that has come to its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let mut living = self.ports.iter().filter(|port| !matches!(port.kind, Kind::Gone)).peekable();
        let over = |port: &Port| matches!(&port.kind, Kind::Session(session) if session.is_over());
        living.peek().is_some() && living.all(over)
    }

    /// A datagram arrived on one of the ports.
    pub fn handle_datagram(&mut self, port: PortIndex, datagram: &Datagram<'_>, host: &HostClock) {
        self.now = self.now.max(datagram.arrival);
        match &mut self.ports[port].kind {
            Kind::Rtp(rtp) => rtp.handle_datagram(datagram, host),
            Kind::Ts(ts) => ts.handle_datagram(datagram, host),
            Kind::Session(_) | Kind::Gone => {}
        }
        self.handle_port_events(port, host);
        self.log_sync_events();
    }

    /// The session of one of the ports told something.
    pub fn handle_session(&mut self, port: PortIndex, event: SessionEvent, host: &HostClock) {
        self.now = self.now.max(event.at());
        if let Kind::Session(session) = &mut self.ports[port].kind {
            session.handle(event, host);
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
                Kind::Session(session) => session.handle_timeout(now),
                Kind::Gone => {}
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
                // What a session gives is not held up by anything missing; a file that ended gave all it had.
                Kind::Session(_) | Kind::Gone => {}
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
            Kind::Session(session) => session.poll_timeout(),
            Kind::Gone => None,
        });
        ports.chain(self.sync.poll_timeout()).min()
    }

    /// Until when no packet comes of what arrives, if the cameras keep their pace, and the port of the frame that is then
    /// waited for; see [`Synchronizer::quiet_until`]. `None` while frames are decoded: that begins as they come.
    #[must_use]
    pub fn quiet_until(&self) -> Option<(HostTime, PortIndex)> {
        let (until, camera) = self.sync.quiet_until().filter(|_| !self.decoding)?;
        Some((until, self.cameras.get(camera.get())?.port))
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self, now: HostTime) -> Option<(PortIndex, Transmit)> {
        self.ports.iter_mut().enumerate().find_map(|(index, port)| match &mut port.kind {
            Kind::Rtp(rtp) => Some((index, rtp.poll_transmit(now)?)),
            Kind::Ts(_) | Kind::Session(_) | Kind::Gone => None,
        })
    }

    /// Somebody wants pixels from now on, or nobody any more. Decoding begins with key frames: the senders are
    /// asked for them.
    pub fn set_decoding(&mut self, decoding: bool) {
        self.decoding = decoding;
        if decoding {
            (0..self.cameras.len()).for_each(|camera| self.request_key_frame(CameraIndex::new(camera)));
        } else {
            for input in self.decode.drain(..) {
                if let DecodeInput::Frame(_, frame) = input {
                    frame.settle(Outcome::NotYet);
                }
            }
        }
    }

    /// The next input of a decoder, where somebody wants pixels.
    pub fn poll_decode(&mut self) -> Option<DecodeInput> {
        self.decode.pop_front()
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
        let Some(camera) = self.cameras.get(camera.get()).filter(|camera| !camera.removed) else { return };
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
                Kind::Session(_) | Kind::Gone => PortCounters::default(),
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
            reason: camera.reason.as_ref().map(ToString::to_string),
            stream: match &mut ports[camera.port].kind {
                Kind::Rtp(rtp) => rtp.status(camera.place),
                Kind::Ts(ts) => ts.status(),
                Kind::Session(session) => session.status(),
                Kind::Gone => StreamStatus::default(),
            },
            sync: sync.stats(CameraIndex::new(index)).unwrap_or_default(),
            last: camera.last,
        };
        self.cameras.iter().enumerate().filter(|(_, camera)| !camera.removed).map(of).collect()
    }

    fn handle_port_events(&mut self, port: PortIndex, host: &HostClock) {
        loop {
            let event = match &mut self.ports[port].kind {
                Kind::Rtp(rtp) => rtp.poll_event(),
                Kind::Ts(ts) => ts.poll_event(),
                Kind::Session(session) => session.poll_event(),
                Kind::Gone => None,
            };
            match event {
                None => return,
                Some(PortEvent::Camera(name)) => {
                    let name = self.unique(name);
                    let place = self.ports[port].cameras.len();
                    self.ports[port].cameras.push(0);
                    self.add_camera(port, place, name);
                    let _in_stream = self.cameras.last().map(|camera| camera.span.enter());
                    tracing::info!(source = %self.ports[port].config.source, "a new sender is a camera now");
                }
                Some(PortEvent::Taken(place, address)) => {
                    let camera = self.camera_at(port, place);
                    let _in_stream = self.cameras[camera].span.enter();
                    tracing::info!(%address, "receiving");
                }
                Some(PortEvent::Down(place, reason)) => {
                    let camera = self.ports[port].cameras[place];
                    if self.cameras[camera].removed {
                        continue;
                    }
                    if self.decoding && self.decode.len() < MAX_DECODE {
                        self.decode.push_back(DecodeInput::Flush(CameraIndex::new(camera)));
                    }
                    self.set_state(camera, SourceState::Broken, Some(reason));
                }
                Some(PortEvent::Output(place, output)) => {
                    let camera = self.camera_at(port, place);
                    self.handle_output(camera, output, host);
                }
            }
        }
    }

    fn handle_output(&mut self, camera: usize, output: StreamOutput, host: &HostClock) {
        let index = CameraIndex::new(camera);
        match output {
            // Decoded where and when it is taken.
            StreamOutput::Decode(frame) if frame.codec == Codec::Jpeg => {}
            StreamOutput::Decode(frame) if !self.decoding => frame.settle(Outcome::NotYet),
            StreamOutput::Decode(frame) if self.decode.len() >= MAX_DECODE => frame.settle(Outcome::Skipped),
            StreamOutput::Decode(frame) => self.decode.push_back(DecodeInput::Frame(index, frame)),
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
        if known.state == state && (known.reason == reason || reason.is_none()) {
            return;
        }
        let _in_stream = known.span.clone().entered();
        match &reason {
            Some(DownReason::Goodbye) => tracing::info!("the sender said goodbye"),
            Some(DownReason::Silent) => tracing::warn!("nothing arrives any more; still listening"),
            Some(DownReason::Failed(why)) => tracing::warn!("down, trying again: {why}"),
            Some(DownReason::Ended) => tracing::info!("the file ended"),
            Some(DownReason::Over(why)) => tracing::warn!("down: {why}"),
            None => tracing::info!("live"),
        }
        known.reason = reason;
        if std::mem::replace(&mut known.state, state) == state {
            return;
        }
        self.sync.handle_source_state(CameraIndex::new(camera), state, self.now);
    }

    fn unique(&self, name: String) -> CameraName {
        let taken = |name: &str| self.living().any(|camera| camera.name.as_str() == name);
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
