//! Cameras and servers that nobody here wrote, started by the scripts in `tests/peers`: GStreamer's RTSP server,
//! pyzmq, ffmpeg. Their pictures carry a timecode strip of the instant at which each is made.

use std::path::{Path, PathBuf};

use crate::process::Process;

/// A peer that others connect to.
#[derive(Debug)]
pub struct Peer {
    /// The running script.
    pub process: Process,
    /// Its TCP port.
    pub port: u16,
}

/// The path of a script in `tests/peers`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// Starts a script with arguments that are separated by blanks.
#[must_use]
pub fn start(name: &str, args: &str) -> Process {
    Process::start(&script(name), args.split_whitespace())
}

impl Peer {
    /// Starts a script and waits until it says on which port it listens.
    ///
    /// # Panics
    /// When it does not say so.
    #[must_use]
    pub fn start(name: &str, args: &str) -> Self {
        let mut process = start(name, args);
        let line = process.line_where("its port", |line| line.starts_with("ready "));
        let port = line["ready ".len()..].parse().expect("a port behind \"ready\"");
        Self { process, port }
    }

    /// A GStreamer RTSP server with a camera at `/cam`.
    #[must_use]
    pub fn rtsp(args: &str) -> Self {
        Self::start("rtsp_server.py", args)
    }
}
