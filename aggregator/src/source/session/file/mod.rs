//! `file:`: H.264 out of MP4 and MPEG-TS files, by their timestamps: `file:clip.mp4`, `file:clip.ts,fast`,
//! `file:clip.mp4,loop`.
//!
//! **In real time** a frame is handed on when it is due for decoding, counted from when the file began, so that with
//! B-frames or without its turn comes when it is to be shown. It begins when there is a consumer, or after two seconds
//! without one. Nothing adds up, and what the program was held up by is caught up with, or from a second on moves all
//! files alike.
//!
//! **As fast as possible** (`fast`) the files of an aggregator take turns in the order in which they would have been
//! due, and the engine is told that time in place of the host's: the packets are the same as in real time.
//! They wait while there is no consumer, while one that wants every packet has as many waiting as it said, and
//! while the decoders are behind. Nothing else can keep that time, so that live sources beside them are refused.
//!
//! **Times:** where the stream carries capture times (SEI), these are the frames', however long ago they were, and
//! recordings play as they were captured: one that began later begins later. Otherwise a frame counts as
//! captured when it would be shown if the file were a live camera that began when it was opened (`arrival`);
//! the bound covers what lies between that and when it was handed on, which with `fast` may be long. A file that is
//! repeated (`loop`) has the time of no recording: each pass goes by `arrival`.
//!
//! A file that ends is over. One that cannot be read is tried again, as it may come yet; with `fast`, where others
//! would have to wait for it, it is over, too.

mod program;
mod reader;

use std::convert::Infallible;
use std::path::PathBuf;

use framelock_common::container::{ReadError, Slot, Timeline};
use framelock_common::time::{Host, HostTime, MediaTime, Span};

pub(super) use self::program::Program;
use self::program::Seat;
use self::reader::{Opened, Read, Taken};
use super::{Session, SessionError, Sink};
use crate::clock;
use crate::source::SpecError;
use crate::source::spec::Parts;
use crate::source::unit::{AccessUnit, UnitEvent};
use crate::timestamp::Playback;

/// Whoever falls behind further than this does not try to catch up.
const LATE_LIMIT: Span = Span::from_secs(1);
/// Capture times further from the pace of the file's timestamps than this do not set its pace.
const LARGEST_CORRECTION: Span = Span::from_secs(10);

/// A `file:` source, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileSpec {
    path: PathBuf,
    fast: bool,
    looped: bool,
}

impl FileSpec {
    /// Reads a path with the options behind it. A path may have commas, too.
    pub(super) fn parse(parts: &Parts<'_>) -> Result<Self, SpecError> {
        let mut path = parts.whole.split_once(':').map_or("", |(_, path)| path);
        let (mut fast, mut looped) = (false, false);
        loop {
            let (option, rest) = match path.rsplit_once(',') {
                Some((rest, "fast")) => (&mut fast, rest),
                Some((rest, "loop")) => (&mut looped, rest),
                _ => break,
            };
            (*option, path) = (true, rest);
        }
        if path.is_empty() {
            return Err(parts.refuse("write it as file:PATH, file:PATH,fast or file:PATH,loop"));
        }
        Ok(Self { path: path.into(), fast, looped })
    }

    /// Whether it is read as fast as possible.
    pub(super) fn is_fast(&self) -> bool {
        self.fast
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct File {
    spec: FileSpec,
    seat: Seat,
}

impl File {
    pub(super) fn new(spec: FileSpec, seat: Seat) -> Self {
        Self { spec, seat }
    }

    fn failed(&self, error: ReadError) -> SessionError {
        let what = match error {
            ReadError::Io(error) => super::error::describe(&error),
            error @ ReadError::Format { .. } => error.to_string(),
        };
        SessionError::File { path: self.spec.path.display().to_string(), what }
    }
}

impl Session for File {
    async fn run(&mut self, sink: &mut Sink) -> Result<Infallible, SessionError> {
        self.seat.opening();
        // Neither waiting for others nor between two frames does a file hang.
        sink.waiting();
        self.tell_time(sink);
        let opened = reader::open(self.spec.path.clone(), self.spec.looped).await;
        let mut opened = opened.map_err(|error| {
            self.seat.failed();
            self.failed(error)
        })?;
        let capture = opened.capture.filter(|_| !self.spec.looped);
        let begin = self.seat.begin(capture, clock::now).await;
        let playback = if self.spec.looped { Playback::Repeated } else { Playback::Recording };
        self.tell_time(sink);
        sink.opened(playback).await;
        let mut pace = Pace::new(&opened, begin);
        while let Some(read) = opened.reads.recv().await {
            match read.map_err(|error| self.failed(error))? {
                Read::Again => pace.timeline.next_pass(),
                Read::Frame(taken) => {
                    let slot = pace.place(&taken, &self.seat, self.spec.looped);
                    let slot = self.wait(&mut pace, slot).await;
                    pace.note(&slot);
                    self.tell_time(sink);
                    sink.unit(UnitEvent::Unit(unit(taken, slot, clock::now()))).await;
                    sink.waiting();
                }
            }
        }
        for shown in pace.left() {
            self.wait_until(shown).await;
            self.tell_time(sink);
            sink.reached(media(shown)).await;
        }
        Err(SessionError::Ended)
    }
}

impl File {
    /// As fast as possible, it is as late as the files have come.
    fn tell_time(&self, sink: &mut Sink) {
        if self.spec.fast {
            sink.set_time(self.seat.reached());
        }
    }

    /// Waits until the frame placed last is due; gives its place, which may be a later one by then.
    async fn wait(&self, pace: &mut Pace, slot: Slot<Host>) -> Slot<Host> {
        let late = clock::now() - slot.decode;
        if late > LATE_LIMIT && !self.spec.fast {
            // The program was stopped, or what takes its packets: files go on from now, without a burst.
            self.seat.postpone(late);
            return pace.follow(slot, &self.seat);
        }
        self.wait_until(slot.decode).await;
        slot
    }

    /// Waits until it is so late, or the file's turn.
    async fn wait_until(&self, due: HostTime) {
        if self.spec.fast {
            self.seat.turn(due).await;
        } else {
            tokio::time::sleep((due - clock::now()).to_duration()).await;
        }
    }
}

/// When frames are due.
#[derive(Debug)]
struct Pace {
    timeline: Timeline<Host>,
    /// The instant of capture of the first frame.
    begin: HostTime,
    begun: bool,
    /// When frames are shown that were decoded but not shown yet, 17 at most.
    open: Vec<HostTime>,
    /// When the last frame so far is shown.
    latest: Option<HostTime>,
    /// How much of the delay that all files have is in the timeline.
    delay: Span,
}

impl Pace {
    fn new(opened: &Opened, begin: HostTime) -> Self {
        let timeline = Timeline::new(opened.timescale, opened.reorder);
        Self { timeline, begin, begun: false, open: Vec::new(), latest: None, delay: Span::ZERO }
    }

    /// The place of the next frame: by the timestamps of the file, and where it carries capture times, by these.
    fn place(&mut self, taken: &Taken, seat: &Seat, looped: bool) -> Slot<Host> {
        let first = !std::mem::replace(&mut self.begun, true);
        let slot = self.timeline.place(taken.pts, taken.dts, self.begin);
        let slot = self.follow(slot, seat);
        let captured = taken.capture.filter(|_| !looped).and_then(|utc| seat.instant(utc));
        // Files with B-frames and files without begin together.
        let captured = captured.or(first.then_some(self.begin));
        // A board's media clock and UTC drift apart; files of several boards must not.
        match captured.map(|instant| instant - slot.capture) {
            Some(off) if off.abs() <= LARGEST_CORRECTION => self.timeline.postpone(slot, off),
            _ => slot,
        }
    }

    /// A frame was handed on in this place.
    fn note(&mut self, slot: &Slot<Host>) {
        self.open.retain(|shown| *shown > slot.decode);
        self.open.truncate(16);
        self.open.push(slot.capture);
        self.latest = self.latest.max(Some(slot.capture));
    }

    /// When what was handed on last is shown, and when that is over: the last frame lasts as long as the one before.
    fn left(&mut self) -> Vec<HostTime> {
        let end = self.latest.map(|latest| latest + self.timeline.step());
        self.open.extend(end);
        self.open.sort_unstable();
        std::mem::take(&mut self.open)
    }

    /// Moves the frame placed last by what all files were postponed meanwhile.
    fn follow(&mut self, slot: Slot<Host>, seat: &Seat) -> Slot<Host> {
        let delay = seat.delay();
        let more = delay - std::mem::replace(&mut self.delay, delay);
        if more == Span::ZERO { slot } else { self.timeline.postpone(slot, more) }
    }
}

/// An instant as a presentation time: one axis for all passes of a file.
fn media(instant: HostTime) -> MediaTime {
    MediaTime::from_ticks(0) + (instant - HostTime::from_nanos(0))
}

/// A frame of a file as if it had been captured and had arrived at its place.
fn unit(taken: Taken, slot: Slot<Host>, now: HostTime) -> AccessUnit {
    AccessUnit {
        data: taken.data,
        presentation: media(slot.capture),
        decode: (slot.decode != slot.capture).then(|| media(slot.decode)),
        rtp: None,
        mpegts: false,
        started: slot.capture,
        ended: now,
        complete: taken.whole,
    }
}
