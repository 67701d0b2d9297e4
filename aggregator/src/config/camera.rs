//! One camera of the settings: its name, where it comes from, and which others it can be beside.

use std::net::SocketAddr;

use serde::Deserialize;

use super::SettingsError;
use super::file::FileCamera;
use crate::deliver::CameraName;
use crate::source::{Protocol, SourceSpec};

/// The longest camera name, in characters.
const MAX_NAME: usize = 64;

/// A camera and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "FileCamera")]
pub struct CameraConfig {
    /// Its name; `None` (written `*`) makes every sender that arrives a camera.
    pub name: Option<CameraName>,
    /// Where its stream arrives.
    pub source: SourceSpec,
}

impl CameraConfig {
    /// A camera called `name`, or for `*` every sender that arrives, from `source`, such as `rtp://:5000`.
    ///
    /// # Errors
    /// When the name or the source cannot be.
    pub fn new(name: &str, source: &str) -> Result<Self, SettingsError> {
        Self::with_options(name, source, &[])
    }

    /// As [`Self::new`], with options of the source that are not in its text.
    pub(super) fn with_options(
        name: &str,
        source: &str,
        options: &[(&str, &str)],
    ) -> Result<Self, SettingsError> {
        let source = SourceSpec::parse(source, options)?;
        let rtp = source.port().is_some_and(|port| port.protocol == Protocol::Rtp);
        let name = match name {
            "*" if !rtp => return Err(SettingsError::Wildcard(source)),
            "*" => None,
            _ => Some(camera_name(name)?),
        };
        Ok(Self { name, source })
    }

    /// Checks that neither its name nor its port is one of `others`', and that its time goes with theirs.
    pub(crate) fn check_beside<'a>(
        &self,
        others: impl IntoIterator<Item = &'a Self>,
    ) -> Result<(), SettingsError> {
        for other in others {
            if other.source.waits() != self.source.waits() {
                let (fast, live) = if self.source.waits() { (self, other) } else { (other, self) };
                return Err(SettingsError::FastBesideLive {
                    fast: Box::new(fast.source.clone()),
                    live: Box::new(live.source.clone()),
                });
            }
            if let Some(name) = &self.name
                && other.name.as_ref() == Some(name)
            {
                return Err(SettingsError::DuplicateName(name.clone()));
            }
            if let (Some((protocol, address)), Some((its, at))) =
                (self.source.listens(), other.source.listens())
                && protocol == its
                && overlap(address, at)
            {
                return Err(SettingsError::DuplicatePort { protocol, port: address.port() });
            }
        }
        Ok(())
    }
}

/// Whether no two sockets can be bound to these.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    // A multicast group is another one's to share.
    let shared = one.ip().is_multicast() || other.ip().is_multicast();
    one == other || one.port() == other.port() && everywhere && !shared
}

fn camera_name(name: &str) -> Result<CameraName, SettingsError> {
    let good = !name.trim().is_empty() && name.chars().count() <= MAX_NAME;
    if good && !name.chars().any(char::is_control) {
        Ok(CameraName::new(name))
    } else {
        Err(SettingsError::Name(name.chars().take(MAX_NAME).collect()))
    }
}
