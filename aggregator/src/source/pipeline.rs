//! Access units and images to frames: which are good, when they were captured, and in which order to hand
//! them on. One pipeline per stream, whatever it travelled in.

use framelock_common::h264::{AccessUnitInfo, Inspector};
use framelock_common::jpeg;
use framelock_common::time::{HostTime, MediaTime, Span, Utc};

use super::gate::{Gate, Verdict};
use super::reorder::PresentationOrder;
use super::session::Image;
use super::unit::{AccessUnit, UnitEvent};
use crate::deliver::{Codec, CodedFrame, Frame, FrameType};
use crate::timestamp::{FrameTiming, HostClock, Mapper, Trace};

/// The largest picture taken, in macroblocks: that of level 5.2, such as 4096x2304 (ITU-T H.264 table A-1).
/// A few bytes can declare a larger one, for which a decoder would take gigabytes.
pub(crate) const MAX_MACROBLOCKS: u32 = 36_864;

/// What comes out of a stream.
#[derive(Clone, Debug)]
pub enum StreamOutput {
    /// A good frame, in decoding order: for a decoder.
    Decode(Frame),
    /// A good frame, in presentation order: for the synchronizer.
    Frame(TimedFrame),
    /// A frame that arrived damaged or cannot be decoded for want of an earlier one; its capture time.
    ReadError(Utc),
    /// More is known of the stream's clock: frames that came before may have better times by it.
    Clock(Box<Mapper>),
}

impl StreamOutput {
    /// Whether it is a frame, good or not.
    pub(super) const fn is_frame(&self) -> bool {
        !matches!(self, Self::Clock(_))
    }
}

/// A frame, and how it got its time.
#[derive(Clone, Debug)]
pub struct TimedFrame {
    /// The frame.
    pub frame: Frame,
    /// How it got its time.
    pub trace: Trace,
}

impl TimedFrame {
    /// Gives the frame the better time that `mapper`, its stream's, may have for it by now; the capture time where
    /// it did.
    pub fn improve(&mut self, mapper: &Mapper, host: &HostClock) -> Option<Utc> {
        let better = self.trace.improve(mapper, host)?;
        self.frame.set_time(better.time, better.source);
        Some(better.time.utc)
    }
}

/// Where a stream's frames go.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    /// The host's clock now.
    pub(super) host: &'a HostClock,
    /// Counts the camera's frames; moved on for every good one.
    pub(super) number: &'a mut u64,
    /// What came out.
    pub(super) out: &'a mut Vec<StreamOutput>,
}

/// Counters of a stream's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameStats {
    /// Good frames.
    pub good: u64,
    /// When the first of them was here, and the last.
    pub first: Option<HostTime>,
    /// See `first`.
    pub last: Option<HostTime>,
    /// Frames with a hole, or that refer to one that had.
    pub damaged: u64,
    /// Frames before the first key frame.
    pub before_key: u64,
    /// Access units without a picture.
    pub empty: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct FramePipeline {
    inspector: Inspector,
    gate: Gate,
    mapper: Mapper,
    order: PresentationOrder<TimedFrame>,
    reorder_declared: bool,
    stats: FrameStats,
    released: Vec<(MediaTime, TimedFrame)>,
    refused_size: bool,
}

impl FramePipeline {
    /// The stream's clock mapping, to feed reports into.
    pub(super) fn mapper(&mut self) -> &mut Mapper {
        &mut self.mapper
    }

    /// Counters.
    #[must_use]
    pub(super) fn stats(&self) -> FrameStats {
        self.stats
    }

    /// Tells what was learnt of the clock, for the frames that are out already, and has those that wait for their
    /// turn gain from it.
    pub(super) fn tell_clock(&mut self, sink: &mut Sink<'_>) {
        if !self.mapper.take_news() {
            return;
        }
        for frame in self.order.held_mut() {
            frame.improve(&self.mapper, sink.host);
        }
        sink.out.push(StreamOutput::Clock(Box::new(self.mapper.clone())));
    }

    /// Whether a key frame from the sender would help.
    #[must_use]
    pub(super) fn wants_key_frame(&self) -> bool {
        self.gate.wants_key_frame()
    }

    /// Nobody saw the frames so far: begin with a key frame, without calling it an error.
    pub(super) fn rejoin(&mut self) {
        self.gate = Gate::default();
    }

    /// Another stream begins in this one's place: nothing that was known holds, but the counters.
    pub(super) fn restart(&mut self, out: &mut Vec<StreamOutput>) {
        self.flush(out);
        *self = Self { stats: self.stats, refused_size: self.refused_size, ..Self::default() };
    }

    /// Hands on what waits for its turn: the stream ended or starts anew.
    pub(super) fn flush(&mut self, out: &mut Vec<StreamOutput>) {
        self.order.flush(&mut self.released);
        out.extend(self.released.drain(..).map(|(_, frame)| StreamOutput::Frame(frame)));
    }

    /// Hands on what waits for its turn up to and at `presentation`: nothing before that will come.
    pub(super) fn release(&mut self, presentation: MediaTime, out: &mut Vec<StreamOutput>) {
        self.order.release_until(presentation, &mut self.released);
        out.extend(self.released.drain(..).map(|(_, frame)| StreamOutput::Frame(frame)));
    }

    /// Takes the next access unit in decoding order.
    pub(super) fn handle(&mut self, event: UnitEvent, sink: &mut Sink<'_>) {
        let UnitEvent::Unit(unit) = event else {
            self.gate.hole();
            return;
        };
        let unreadable = self.inspector.bad_parameter_sets();
        let info = self.inspector.inspect(&unit.data);
        if info.frame_type.is_none() && unit.complete {
            self.stats.empty += 1;
            return;
        }
        // A decoder may read what we cannot, and take a size from it that nobody looked at.
        let readable = self.inspector.bad_parameter_sets() == unreadable;
        let whole = unit.complete && readable && !self.is_too_large(&info);
        let timing = timing(&unit, &info);
        let stamped = self.mapper.map(&timing, sink.host);
        // A key frame whose parameter sets never came is no place to start.
        let decodable = info.key && info.sps.is_some();
        match self.gate.judge(whole, decodable) {
            Verdict::BeforeFirstKey => self.stats.before_key += 1,
            Verdict::Damaged => {
                self.stats.damaged += 1;
                // What waits for its turn was captured before a key frame at the latest; order among
                // errors and frames is the synchronizer's business.
                sink.out.push(StreamOutput::ReadError(stamped.time.utc));
            }
            Verdict::Good => {
                self.stats.good += 1;
                self.stats.first.get_or_insert(unit.ended);
                self.stats.last = Some(unit.ended);
                let (presentation, decode) = (unit.presentation, unit.decode);
                let frame = Frame::new(CodedFrame {
                    time: stamped.time,
                    time_source: stamped.source,
                    codec: Codec::H264,
                    frame_type: info.frame_type,
                    key: info.key,
                    width: info.sps.map(|sps| sps.width),
                    height: info.sps.map(|sps| sps.height),
                    data: unit.data,
                    arrival: unit.ended,
                    sequence: *sink.number,
                });
                *sink.number += 1;
                sink.out.push(StreamOutput::Decode(frame.clone()));
                let trace = Trace::new(timing, stamped, &self.mapper);
                self.present(presentation, decode, TimedFrame { frame, trace }, &info, sink.out);
            }
        }
    }

    /// Takes the next image. Each stands for itself: no order but that of arrival, and nothing refers to
    /// another.
    pub(super) fn handle_image(&mut self, image: Image, sink: &mut Sink<'_>) {
        // An image that brings no time is paced by nothing but its arrival.
        let origin = HostTime::from_nanos(0);
        let paced_by = image.media.unwrap_or_else(|| MediaTime::from_ticks(0) + (image.started - origin));
        let timing = FrameTiming {
            media: paced_by,
            rtp: image.media,
            mpegts: false,
            sei: None,
            arrival: image.started,
            apart: Span::ZERO,
        };
        let stamped = self.mapper.map(&timing, sink.host);
        let info = match jpeg::inspect(&image.data) {
            Ok(info) if !self.refuses(macroblocks(info), info.width, info.height) => info,
            bad => {
                tracing::debug!(?bad, "image not taken");
                self.stats.damaged += 1;
                sink.out.push(StreamOutput::ReadError(stamped.time.utc));
                return;
            }
        };
        self.stats.good += 1;
        self.stats.first.get_or_insert(image.ended);
        self.stats.last = Some(image.ended);
        let mut data = image.data;
        data.truncate(info.length);
        let trace = Trace::new(timing, stamped, &self.mapper);
        let frame = Frame::new(CodedFrame {
            time: stamped.time,
            time_source: stamped.source,
            codec: Codec::Jpeg,
            frame_type: Some(FrameType::I),
            key: true,
            width: Some(info.width),
            height: Some(info.height),
            data,
            arrival: image.ended,
            sequence: *sink.number,
        });
        *sink.number += 1;
        sink.out.push(StreamOutput::Decode(frame.clone()));
        sink.out.push(StreamOutput::Frame(TimedFrame { frame, trace }));
    }

    /// Whether the picture is larger than we decode.
    fn is_too_large(&mut self, info: &AccessUnitInfo) -> bool {
        info.sps.is_some_and(|sps| self.refuses(sps.macroblocks, sps.width, sps.height))
    }

    /// Whether a picture of this size is larger than we decode; said once.
    fn refuses(&mut self, macroblocks: u32, width: u32, height: u32) -> bool {
        if macroblocks <= MAX_MACROBLOCKS {
            return false;
        }
        if !std::mem::replace(&mut self.refused_size, true) {
            tracing::warn!(
                width,
                height,
                "pictures larger than 4096x2304 are not taken; set the camera to a smaller size"
            );
        }
        true
    }

    fn present(
        &mut self,
        presentation: MediaTime,
        decode: Option<MediaTime>,
        frame: TimedFrame,
        info: &AccessUnitInfo,
        out: &mut Vec<StreamOutput>,
    ) {
        // A depth that was learnt holds where the stream declares none.
        if let Some(depth) = info.sps.and_then(|sps| sps.reorder_frames)
            && !self.reorder_declared
        {
            self.order.set_depth(depth as usize);
            self.reorder_declared = true;
        }
        if info.key {
            // Nothing decoded before an IDR picture is presented after it.
            self.order.flush(&mut self.released);
        }
        self.order.push(presentation, decode, frame, &mut self.released);
        out.extend(self.released.drain(..).map(|(_, frame)| StreamOutput::Frame(frame)));
    }
}

/// Blocks of 16x16 pixels.
fn macroblocks(image: jpeg::JpegInfo) -> u32 {
    // Sides are below 65,536.
    image.width.div_ceil(16) * image.height.div_ceil(16)
}

fn timing(unit: &AccessUnit, info: &AccessUnitInfo) -> FrameTiming {
    FrameTiming {
        media: unit.presentation,
        rtp: unit.rtp,
        mpegts: unit.mpegts,
        sei: info.sei_time,
        arrival: unit.started,
        apart: unit.ended - unit.started,
    }
}
