//! What the command lines of both programs share: the log options, exit codes, and errors in one or two lines.
//!
//! The commands themselves do not live here.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::logging::LogFormat;

/// Exit code: done.
pub const DONE: u8 = 0;
/// Exit code: failed while running.
pub const FAILED: u8 = 1;
/// Exit code: wrong arguments or configuration.
pub const WRONG_INPUT: u8 = 2;

/// Options that every command has.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct LogOptions {
    /// How log lines on stderr look: text or json. Which ones there are is chosen by RUST_LOG
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// The process's arguments as `C`, the command line of `program`. Where they ask for help, or are wrong, that
/// has been printed, and the program is to end with the code given.
///
/// # Errors
/// The exit code.
pub fn parse<C: Parser>(program: &str) -> Result<C, ExitCode> {
    C::try_parse().map_err(|error| {
        let is_help = matches!(
            error.kind(),
            ErrorKind::DisplayHelp
                | ErrorKind::DisplayVersion
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
        if is_help {
            // A closed pipe is nobody's problem.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { WRONG_INPUT } else { DONE });
        }
        complain(program, &in_short(&error.render().to_string()), WRONG_INPUT)
    })
}

/// The last word of `program` when it fails: says why on stderr and gives the exit code.
pub fn complain(program: &str, error: &dyn fmt::Display, code: u8) -> ExitCode {
    // Where nobody listens the code still tells.
    let _ = writeln!(io::stderr(), "{program}: {error}");
    ExitCode::from(code)
}

/// What clap says in paragraphs, in one line, and the usage in a second where clap tells it.
fn in_short(rendered: &str) -> String {
    let paragraphs = rendered.trim().split("\n\n").map(|paragraph| {
        let lines: Vec<_> = paragraph.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.join(" ")
    });
    let (mut says, mut usage) = (Vec::new(), None);
    for paragraph in paragraphs {
        if paragraph.starts_with("Usage:") {
            usage = Some(paragraph);
        } else if !paragraph.starts_with("For more information") {
            says.push(paragraph.strip_prefix("error: ").unwrap_or(&paragraph).to_owned());
        }
    }
    let says = says.join("; ");
    usage.map_or_else(|| says.clone(), |usage| format!("{says}\n{usage}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "program")]
    struct Line {
        #[command(flatten)]
        log: LogOptions,
        /// A number.
        #[arg(long, required = true)]
        number: Vec<u8>,
        /// A word of two.
        #[arg(long, value_parser = ["left", "right"])]
        side: Option<String>,
    }

    fn short(args: &[&str]) -> String {
        let args = ["program"].iter().chain(args);
        in_short(&Line::try_parse_from(args).expect_err("wrong").render().to_string())
    }

    #[test]
    fn what_is_wrong_and_what_would_be_right_fit_in_two_lines() {
        assert_eq!(
            short(&["--numbr", "5"]),
            "unexpected argument '--numbr' found; tip: a similar argument exists: '--number'\n\
             Usage: program --number <NUMBER>"
        );
        assert_eq!(
            short(&[]),
            "the following required arguments were not provided: --number <NUMBER>\n\
             Usage: program --number <NUMBER>"
        );
        assert_eq!(
            short(&["--number", "300"]),
            "invalid value '300' for '--number <NUMBER>': 300 is not in 0..=255"
        );
        let wrong_format = short(&["--number", "1", "--log-format", "xml"]);
        assert!(
            wrong_format.ends_with("log format \"xml\" is neither \"text\" nor \"json\""),
            "{wrong_format}"
        );
        let wrong_side = short(&["--number", "1", "--side", "lift"]);
        for word in ["'lift'", "[possible values: left, right]", "'left'"] {
            assert!(wrong_side.contains(word), "{wrong_side}");
        }
        assert_eq!(wrong_side.lines().count(), 1, "{wrong_side}");
    }

    #[test]
    fn log_options_are_read_and_may_be_left_out() {
        let format = |args: &[&str]| {
            let args = ["program", "--number", "1"].iter().chain(args);
            Line::try_parse_from(args).unwrap().log.log_format
        };
        assert_eq!((format(&[]), format(&["--log-format", "json"])), (None, Some(LogFormat::Json)));
    }
}
