//! What the sender says of a camera and what it refuses, against the real driver and Debian's `v4l2-ctl`: the
//! list of devices, a camera that is busy, settings that it does not have, and controls that it has.
//!
//! No sender runs on the board meanwhile, and the camera is left as it was.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::machine::Board;
use crate::sender::HOST;

const NODE: &str = "/dev/video0";
/// A control of vivid's camera, set from a file of settings.
const CONTROL: &str = "brightness";
const SETTINGS: &str = "/run/camera.toml";

/// Checks all of it and says what was found.
pub(crate) fn check(board: &mut Board) -> Result<String> {
    let camera = listed(board)?;
    let formats = formats(board, &camera)?;
    let read_only = controls(board, &camera)?;
    busy(board)?;
    refusals(board, &read_only)?;
    applied(board)?;
    Ok(format!("camera: {formats} formats and controls as v4l2-ctl has them, refusals named, controls set"))
}

/// What `devices --json` says of the camera.
fn listed(board: &mut Board) -> Result<Value> {
    let text = board.expect("framelock-sender devices --json")?;
    let devices: Value = serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))?;
    let devices = devices.as_array().context("`devices --json` gives no list")?;
    let camera = devices.iter().find(|device| device["path"] == NODE);
    let camera = camera.with_context(|| format!("{NODE} is not listed: {text}"))?;
    ensure!(camera["driver"] == "vivid", "not vivid's camera: {camera}");
    Ok(camera.clone())
}

/// Its formats are those that `v4l2-ctl` lists, and the sizes of one of them too. Gives their number.
fn formats(board: &mut Board, camera: &Value) -> Result<usize> {
    // `v4l2-ctl` shows the spaces that fill a code up.
    let codes = |text: &str| -> Vec<String> {
        let quoted = |line: &str| Some(line.split_once(": '")?.1.split_once('\'')?.0.replace(' ', ""));
        text.lines().filter_map(quoted).collect()
    };
    let truth = codes(&board.expect("v4l2-ctl --list-formats")?);
    let ours = camera["formats"].as_array().context("no formats")?;
    let named: Vec<&str> = ours.iter().filter_map(|format| format["fourcc"].as_str()).collect();
    ensure!(!truth.is_empty() && named == truth, "formats {named:?} and v4l2-ctl has {truth:?}");

    let truth = board.expect("v4l2-ctl --list-framesizes=YUYV")?;
    let truth: Vec<&str> =
        truth.lines().filter_map(|line| line.split_once("Discrete ")).map(|it| it.1).collect();
    let yuyv = ours.iter().find(|format| format["fourcc"] == "YUYV").context("no YUYV")?;
    ensure!(yuyv["format"] == "yuyv", "YUYV should have a name for the settings: {yuyv}");
    let sizes = yuyv["sizes"].as_array().context("no sizes")?;
    let sizes: Vec<_> = sizes.iter().map(|size| format!("{}x{}", size["width"], size["height"])).collect();
    ensure!(!truth.is_empty() && sizes == truth, "sizes {sizes:?} and v4l2-ctl has {truth:?}");
    Ok(named.len())
}

/// Its controls say what `v4l2-ctl` says of one of them. Gives the name of one that can only be read.
fn controls(board: &mut Board, camera: &Value) -> Result<String> {
    let controls = camera["controls"].as_array().context("no controls")?;
    let control = controls.iter().find(|control| control["name"] == CONTROL);
    let control = control.with_context(|| format!("no control {CONTROL}"))?;
    let truth = board.expect(&format!("v4l2-ctl --list-ctrls | grep ' {CONTROL} '"))?;
    for (key, field) in [("min", "minimum"), ("max", "maximum"), ("step", "step"), ("default", "default")] {
        let said = format!("{key}={} ", control[field]);
        ensure!(format!("{} ", truth.trim()).contains(&said), "{said}and v4l2-ctl says {truth}");
    }
    ensure!(control["value"].as_i64() == Some(value(board)?), "{control} and v4l2-ctl says {truth}");
    let read_only = controls.iter().find(|control| control["read_only"] == true);
    let name = read_only.and_then(|control| control["name"].as_str());
    Ok(name.context("vivid has controls that can only be read, and none is listed")?.to_owned())
}

/// The control's value, by `v4l2-ctl`.
fn value(board: &mut Board) -> Result<i64> {
    let text = board.expect(&format!("v4l2-ctl -C {CONTROL}"))?;
    let value = text.trim().rsplit(' ').next().unwrap_or_default();
    value.parse().with_context(|| format!("v4l2-ctl says {text}"))
}

/// A camera that another program streams from is named as such, and not waited for.
fn busy(board: &mut Board) -> Result<()> {
    let hold = "rm -f /run/held; (v4l2-ctl --stream-mmap=3 --stream-count=100000 > /run/held 2>&1 &) ; \
                tries=0; until [ -s /run/held ]; do tries=$((tries+1)); [ $tries -lt 200 ] || exit 1; \
                usleep 100000; done";
    board.expect(hold).context("v4l2-ctl does not stream")?;
    let refused = refused(board, "", 1, &["in use by another program", NODE]);
    board.expect("killall v4l2-ctl; while pidof v4l2-ctl; do usleep 100000; done")?;
    refused
}

/// What the camera cannot do is refused with what it can.
fn refusals(board: &mut Board, read_only: &str) -> Result<()> {
    refused(board, "--size 334x222", 2, &["334x222", "320x180"])?;
    refused(board, "--fps 1000", 2, &["1000", "fps"])?;
    refused(board, "--source v4l2:/dev/video7", 1, &["no camera at /dev/video7", NODE])?;
    refused(board, "--source v4l2:/dev/null", 1, &["/dev/null is not a capture device"])?;
    for (setting, said) in [
        ("brightnes = 1", "did you mean \"brightness\"?"),
        ("brightness = 999", "a number from 0 to 255"),
        ("brightness = \"much\"", "a number from 0 to 255"),
        (&format!("{read_only} = 1"), "can only be read"),
    ] {
        configure(board, setting)?;
        refused(board, &format!("--config {SETTINGS}"), 2, &[NODE, said])?;
    }
    Ok(())
}

/// A control in the settings is set in the driver.
fn applied(board: &mut Board) -> Result<()> {
    let before = value(board)?;
    configure(board, &format!("{CONTROL} = {}", before + 7))?;
    board.expect(&format!("{} --config {SETTINGS} --frames 2", command("")))?;
    let after = value(board)?;
    ensure!(after == before + 7, "{CONTROL} should be {} and is {after}", before + 7);
    board.expect(&format!("v4l2-ctl -c {CONTROL}={before}"))?;
    Ok(())
}

fn configure(board: &mut Board, control: &str) -> Result<()> {
    board.expect(&format!("printf '[capture.controls]\\n{control}\\n' > {SETTINGS}"))?;
    Ok(())
}

/// A sender that goes by the board's own clock; nobody listens to it.
fn command(args: &str) -> String {
    let source = if args.contains("--source") { String::new() } else { format!("--source v4l2:{NODE}") };
    format!("RUST_LOG=error framelock-sender run {source} --to rtp://{HOST}:9 --clock system {args}")
}

/// The sender ends with `status` and says each of `words`, in two lines at most.
fn refused(board: &mut Board, args: &str, status: i32, words: &[&str]) -> Result<()> {
    let output = board.run(&command(args))?;
    let text = output.text.trim_end();
    if output.status != status || text.lines().count() > 2 || !words.iter().all(|word| text.contains(word)) {
        bail!("`{args}` should end with {status} and say {words:?}; it ended with {}: {text}", output.status);
    }
    Ok(())
}
