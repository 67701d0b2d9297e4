//! Settings of the aggregator, from a TOML file, from flags or built by a program.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use framelock_common::config::{self, ConfigError};
use framelock_common::time::Span;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use crate::deliver::CameraName;
use crate::ntp::NtpSettings;
use crate::source::{Protocol, SourceSpec, SpecError};
use crate::sync::{Policy, Rate, SyncConfig, SyncConfigError};

/// How many senders of one `*` source may become cameras, unless set.
pub const DEFAULT_MAX_CAMERAS: usize = 64;
/// Packets kept for a slow consumer, unless set: the newest two seconds at 30 a second.
pub const DEFAULT_QUEUE: usize = 60;
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
    fn with_options(name: &str, source: &str, options: &[(&str, &str)]) -> Result<Self, SettingsError> {
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

/// What is wrong with settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read, or is not what it should be.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// Nothing to receive from.
    #[error(
        "no camera: add one with --camera NAME=SOURCE, for example --camera left=rtp://:5000, or in the configuration file"
    )]
    NoCamera,
    /// A camera is not written as NAME=SOURCE.
    #[error("camera \"{0}\": write it as NAME=SOURCE, for example left=rtp://:5000")]
    CameraSyntax(String),
    /// A camera name that cannot be one.
    #[error("camera name {0:?}: use 1 to 64 printable characters")]
    Name(String),
    /// `*` where only one camera can be.
    #[error("camera \"*\" needs an rtp:// source: {0} has no way to name its senders")]
    Wildcard(SourceSpec),
    /// Two cameras of one name.
    #[error("two cameras are called \"{0}\"; give each its own name")]
    DuplicateName(CameraName),
    /// Two sources on one port.
    #[error(
        "two cameras use {protocol} port {port}; give each its own{}",
        if *.protocol == "UDP" { format!(", or take every sender of one port with *=rtp://:{port}") } else { String::new() }
    )]
    DuplicatePort {
        /// `"UDP"` or `"TCP"`.
        protocol: &'static str,
        /// The port.
        port: u16,
    },
    /// A file that is read as fast as possible, beside what is not.
    #[error("{fast} is read as fast as possible and cannot be put together with {live}; leave \",fast\" out")]
    FastBesideLive {
        /// The file.
        fast: Box<SourceSpec>,
        /// The other source.
        live: Box<SourceSpec>,
    },
    /// A source that cannot be.
    #[error(transparent)]
    Source(#[from] SpecError),
    /// A policy or rate that cannot be.
    #[error(transparent)]
    Sync(#[from] SyncConfigError),
    /// A number out of its range.
    #[error("{key} must be {range}")]
    Range {
        /// The key.
        key: &'static str,
        /// What is possible.
        range: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
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
struct FileCamera {
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

impl Settings {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it cannot be read or is wrong; the error says where.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        Self::of(config::read(path)?)
    }

    /// Reads the `text` of the configuration file `path`.
    ///
    /// # Errors
    /// When it is wrong; the error says where.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        Self::of(config::parse(text, path)?)
    }

    fn of(file: File) -> Result<Self, SettingsError> {
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
        Ok(settings)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, SettingsError> {
        let settings = Settings::parse(text, Path::new("a.toml"))?;
        settings.check()?;
        Ok(settings)
    }

    #[test]
    fn the_shipped_example_is_valid_and_shows_every_key() {
        let text = include_str!("../../deploy/aggregator.example.toml");
        parse(text).unwrap();
        // Uncommenting its examples must give a valid configuration too.
        let full: String =
            text.lines().map(|line| format!("{}\n", line.strip_prefix("#: ").unwrap_or(line))).collect();
        let settings = parse(&full).unwrap();
        assert_eq!(settings.ntp.unwrap().local_stratum, Some(10));
        for key in [
            "policy",
            "rate",
            "max-wait",
            "queue",
            "decode",
            "output",
            "max-cameras",
            "[ntp]",
            "enabled",
            "port",
            "address",
            "local-stratum",
            "[[camera]]",
            "name",
            "source",
        ] {
            assert!(full.lines().any(|line| line.starts_with(key)), "{key} is not in the example");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let error = parse("polcy = \"tightest\"").unwrap_err().to_string();
        assert_eq!(error, "a.toml:1: unknown key \"polcy\"; did you mean \"policy\"?");
    }

    #[test]
    fn the_ntp_service_is_as_the_table_says() {
        let camera = "[[camera]]\nname = \"a\"\nsource = \"rtp://:5000\"\n";
        let ntp = |table: &str| parse(&format!("{camera}{table}")).unwrap();
        assert_eq!((ntp("").ntp, ntp("").no_ntp), (None, false));
        let off = ntp("[ntp]\nenabled = false\nport = 5\n");
        assert_eq!((off.ntp, off.no_ntp), (None, true));
        let local = ntp("[ntp]\nlocal-stratum = 10\n").ntp.unwrap();
        assert_eq!(local, NtpSettings { local_stratum: Some(10), optional: true, ..NtpSettings::default() });
        let asked = ntp("[ntp]\naddress = \"127.0.0.1\"\nport = 4123\n").ntp.unwrap();
        assert_eq!((asked.listen.to_string().as_str(), asked.optional), ("127.0.0.1:4123", false));
        assert!(!ntp("[ntp]\nenabled = true\n").ntp.unwrap().optional);
    }

    #[test]
    fn a_rate_may_be_a_bare_number() {
        let rate = |text: &str| Settings::parse(text, Path::new("a.toml")).unwrap().sync.rate.to_string();
        assert_eq!((rate("rate = 10"), rate("rate = 29.97")), ("10".into(), "29.970".into()));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let camera = "[[camera]]\nname = \"a\"\nsource = \"rtp://:5000\"\n";
        for (text, says) in [
            (String::new(), "no camera"),
            (format!("{camera}{camera}"), "two cameras are called \"a\""),
            (format!("{camera}{}", camera.replace("\"a\"", "\"b\"")), "two cameras use UDP port 5000"),
            (
                format!("{camera}{}", camera.replace("\"a\"", "\"b\"").replace("//", "//127.0.0.1")),
                "two cameras use UDP port 5000",
            ),
            (format!("queue = 0\n{camera}"), "queue must be 1 to 100000"),
            (format!("max-cameras = 0\n{camera}"), "max-cameras must be"),
            (format!("max-wait = \"2h\"\n{camera}"), "max-wait must be"),
            (format!("{camera}[ntp]\nlocal-stratum = 16\n"), "ntp.local-stratum must be 1 to 15"),
            (format!("[ntp]\nport = 70000\n{camera}"), "a.toml:2"),
            (format!("queue = 5\npolicy = \"best\"\n{camera}"), "a.toml:2: \"best\" is not a policy"),
            (format!("policy = 7\n{camera}"), "a.toml:1: \"7\" is not a policy"),
            (format!("\n\nrate = \"quick\"\n{camera}"), "a.toml:3: \"quick\" is not a rate"),
            (format!("rate = 0\n{camera}"), "a.toml:1: \"0\" is not a rate"),
            (format!("rate = true\n{camera}"), "a.toml:1: invalid type"),
            (camera.replace("rtp://", "srt://"), "a.toml:3: source \"srt://:5000\": unknown kind"),
            (camera.replace("\"a\"", "\"\""), "a.toml:1: camera name"),
            (
                camera.replace("\"a\"", "\"*\"").replace("rtp", "udp"),
                "a.toml:1: camera \"*\" needs an rtp:// source",
            ),
            (camera.replace("name", "nam"), "a.toml:2: unknown key \"nam\"; did you mean \"name\"?"),
        ] {
            let error = parse(&text).expect_err(&text).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
