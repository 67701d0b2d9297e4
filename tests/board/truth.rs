//! The truth about the boards' clocks and frames, measured from outside: neither the sender nor the network,
//! which its own time comes through, has a part in it.
//!
//! *Clocks:* the host asks each board over the serial console what its `CLOCK_MONOTONIC` shows (`board-clock`,
//! `tests/board/clock`). It showed that between question and answer, which bounds its offset from the host's UTC;
//! of many such bounds all hold, so the tightest ends count: half the way there and back of the fastest question
//! and the fastest answer. That the offset is one number is no assumption: the bounds of the beginning and the end
//! must overlap, or this fails. (A board's counter is QEMU's, which follows the host's monotonic clock.)
//!
//! *Frames:* the kernel's trace of the driver's timestamps, as buffers are handed out (`vb2_dqbuf`).

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use framelock_common::time::{Span, Utc};

use crate::figures::median;
use crate::machine::Board;
use crate::packets::Received;

/// Questions asked in a row.
const QUESTIONS: usize = 200;
/// The kernel's trace of buffers.
const EVENT: &str = "/sys/kernel/tracing/events/vb2/vb2_dqbuf/enable";
/// The reported offset between two boards may be wrong by this in 95 of 100 packets.
pub(crate) const LIMIT: Span = Span::from_millis(2);
/// Frames may be mistaken for their neighbours of so many periods before or after.
const NEIGHBOURS: isize = 3;

/// What a board's monotonic clock is behind the host's UTC, in ns: between `low` and `high`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offset {
    low: i64,
    high: i64,
}

impl Offset {
    /// Asks `board`.
    pub(crate) fn of(board: &mut Board) -> Result<Self> {
        let mut offset = Self { low: i64::MIN, high: i64::MAX };
        for (asked, mono, answered) in board.ask_clock(QUESTIONS)? {
            offset.low = offset.low.max(asked.as_unix_nanos() - mono);
            offset.high = offset.high.min(answered.as_unix_nanos() - mono);
        }
        ensure!(
            offset.low <= offset.high,
            "{}: its clock does not run as the host's does: {offset:?}",
            board.name
        );
        Ok(offset)
    }

    /// What holds of both.
    fn and(self, other: Self) -> Result<Self> {
        let both = Self { low: self.low.max(other.low), high: self.high.min(other.high) };
        ensure!(
            both.low <= both.high,
            "the clock has drifted against the host's: first {self:?}, then {other:?}"
        );
        Ok(both)
    }

    fn middle(self) -> i64 {
        self.low + (self.high - self.low) / 2
    }

    /// By how much the middle can be wrong.
    fn error(self) -> Span {
        Span::from_nanos((self.high - self.low) / 2)
    }
}

/// Has the kernel of `board` note the timestamps that its camera driver gives.
pub(crate) fn watch_frames(board: &mut Board) -> Result<()> {
    board.expect(&format!("echo 1 > {EVENT}"))?;
    Ok(())
}

/// What is known of one board.
pub(crate) struct Truth {
    name: &'static str,
    offset: Offset,
    /// The driver's timestamps on the board's monotonic clock, in ns.
    stamps: Vec<i64>,
}

impl Truth {
    /// Asks `board` again, whose clock has been `before`, and ends the watch on its frames.
    pub(crate) fn of(board: &mut Board, before: Offset) -> Result<Self> {
        let offset = Offset::of(board)?.and(before).with_context(|| board.name)?;
        let text = board.expect(&format!(
            "echo 0 > {EVENT}; sed -n 's/.* timestamp = \\([0-9]*\\).*/\\1/p' /sys/kernel/tracing/trace"
        ))?;
        let mut stamps: Vec<i64> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
        stamps.sort_unstable();
        stamps.dedup();
        Ok(Self { name: board.name, offset, stamps })
    }

    /// How much later than the truth `reported` is, if it is of the frame `neighbour` frames after the nearest.
    fn error(&self, reported: Utc, neighbour: isize) -> Option<i64> {
        let mono = reported.as_unix_nanos() - self.offset.middle();
        let after = self.stamps.partition_point(|stamp| *stamp < mono);
        let near = [after.checked_sub(1), Some(after)].into_iter().flatten();
        let near = near.filter(|at| *at < self.stamps.len());
        let nearest = near.min_by_key(|at| (self.stamps[*at] - mono).abs())?;
        Some(mono - self.stamps.get(nearest.checked_add_signed(neighbour)?)?)
    }
}

/// How well reported times agree with the truth.
pub(crate) struct Agreement {
    cameras: Vec<Camera>,
    /// Errors of the offset between the first and the second board, without sign, sorted.
    offsets: Vec<i64>,
}

struct Camera {
    name: &'static str,
    /// How much later than the truth frames are said to be.
    errors: Vec<i64>,
    /// Frames whose true time is outside the bound that came with them.
    outside: usize,
    offset_error: Span,
}

impl Agreement {
    /// Compares full packets with the truth of two boards. Every frame's error goes into a file in `dir`.
    pub(crate) fn of(packets: &[Received], boards: &[Truth], dir: &Path) -> Result<Self> {
        let cameras: Vec<Camera> =
            boards.iter().map(|board| Camera::of(packets, board)).collect::<Result<_>>()?;
        let path = dir.join("truth.csv");
        std::fs::write(&path, csv(&cameras)).with_context(|| format!("cannot write {}", path.display()))?;
        let [first, second] = cameras.as_slice() else { bail!("there are not two boards") };
        let mut offsets: Vec<i64> =
            first.errors.iter().zip(&second.errors).map(|(first, second)| (first - second).abs()).collect();
        offsets.sort_unstable();
        let agreement = Self { cameras, offsets };
        let (p95, known) = (agreement.permille(950), agreement.known_within());
        ensure!(
            p95 <= LIMIT,
            "the offset between the boards is wrong by {p95} at p95, more than {LIMIT}: {agreement}"
        );
        ensure!(known <= LIMIT / 2, "the truth is known too badly to judge, within {known}: {agreement}");
        Ok(agreement)
    }

    fn permille(&self, permille: usize) -> Span {
        let at = (self.offsets.len() * permille / 1_000).min(self.offsets.len().saturating_sub(1));
        Span::from_nanos(self.offsets.get(at).copied().unwrap_or(i64::MAX))
    }

    /// By how much the true offset can be wrong.
    fn known_within(&self) -> Span {
        self.cameras.iter().fold(Span::ZERO, |sum, camera| sum + camera.offset_error)
    }
}

impl Camera {
    fn of(packets: &[Received], board: &Truth) -> Result<Self> {
        let frames = packets.iter().flat_map(|received| &received.packet.frames);
        let frames: Vec<(Utc, Span)> = frames
            .filter(|frame| frame.camera == board.name)
            .filter_map(|frame| {
                Some((Utc::from_unix_nanos(frame.time_ns?), Span::from_nanos(frame.uncertainty_ns?)))
            })
            .collect();
        let errors = |neighbour| frames.iter().map(move |(time, _)| board.error(*time, neighbour));
        let errors_of = |neighbour| errors(neighbour).flatten().collect::<Vec<_>>();
        // Frames come at regular times, so a clock wrong by whole periods would put every frame beside another.
        // But no two are exactly a period apart: the right neighbours are those that fit best.
        let best = (-NEIGHBOURS..=NEIGHBOURS)
            .filter_map(|neighbour| Some((scatter(&errors_of(neighbour)).ok()?, neighbour)))
            .min();
        let (_, best) = best.context("the driver has no timestamps")?;
        ensure!(best == 0, "{}: reported times fit to frames {best} periods away", board.name);
        let errors: Vec<i64> = errors(0)
            .collect::<Option<_>>()
            .with_context(|| format!("{}: frames without a timestamp of the driver", board.name))?;
        ensure!(errors.len() == packets.len(), "{} is missing in packets", board.name);
        let error = board.offset.error();
        let outside = frames
            .iter()
            .zip(&errors)
            .filter(|((_, bound), off)| off.abs() > (*bound + error).as_nanos())
            .count();
        ensure!(
            outside * 100 <= errors.len(),
            "{}: {outside} of {} times are outside their bounds",
            board.name,
            errors.len()
        );
        Ok(Self { name: board.name, errors, outside, offset_error: error })
    }
}

/// Every frame's error in ns, by camera and in order.
fn csv(cameras: &[Camera]) -> String {
    let lines =
        cameras.iter().flat_map(|camera| camera.errors.iter().map(|off| format!("{},{off}\n", camera.name)));
    std::iter::once("camera,late_ns\n".to_owned()).chain(lines).collect()
}

/// The median deviation from the median.
fn scatter(values: &[i64]) -> Result<Span> {
    let middle = median(values.to_vec())?.as_nanos();
    median(values.iter().map(|value| (value - middle).abs()).collect())
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reported times against the truth:")?;
        for Camera { name, errors, outside, offset_error } in &self.cameras {
            let middle = median(errors.clone()).unwrap_or(Span::MAX);
            write!(
                f,
                "\n  {name}: {middle} late (median of {} frames), {outside} outside the bound; \
                 clock known within {offset_error}",
                errors.len()
            )?;
        }
        let [p50, p95, max] = [500, 950, 1_000].map(|permille| self.permille(permille));
        write!(
            f,
            "\n  offset between the boards: wrong by {p50} (median), {p95} (p95), {max} (most); truth known within {}",
            self.known_within()
        )
    }
}
