//! The `framelock-sender` program; all it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    framelock_sender::cli::main()
}
