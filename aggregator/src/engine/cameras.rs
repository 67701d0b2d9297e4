//! Cameras that come and go while the engine runs.

use super::{Camera, DecodeInput, Engine, Kind, MAX_DECODE, Port, PortIndex};
use crate::config::{CameraConfig, SettingsError};
use crate::deliver::CameraName;
use crate::source::{Protocol, RtpPort};
use crate::sync::{CameraIndex, SourceState, SyncCamera};

/// Why a camera is not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// There is none of that name.
    #[error("there is no camera \"{0}\"")]
    Unknown(String),
    /// It came by itself to a `*` source, and would come again at once.
    #[error("camera \"{camera}\" still sends to {source}; stop its sender, or remove \"*\"", source = .from)]
    StillSending {
        /// The camera.
        camera: CameraName,
        /// The source.
        from: String,
    },
}

impl Engine {
    /// Adds a source and its camera, after all that there are. Its number is that of the next source: see
    /// [`Self::sources`].
    ///
    /// # Errors
    /// When its name or its port is another's.
    pub fn add_source(&mut self, camera: &CameraConfig) -> Result<PortIndex, SettingsError> {
        // Time that went with files cannot go with live cameras afterwards, nor the other way round.
        let others = self.ports.iter();
        let others = others.filter(|port| {
            !matches!(port.kind, Kind::Gone) || port.config.source.waits() != camera.source.waits()
        });
        camera.check_beside(others.map(|port| &port.config))?;
        if let Some(name) = &camera.name
            && self.living().any(|camera| camera.name == *name)
        {
            return Err(SettingsError::DuplicateName(name.clone()));
        }
        Ok(self.add_port(camera))
    }

    /// Removes the camera called `name`, and its source with it; `*` removes every `*` source and the
    /// cameras that came to them. Returns the sources that are no longer needed.
    ///
    /// # Errors
    /// When there is none of that name, or it would come again at once.
    pub fn remove_camera(&mut self, name: &str) -> Result<Vec<PortIndex>, RemoveError> {
        let unknown = || RemoveError::Unknown(name.to_owned());
        if name == "*" {
            let all = self.ports.iter().enumerate();
            let wild = all.filter(|(_, port)| port.config.name.is_none() && !matches!(port.kind, Kind::Gone));
            let wild: Vec<_> = wild.map(|(index, _)| index).collect();
            wild.iter().for_each(|port| self.remove_port(*port));
            return if wild.is_empty() { Err(unknown()) } else { Ok(wild) };
        }
        let of_name = |camera: &Camera| !camera.removed && camera.name.as_str() == name;
        let index = self.cameras.iter().position(of_name).ok_or_else(unknown)?;
        let Camera { port, state, .. } = self.cameras[index];
        if self.ports[port].config.name.is_some() {
            self.remove_port(port);
            return Ok(vec![port]);
        }
        if state == SourceState::Live {
            let from = self.ports[port].config.source.to_string();
            return Err(RemoveError::StillSending { camera: CameraName::new(name), from });
        }
        self.forget(index);
        Ok(Vec::new())
    }

    pub(super) fn add_port(&mut self, camera: &CameraConfig) -> PortIndex {
        let index = self.ports.len();
        #[expect(clippy::cast_possible_truncation, reason = "32 of the seed's bits are enough")]
        let ssrc =
            (self.seed.rotate_left(7) as u32).wrapping_add(0x9e37_79b9_u32.wrapping_mul(index as u32 + 1));
        let protocol = camera.source.port().map(|port| port.protocol);
        let kind = match (protocol, &camera.name) {
            (None, _) => Kind::Session(Box::default()),
            (Some(Protocol::UdpTs), _) => Kind::Ts(Box::default()),
            (Some(Protocol::Rtp), Some(_)) => Kind::Rtp(Box::new(RtpPort::single(ssrc))),
            (Some(Protocol::Rtp), None) => Kind::Rtp(Box::new(RtpPort::many(self.max_cameras, ssrc))),
        };
        self.ports.push(Port { config: camera.clone(), kind, cameras: Vec::new() });
        if let Some(name) = &camera.name {
            self.ports[index].cameras.push(0);
            self.add_camera(index, 0, name.clone());
        }
        index
    }

    /// Gives a port's `place` a camera, after all that there are.
    pub(super) fn add_camera(&mut self, port: PortIndex, place: usize, name: CameraName) {
        self.ports[port].cameras[place] = self.cameras.len();
        let span = tracing::info_span!("stream", camera = name.as_str());
        match &mut self.ports[port].kind {
            Kind::Rtp(rtp) => rtp.set_span(place, span.clone()),
            Kind::Ts(ts) => ts.set_span(span.clone()),
            Kind::Session(_) | Kind::Gone => {}
        }
        self.cameras.push(Camera {
            name,
            port,
            place,
            state: SourceState::Starting,
            reason: None,
            last: None,
            trace: None,
            span,
            late: Default::default(),
            steps: Default::default(),
            removed: false,
        });
        let index = self.sync.add_camera(SyncCamera::default());
        debug_assert_eq!(index.get() + 1, self.cameras.len());
    }

    /// The camera at a port's `place`. One that was removed while its sender was silent comes again.
    pub(super) fn camera_at(&mut self, port: PortIndex, place: usize) -> usize {
        let camera = self.ports[port].cameras[place];
        if self.cameras[camera].removed {
            let name = self.unique(self.cameras[camera].name.as_str().to_owned());
            self.add_camera(port, place, name);
            if self.decoding {
                self.request_key_frame(CameraIndex::new(self.cameras.len() - 1));
            }
        }
        self.ports[port].cameras[place]
    }

    /// The cameras that were not removed.
    pub(super) fn living(&self) -> impl Iterator<Item = &Camera> {
        self.cameras.iter().filter(|camera| !camera.removed)
    }

    /// Takes back a source that was added but cannot be had.
    pub(super) fn withdraw(&mut self, port: PortIndex) {
        self.remove_port(port);
    }

    fn remove_port(&mut self, port: PortIndex) {
        self.ports[port].kind = Kind::Gone;
        for index in 0..self.cameras.len() {
            if self.cameras[index].port == port && !self.cameras[index].removed {
                self.forget(index);
            }
        }
    }

    fn forget(&mut self, index: usize) {
        let camera = &mut self.cameras[index];
        camera.removed = true;
        camera.last = None;
        let _in_stream = camera.span.clone().entered();
        tracing::info!("removed");
        self.sync.remove_camera(CameraIndex::new(index), self.now);
        if self.decoding && self.decode.len() < MAX_DECODE {
            self.decode.push_back(DecodeInput::Forget(CameraIndex::new(index)));
        }
    }
}
