//! The means of V4L2 cameras to move their phase: vertical blanking and other frame intervals. Restarts
//! are the [`Session`](super::session::Session)'s.

use std::io;

use framelock_common::time::Span;
use framelock_v4l2::{Control, ControlKind, Device, FourCc, Fraction, Intervals, VERTICAL_BLANKING};
use rustix::io::Errno;

use crate::capture::{FrameRate, IntervalChoice, PhaseMeans, PhaseMove, Size, StretchRange};

/// Moves the phase of one open camera.
pub(crate) struct Mover {
    blanking: Option<Blanking>,
    intervals: Option<IntervalChoice>,
    usual: Fraction,
    undo: Option<Undo>,
}

/// Something that is set for a while.
struct Undo {
    what: Temporary,
    /// The frame after which it ends.
    until: u64,
}

#[derive(Clone, Copy)]
enum Temporary {
    Blanking,
    Interval,
}

impl Mover {
    /// For a camera that is set up for frames like these.
    pub(crate) fn new(device: &Device, fourcc: FourCc, size: Size, rate: FrameRate) -> Self {
        Self {
            blanking: device
                .control(VERTICAL_BLANKING)
                .and_then(|control| Blanking::new(control, size, rate)),
            intervals: choice(device.intervals(fourcc, size.width, size.height)),
            usual: Fraction { numerator: rate.denominator(), denominator: rate.numerator() },
            undo: None,
        }
    }

    /// What can be done, to be found out in full only by doing it.
    pub(crate) fn means(&self) -> PhaseMeans {
        PhaseMeans {
            stretch: self.blanking.as_ref().map(Blanking::range),
            restart: true,
            intervals: self.intervals.clone(),
        }
    }

    /// Begins a move after frame `number`.
    pub(crate) fn begin(&mut self, device: &Device, order: PhaseMove, number: u64) -> io::Result<()> {
        self.end(device)?;
        let (what, frames) = match (order, &self.blanking) {
            (PhaseMove::Stretch(by), Some(blanking)) => {
                device.set_control(&blanking.control, blanking.usual + blanking.lines(by))?;
                (Temporary::Blanking, 1)
            }
            (PhaseMove::Nudge { interval, frames }, _) => {
                let interval = u32::try_from(interval.as_nanos()).map_err(|_| Errno::INVAL)?;
                // Fails with EBUSY where the driver cannot do this while it streams, as uvcvideo.
                device.set_interval(Fraction { numerator: interval, denominator: 1_000_000_000 })?;
                (Temporary::Interval, frames)
            }
            _ => return Err(Errno::NOTSUP.into()),
        };
        self.undo = Some(Undo { what, until: number.saturating_add(u64::from(frames)) });
        Ok(())
    }

    /// Ends the move that frame `number` completes.
    pub(crate) fn handle_frame(&mut self, device: &Device, number: u64) -> io::Result<()> {
        if self.undo.as_ref().is_some_and(|undo| number >= undo.until) { self.end(device) } else { Ok(()) }
    }

    fn end(&mut self, device: &Device) -> io::Result<()> {
        match (self.undo.take().map(|undo| undo.what), &self.blanking) {
            (Some(Temporary::Blanking), Some(blanking)) => {
                device.set_control(&blanking.control, blanking.usual)
            }
            (Some(Temporary::Interval), _) => device.set_interval(self.usual).map(drop),
            _ => Ok(()),
        }
    }
}

/// A control that adds empty lines to a frame.
struct Blanking {
    control: Control,
    usual: i64,
    period: Span,
    /// Lines of a frame, the blank ones included.
    total: i64,
}

impl Blanking {
    fn new(control: Control, size: Size, rate: FrameRate) -> Option<Self> {
        let usual = control.value?;
        let fits = control.kind == ControlKind::Integer
            && !control.read_only
            && (0..=control.maximum).contains(&usual)
            && control.minimum < control.maximum;
        // Where the picture is a part of the sensor's, this is not quite the number of lines: the phase
        // then moves by somewhat else than was asked for, and once more.
        let total = i64::from(size.height) + usual;
        (fits && total > 0).then(|| Self { control, usual, period: rate.period(), total })
    }

    fn range(&self) -> StretchRange {
        let time = |lines: i64| self.period.mul_div(lines, self.total);
        StretchRange {
            shortest: time(self.control.minimum - self.usual).max(-(self.period / 2)),
            longest: time(self.control.maximum - self.usual).min(self.period),
            step: time(i64::try_from(self.control.step).unwrap_or(1).max(1)),
        }
    }

    /// Whole steps of lines that take about `by`, within what the control takes.
    fn lines(&self, by: Span) -> i64 {
        let step = i64::try_from(self.control.step).unwrap_or(1).max(1);
        let line = (self.period.as_nanos() / self.total).max(1) * step;
        let half = if by < Span::ZERO { -line / 2 } else { line / 2 };
        let lines = (by.as_nanos().saturating_add(half) / line).saturating_mul(step);
        lines.max(self.control.minimum - self.usual).min(self.control.maximum - self.usual)
    }
}

/// The intervals that a driver offers; `None` where it tells none.
fn choice(intervals: Intervals) -> Option<IntervalChoice> {
    let span = |fraction: Fraction| {
        Span::from_secs(1).mul_div(i64::from(fraction.numerator), i64::from(fraction.denominator))
    };
    match intervals {
        Intervals::Discrete(list) => Some(IntervalChoice::Discrete(list.into_iter().map(span).collect())),
        Intervals::Range { min, max } => {
            Some(IntervalChoice::Range { shortest: span(min), longest: span(max) })
        }
        Intervals::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vertical_blanking(minimum: i64, value: Option<i64>, read_only: bool) -> Control {
        Control {
            id: VERTICAL_BLANKING,
            label: "Vertical Blanking".into(),
            name: "vertical_blanking".into(),
            kind: ControlKind::Integer,
            minimum,
            maximum: 65_000,
            step: 1,
            default: 0,
            value,
            menu: Vec::new(),
            read_only,
            inactive: false,
        }
    }

    #[test]
    fn lines_are_time_and_back() {
        let rate = FrameRate::from_hz(50);
        let control = vertical_blanking(10, Some(20), false);
        let blanking = Blanking::new(control, Size::new(640, 480), rate).unwrap();
        // 500 lines in 20 ms: 40 us each.
        let range = blanking.range();
        assert_eq!((range.shortest, range.step), (Span::from_micros(-400), Span::from_micros(40)));
        assert_eq!(range.longest, Span::from_millis(20), "a frame is made twice as long at most");
        for (us, lines) in
            [(0, 0), (40, 1), (59, 1), (61, 2), (-59, -1), (-61, -2), (-4_000, -10), (9_000_000, 64_980)]
        {
            assert_eq!(blanking.lines(Span::from_micros(us)), lines, "{us}");
        }
    }

    #[test]
    fn a_control_that_cannot_be_used_is_none() {
        let rate = FrameRate::from_hz(50);
        let of = |control| Blanking::new(control, Size::new(640, 480), rate).is_some();
        assert!(of(vertical_blanking(10, Some(20), false)));
        assert!(!of(vertical_blanking(10, None, false)));
        assert!(!of(vertical_blanking(10, Some(20), true)));
        assert!(!of(vertical_blanking(65_000, Some(65_000), false)));
        assert!(!of(vertical_blanking(-500, Some(-480), false)));
    }
}
