//! When a file's frames are due. Sans-IO: it is told the time.

use crate::time::{Mono, Span};

/// Decoding times that step further than this, or backward, do not belong together: files were cut
/// or joined there.
const LARGEST_STEP: Span = Span::from_secs(10);
/// Showing follows decoding by at most this; 16 frames at 5 fps.
const LARGEST_REORDER: Span = Span::from_secs(4);

/// When a frame is due, on the clock of machine `D`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot<D> {
    /// When to hand it out.
    pub send: Mono<D>,
    /// Its instant of capture; not after `send`.
    pub capture: Mono<D>,
    /// Its decoding time on the axis of `capture`.
    pub decode: Mono<D>,
}

/// Lays a file's timestamps on the clock of machine `D`. Each pass has one origin and every frame is laid
/// from it, so that rounding never adds up.
///
/// A frame is due when it is due for decoding. Its instant of capture is when it would be shown, moved back by
/// the file's reordering delay so that no frame is captured after it was handed out; without B-frames the two are
/// the same.
#[derive(Debug)]
pub struct Timeline<D> {
    timescale: u32,
    reorder: Span,
    /// When the frame that is decoded at `base` is sent; `None` before the first.
    origin: Option<Mono<D>>,
    /// `None` before the first frame of a pass.
    base: Option<i64>,
    /// Decoding time and slot of the last frame.
    last: Option<(i64, Mono<D>)>,
    /// From one frame to the next, as last seen.
    step: Span,
}

impl<D> Timeline<D> {
    /// A timeline of `timescale` ticks a second, for frames that are shown up to `reorder` ticks after
    /// they are decoded.
    #[must_use]
    pub fn new(timescale: u32, reorder: i64) -> Self {
        let mut timeline = Self {
            timescale,
            reorder: Span::ZERO,
            origin: None,
            base: None,
            last: None,
            step: Span::from_millis(40),
        };
        timeline.reorder = timeline.span(reorder).clamp(Span::ZERO, LARGEST_REORDER);
        timeline
    }

    /// Where a frame with these times belongs; the first one of all is due `now`.
    pub fn place(&mut self, pts: i64, dts: i64, now: Mono<D>) -> Slot<D> {
        let mut origin = *self.origin.get_or_insert(now);
        let mut base = *self.base.get_or_insert(dts);
        if let Some((last_dts, last_send)) = self.last {
            let step = self.span(dts.saturating_sub(last_dts));
            if step < Span::ZERO || step > LARGEST_STEP {
                (origin, base) = (last_send + self.step, dts);
                (self.origin, self.base) = (Some(origin), Some(base));
            } else if step > Span::ZERO {
                self.step = step;
            }
        }
        let send = origin + self.span(dts.saturating_sub(base));
        self.last = Some((dts, send));
        let shown_after = self.span(pts.saturating_sub(dts)).clamp(Span::ZERO, self.reorder);
        let decode = send - self.reorder;
        Slot { send, capture: decode + shown_after, decode }
    }

    /// From one frame to the next, as last seen.
    #[must_use]
    pub const fn step(&self) -> Span {
        self.step
    }

    /// The file begins again, a frame after its last.
    pub fn next_pass(&mut self) {
        if let Some((_, send)) = self.last.take() {
            self.origin = Some(send + self.step);
        }
        self.base = None;
    }

    /// Moves `slot`, the last one placed, and all that follow by `delay`.
    #[must_use]
    pub fn postpone(&mut self, slot: Slot<D>, delay: Span) -> Slot<D> {
        self.shift(delay);
        Slot { send: slot.send + delay, capture: slot.capture + delay, decode: slot.decode + delay }
    }

    /// Moves all frames that are still to be placed by `by`.
    pub fn shift(&mut self, by: Span) {
        self.origin = self.origin.map(|origin| origin + by);
        self.last = self.last.map(|(dts, send)| (dts, send + by));
    }

    fn span(&self, ticks: i64) -> Span {
        Span::from_nanos(ticks).mul_div(1_000_000_000, i64::from(self.timescale.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::BoardTime;

    const START: BoardTime = BoardTime::from_nanos(7_000_000_000);

    #[test]
    fn a_day_of_ntsc_does_not_drift() {
        let mut timeline = Timeline::new(30_000, 0);
        let frames = 24 * 3_600 * 30;
        for number in 0..frames {
            let slot = timeline.place(number * 1001, number * 1001, START);
            assert_eq!((slot.capture, slot.decode), (slot.send, slot.send));
        }
        let slot = timeline.place(frames * 1001, frames * 1001, START);
        assert_eq!(slot.send - START, Span::from_micros(24 * 3_600 * 1_001_000));
    }

    #[test]
    fn passes_follow_each_other_without_a_seam() {
        let mut timeline = Timeline::new(90_000, 0);
        let mut sent = Vec::new();
        for _ in 0..3 {
            for number in 0..10 {
                sent.push(timeline.place(5_000 + number * 3_600, 5_000 + number * 3_600, START).send);
            }
            timeline.next_pass();
        }
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] == Span::from_millis(40)), "{sent:?}");
    }

    #[test]
    fn frames_shown_later_than_decoded_are_never_captured_after_they_are_sent() {
        // I P B B: decoded 0 1 2 3, shown 1 4 2 3, in frames of 100 ticks.
        let mut timeline = Timeline::new(1_000, 300);
        let slots: Vec<_> = [(100, 0), (400, 100), (200, 200), (300, 300)]
            .map(|(pts, dts)| timeline.place(pts, dts, START))
            .into();
        assert!(slots.iter().all(|slot| slot.capture <= slot.send && slot.decode <= slot.capture));
        let mut shown: Vec<_> = slots.iter().map(|slot| slot.capture).collect();
        shown.sort();
        assert!(shown.windows(2).all(|pair| pair[1] - pair[0] == Span::from_millis(100)), "{shown:?}");
    }

    #[test]
    fn times_that_jump_do_not_stall_or_burst() {
        let mut timeline = Timeline::new(90_000, 0);
        let times = [0, 3_600, 7_200, i64::MAX, i64::MIN, 50, 3_650, 3_650 + 90_000 * 11, -5];
        let sent: Vec<_> = times.map(|dts| timeline.place(dts, dts, START).send).into();
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] == Span::from_millis(40)), "{sent:?}");
    }

    #[test]
    fn lies_about_showing_are_bounded() {
        let mut timeline = Timeline::new(1, i64::MAX);
        let slot = timeline.place(i64::MAX, i64::MIN, START);
        assert!(slot.capture <= slot.send && slot.send - slot.decode <= LARGEST_REORDER);
        let mut zero = Timeline::new(0, -5);
        let slot = zero.place(-5, 5, START);
        assert_eq!((slot.capture, slot.decode), (slot.send, slot.send));
    }

    #[test]
    fn after_a_stop_all_that_follows_is_moved() {
        let mut timeline = Timeline::new(1_000, 0);
        let first = timeline.place(0, 0, START);
        let moved = timeline.postpone(first, Span::from_secs(5));
        assert_eq!(moved.send, START + Span::from_secs(5));
        let second = timeline.place(40, 40, START);
        assert_eq!(second.send - moved.send, Span::from_millis(40));
    }
}
