//! What each command does.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use framelock_common::logging::{self, LogFormat};
use framelock_common::time::Span;
use serde::Serialize;

use super::Failure;
use super::args::{ClockArgs, RunArgs};
use crate::capture::{CaptureError, devices};
use crate::clock::{self, BoardClock, Measurement};
use crate::config::Options;
use crate::encode::EncodeError;
use crate::pipeline::{self, RunError};

pub(super) fn run(args: RunArgs, log_format: Option<LogFormat>) -> Result<(), Failure> {
    let options = args.options(log_format).map_err(|error| Failure::Input(error.into()))?;
    let settings = options.settle(&host_name()).map_err(|error| Failure::Input(error.into()))?;
    logging::init(settings.log_format).map_err(|error| Failure::Input(error.into()))?;
    pipeline::run(&settings).map_err(|error| match error {
        RunError::Capture(CaptureError::Settings(_)) | RunError::Encode(EncodeError::Settings { .. }) => {
            Failure::Input(error.into())
        }
        other => Failure::Running(other.into()),
    })
}

pub(super) fn validate(file: &Path) -> Result<(), Failure> {
    let check = || Options::read(file)?.settle(&host_name());
    let settings = check().map_err(|error| Failure::Input(error.into()))?;
    let line = format!(
        "{}: okay: camera \"{}\", {} to {} as {}\n",
        file.display(),
        settings.camera,
        settings.source,
        settings.to,
        settings.transport
    );
    print(&line)
}

pub(super) fn devices(json: bool) -> Result<(), Failure> {
    let devices = devices::list();
    if json {
        return print_json(&devices);
    }
    if devices.is_empty() {
        return print("no V4L2 camera found; is it plugged in, and may this user open /dev/video*?\n");
    }
    print(&devices.iter().map(|device| format!("{device}\n")).collect::<String>())
}

pub(super) fn clock(args: ClockArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot set up the event loop")
        .map_err(Failure::Running)?;
    let ClockArgs { server, samples, interval, json } = args;
    let measure = clock::measure(server.clone(), samples, interval, BoardClock::real());
    let measurement = runtime.block_on(measure);
    runtime.shutdown_background();
    if json {
        print_json(&measurement)?;
    } else {
        print(&for_people(&measurement))?;
    }
    if measurement.samples == 0 {
        let error = anyhow::anyhow!("no usable answer from {server}; is it an NTP server, and synchronized?");
        return Err(Failure::Running(error));
    }
    Ok(())
}

fn for_people(found: &Measurement) -> String {
    let span =
        |ns: Option<i64>| ns.map_or_else(|| "unknown".to_owned(), |ns| Span::from_nanos(ns).to_string());
    let mut lines = format!(
        "{} by {} answers\nthe system clock is behind by {}, within {}\nround trip {}",
        found.state,
        found.samples,
        span(found.offset_ns),
        span(found.uncertainty_ns),
        span(found.delay_ns),
    );
    if let Some(stratum) = found.stratum {
        lines += &format!(", stratum {stratum}");
    }
    if let Some(skew) = found.skew_ppm {
        lines += &format!(", skew {skew:.3} ppm");
    }
    lines += &format!("\nthe kernel calls the system clock {}", found.system_state);
    if let Some(ns) = found.system_uncertainty_ns {
        lines += &format!(" within {}", Span::from_nanos(ns));
    }
    lines + "\n"
}

fn print_json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let line = serde_json::to_string(value).context("cannot write JSON").map_err(Failure::Running)?;
    print(&(line + "\n"))
}

/// Writes to stdout. A reader that has gone away is a clean end.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Running(anyhow::Error::new(error).context("cannot write to stdout")))
        }
        _ => Ok(()),
    }
}

/// This host's name, the default name of its camera.
fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
