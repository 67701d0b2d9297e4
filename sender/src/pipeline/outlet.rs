//! The end of the stages: puts the capture time into a frame and sends it.

use framelock_common::clock::ClockState;
use framelock_common::h264::{insert_sei, sei};
use framelock_common::rtcp::CaptureKind;
use framelock_common::time::{BoardTime, Span};

use super::Shared;
use crate::clock::BoardClock;
use crate::net::stream::Frame;

/// What goes with a picture from capture to the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// The instant of capture.
    pub(super) mono: BoardTime,
    /// When to decode it, where that differs.
    pub(super) dts: Option<BoardTime>,
    /// What `mono` is the instant of.
    pub(super) kind: CaptureKind,
    /// Half-width of the error of `mono`.
    pub(super) uncertainty: Span,
    /// The time from one frame to the next, as the source declares it.
    pub(super) period: Span,
}

/// Where frames go; false when it wants no more.
pub(super) type Sink = Box<dyn FnMut(Frame) -> bool + Send>;

/// Takes encoded frames.
pub(super) struct Outlet {
    sink: Sink,
    shared: Shared,
    left: Option<u64>,
}

impl Outlet {
    /// An outlet that ends after `limit` frames.
    pub(super) const fn new(sink: Sink, shared: Shared, limit: Option<u64>) -> Self {
        Self { sink, shared, left: limit }
    }

    /// Sends a frame on; false when no more are wanted.
    pub(super) fn put(&mut self, access_unit: Vec<u8>, key: bool, origin: Origin) -> bool {
        let data = self.with_capture_time(access_unit, origin);
        let Origin { mono, dts, kind, uncertainty, period } = origin;
        let before = BoardClock::thread_cpu();
        let wanted = (self.sink)(Frame { data, mono, dts, key, kind, uncertainty, period });
        let sending = &self.shared.counters.sending_cpu;
        sending.set(sending.get() + (BoardClock::thread_cpu() - before));
        if !wanted {
            return false;
        }
        let Some(left) = &mut self.left else { return true };
        *left = left.saturating_sub(1);
        *left > 0
    }

    /// The access unit with its capture time in SEI, if UTC is known: a guess is not passed off as UTC.
    fn with_capture_time(&self, access_unit: Vec<u8>, origin: Origin) -> Vec<u8> {
        let Some(mapping) = *self.shared.utc.borrow() else { return access_unit };
        let mut time = mapping.utc_at(origin.mono);
        time.uncertainty += origin.uncertainty;
        let nal = sei::write_capture_time(time, ClockState::Synchronized);
        let mut out = Vec::with_capacity(access_unit.len() + nal.len());
        insert_sei(&access_unit, &nal, &mut out);
        out
    }
}
