//! The commands of `framelock-sender`.

mod args;
mod commands;

use std::process::ExitCode;

use clap::Parser;
use framelock_common::logging;

use args::{Cli, Command};

/// Done.
const DONE: u8 = 0;
/// Failed while running.
const FAILED: u8 = 1;
/// Wrong arguments or configuration.
const WRONG_INPUT: u8 = 2;

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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error. A closed pipe is nobody's problem.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { WRONG_INPUT } else { DONE });
        }
    };
    let outcome = match cli.command {
        Command::Run(args) => commands::run(*args, cli.log_format),
        other => logging::init(cli.log_format.unwrap_or_default())
            .map_err(|error| Failure::Input(error.into()))
            .and_then(|()| match other {
                Command::Devices { json } => commands::devices(json),
                Command::Clock(args) => commands::clock(args),
                Command::Validate { file } => commands::validate(&file),
                Command::Run(_) => unreachable!("handled above"),
            }),
    };
    match outcome {
        Ok(()) => ExitCode::from(DONE),
        Err(Failure::Input(error)) => complain(&error, WRONG_INPUT),
        Err(Failure::Running(error)) => complain(&error, FAILED),
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a command that failed, also without logging")]
fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("framelock-sender: {}", in_words(error));
    ExitCode::from(code)
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
