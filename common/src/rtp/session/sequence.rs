//! Sequence number validation (RFC 3550 appendix A.1) and the counts of a reception report (A.3).

use crate::time::Unwrapper;

/// A forward jump of this much or more is not loss but another stream (RFC 3550 appendix A.1).
const MAX_DROPOUT: i64 = 3000;

/// A packet this much or more behind the highest is not late but another stream.
pub(super) const MAX_MISORDER: i64 = 100;

/// What a sequence number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It belongs to the stream; this is its unwrapped value.
    Valid(i64),
    /// It is far off: drop the packet unless the next one follows it.
    Suspect,
    /// It follows a suspect one: the sender restarted with that.
    Restart,
}

/// The sequence numbers of one stream since its last restart.
#[derive(Debug)]
pub(super) struct SequenceTracker {
    unwrapper: Unwrapper<16>,
    base: i64,
    highest: i64,
    /// The one after a suspect.
    awaited: Option<u16>,
    /// Valid packets, late ones and duplicates too: what RFC 3550 calls received.
    arrived: i64,
    expected_prior: i64,
    arrived_prior: i64,
}

impl SequenceTracker {
    /// A stream whose first packet will be `first`.
    pub(super) fn new(first: u16) -> Self {
        let mut unwrapper = Unwrapper::new();
        let base = unwrapper.unwrap(u64::from(first));
        Self {
            unwrapper,
            base,
            highest: base - 1,
            awaited: None,
            arrived: 0,
            expected_prior: 0,
            arrived_prior: 0,
        }
    }

    /// The unwrapped number of the first packet.
    pub(super) fn base(&self) -> i64 {
        self.base
    }

    /// The highest unwrapped number so far.
    pub(super) fn highest(&self) -> i64 {
        self.highest
    }

    /// Judges the next packet to arrive.
    pub(super) fn judge(&mut self, sequence: u16) -> Verdict {
        let value = self.unwrapper.peek(u64::from(sequence));
        let ahead = value - self.highest;
        if ahead >= MAX_DROPOUT || ahead <= -MAX_MISORDER {
            let follows = self.awaited == Some(sequence);
            self.awaited = Some(sequence.wrapping_add(1));
            return if follows { Verdict::Restart } else { Verdict::Suspect };
        }
        self.awaited = None;
        self.arrived += 1;
        if ahead > 0 {
            self.highest = self.unwrapper.unwrap(u64::from(sequence));
        }
        Verdict::Valid(value)
    }

    /// Packets lost since the start (RFC 3550 appendix A.3); negative where duplicates outweigh losses.
    pub(super) fn cumulative_lost(&self) -> i64 {
        self.expected() - self.arrived
    }

    /// Whether packets arrived since the last [`Self::fraction_lost`].
    pub(super) fn has_news(&self) -> bool {
        self.arrived != self.arrived_prior
    }

    /// The share of packets lost since the last call, in 1/256 (RFC 3550 appendix A.3).
    pub(super) fn fraction_lost(&mut self) -> u8 {
        let expected = self.expected() - self.expected_prior;
        let arrived = self.arrived - self.arrived_prior;
        self.expected_prior += expected;
        self.arrived_prior += arrived;
        let lost = (expected - arrived).max(0);
        if expected <= 0 { 0 } else { u8::try_from(lost * 256 / expected).unwrap_or(u8::MAX) }
    }

    fn expected(&self) -> i64 {
        self.highest - self.base + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(first: u16) -> SequenceTracker {
        let mut tracker = SequenceTracker::new(first);
        assert_eq!(tracker.judge(first), Verdict::Valid(i64::from(first)));
        tracker
    }

    #[test]
    fn unwraps_and_tells_late_from_lost() {
        let mut tracker = started(65_534);
        assert_eq!(tracker.judge(1), Verdict::Valid(65_537));
        assert_eq!(tracker.judge(65_535), Verdict::Valid(65_535));
        assert_eq!(tracker.highest(), 65_537);
        assert_eq!(tracker.cumulative_lost(), 1);
        assert_eq!(tracker.fraction_lost(), 64);
        assert_eq!(tracker.fraction_lost(), 0);
        assert_eq!(tracker.judge(0), Verdict::Valid(65_536));
        assert_eq!((tracker.cumulative_lost(), tracker.fraction_lost()), (0, 0));
        assert_eq!(tracker.judge(0), Verdict::Valid(65_536));
        assert_eq!(tracker.cumulative_lost(), -1);
    }

    #[test]
    fn limits_are_those_of_the_rfc() {
        let mut tracker = started(10_000);
        assert_eq!(tracker.judge(12_999), Verdict::Valid(12_999));
        assert_eq!(tracker.judge(15_999), Verdict::Suspect);
        assert_eq!(tracker.judge(12_900), Verdict::Valid(12_900));
        assert_eq!(tracker.judge(12_899), Verdict::Suspect);
    }

    #[test]
    fn two_in_a_row_elsewhere_are_a_restart_and_strays_are_not() {
        let mut tracker = started(10_000);
        assert_eq!(tracker.judge(40_000), Verdict::Suspect);
        assert_eq!(tracker.judge(10_001), Verdict::Valid(10_001));
        assert_eq!(tracker.judge(40_001), Verdict::Suspect);
        assert_eq!(tracker.judge(65_535), Verdict::Suspect);
        assert_eq!(tracker.judge(0), Verdict::Restart);
    }
}
