//! The better of two clocks, the system's and that of NTP servers, with hysteresis.
//!
//! The smaller bound wins, but every change is a small jump of the capture times, so a change wants a reason
//! that lasts. Where the two clocks contradict each other one of them is wrong and nobody here knows which:
//! the bound then covers both.

use std::fmt;

use super::ClockMapping;
use crate::time::{BoardTime, Span};

/// The other clock is taken once its bound has been this many times smaller ...
const BETTER: i64 = 2;
/// ... for this long,
const FOR_LONG: Span = Span::from_secs(30);
/// or at once when it is this many times smaller.
const MUCH_BETTER: i64 = 4;

/// Where UTC comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockChoice {
    /// The system clock.
    System,
    /// NTP servers.
    Ntp,
}

impl fmt::Display for ClockChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system clock",
            Self::Ntp => "NTP servers",
        })
    }
}

/// A change of mind, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// From now on UTC comes from here.
    Chosen {
        /// The clock.
        choice: ClockChoice,
        /// Its bound now.
        bound: Span,
        /// The other's bound; `None` if that is unsynchronized.
        other: Option<Span>,
    },
    /// Both clocks are synchronized and contradict each other.
    Disagreement {
        /// The clock that is used.
        choice: ClockChoice,
        /// By how much they differ.
        by: Span,
    },
    /// Neither is synchronized any more.
    Lost,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen { choice, bound, other: Some(other) } => {
                write!(f, "UTC from the {choice}: within {bound}, and the other clock only within {other}")
            }
            Self::Chosen { choice, bound, other: None } => {
                write!(f, "UTC from the {choice}: within {bound}, and the other clock is unsynchronized")
            }
            Self::Disagreement { choice, by } => write!(
                f,
                "system clock and NTP servers contradict each other by {by}: one is wrong; UTC from the {choice}, with bounds that cover both"
            ),
            Self::Lost => f.write_str("neither the system clock nor an NTP server is synchronized any more"),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct ClockChooser {
    current: Option<ClockChoice>,
    /// Since when the other clock has been better.
    better_since: Option<BoardTime>,
    disagreeing: bool,
    /// The epoch of the source at the last look.
    source_epoch: u32,
    mapping: Option<ClockMapping>,
}

impl ClockChooser {
    /// A chooser that has seen no clock yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { current: None, better_since: None, disagreeing: false, source_epoch: 0, mapping: None }
    }

    /// Looks at both clocks; `None` is an unsynchronized one. Tells what changed.
    pub fn handle(
        &mut self,
        now: BoardTime,
        system: Option<ClockMapping>,
        ntp: Option<ClockMapping>,
    ) -> Option<Decision> {
        let Some(choice) = self.choose(now, system.as_ref(), ntp.as_ref()) else {
            // The epochs go on from the last mapping when there is one again.
            self.better_since = None;
            return self.current.take().map(|_| Decision::Lost);
        };
        let (source, other) = match choice {
            ClockChoice::System => (system, ntp),
            ClockChoice::Ntp => (ntp, system),
        };
        let source = source?;
        let changed = self.current.replace(choice) != Some(choice);
        let apart = other.filter(|other| !source.agrees_with(other, now)).map(|other| {
            let (a, b) = (source.utc_at(now), other.utc_at(now));
            ((a.utc - b.utc).abs(), b.uncertainty)
        });
        let cover = apart.map_or(Span::ZERO, |(by, bound)| by + bound);
        self.take(source, changed, cover, now);
        let bound = |mapping: ClockMapping| mapping.utc_at(now).uncertainty;
        let news = !std::mem::replace(&mut self.disagreeing, apart.is_some());
        match apart {
            Some((by, _)) if news => Some(Decision::Disagreement { choice, by }),
            _ if changed => {
                self.better_since = None;
                Some(Decision::Chosen { choice, bound: bound(source), other: other.map(bound) })
            }
            _ => None,
        }
    }

    /// The chosen clock's mapping, while there is one. Its epochs are the chooser's own: they change with a
    /// step of the chosen clock, and with a change to one that contradicts what was said before.
    #[must_use]
    pub fn mapping(&self) -> Option<ClockMapping> {
        self.mapping.filter(|_| self.current.is_some())
    }

    /// The chosen clock, while there is one.
    #[must_use]
    pub const fn choice(&self) -> Option<ClockChoice> {
        self.current
    }

    fn choose(
        &mut self,
        now: BoardTime,
        system: Option<&ClockMapping>,
        ntp: Option<&ClockMapping>,
    ) -> Option<ClockChoice> {
        let (system, ntp) = match (system, ntp) {
            (None, None) => return None,
            (Some(_), None) => return Some(ClockChoice::System),
            (None, Some(_)) => return Some(ClockChoice::Ntp),
            (Some(system), Some(ntp)) => (system.utc_at(now).uncertainty, ntp.utc_at(now).uncertainty),
        };
        let (current, mine, theirs, other) = match self.current {
            Some(ClockChoice::System) => (ClockChoice::System, system, ntp, ClockChoice::Ntp),
            Some(ClockChoice::Ntp) => (ClockChoice::Ntp, ntp, system, ClockChoice::System),
            None if ntp < system => return Some(ClockChoice::Ntp),
            None => return Some(ClockChoice::System),
        };
        if theirs * BETTER > mine {
            self.better_since = None;
            return Some(current);
        }
        let since = *self.better_since.get_or_insert(now);
        let enough = theirs * MUCH_BETTER <= mine || now - since >= FOR_LONG;
        Some(if enough { other } else { current })
    }

    fn take(&mut self, source: ClockMapping, changed: bool, cover: Span, now: BoardTime) {
        let taken = ClockMapping { uncertainty: source.uncertainty + cover, ..source };
        let epoch = match &self.mapping {
            None => 0,
            Some(old) => {
                let stepped =
                    if changed { !old.agrees_with(&taken, now) } else { source.epoch != self.source_epoch };
                old.epoch.wrapping_add(u32::from(stepped))
            }
        };
        self.source_epoch = source.epoch;
        self.mapping = Some(ClockMapping { epoch, ..taken });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Utc;

    fn at(s: i64) -> BoardTime {
        BoardTime::from_nanos(0) + Span::from_secs(s)
    }

    /// A clock that is `ahead` of the truth and says that it is within `bound`.
    fn clock(ahead: Span, bound: Span) -> Option<ClockMapping> {
        Some(ClockMapping {
            mono0: at(0),
            utc0: Utc::from_unix_nanos(1_790_000_000_000_000_000) + ahead,
            rate_ppb: 0,
            uncertainty: bound,
            drift_ppb: 0,
            epoch: 0,
        })
    }

    fn good(us: i64) -> Option<ClockMapping> {
        clock(Span::ZERO, Span::from_micros(us))
    }

    #[test]
    fn the_better_bound_wins_at_first_and_says_why() {
        let mut chooser = ClockChooser::new();
        assert_eq!((chooser.handle(at(0), None, None), chooser.mapping()), (None, None));
        let decision = chooser.handle(at(1), good(900), good(300)).unwrap();
        assert_eq!(
            decision.to_string(),
            "UTC from the NTP servers: within 300.0us, and the other clock only within 900.0us"
        );
        let mut chooser = ClockChooser::new();
        let decision = chooser.handle(at(1), good(300), None).unwrap();
        assert_eq!(
            decision.to_string(),
            "UTC from the system clock: within 300.0us, and the other clock is unsynchronized"
        );
    }

    #[test]
    fn a_clock_that_is_somewhat_better_must_stay_so() {
        let mut chooser = ClockChooser::new();
        chooser.handle(at(0), good(900), None);
        for s in 1..31 {
            assert_eq!(chooser.handle(at(s), good(900), good(400)), None, "{s}");
        }
        // Not better for a moment: the time starts anew.
        assert_eq!(chooser.handle(at(31), good(700), good(400)), None);
        assert_eq!(chooser.handle(at(32), good(900), good(400)), None);
        assert_eq!(chooser.handle(at(61), good(900), good(400)), None);
        assert!(chooser.handle(at(62), good(900), good(400)).is_some());
        assert_eq!(chooser.choice(), Some(ClockChoice::Ntp));
        assert_eq!(chooser.mapping().unwrap().epoch, 0, "clocks that agree change without a step");
    }

    #[test]
    fn a_much_better_one_is_taken_at_once() {
        let mut chooser = ClockChooser::new();
        chooser.handle(at(0), good(50_000), None);
        assert!(chooser.handle(at(1), good(50_000), good(500)).is_some());
        assert_eq!(chooser.choice(), Some(ClockChoice::Ntp));
    }

    /// A daemon that polls every 64 s lets the kernel's bound grow to 32 ms in between.
    #[test]
    fn a_bound_that_goes_up_and_down_does_not_flap() {
        let mut chooser = ClockChooser::new();
        let mut changes = 0;
        for s in 0..3_600 {
            let system = good(2_000 + s % 64 * 500);
            changes += u32::from(chooser.handle(at(s), system, good(5_000)).is_some());
        }
        assert!(changes <= 2, "{changes}");
    }

    #[test]
    fn a_clock_that_is_lost_is_left_at_once_and_none_is_no_utc() {
        let mut chooser = ClockChooser::new();
        chooser.handle(at(0), good(100), good(5_000));
        assert_eq!(chooser.choice(), Some(ClockChoice::System));
        assert!(chooser.handle(at(1), None, good(5_000)).is_some());
        assert_eq!(chooser.choice(), Some(ClockChoice::Ntp));
        assert_eq!(chooser.handle(at(2), None, None), Some(Decision::Lost));
        assert_eq!((chooser.mapping(), chooser.choice()), (None, None));
        assert_eq!(chooser.handle(at(3), None, None), None);
        assert!(chooser.handle(at(4), good(100), None).is_some());
    }

    #[test]
    fn clocks_that_contradict_each_other_are_covered_by_the_bound() {
        let mut chooser = ClockChooser::new();
        let wrong = clock(Span::from_millis(10), Span::from_micros(100));
        let decision = chooser.handle(at(0), good(200), wrong).unwrap();
        assert_eq!(decision, Decision::Disagreement { choice: ClockChoice::Ntp, by: Span::from_millis(10) });
        // The truth is at 0, the chosen clock 10 ms off.
        let said = chooser.mapping().unwrap().utc_at(at(0));
        let truth = good(0).unwrap().utc_at(at(0)).utc;
        assert!((said.utc - truth).abs() <= said.uncertainty, "{said:?}");
        assert_eq!(chooser.handle(at(1), good(200), wrong), None, "said once");
        assert_eq!(chooser.handle(at(2), good(200), good(100)), None);
        assert_eq!(chooser.mapping().unwrap().uncertainty, Span::from_micros(100));
    }

    #[test]
    fn steps_of_the_chosen_clock_and_changes_to_a_contradiction_are_new_epochs() {
        let mut chooser = ClockChooser::new();
        chooser.handle(at(0), good(100), None);
        let stepped =
            clock(Span::from_secs(1), Span::from_micros(100)).map(|m| ClockMapping { epoch: 7, ..m });
        chooser.handle(at(1), stepped, None);
        assert_eq!(chooser.mapping().unwrap().epoch, 1);
        chooser.handle(at(2), stepped, None);
        assert_eq!(chooser.mapping().unwrap().epoch, 1);
        chooser.handle(at(3), None, good(100));
        assert_eq!(chooser.mapping().unwrap().epoch, 2, "a second apart");
        chooser.handle(at(4), None, None);
        chooser.handle(at(5), good(300), None);
        assert_eq!(chooser.mapping().unwrap().epoch, 2, "back where it was");
    }
}
