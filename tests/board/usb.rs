//! A USB webcam on a board: the kernel's real `uvcvideo` driver, and a camera in software behind USB/IP (see
//! `framelock_tests::webcam`). Its pictures say when they were truly taken, and are read back from what the
//! aggregator receives. Then the plug is pulled, and put into another socket, where the camera gets another
//! device node. At last the sender is told how late this camera's timestamps are.
//!
//! Every picture's true time has to lie within the bound that comes with it: with the sender's defaults, which
//! know nothing of the camera, and with its latency measured and configured.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use framelock_aggregator::{Aggregator, Frame, TimeSource};
use framelock_common::time::Span;
use framelock_common::timecode;
use framelock_tests::process::free_port;
use framelock_tests::webcam::{Counts, LATENCY, Mode, Webcam};

use crate::child::{deadline, now};
use crate::figures::median;
use crate::machine::Board;
use crate::sender::{self, HOST, stats};

/// The camera's number in its timecodes.
const NUMBER: u16 = 77;
/// Pictures to look at before the plug is pulled, and again after.
const PICTURES: usize = 30;
const FPS: i64 = 10;
const PERIOD: Span = Span::from_nanos(1_000_000_000 / FPS);
/// The spread of the latency that is configured once it was measured: less than the latency itself, so that a
/// bound would miss the truth if that were not subtracted. On a board without load it would be a millisecond or
/// two; emulated ones take their time to see a payload.
const SPREAD: Span = Span::from_millis(20);
/// How long pictures may take to come, with the correction of the board's clock at first.
const PATIENCE: Duration = Duration::from_secs(120);
/// The device node of the camera; nothing while it is not there. Each camera has a second node for metadata.
const NODE: &str = "for path in /sys/class/video4linux/*; do node=$(basename $path); \
                    if grep -q 'Framelock test webcam' $path/name && [ $(cat $path/index) = 0 ] \
                    && [ -c /dev/$node ]; then echo $node; fi; done";

/// Captures from the webcam on `board`, whose other sender has ended.
pub(crate) fn check(board: &mut Board, ntp_port: u16) -> Result<Report> {
    let webcam = Webcam::start(NUMBER).context("cannot offer a USB camera on loopback")?;
    let (mut aggregator, port) = aggregator()?;
    plug(board, &webcam, 0)?;
    let node = node(board)?;
    let refused = board.run(&format!(
        "framelock-sender run --source v4l2:/dev/{node} --size 640x480 --to rtp://{HOST}:{port}"
    ))?;
    ensure!(
        refused.status == 2 && refused.text.contains("320x240"),
        "a size that the camera does not have should end with 2 and name 320x240: {}: {}",
        refused.status,
        refused.text
    );
    let settings = |node: &str, port: u16| {
        format!(
            "--source v4l2:/dev/{node} --fps {FPS} --bitrate 300k --camera usb --to rtp://{HOST}:{port} \
             --clock ntp:{HOST}:{ntp_port}"
        )
    };
    sender::launch(board, &settings(&node, port))?;
    let before = look_at(&mut aggregator, None)?;
    // Nothing is known of the camera but that it exposed within the last period.
    ensure!(before.bounds.iter().all(|bound| *bound >= PERIOD.as_nanos()), "bounds of {:?}", before.bounds);
    // YUYV would be cheaper and does only 5 fps.
    let mode = webcam.mode().context("the driver has stopped the camera")?;
    ensure!(mode == Mode { jpeg: true, interval: 1_000_000 }, "the sender has chosen {mode:?}");

    webcam.unplug();
    board.expect(&wait_for(&format!("[ -z \"$({NODE})\" ]")))?;
    // Another camera gone meanwhile: the numbers are given anew, and the old one becomes the metadata node's.
    board.expect("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind")?;
    plug(board, &webcam, 3)?;
    let new_node = self::node(board)?;
    ensure!(new_node != node, "the camera should have another node than {node}");
    let after = look_at(&mut aggregator, before.last_frame)?;
    let stats = stats(board)?;
    ensure!(stats["capture_restarts"].as_u64() >= Some(1), "no restart was counted: {stats}");
    for counter in ["capture_malformed", "capture_bad_timestamps"] {
        ensure!(stats[counter].as_u64() == Some(0), "{counter} should be 0: {stats}");
    }
    let camera = webcam.counts();
    ensure!(camera.attached == 2, "the camera should have been plugged in twice: {camera:?}");
    let memory = sender::stop(board)?;

    let latency = median(before.late.clone())?;
    ensure!(latency > SPREAD, "a camera that takes {LATENCY:?} is said to be late by {latency}");
    board.expect(&format!(
        "printf '[capture]\\nlatency = \"{}ns\"\\nlatency-spread = \"{}ns\"\\n' > /run/usb.toml",
        latency.as_nanos(),
        SPREAD.as_nanos()
    ))?;
    let (mut aggregator, port) = self::aggregator()?;
    sender::launch(board, &format!("--config /run/usb.toml {}", settings(&new_node, port)))?;
    let measured = look_at(&mut aggregator, after.last_frame)?;
    ensure!(
        measured.bounds.iter().all(|bound| *bound < PERIOD.as_nanos() / 2),
        "a measured latency should narrow the bounds: {:?}",
        measured.bounds
    );
    sender::stop(board)?;
    Ok(Report { before, after, latency, measured, camera, memory })
}

/// An aggregator for the camera, and the port it listens on.
fn aggregator() -> Result<(Aggregator, u16)> {
    let port = free_port();
    let builder = Aggregator::builder().camera("usb", &format!("rtp://:{port}"))?;
    Ok((builder.decode(true).start()?, port))
}

/// Puts the camera into socket `socket` of the board and waits for its device node.
fn plug(board: &mut Board, webcam: &Webcam, socket: u32) -> Result<()> {
    board.expect(&format!("ROOT_PORT={socket} nc {HOST} {} -e /bin/plug", webcam.port()))?;
    board.expect(&wait_for(&format!("[ -n \"$({NODE})\" ]")))?;
    Ok(())
}

fn node(board: &mut Board) -> Result<String> {
    Ok(board.expect(NODE)?.trim().to_owned())
}

/// A command that succeeds once `condition` does, and fails after 30 s.
fn wait_for(condition: &str) -> String {
    format!(
        "tries=0; until {condition}; do tries=$((tries+1)); [ $tries -lt 300 ] || exit 1; usleep 100000; done"
    )
}

/// Looks at pictures taken after number `after`, once the board knows UTC.
fn look_at(aggregator: &mut Aggregator, after: Option<u32>) -> Result<Pictures> {
    let limit = deadline(PATIENCE);
    let mut pictures = Pictures { last_frame: after, ..Pictures::default() };
    while pictures.late.len() < PICTURES {
        let left = limit.saturating_duration_since(now());
        let packet = aggregator.next(left)?;
        let packet = packet.with_context(|| {
            format!("only {} of {PICTURES} pictures within {} s", pictures.late.len(), PATIENCE.as_secs())
        })?;
        for frame in packet.entries.iter().filter_map(|entry| entry.frame.as_ref()) {
            if frame.time_source != TimeSource::Arrival {
                pictures.note(frame)?;
            }
        }
    }
    Ok(pictures)
}

/// What was seen of the camera.
#[derive(Default)]
struct Pictures {
    /// How much later than the truth the reported times are.
    late: Vec<i64>,
    bounds: Vec<i64>,
    /// Pictures that the camera took between those seen.
    missed: u32,
    last_frame: Option<u32>,
}

impl Pictures {
    fn note(&mut self, frame: &Frame) -> Result<()> {
        let picture = frame.picture().context("a picture does not decode")?;
        let code = timecode::read(picture.y().data, picture.y().stride, picture.width(), picture.height())
            .context("a picture without a readable timecode: is it the webcam's?")?;
        ensure!(code.camera == NUMBER, "a picture of camera {}", code.camera);
        if let Some(last) = self.last_frame {
            ensure!(code.frame > last, "picture {} came after picture {last}", code.frame);
            if !self.late.is_empty() {
                self.missed += code.frame - last - 1;
            }
        }
        self.last_frame = Some(code.frame);
        let (late, bound) = (frame.time.utc - code.capture, frame.time.uncertainty);
        ensure!(
            late.abs() <= bound,
            "picture {} is said to be taken {late} after it was, give or take {bound}",
            code.frame
        );
        self.late.push(late.as_nanos());
        self.bounds.push(bound.as_nanos());
        Ok(())
    }
}

/// How it went.
pub(crate) struct Report {
    before: Pictures,
    after: Pictures,
    /// What was then configured, and the pictures since.
    latency: Span,
    measured: Pictures,
    camera: Counts,
    memory: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { sent, dropped, .. } = self.camera;
        write!(
            f,
            "USB webcam by uvcvideo: Motion JPEG, {sent} pictures sent and {dropped} dropped by the camera, \
             peak resident memory {} KiB",
            self.memory
        )?;
        let configured = format!("with a latency of {} +-{SPREAD} configured", self.latency);
        let rounds = [
            ("at first", &self.before),
            ("unplugged and in another socket", &self.after),
            (configured.as_str(), &self.measured),
        ];
        for (when, pictures) in rounds {
            let median = |values: &[i64]| median(values.to_vec()).unwrap_or(Span::ZERO);
            let extreme = |value: Option<&i64>| Span::from_nanos(value.copied().unwrap_or(0));
            write!(
                f,
                "\n  {when}: {} pictures, {} missed; stamped {} after the truth ({} to {}), known within {}",
                pictures.late.len(),
                pictures.missed,
                median(&pictures.late),
                extreme(pictures.late.iter().min()),
                extreme(pictures.late.iter().max()),
                median(&pictures.bounds)
            )?;
        }
        Ok(())
    }
}
