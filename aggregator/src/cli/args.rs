//! The arguments. They are a public interface: what changes here goes into the changelog.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use framelock_common::cli::LogOptions;
use framelock_common::config::parse_duration;
use framelock_common::time::Span;

use super::serve::Options;
use crate::config::{Settings, SettingsError};
use crate::demo::DemoConfig;
use crate::ntp::NtpSettings;
use crate::sync::{Policy, Rate, SyncConfig};

/// Puts frames of the same instant from many cameras together and hands them out as packets.
#[derive(Debug, Parser)]
#[command(name = "framelock-aggregator", version)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) log: LogOptions,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print packets, one JSON object a line
    Packets(PacketsArgs),
    /// Run by a configuration file until interrupted
    Run {
        /// Settings as TOML
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        ntp: NtpArgs,
    },
    /// Run the same synchronizer over recorded times or captured traffic
    Replay(ReplayArgs),
    /// Check a configuration file
    Validate {
        /// The file
        file: PathBuf,
    },
    /// Show synchronized cameras on this machine, no hardware needed
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    /// tightest, last-before or exact:TOLERANCE [default: tightest]
    #[arg(long, value_name = "P")]
    policy: Option<Policy>,
    /// How long a packet waits for frames, in ms [default: two frame periods]
    #[arg(long, value_name = "MS", value_parser = read_max_wait)]
    max_wait: Option<Span>,
    /// slowest, fastest or packets a second [default: slowest]
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
}

impl SyncArgs {
    fn apply(&self, sync: &mut SyncConfig) {
        sync.policy = self.policy.unwrap_or(sync.policy);
        sync.rate = self.rate.unwrap_or(sync.rate);
        sync.max_wait = self.max_wait.or(sync.max_wait);
    }
}

#[derive(Debug, Args)]
pub(super) struct NtpArgs {
    /// Serve this host's clock to the boards by NTP on this UDP port, of one address or of all [default: 11123
    /// with `run`, no service with `packets`]
    #[arg(long, value_name = "[HOST:]PORT", value_parser = read_listen, conflicts_with = "no_ntp")]
    ntp: Option<SocketAddr>,
    /// Without any other time on the network: the stratum at which this host's clock is the reference
    #[arg(long, value_name = "1-15", value_parser = clap::value_parser!(u8).range(1..=15), conflicts_with = "no_ntp")]
    ntp_local_stratum: Option<u8>,
    /// No NTP service
    #[arg(long)]
    no_ntp: bool,
}

impl NtpArgs {
    /// Lays the flags over `settings`. `by_default`: a service runs although nobody asked for it.
    pub(super) fn apply(&self, settings: &mut Settings, by_default: bool) {
        if self.no_ntp {
            (settings.ntp, settings.no_ntp) = (None, true);
        }
        if self.ntp.is_some() || self.ntp_local_stratum.is_some() {
            settings.no_ntp = false;
        }
        let wanted = by_default || self.ntp.is_some() || self.ntp_local_stratum.is_some();
        if settings.ntp.is_none() && wanted && !settings.no_ntp {
            settings.ntp = Some(NtpSettings { optional: true, ..NtpSettings::default() });
        }
        if let Some(ntp) = &mut settings.ntp {
            ntp.local_stratum = self.ntp_local_stratum.or(ntp.local_stratum);
            if let Some(listen) = self.ntp {
                (ntp.listen, ntp.optional) = (listen, false);
            }
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct PacketsArgs {
    /// Settings as TOML; flags override them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A camera: rtp://:PORT, udp://:PORT, rtsp(s)://HOST/PATH, http(s)://HOST/PATH, zmq+tcp://HOST:PORT,
    /// tcp://HOST:PORT or file:PATH[,fast][,loop]; the name * makes every RTP sender one
    ///
    /// A file is MP4 or MPEG-TS with H.264. It is played in real time; with ",fast" as fast as its packets are taken,
    /// and none is left out; with ",loop" again and again. When every camera is a file and all have ended, so
    /// does the program. A file with capture times in it (SEI) keeps them; without, its frames count as captured
    /// when they are played.
    #[arg(long, value_name = "NAME=SOURCE")]
    camera: Vec<String>,
    /// End after so many packets
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "N", value_parser = read_seconds)]
    seconds: Option<Duration>,
    #[command(flatten)]
    sync: SyncArgs,
    #[command(flatten)]
    ntp: NtpArgs,
    /// Decode every frame; one that does not decode is a read-error
    #[arg(long)]
    decode: bool,
    /// The most senders of one * source that become cameras [default: 64]
    #[arg(long, value_name = "N")]
    max_cameras: Option<usize>,
}

impl PacketsArgs {
    pub(super) fn options(&self) -> Options {
        Options { write: true, count: self.count, duration: self.seconds, status_interval: None }
    }

    /// The configuration file's settings with the flags laid over them.
    pub(super) fn settings(&self) -> Result<Settings, SettingsError> {
        let mut settings = self.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        if !self.camera.is_empty() {
            settings.cameras.clear();
        }
        for camera in &self.camera {
            settings.add_camera_flag(camera)?;
        }
        self.sync.apply(&mut settings.sync);
        self.ntp.apply(&mut settings, false);
        settings.decode |= self.decode;
        settings.max_cameras = self.max_cameras.unwrap_or(settings.max_cameras);
        Ok(settings)
    }
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Frame times: CSV with the columns cam_id,frame_time[,arrival_time], in seconds
    #[arg(long, value_name = "FILE", conflicts_with = "pcap", required_unless_present = "pcap")]
    pub(super) timestamps: Option<PathBuf>,
    /// Captured traffic, as `tcpdump -w` writes it
    #[arg(long, value_name = "FILE", requires = "camera")]
    pub(super) pcap: Option<PathBuf>,
    /// A camera in the capture: its name and UDP port, or a source such as udp://:PORT
    #[arg(long, value_name = "NAME=PORT", conflicts_with = "timestamps")]
    pub(super) camera: Vec<String>,
    /// End after so many packets
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u64>,
    #[command(flatten)]
    sync: SyncArgs,
}

impl ReplayArgs {
    pub(super) fn settings(&self) -> Result<Settings, SettingsError> {
        let mut settings = Settings::default();
        for camera in &self.camera {
            match camera.rsplit_once('=') {
                Some((name, port)) if port.parse::<u16>().is_ok() => {
                    settings.add_camera(name, &format!("rtp://:{port}"))?;
                }
                _ => settings.add_camera_flag(camera)?,
            }
        }
        self.sync.apply(&mut settings.sync);
        Ok(settings)
    }
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How many cameras
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    cameras: u16,
    /// End after so many seconds [default: on Ctrl-C]
    #[arg(long, value_name = "N", value_parser = read_seconds)]
    seconds: Option<Duration>,
}

impl From<DemoArgs> for DemoConfig {
    fn from(args: DemoArgs) -> Self {
        Self { cameras: args.cameras, duration: args.seconds }
    }
}

fn read_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=1e9).contains(seconds));
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "give seconds as a positive number, for example 10".to_owned())
}

/// A port, or address and port; 0 would be a port that no board can know.
fn read_listen(text: &str) -> Result<SocketAddr, String> {
    let everywhere = NtpSettings::default().listen.ip();
    let port = text.strip_prefix(':').unwrap_or(text).parse().map(|port| SocketAddr::new(everywhere, port));
    port.or_else(|_| text.parse()).ok().filter(|listen| listen.port() != 0).ok_or_else(|| {
        "give a UDP port or an address and a port, for example 11123 or 127.0.0.1:11123".to_owned()
    })
}

fn read_max_wait(text: &str) -> Result<Span, String> {
    let bare = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let text = if bare { format!("{text}ms") } else { text.to_owned() };
    let span = parse_duration(&text).map_err(|error| error.to_string())?;
    if span < Span::ZERO { Err("give 0 or more milliseconds, for example 66".to_owned()) } else { Ok(span) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn parse(args: &str) -> Cli {
        Cli::try_parse_from(args.split_whitespace()).unwrap_or_else(|error| panic!("{args}: {error}"))
    }

    #[test]
    fn the_commands_of_the_interface_parse() {
        let Command::Packets(args) = parse(
            "x packets --camera a=rtp://:5000 --camera *=rtp://:5002 --count 3 --seconds 1.5 \
             --policy exact:5ms --max-wait 66 --decode --rate 29.97",
        )
        .command
        else {
            panic!("packets")
        };
        let settings = args.settings().unwrap();
        assert_eq!(settings.sync.max_wait, Some(Span::from_millis(66)));
        assert_eq!(settings.sync.policy, Policy::Exact(Span::from_millis(5)));
        assert_eq!((settings.cameras.len(), settings.cameras[1].name.clone()), (2, None));
        assert_eq!(args.options().duration, Some(Duration::from_millis(1_500)));
        parse("x replay --timestamps a.csv --policy last-before");
        parse("x run --config a.toml --log-format json");
        parse("x validate a.toml");
        parse("x demo --cameras 3 --seconds 5");
    }

    #[test]
    fn the_ntp_service_is_on_where_asked_for_and_with_run() {
        let ntp = |args: &str, by_default: bool| {
            let Command::Packets(args) = parse(&format!("x packets {args}")).command else {
                panic!("packets")
            };
            let mut settings = Settings::default();
            args.ntp.apply(&mut settings, by_default);
            settings.ntp.map(|ntp| (ntp.listen.to_string(), ntp.local_stratum, ntp.optional))
        };
        let everywhere = || "[::]:11123".to_owned();
        assert_eq!(ntp("", false), None);
        assert_eq!(ntp("", true), Some((everywhere(), None, true)));
        assert_eq!(ntp("--no-ntp", true), None);
        assert_eq!(ntp("--ntp-local-stratum 10", false), Some((everywhere(), Some(10), true)));
        assert_eq!(ntp("--ntp 4123", false), Some(("[::]:4123".to_owned(), None, false)));
        assert_eq!(ntp("--ntp 127.0.0.1:4123", true), Some(("127.0.0.1:4123".to_owned(), None, false)));
    }

    #[test]
    fn replay_cameras_are_ports() {
        let Command::Replay(args) =
            parse("x replay --pcap a.pcap --camera a=b=5000 --camera c=udp://:6000").command
        else {
            panic!("replay")
        };
        let settings = args.settings().unwrap();
        assert_eq!(settings.cameras[0].name.as_ref().unwrap().as_str(), "a=b");
        assert_eq!(settings.cameras[1].source.to_string(), "udp://:6000");
    }

    #[test]
    fn flags_override_the_file_and_leave_the_rest_of_it() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = "policy = \"last-before\"\nrate = \"fastest\"\nmax-wait = \"5ms\"\nqueue = 7\nmax-cameras = 3\n\
                    [ntp]\nport = 4000\nlocal-stratum = 9\n[[camera]]\nname = \"a\"\nsource = \"rtp://:5000\"\n";
        file.write_all(text.as_bytes()).unwrap();
        let settle = |flags: &str| {
            let path = file.path().display();
            let Command::Packets(args) = parse(&format!("x packets --config {path} {flags}")).command else {
                panic!("packets")
            };
            let settings = args.settings().unwrap();
            let Settings { sync, cameras, ntp, queue, max_cameras, decode, .. } = settings;
            let cameras: Vec<_> = cameras.iter().map(|camera| camera.source.to_string()).collect();
            let ntp = ntp.map(|ntp| (ntp.listen.port(), ntp.local_stratum));
            assert_eq!(queue, 7, "there is no flag for it");
            (sync.policy, sync.rate.to_string(), sync.max_wait, max_cameras, decode, cameras, ntp)
        };
        let cameras = |sources: &[&str]| sources.iter().map(|&source| source.to_owned()).collect::<Vec<_>>();
        let (five, nine) = (Span::from_millis(5), Span::from_millis(9));
        assert_eq!(
            settle(""),
            (
                Policy::LastBefore,
                "fastest".to_owned(),
                Some(five),
                3,
                false,
                cameras(&["rtp://:5000"]),
                Some((4_000, Some(9)))
            )
        );
        let flags = "--policy exact:5ms --rate 10 --max-wait 9 --max-cameras 4 --decode --ntp 4001 \
                     --ntp-local-stratum 8 --camera b=rtp://:6000 --camera c=udp://:6002";
        assert_eq!(
            settle(flags),
            (
                Policy::Exact(five),
                "10".to_owned(),
                Some(nine),
                4,
                true,
                cameras(&["rtp://:6000", "udp://:6002"]),
                Some((4_001, Some(8)))
            )
        );
        assert_eq!(settle("--no-ntp").6, None);
    }

    #[test]
    fn nonsense_is_refused() {
        for args in [
            "x packets --seconds -1",
            "x packets --policy best",
            "x packets --ntp nowhere",
            "x packets --ntp 0",
            "x packets --ntp 70000",
            "x packets --ntp-local-stratum 0",
            "x packets --ntp-local-stratum 16",
            "x packets --no-ntp --ntp 4123",
            "x replay",
            "x replay --timestamps a --pcap b",
            "x replay --pcap b",
            "x demo --cameras 0",
            "x demo --cameras 17",
        ] {
            assert!(Cli::try_parse_from(args.split_whitespace()).is_err(), "{args}");
        }
    }
}
