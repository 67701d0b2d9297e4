//! The program `framelock-aggregator`: a thin user of the library.

fn main() -> std::process::ExitCode {
    framelock_aggregator::cli::main()
}
