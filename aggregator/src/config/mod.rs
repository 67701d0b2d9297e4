//! Settings of the aggregator, from a TOML file, from flags or built by a program.

mod camera;
mod error;
mod file;
#[cfg(test)]
mod tests;

use std::path::Path;

use framelock_common::config;
use framelock_common::time::Span;
use serde::Deserialize;

pub use self::camera::CameraConfig;
pub use self::error::SettingsError;
use self::file::File;
use crate::ntp::NtpSettings;
use crate::sync::SyncConfig;

/// How many senders of one `*` source may become cameras, unless set.
pub const DEFAULT_MAX_CAMERAS: usize = 64;
/// Packets kept for a slow consumer, unless set: the newest two seconds at 30 a second.
pub const DEFAULT_QUEUE: usize = 60;

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The sources, in the order in which their cameras appear in packets.
    pub cameras: Vec<CameraConfig>,
    /// The synchronizer's settings.
    pub sync: SyncConfig,
    /// Packets kept for a slow consumer; the oldest gives way and is counted.
    pub queue: usize,
    /// How many senders of one `*` source may become cameras.
    pub max_cameras: usize,
    /// Whether to decode.
    pub decode: bool,
    /// Where `run` writes packets.
    pub output: Output,
    /// The NTP service; `None` for none.
    pub ntp: Option<NtpSettings>,
    /// Whether the settings say that there is to be no NTP service, where there would be one by default.
    pub no_ntp: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cameras: Vec::new(),
            sync: SyncConfig::default(),
            queue: DEFAULT_QUEUE,
            max_cameras: DEFAULT_MAX_CAMERAS,
            decode: false,
            output: Output::None,
            ntp: None,
            no_ntp: false,
        }
    }
}

/// Where `framelock-aggregator run` writes packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// Nowhere: receive, synchronize and log.
    #[default]
    None,
    /// One JSON object a line on standard output.
    Stdout,
}

impl Settings {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it cannot be read or is wrong; the error says where.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        Ok(config::read::<File>(path)?.into())
    }

    /// Reads the `text` of the configuration file `path`.
    ///
    /// # Errors
    /// When it is wrong; the error says where.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        Ok(config::parse::<File>(text, path)?.into())
    }

    /// Adds a camera; the name `*` makes every sender that arrives one.
    ///
    /// # Errors
    /// When the name or the source cannot be.
    pub fn add_camera(&mut self, name: &str, source: &str) -> Result<(), SettingsError> {
        self.add_camera_with(name, source, &[])
    }

    /// As [`Self::add_camera`], with options of the source (user, password, ...) that are not in its text.
    ///
    /// # Errors
    /// When the name, the source or an option cannot be.
    pub fn add_camera_with(
        &mut self,
        name: &str,
        source: &str,
        options: &[(&str, &str)],
    ) -> Result<(), SettingsError> {
        self.cameras.push(CameraConfig::with_options(name, source, options)?);
        Ok(())
    }

    /// Adds a camera written as `NAME=SOURCE`.
    ///
    /// # Errors
    /// When it is not written so, or the name or the source cannot be.
    pub fn add_camera_flag(&mut self, text: &str) -> Result<(), SettingsError> {
        let (name, source) =
            text.split_once('=').ok_or_else(|| SettingsError::CameraSyntax(text.to_owned()))?;
        self.add_camera(name, source)
    }

    /// Whether all sources are files that are read as fast as possible, and wait for whoever takes the packets.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.cameras.is_empty() && self.cameras.iter().all(|camera| camera.source.waits())
    }

    /// Checks what only the whole can tell.
    ///
    /// # Errors
    /// When there is no camera, a name or port is used twice, or a number is out of range.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.cameras.is_empty() { Err(SettingsError::NoCamera) } else { self.check_values() }
    }

    /// The same, but that there may be no camera yet.
    ///
    /// # Errors
    /// When a name or port is used twice, or a number is out of range.
    pub fn check_values(&self) -> Result<(), SettingsError> {
        for (index, camera) in self.cameras.iter().enumerate() {
            camera.check_beside(&self.cameras[..index])?;
        }
        let range = |ok: bool, key, range| if ok { Ok(()) } else { Err(SettingsError::Range { key, range }) };
        range((1..=100_000).contains(&self.queue), "queue", "1 to 100000")?;
        range((1..=1_024).contains(&self.max_cameras), "max-cameras", "1 to 1024")?;
        let stratum = self.ntp.and_then(|ntp| ntp.local_stratum);
        range(stratum.is_none_or(|stratum| (1..=15).contains(&stratum)), "ntp.local-stratum", "1 to 15")?;
        let wait = self.sync.max_wait.unwrap_or(Span::ZERO);
        range(wait >= Span::ZERO && wait <= Span::from_secs(60), "max-wait", "0ms to 60s")
    }
}
