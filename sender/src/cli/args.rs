//! The command line, as `interfaces.md` of the design fixes it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use framelock_common::cli::LogOptions;
use framelock_common::config::parse_duration;
use framelock_common::logging::LogFormat;
use framelock_common::time::Span;

use crate::capture::{FrameRate, Size, SourceSpec};
use crate::config::{ClockSpec, HostPort, Options, Target, TargetError, Transport, read_bitrate, read_size};
use crate::phase::PhaseTarget;

/// Captures a camera, encodes H.264 and streams it with the UTC instant of every frame.
#[derive(Debug, Parser)]
#[command(name = "framelock-sender", version)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) log: LogOptions,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Capture, encode and send until interrupted
    Run(Box<RunArgs>),
    /// List V4L2 cameras with formats, sizes, frame rates and controls
    Devices {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Measure how far the system clock is from an NTP server's; nothing is changed
    Clock(ClockArgs),
    /// Check a configuration file
    Validate {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Settings as TOML; flags override them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// test[:phase=12ms,drift=20ppm], v4l2:/dev/video0 or file:clip.mp4[,loop]
    #[arg(long, value_name = "SRC")]
    source: Option<SourceSpec>,
    /// rtp://HOST:PORT or udp://HOST:PORT
    #[arg(long, value_name = "URL")]
    to: Option<Target>,
    /// How frames are wrapped [default: rtp-mpegts for rtp://, udp-mpegts for udp://]
    #[arg(long)]
    transport: Option<Transport>,
    /// Picture size [default: the source's, 640x480 where it can]
    #[arg(long, value_name = "WxH", value_parser = read_size)]
    size: Option<Size>,
    /// Frames per second [default: the source's, 30 where it can]
    #[arg(long, value_name = "N")]
    fps: Option<FrameRate>,
    /// Bits per second [default: 1500k]
    #[arg(long, value_name = "RATE", value_parser = read_bitrate)]
    bitrate: Option<u32>,
    /// The camera's name, by which the aggregator knows it [default: this host's name]
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// The number that the test source writes into its pictures [default: 0]
    #[arg(long, value_name = "N")]
    camera_id: Option<u16>,
    /// auto[:HOST[:PORT][,HOST...]], system, ntp:HOST[:PORT][,HOST...] or sim:offset=80ms,drift=30ppm[,ntp:HOST] [default: auto]
    #[arg(long, value_name = "SRC")]
    clock: Option<ClockSpec>,
    /// Expose so much after the multiples of the frame period in UTC, such as 0ms; auto: as the other cameras
    #[arg(long, value_name = "TIME|auto", allow_hyphen_values = true)]
    phase: Option<PhaseTarget>,
    /// Burn the UTC time of capture into the picture
    #[arg(long)]
    overlay_time: bool,
    /// End after so many frames
    #[arg(long, value_name = "N")]
    frames: Option<u64>,
    /// End as on SIGTERM when the process PID that started this one ends
    #[arg(long, value_name = "PID", hide = true)]
    pub(super) end_with: Option<i32>,
    /// Keep the counters in FILE as JSON
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ClockArgs {
    /// The server
    #[arg(long, value_name = "HOST[:PORT]", value_parser = read_server)]
    pub(super) server: HostPort,
    /// Answers to wait for
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(super) samples: u64,
    /// The pause between requests
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = read_interval)]
    pub(super) interval: Span,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl RunArgs {
    /// The configuration file's settings with the flags laid over them.
    pub(super) fn options(
        self,
        log_format: Option<LogFormat>,
    ) -> Result<Options, crate::config::SettingsError> {
        let mut options = match &self.config {
            Some(path) => Options::read(path)?,
            None => Options::default(),
        };
        let given = Options {
            camera: self.camera,
            camera_id: self.camera_id,
            source: self.source,
            to: self.to,
            transport: self.transport,
            size: self.size,
            fps: self.fps,
            bitrate: self.bitrate,
            phase: self.phase,
            overlay_time: self.overlay_time.then_some(true),
            stats: self.stats,
            frames: self.frames,
            log_format,
            ..Options::default()
        };
        options.override_with(given);
        if self.clock.is_some() {
            options.clock.source = self.clock;
        }
        Ok(options)
    }
}

fn read_server(text: &str) -> Result<HostPort, TargetError> {
    HostPort::parse(text, Some(crate::config::NTP_PORT))
}

fn read_interval(text: &str) -> Result<Span, String> {
    let interval = parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Span::from_millis(10) || interval > Span::from_secs(3_600) {
        return Err("allowed are 10ms to 1h".to_owned());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::config::Settings;

    /// Settings of a `run` with the configuration `file` and `flags`.
    fn settle(file: &str, flags: &str) -> Settings {
        let mut config = tempfile::NamedTempFile::new().unwrap();
        config.write_all(file.as_bytes()).unwrap();
        let path = config.path().to_str().unwrap();
        let args = ["x", "run", "--config", path].into_iter().chain(flags.split_whitespace());
        let Cli { log, command: Command::Run(run) } = Cli::try_parse_from(args).unwrap() else {
            panic!("run")
        };
        run.options(log.log_format).unwrap().settle("host").unwrap()
    }

    #[test]
    fn flags_override_the_file_and_leave_the_rest_of_it() {
        let file = "camera = \"left\"\ncamera-id = 1\nsource = \"v4l2:/dev/video0\"\nto = \"rtp://one:5000\"\n\
                    transport = \"rtp-h264\"\nsize = \"640x480\"\nfps = 30\nbitrate = \"1M\"\nphase = \"1ms\"\n\
                    stats = \"/one\"\nlog-format = \"text\"\nkeyframe-interval = \"3s\"\n[clock]\nsource = \"system\"\n\
                    [capture]\nlatency = \"4ms\"\n";
        let flags = "--camera right --camera-id 2 --source test --to rtp://two:6000 --transport rtp-mpegts \
                     --size 320x240 --fps 15 --bitrate 2M --phase auto --overlay-time --stats /two \
                     --log-format json --clock ntp:two --frames 7";
        let shown = |s: &Settings| {
            let (camera, id, source, to) = (&s.camera, s.camera_id, s.source.to_string(), s.to.to_string());
            let (size, fps, phase) = (s.size.unwrap(), s.fps.unwrap(), s.phase.unwrap().target);
            format!(
                "{camera} {id} {source} {to} {} {size} {fps} {} {phase} {} {:?} {} {:?} {:?}",
                s.transport, s.bitrate, s.overlay_time, s.stats, s.log_format, s.frames, s.clock
            )
        };
        let (alone, both) = (settle(file, ""), settle(file, flags));
        assert_eq!(
            shown(&alone),
            "left 1 v4l2:/dev/video0 rtp://one:5000 rtp-h264 640x480 30 1000000 1.0ms false Some(\"/one\") text None System"
        );
        let server = "Ntp([HostPort { host: \"two\", port: 123 }])";
        assert_eq!(
            shown(&both),
            format!(
                "right 2 test rtp://two:6000 rtp-mpegts 320x240 15 2000000 0ns true Some(\"/two\") json Some(7) {server}"
            )
        );
        for settings in [alone, both] {
            assert_eq!(settings.keyframe_interval, Span::from_secs(3));
            assert_eq!(settings.capture.latency, Some(Span::from_millis(4)));
        }
    }
}
