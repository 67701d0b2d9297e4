//! The commands of `framelock-sender`.

mod args;
mod commands;

use std::process::ExitCode;

use framelock_common::cli::{self, FAILED, WRONG_INPUT};
use framelock_common::logging;

use args::{Cli, Command};

const PROGRAM: &str = "framelock-sender";

/// How a command failed, which decides the exit code.
enum Failure {
    /// What the user gave is wrong.
    Input(anyhow::Error),
    /// It went wrong later.
    Running(anyhow::Error),
}

/// Runs the command that the process's arguments ask for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match cli::parse::<Cli>(PROGRAM) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let log_format = cli.log.log_format;
    let outcome = match cli.command {
        Command::Run(args) => commands::run(*args, log_format),
        other => logging::init(log_format.unwrap_or_default())
            .map_err(|error| Failure::Input(error.into()))
            .and_then(|()| match other {
                Command::Devices { json } => commands::devices(json),
                Command::Clock(args) => commands::clock(args),
                Command::Validate { file } => commands::validate(&file),
                Command::Run(_) => unreachable!("handled above"),
            }),
    };
    let (error, code) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Input(error)) => (error, WRONG_INPUT),
        Err(Failure::Running(error)) => (error, FAILED),
    };
    cli::complain(PROGRAM, &in_words(&error), code)
}

/// An error and its causes, each said once: many errors already say their cause.
fn in_words(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}
