//! What the files of an aggregator agree on: what was captured in one instant is played in one instant, and files
//! that are read as fast as possible take turns. Told the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use framelock_common::time::{HostTime, Span, Utc};
use tokio::sync::watch;

/// Recordings that began further apart do not belong together: each begins at once.
const TOGETHER: Span = Span::from_secs(24 * 3_600);
/// How long files that are ready wait for others that are being opened, and for somebody who takes their frames.
const PATIENCE: Duration = Duration::from_secs(2);
/// A place that is past by more than this is not taken any more: the file begins at once.
const PAST: Span = Span::from_secs(1);

/// See the module. A handle: clones are of the same program.
#[derive(Clone, Debug)]
pub(in crate::source::session) struct Program {
    state: Arc<watch::Sender<State>>,
    /// Whether files that take turns have to wait.
    hold: watch::Receiver<bool>,
}

#[derive(Debug, Default)]
struct State {
    members: BTreeMap<usize, Member>,
    /// The earliest first capture of those that were opened so far.
    earliest: Option<Utc>,
    /// When the first files began.
    zero: Option<HostTime>,
    /// What was captured at this instant of UTC is played at this instant, as far as nothing was postponed.
    recorded: Option<(Utc, HostTime)>,
    /// By how much everything was postponed so far.
    delay: Span,
    /// How far those that take turns have come.
    reached: Option<HostTime>,
}

/// Where a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    /// It is being opened: those that begin wait for it.
    Opening,
    /// It goes by itself.
    Playing,
    /// Its next frame is being read: those that take turns wait for it.
    Reading,
    /// Its next frame is due then.
    Due(HostTime),
}

impl State {
    fn is_turn(&self, of: usize) -> bool {
        let Some(Member::Due(at)) = self.members.get(&of) else { return true };
        self.members.iter().all(|(&other, member)| match member {
            Member::Opening | Member::Reading => other == of,
            Member::Playing => true,
            Member::Due(due) => (*at, of) <= (*due, other),
        })
    }

    /// When a file begins that is ready at `now`, with this first capture.
    fn begin(&mut self, capture: Option<Utc>, now: HostTime) -> HostTime {
        let now = self.reached.map_or(now, |reached| now.max(reached));
        let zero = *self.zero.get_or_insert(now);
        let place = match (capture, self.earliest) {
            (Some(capture), Some(earliest)) => {
                let &mut (utc, host) = self.recorded.get_or_insert((earliest, now));
                let after = capture - utc;
                if after.abs() <= TOGETHER { host + after + self.delay } else { now }
            }
            _ => zero + self.delay,
        };
        if now - place > PAST { now } else { place }
    }
}

impl Program {
    /// A program without files; those that take turns wait while `hold` says so.
    pub(in crate::source::session) fn new(hold: watch::Receiver<bool>) -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())), hold }
    }

    /// The place of the file with this number, which will be opened; whether it takes turns.
    pub(in crate::source::session) fn seat(&self, number: usize, in_turn: bool) -> Seat {
        let seat = Seat { program: self.clone(), number, in_turn };
        seat.set(Member::Opening);
        seat
    }
}

/// The place of one file in the program, until it is dropped.
#[derive(Debug)]
pub(in crate::source::session) struct Seat {
    program: Program,
    number: usize,
    in_turn: bool,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.program.state.send_modify(|state| _ = state.members.remove(&self.number));
    }
}

impl Seat {
    fn set(&self, member: Member) {
        self.program.state.send_modify(|state| _ = state.members.insert(self.number, member));
    }

    /// The file is about to be opened.
    pub(super) fn opening(&self) {
        self.set(Member::Opening);
    }

    /// The file cannot be opened. Those that take turns wait until that was told.
    pub(super) fn failed(&self) {
        if !self.in_turn {
            self.set(Member::Playing);
        }
    }

    /// The file was opened and has this first capture: waits until all that are being opened are and, for a while,
    /// until nobody holds them; gives when it is to begin. `now` tells the time.
    pub(super) async fn begin(&self, capture: Option<Utc>, now: impl Fn() -> HostTime) -> HostTime {
        let state = &self.program.state;
        self.set(if self.in_turn { Member::Reading } else { Member::Playing });
        state.send_modify(|state| {
            state.earliest = capture.into_iter().chain(state.earliest).min();
        });
        let opening = |state: &State| state.members.values().any(|member| *member == Member::Opening);
        let mut changes = state.subscribe();
        // A disk that does not answer must not keep the others.
        let all = changes.wait_for(|state| !opening(state));
        // What it gives would lock the state.
        let _either_way = tokio::time::timeout(PATIENCE, all).await.is_ok();
        // A program that starts with its files as cameras wants their first frames; they may be the only key frames.
        let mut hold = self.program.hold.clone();
        let _either_way = tokio::time::timeout(PATIENCE, hold.wait_for(|held| !held)).await.is_ok();
        let mut begin = now();
        state.send_modify(|state| begin = state.begin(capture, begin));
        begin
    }

    /// Waits until the file's next frame, which is due at `at`, comes before those of all others that take turns, and
    /// nobody holds them.
    pub(super) async fn turn(&self, at: HostTime) {
        let Program { state, hold } = &self.program;
        self.set(Member::Due(at));
        let (mut changes, mut hold) = (state.subscribe(), hold.clone());
        loop {
            // We hold a sender ourselves, so that it is never closed.
            let _open = changes.wait_for(|state| state.is_turn(self.number)).await.is_ok();
            // When nobody can hold any more everything ends.
            let _ended = hold.wait_for(|held| !held).await.is_err();
            if state.borrow().is_turn(self.number) {
                break;
            }
        }
        state.send_modify(|state| {
            state.members.insert(self.number, Member::Reading);
            state.reached = state.reached.max(Some(at));
        });
    }

    /// When what was captured at `utc` is played, if the program has recordings.
    pub(super) fn instant(&self, utc: Utc) -> Option<HostTime> {
        let state = self.program.state.borrow();
        state.recorded.map(|(zero, host)| host + (utc - zero) + state.delay)
    }

    /// How far those that take turns have come; `None` while none has begun.
    pub(super) fn reached(&self) -> Option<HostTime> {
        let state = self.program.state.borrow();
        state.reached.or(state.zero)
    }

    /// By how much everything was postponed so far.
    pub(super) fn delay(&self) -> Span {
        self.program.state.borrow().delay
    }

    /// Postpones everything by `by`.
    pub(super) fn postpone(&self, by: Span) {
        self.program.state.send_modify(|state| state.delay += by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> HostTime {
        HostTime::from_nanos(5_000_000_000) + Span::from_millis(ms)
    }

    fn utc(ms: i64) -> Utc {
        Utc::from_unix_nanos(1_790_000_000_000_000_000) + Span::from_millis(ms)
    }

    fn program() -> (watch::Sender<bool>, Program) {
        let (hold, held) = watch::channel(false);
        (hold, Program::new(held))
    }

    #[tokio::test]
    async fn what_was_captured_in_one_instant_is_played_in_one() {
        let (_hold, program) = program();
        let seats: Vec<_> = (0..4).map(|number| program.seat(number, false)).collect();
        let begin = |number: usize, capture| seats[number].begin(capture, || at(0));
        // The second began two seconds after the first, the third does not tell, the last is of another year.
        let year = 365 * 86_400_000;
        let begun = tokio::join!(
            begin(0, Some(utc(0))),
            begin(1, Some(utc(2_000))),
            begin(2, None),
            begin(3, Some(utc(year)))
        );
        assert_eq!(begun, (at(0), at(2_000), at(0), at(0)));
        assert_eq!(seats[0].instant(utc(3_000)), Some(at(3_000)));
        // All are held up alike, and who comes later is where the others are.
        seats[1].postpone(Span::from_millis(500));
        assert_eq!(seats[0].instant(utc(3_000)), Some(at(3_500)));
        let late = program.seat(9, false);
        assert_eq!(late.begin(Some(utc(9_000)), || at(4_000)).await, at(9_500));
        assert_eq!(late.begin(Some(utc(1_000)), || at(4_000)).await, at(4_000), "past, so at once");
        assert_eq!(late.begin(None, || at(4_000)).await, at(4_000));
    }

    #[tokio::test]
    async fn files_take_turns_by_time_and_wait_for_those_that_are_read_and_for_nobody_gone() {
        let (hold, program) = program();
        let (one, other) = (program.seat(1, true), program.seat(0, true));
        let begun = tokio::join!(one.begin(None, || at(0)), other.begin(None, || at(0)));
        assert_eq!(begun, (at(0), at(0)));
        let order = std::cell::RefCell::new(Vec::new());
        let play = async |seat: Seat, steps: Vec<i64>| {
            for step in steps {
                seat.turn(at(step)).await;
                order.borrow_mut().push(step);
                tokio::task::yield_now().await;
            }
        };
        hold.send_replace(true);
        let release = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(order.borrow().is_empty(), "held");
            hold.send_replace(false);
        };
        tokio::join!(play(one, vec![0, 7, 8, 30]), play(other, vec![1, 2, 9]), release);
        assert_eq!(*order.borrow(), [0, 1, 2, 7, 8, 9, 30]);
    }
}
