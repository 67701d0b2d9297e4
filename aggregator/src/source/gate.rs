//! Which access units are good: none with a hole, and none that refers to a picture that had one.

/// What an access unit is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Whole, and so is everything it refers to.
    Good,
    /// The stream was joined in its middle and no key frame has come yet: nothing to show, no error.
    BeforeFirstKey,
    /// It has a hole, or follows one and is not yet a key frame.
    Damaged,
}

/// Judges access units in decoding order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gate {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Joining,
    Whole,
    Broken,
}

impl Gate {
    /// Something between the last access unit and the next was lost.
    pub(super) fn hole(&mut self) {
        if self.state == State::Whole {
            self.state = State::Broken;
        }
    }

    /// Judges the next access unit: `complete` if no part of it is missing, `key` if decoding can
    /// start at it (IDR, ITU-T H.264 section 7.4.1.2.4).
    pub(super) fn judge(&mut self, complete: bool, key: bool) -> Verdict {
        if !complete {
            self.hole();
        } else if key {
            self.state = State::Whole;
        }
        match self.state {
            State::Joining => Verdict::BeforeFirstKey,
            State::Whole => Verdict::Good,
            State::Broken => Verdict::Damaged,
        }
    }

    /// Whether a key frame from the sender would help.
    #[must_use]
    pub(super) fn wants_key_frame(&self) -> bool {
        self.state != State::Whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_hole_nothing_is_good_until_a_whole_key_frame() {
        let mut gate = Gate::default();
        assert_eq!(gate.judge(true, false), Verdict::BeforeFirstKey);
        assert_eq!(gate.judge(false, true), Verdict::BeforeFirstKey);
        assert_eq!(gate.judge(true, true), Verdict::Good);
        assert_eq!(gate.judge(true, false), Verdict::Good);
        gate.hole();
        assert!(gate.wants_key_frame());
        assert_eq!(gate.judge(true, false), Verdict::Damaged, "whole, but refers to a lost picture");
        assert_eq!(gate.judge(false, true), Verdict::Damaged, "a key frame with a hole");
        assert_eq!(gate.judge(true, true), Verdict::Good);
        assert_eq!(gate.judge(false, false), Verdict::Damaged);
        assert_eq!(gate.judge(true, false), Verdict::Damaged);
    }
}
