//! The decoding of one camera's H.264 frames in decoding order: which frame a picture belongs to, and which
//! frames are not to be shown.

use std::collections::VecDeque;

use super::{DecodeError, Decoder, DecoderOptions, Output};
use crate::deliver::{Frame, Outcome};

/// Frames whose picture is still inside the decoder; more than it can hold back (16) were lost in it.
const MAX_PENDING: usize = 17;

/// What came of the frames that a call of [`Lane::handle`] or [`Lane::flush`] settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Pictures that came out.
    pub(super) decoded: u64,
    /// Frames that did not decode.
    pub(super) failed: u64,
    /// Frames before the first key frame.
    pub(super) early: u64,
}

/// See the module.
pub(super) struct Lane {
    decoder: Option<(DecoderOptions, Box<dyn Decoder>)>,
    /// Frames submitted whose picture has not come out.
    pending: VecDeque<Frame>,
    state: State,
    settled: Settled,
    out: Vec<Output>,
    /// The first frame since the last key frame that came out damaged: those after it refer to it.
    damaged: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No key frame has come yet.
    Joining,
    Whole,
    /// A frame failed: what refers to it is no better, until a key frame.
    Broken,
}

/// Opens decoders.
pub(super) type Open<'a> =
    &'a (dyn Fn(DecoderOptions) -> Result<Box<dyn Decoder>, DecodeError> + Send + Sync);

impl Lane {
    pub(super) fn new() -> Self {
        Self {
            decoder: None,
            pending: VecDeque::new(),
            state: State::Joining,
            settled: Settled::default(),
            out: Vec::new(),
            damaged: None,
        }
    }

    /// A lane that takes over in the middle of a stream.
    pub(super) fn broken() -> Self {
        let mut lane = Self::new();
        lane.state = State::Broken;
        lane
    }

    /// Takes the next frame in decoding order. A decoder with other `options` takes over at a key frame.
    pub(super) fn handle(&mut self, frame: &Frame, options: DecoderOptions, open: Open<'_>) -> Settled {
        if frame.key {
            self.begin(frame, options, open);
        }
        match (self.state, &mut self.decoder) {
            (State::Joining, _) => {
                frame.settle(Outcome::NotYet);
                self.settled.early += 1;
            }
            (State::Broken, _) | (State::Whole, None) => self.fail(frame),
            (State::Whole, Some((_, decoder))) => {
                let number = number(frame);
                self.pending.push_back(frame.clone());
                if let Err(error) = decoder.decode(&frame.data, number, &mut self.out) {
                    tracing::debug!(%error, number, "frame not decoded");
                    self.state = State::Broken;
                    self.pending.pop_back();
                    self.fail(frame);
                }
                self.hand_out();
                while self.pending.len() > MAX_PENDING {
                    self.fail_oldest();
                }
            }
        }
        std::mem::take(&mut self.settled)
    }

    /// Takes out what the decoder still holds back: the stream ended or starts anew.
    pub(super) fn flush(&mut self) -> Settled {
        if let Some((_, decoder)) = &mut self.decoder {
            decoder.flush(&mut self.out);
        }
        self.hand_out();
        while !self.pending.is_empty() {
            self.fail_oldest();
        }
        if self.state == State::Whole {
            // The decoder has forgotten the pictures that the next frames refer to.
            self.state = State::Joining;
        }
        std::mem::take(&mut self.settled)
    }

    /// The frame before the next was not handed to the decoder.
    pub(super) fn skipped(&mut self) {
        if self.state == State::Whole {
            self.state = State::Broken;
        }
    }

    /// A key frame: references start anew.
    fn begin(&mut self, frame: &Frame, options: DecoderOptions, open: Open<'_>) {
        let fits = self.decoder.as_ref().is_some_and(|(opened, _)| *opened == options);
        let anew = self.state != State::Whole || self.pending.iter().any(|p| p.sequence >= frame.sequence);
        if anew || !fits {
            let settled = self.flush();
            self.settled = settled;
        }
        if !fits {
            self.decoder = match open(options) {
                Ok(decoder) => Some((options, decoder)),
                Err(error) => {
                    tracing::error!(%error, "frames are not decoded");
                    None
                }
            };
        }
        (self.state, self.damaged) = (State::Whole, None);
    }

    /// Gives each picture to the frame it was made of.
    fn hand_out(&mut self) {
        for Output { number: of, picture } in std::mem::take(&mut self.out) {
            let at = self.pending.iter().position(|frame| number(frame) == of);
            let Some(frame) = at.and_then(|at| self.pending.remove(at)) else { continue };
            match picture {
                Some(picture) if self.damaged.is_none_or(|damaged| of < damaged) => {
                    frame.settle(Outcome::Picture(picture));
                    self.settled.decoded += 1;
                }
                _ => {
                    self.damaged = Some(self.damaged.map_or(of, |damaged| damaged.min(of)));
                    self.state = State::Broken;
                    self.fail(&frame);
                }
            }
        }
    }

    fn fail(&mut self, frame: &Frame) {
        frame.settle(Outcome::Failed);
        self.settled.failed += 1;
    }

    fn fail_oldest(&mut self) {
        if let Some(frame) = self.pending.pop_front() {
            self.fail(&frame);
        }
    }
}

/// The number under which a frame goes through the decoder.
fn number(frame: &Frame) -> i64 {
    i64::try_from(frame.sequence).unwrap_or(i64::MAX)
}

impl Drop for Lane {
    /// Lets nobody wait for what it did not get to, even if the decoder panicked.
    fn drop(&mut self) {
        while !self.pending.is_empty() {
            self.fail_oldest();
        }
    }
}
