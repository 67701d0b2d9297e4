//! What each command does.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use framelock_common::logging::{self, LogFormat};
use framelock_common::time::Span;
use serde::Serialize;

use super::Failure;
use super::args::{ClockArgs, RunArgs};
use crate::capture::devices;
use crate::clock::{self, BoardClock, Measurement};
use crate::config::Options;
use crate::encode::EncodeError;
use crate::pipeline::{self, RunError};

pub(super) fn run(args: RunArgs, log_format: Option<LogFormat>) -> Result<(), Failure> {
    let parent = args.end_with;
    let options = args.options(log_format).map_err(|error| Failure::Input(error.into()))?;
    let settings = options.settle(&host_name()).map_err(|error| Failure::Input(error.into()))?;
    logging::init(settings.log_format).map_err(|error| Failure::Input(error.into()))?;
    if parent.is_some_and(|parent| !end_with(parent)) {
        return Ok(());
    }
    pipeline::run(&settings).map_err(failure)
}

/// What a camera or encoder cannot do was wrongly asked for; the rest went wrong.
fn failure(error: RunError) -> Failure {
    match error {
        RunError::Capture(error) if error.is_wrong_input() => Failure::Input(error.into()),
        RunError::Encode(error @ EncodeError::Settings { .. }) => Failure::Input(error.into()),
        other => Failure::Running(other.into()),
    }
}

/// Has the kernel send SIGTERM when the process that started this one ends, however it ends: nobody would
/// stop us then. False if it is gone already.
fn end_with(parent: i32) -> bool {
    let asked = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    if let Err(error) = asked {
        tracing::warn!("cannot watch process {parent}: {error}");
    }
    rustix::process::getppid().is_some_and(|now| now.as_raw_nonzero().get() == parent)
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
    } else if measurement.samples > 0 {
        print(&for_people(&measurement))?;
    }
    if measurement.samples == 0 {
        let error = anyhow::anyhow!("no usable answer from {server}; is it an NTP server, and synchronized?");
        return Err(Failure::Running(error));
    }
    Ok(())
}

fn for_people(found: &Measurement) -> String {
    let answers = if found.samples == 1 { "answer" } else { "answers" };
    let mut lines = format!("{} after {} {answers}\n", found.state, found.samples);
    if let Some(ns) = found.offset_ns {
        let side = if ns < 0 { "ahead" } else { "behind" };
        lines += &format!("the system clock is {side} by {}", Span::from_nanos(ns.saturating_abs()));
        if let Some(ns) = found.uncertainty_ns {
            lines += &format!(", within {}", Span::from_nanos(ns));
        }
        lines += "\n";
    }
    let facts = [
        found.delay_ns.map(|ns| format!("round trip {}", Span::from_nanos(ns))),
        found.stratum.map(|stratum| format!("stratum {stratum}")),
        found.skew_ppm.map(|skew| format!("skew {skew:.3} ppm")),
    ];
    let facts: Vec<_> = facts.into_iter().flatten().collect();
    if !facts.is_empty() {
        lines += &format!("{}\n", facts.join(", "));
    }
    lines += &format!("the kernel calls the system clock {}", found.system_state);
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::capture::CaptureError;

    #[test]
    fn what_a_camera_cannot_do_is_wrong_input_and_what_it_does_not_do_is_a_failure() {
        let path = || PathBuf::from("/dev/video0");
        let text = || "x".to_owned();
        let wrong = [
            CaptureError::Unsupported { path: path(), wanted: text(), possible: text() },
            CaptureError::Control { path: path(), control: text(), what: text() },
            CaptureError::Settings(text()),
        ];
        for error in wrong {
            assert!(matches!(failure(error.into()), Failure::Input(_)));
        }
        let failed = [
            CaptureError::Missing { path: path(), present: text() },
            CaptureError::Busy { path: path() },
            CaptureError::Device { path: path(), what: "x", source: io::ErrorKind::Other.into() },
        ];
        for error in failed {
            assert!(matches!(failure(error.into()), Failure::Running(_)));
        }
    }

    #[test]
    fn a_measurement_says_what_is_known_and_no_more() {
        let mut found = Measurement {
            offset_ns: Some(-2_000_000),
            uncertainty_ns: Some(300_000),
            delay_ns: Some(400_000),
            skew_ppm: None,
            stratum: Some(3),
            state: "synchronized",
            samples: 8,
            system_state: "synchronized",
            system_uncertainty_ns: Some(50_000),
        };
        assert_eq!(
            for_people(&found),
            "synchronized after 8 answers\nthe system clock is ahead by 2.0ms, within 300.0us\n\
             round trip 400.0us, stratum 3\n\
             the kernel calls the system clock synchronized within 50.0us\n"
        );
        (found.offset_ns, found.uncertainty_ns, found.delay_ns, found.stratum) = (None, None, None, None);
        (found.state, found.samples) = ("unsynchronized", 1);
        (found.system_state, found.system_uncertainty_ns) = ("unsynchronized", None);
        assert_eq!(
            for_people(&found),
            "unsynchronized after 1 answer\nthe kernel calls the system clock unsynchronized\n"
        );
    }
}
