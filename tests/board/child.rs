//! Child processes of the rig: their output as lines with a time limit, a copy in a log file, and no way
//! to outlive the rig.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child as OsChild, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use framelock_common::time::Utc;

/// A running program. Killed when dropped, and by the kernel when the rig itself dies.
pub(crate) struct Child {
    name: String,
    child: OsChild,
    stdin: Option<ChildStdin>,
    lines: Receiver<Line>,
}

/// A line of a child's output.
pub(crate) struct Line {
    pub(crate) text: String,
    /// The host's UTC when it was read.
    pub(crate) at: Utc,
}

impl Child {
    /// Starts `program`; stdout goes to [`Child::line`] and `DIR/NAME.out`, stderr to `DIR/NAME.err`.
    pub(crate) fn start(name: &str, program: &Path, args: &[String], dir: &Path) -> Result<Self> {
        let out_path = dir.join(format!("{name}.out"));
        let err_path = dir.join(format!("{name}.err"));
        let mut out =
            File::create(&out_path).with_context(|| format!("cannot write {}", out_path.display()))?;
        let err = File::create(&err_path).with_context(|| format!("cannot write {}", err_path.display()))?;
        // setpriv asks the kernel to kill the child when its parent dies, however that happens.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(err)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("stdout is piped")?;
        let started = now();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut raw = Vec::new();
            while matches!(reader.read_until(b'\n', &mut raw), Ok(n) if n > 0) {
                let Ok(at) = utc_now() else { break };
                let text = String::from_utf8_lossy(&raw).trim_end().to_owned();
                raw.clear();
                let seconds = now().saturating_duration_since(started).as_secs_f64();
                if writeln!(out, "{seconds:9.3} {text}").is_err() || sender.send(Line { text, at }).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name: name.to_owned(), child, stdin, lines })
    }

    /// Writes a line to its stdin, all of it at once.
    pub(crate) fn write_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().with_context(|| format!("{} has no stdin", self.name))?;
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| stdin.flush())
            .with_context(|| format!("{} takes no more input", self.name))
    }

    /// The next line of its output, `None` when none comes before `deadline`. An error when it has ended.
    pub(crate) fn line(&self, deadline: Instant) -> Result<Option<Line>> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(now())) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                bail!("{0} has ended; see {0}.out and {0}.err", self.name)
            }
        }
    }

    /// Throws away the lines that wait to be read.
    pub(crate) fn skip_waiting(&self) {
        while self.lines.try_recv().is_ok() {}
    }

    /// How it ended, `None` while it runs.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask for the state of {}", self.name))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// `timeout` from now.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    now() + timeout
}

/// The host's UTC, the truth of this test: `chronyd` serves it to the boards.
#[expect(clippy::disallowed_methods, reason = "the rig compares the boards' time with the host's")]
pub(crate) fn utc_now() -> Result<Utc> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.context("the host's clock is before 1970")?;
    Ok(Utc::from_unix_nanos(i64::try_from(now.as_nanos()).context("the host's clock is after 2262")?))
}

/// The rig's own clock: emulated boards take real time.
#[expect(clippy::disallowed_methods, reason = "emulated boards run in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
