//! The settings as they are written in a TOML file.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use framelock_common::config;
use framelock_common::time::Span;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::{CameraConfig, Output, Settings, SettingsError};
use crate::ntp::NtpSettings;
use crate::source::{SourceSpec, SpecError};
use crate::sync::{Policy, Rate};

/// The file.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct File {
    #[serde(default, deserialize_with = "optional_text")]
    policy: Option<Policy>,
    #[serde(default, deserialize_with = "optional_text")]
    rate: Option<Rate>,
    #[serde(default, deserialize_with = "config::de::optional_duration")]
    max_wait: Option<Span>,
    queue: Option<usize>,
    max_cameras: Option<usize>,
    #[serde(default)]
    decode: bool,
    #[serde(default)]
    output: Output,
    ntp: Option<FileNtp>,
    #[serde(default)]
    camera: Vec<CameraConfig>,
}

/// The table `[ntp]`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FileNtp {
    enabled: Option<bool>,
    address: Option<IpAddr>,
    port: Option<u16>,
    local_stratum: Option<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct FileCamera {
    name: String,
    #[serde(deserialize_with = "text")]
    source: SourceText,
    user: Option<String>,
    password: Option<String>,
    transport: Option<String>,
    poll: Option<String>,
    ca: Option<String>,
    tls: Option<String>,
    topic: Option<String>,
    length: Option<String>,
    timeout: Option<String>,
}

impl FileCamera {
    /// The keys that are options of the source.
    fn options(&self) -> Vec<(&'static str, &str)> {
        let keys = [
            ("user", &self.user),
            ("password", &self.password),
            ("transport", &self.transport),
            ("poll", &self.poll),
            ("ca", &self.ca),
            ("tls", &self.tls),
            ("topic", &self.topic),
            ("length", &self.length),
            ("timeout", &self.timeout),
        ];
        keys.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?))).collect()
    }
}

impl TryFrom<FileCamera> for CameraConfig {
    type Error = SettingsError;

    fn try_from(camera: FileCamera) -> Result<Self, Self::Error> {
        Self::with_options(&camera.name, &camera.source.0, &camera.options())
    }
}

impl From<File> for Settings {
    fn from(file: File) -> Self {
        let mut settings = Self { decode: file.decode, output: file.output, ..Self::default() };
        settings.sync.policy = file.policy.unwrap_or_default();
        settings.sync.rate = file.rate.unwrap_or_default();
        settings.sync.max_wait = file.max_wait;
        settings.queue = file.queue.unwrap_or(settings.queue);
        settings.max_cameras = file.max_cameras.unwrap_or(settings.max_cameras);
        if let Some(ntp) = file.ntp {
            settings.set_ntp(ntp);
        }
        settings.cameras = file.camera;
        settings
    }
}

impl Settings {
    fn set_ntp(&mut self, file: FileNtp) {
        self.no_ntp = file.enabled == Some(false);
        if self.no_ntp {
            return;
        }
        let default = NtpSettings::default();
        let address = file.address.unwrap_or(default.listen.ip());
        let port = file.port.unwrap_or(default.listen.port());
        // Who only says what stratum to claim has not asked for the port.
        let asked = file.enabled.is_some() || file.address.is_some() || file.port.is_some();
        self.ntp = Some(NtpSettings {
            listen: SocketAddr::new(address, port),
            local_stratum: file.local_stratum,
            optional: !asked,
        });
    }
}

/// A source that can be read without the options beside it: what is wrong with it has its place in the file.
struct SourceText(String);

impl FromStr for SourceText {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        SourceSpec::parse(text, &[]).map(|_| Self(text.to_owned()))
    }
}

/// Reads what is written as a string, so that what is wrong with it has its place in the file. A bare number
/// is taken by its digits.
fn text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(from: D) -> Result<T, D::Error> {
    struct Text<T>(PhantomData<T>);

    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }
    }

    from.deserialize_any(Text(PhantomData))
}

fn optional_text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    text(from).map(Some)
}
