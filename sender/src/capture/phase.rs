//! What a source can do to move its instants of exposure, and the order to do it. When to move, and where
//! to, is decided in [`crate::phase`].

use framelock_common::time::{BoardTime, Span};

use super::{CaptureError, StreamInfo};

/// The means that a source has, each `None` or false where it has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhaseMeans {
    /// One frame can be made longer or shorter without losing any.
    pub stretch: Option<StretchRange>,
    /// The stream can be started again at a chosen instant; the frames until then are lost.
    pub restart: bool,
    /// Frames can for a while follow each other at another interval; what there is to choose from.
    pub intervals: Option<IntervalChoice>,
}

impl PhaseMeans {
    /// Those of a source that times its own frames, one every `period`: it stretches any by what is asked for.
    pub(super) fn exact(period: Span) -> Self {
        let limit = period / 2;
        let stretch = StretchRange { shortest: -limit, longest: limit, step: Span::from_nanos(1) };
        Self { stretch: Some(stretch), ..Self::default() }
    }
}

/// By how much one frame can be made longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StretchRange {
    /// The least; negative where frames can be made shorter.
    pub shortest: Span,
    /// The most.
    pub longest: Span,
    /// The smallest difference that can be made.
    pub step: Span,
}

/// The times between frames that a camera offers beside its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntervalChoice {
    /// These and no others.
    Discrete(Vec<Span>),
    /// Any within these limits.
    Range {
        /// The shortest.
        shortest: Span,
        /// The longest.
        longest: Span,
    },
}

/// A change of phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseMove {
    /// Makes one frame longer by this much; shorter where it is negative.
    Stretch(Span),
    /// Stops the stream now and starts it again at an instant.
    Restart {
        /// The instant at which to ask for the stream.
        at: BoardTime,
        /// Where that has passed when the stream has stopped, whole multiples of this later.
        every: Span,
    },
    /// Has so many frames follow each other at another interval.
    Nudge {
        /// The interval.
        interval: Span,
        /// The frames.
        frames: u32,
    },
}

impl PhaseMove {
    /// By how much to stretch a frame; `source` can do nothing else.
    ///
    /// # Errors
    /// When that is not what it is asked to do.
    pub(super) fn stretch(self, source: &StreamInfo) -> Result<Span, CaptureError> {
        match self {
            Self::Stretch(by) => Ok(by),
            other => Err(CaptureError::Settings(format!("{} cannot do {other:?}", source.description))),
        }
    }
}
