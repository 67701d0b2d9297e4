//! The sender on a board: started, stopped, its log fetched.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use framelock_common::time::Span;
use serde_json::Value;

use crate::child::{deadline, now};
use crate::machine::Board;

/// The host as the boards see it through QEMU's user network.
pub(crate) const HOST: &str = "10.0.2.2";

/// How long boards may take to know UTC well.
const CLOCK: Duration = Duration::from_secs(120);

/// Starts the sender on vivid's camera, named like the board, with `args` beside the usual ones.
pub(crate) fn start(board: &mut Board, media_port: u16, ntp_port: u16, fps: i64, args: &str) -> Result<()> {
    let name = board.name;
    board.expect(board.camera_setup)?;
    let settings = format!(
        "--source v4l2:/dev/video0 --size 320x180 --fps {fps} --bitrate 300k --camera {name} \
         --to rtp://{HOST}:{media_port} --clock ntp:{HOST}:{ntp_port} {args}"
    );
    launch(board, &settings)
}

/// Starts the sender once with `settings`; nothing restarts it when it fails. One at a time.
pub(crate) fn launch(board: &mut Board, settings: &str) -> Result<()> {
    let command = format!(
        "rm -f /run/sender.status /run/stats.json; \
         (sh -c 'echo $$ > /run/sender.pid; RUST_LOG=info,framelock_sender::phase=debug \
         exec framelock-sender run {settings} --stats /run/stats.json' \
         >> /run/sender.log 2>&1; echo $? > /run/sender.status) &"
    );
    board.expect(&command)?;
    Ok(())
}

/// Waits until every board says that it knows UTC within `bound`.
pub(crate) fn wait_for_clocks(boards: &mut [Board], bound: Span) -> Result<()> {
    let limit = deadline(CLOCK);
    for board in boards {
        loop {
            let stats = stats(board)?;
            if stats["clock_uncertainty_ns"].as_i64().is_some_and(|known| known <= bound.as_nanos()) {
                break;
            }
            ensure!(
                now() < limit,
                "{} does not know UTC within {bound} after {CLOCK:?}: {stats}",
                board.name
            );
            // The file is written every second.
            board.expect("usleep 300000")?;
        }
    }
    Ok(())
}

/// The sender's statistics file; an error when the sender has ended.
pub(crate) fn stats(board: &mut Board) -> Result<Value> {
    // It comes with the first report, a second after the start.
    let written = "tries=0; until [ -e /run/stats.json ]; do tries=$((tries+1)); \
                   [ $tries -lt 100 ] || exit 1; usleep 100000; done";
    board.expect(written)?;
    let text = board.expect("[ ! -e /run/sender.status ] && cat /run/stats.json")?;
    match serde_json::from_str(&text) {
        Ok(stats) => Ok(stats),
        Err(error) => bail!("{}: the sender's statistics are no JSON ({error}): {text}", board.name),
    }
}

/// Ends the sender as a service manager would, checks that it ends well, and returns its peak resident
/// memory in KiB.
pub(crate) fn stop(board: &mut Board) -> Result<u64> {
    let memory = board.expect("awk '/^VmHWM:/ { print $2 }' /proc/$(cat /run/sender.pid)/status")?;
    let memory =
        memory.trim().parse().with_context(|| format!("{}: the sender is gone: {memory}", board.name))?;
    board.expect("kill -TERM $(cat /run/sender.pid)")?;
    let status = "tries=0; until [ -e /run/sender.status ]; do tries=$((tries+1)); \
                  [ $tries -lt 200 ] || exit 1; usleep 100000; done; cat /run/sender.status";
    let output = board.run(status)?;
    ensure!(output.status == 0, "{}: the sender did not end within 20 s of SIGTERM", board.name);
    let code = output.text.trim();
    ensure!(code == "0", "{}: the sender ended with {code} after SIGTERM; see {0}.sender.log", board.name);
    Ok(memory)
}

/// Fetches the sender's log and the kernel's messages into files.
pub(crate) fn save_logs(board: &mut Board, dir: &Path) -> Result<()> {
    for (command, kind) in [("cat /run/sender.log", "sender.log"), ("dmesg", "dmesg")] {
        let path = dir.join(format!("{}.{kind}", board.name));
        let output = board.run(command)?;
        std::fs::write(&path, output.text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
