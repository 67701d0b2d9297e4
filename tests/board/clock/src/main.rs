//! Runs on an emulated board, on its serial console: for each line that comes it writes what the board's
//! `CLOCK_MONOTONIC` shows, in ns, until the line `end`.
//!
//! The host bounds the board's clock by when it asked and when the answer came (`tests/board/truth.rs`). Neither
//! the sender's clocks nor the network have a part in it.

#![expect(clippy::disallowed_methods, reason = "telling the clock is what this program is for")]

use std::io::{self, BufRead, Write};

use rustix::time::{ClockId, clock_gettime};

fn main() -> io::Result<()> {
    let (mut questions, mut answers) = (io::stdin().lock(), io::stdout().lock());
    let mut line = String::new();
    loop {
        line.clear();
        if questions.read_line(&mut line)? == 0 || line.trim() == "end" {
            return Ok(());
        }
        let now = clock_gettime(ClockId::Monotonic);
        writeln!(answers, "~{}{:09}", now.tv_sec, now.tv_nsec)?;
        answers.flush()?;
    }
}
