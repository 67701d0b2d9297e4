//! The sender on a board: started, stopped, its log fetched.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::machine::Board;

/// The host as the boards see it through QEMU's user network.
pub(crate) const HOST: &str = "10.0.2.2";

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
        "rm -f /run/sender.status; \
         (sh -c 'echo $$ > /run/sender.pid; RUST_LOG=info,framelock_sender::phase=debug \
         exec framelock-sender run {settings} --stats /run/stats.json' \
         >> /run/sender.log 2>&1; echo $? > /run/sender.status) &"
    );
    board.expect(&command)?;
    Ok(())
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
