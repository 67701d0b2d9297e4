//! Whether the receiver can be reached, and when to look its address up again (sans-IO).
//!
//! An aggregator that is away, a cable that is out, a name that does not resolve yet: none of them
//! ends the sender. Each change is reported once, not each packet.
//!
//! The socket itself does not live here: see `socket`.

use framelock_common::time::{BoardTime, Span};

/// How long sending must have worked without an error before the link counts as up again. A refused
/// datagram is reported with the next one, so every other send works while nobody listens.
const RECOVERY: Span = Span::from_secs(1);

/// The pause between attempts to open the socket, and how long a link may be down before its address
/// is looked up anew.
const RETRY: Span = Span::from_secs(2);

/// How long an RTP receiver that was looked up by name may be silent before its address is looked up
/// anew: it may have moved, and its old address may swallow everything.
const SILENCE: Span = Span::from_secs(30);

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Datagrams are accepted by the network again, or for the first time.
    Up,
    /// The network refuses datagrams.
    Down,
}

/// Watches the outcome of sending and says when to open the socket anew.
#[derive(Debug)]
pub struct LinkMonitor {
    /// The receiver answers (RTCP) and its address comes from a name: silence means something.
    silence_counts: bool,
    last_error: Option<BoardTime>,
    up: Option<bool>,
    next_open: BoardTime,
    opened: bool,
}

impl LinkMonitor {
    /// A link that has never been tried. `silence_counts` says whether the receiver is known by a
    /// name and reports back.
    #[must_use]
    pub const fn new(silence_counts: bool, now: BoardTime) -> Self {
        Self { silence_counts, last_error: None, up: None, next_open: now, opened: false }
    }

    /// Whether the socket should be opened (anew) now, its address looked up first.
    #[must_use]
    pub fn wants_open(&self, now: BoardTime) -> bool {
        now >= self.next_open
    }

    /// The socket has been opened.
    pub fn handle_opened(&mut self, now: BoardTime) {
        self.opened = true;
        self.next_open = if self.silence_counts { now + SILENCE } else { BoardTime::from_nanos(i64::MAX) };
        if self.last_error.is_some() {
            self.next_open = now + RETRY;
        }
    }

    /// The address cannot be looked up, the socket cannot be opened, or a datagram was refused.
    pub fn handle_error(&mut self, now: BoardTime) -> Option<LinkEvent> {
        let first = self.up != Some(false);
        self.last_error = Some(now);
        self.up = Some(false);
        let retry = now + RETRY;
        if first || !self.opened || self.next_open > retry {
            self.next_open = retry;
        }
        first.then_some(LinkEvent::Down)
    }

    /// A datagram was taken by the network.
    pub fn handle_sent(&mut self, now: BoardTime) -> Option<LinkEvent> {
        if self.last_error.is_some_and(|at| now - at < RECOVERY) {
            return None;
        }
        self.come_up(now)
    }

    /// The receiver was heard.
    pub fn handle_heard(&mut self, now: BoardTime) -> Option<LinkEvent> {
        let event = self.come_up(now);
        if self.silence_counts {
            self.next_open = now + SILENCE;
        }
        event
    }

    fn come_up(&mut self, now: BoardTime) -> Option<LinkEvent> {
        if self.up == Some(true) {
            return None;
        }
        self.last_error = None;
        self.up = Some(true);
        self.handle_opened(now);
        Some(LinkEvent::Up)
    }

    /// When [`Self::wants_open`] will next hold if nothing happens.
    #[must_use]
    pub const fn poll_timeout(&self) -> BoardTime {
        self.next_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> BoardTime {
        BoardTime::from_nanos(ms * 1_000_000)
    }

    fn opened(silence_counts: bool) -> LinkMonitor {
        let mut link = LinkMonitor::new(silence_counts, at(0));
        assert!(link.wants_open(at(0)));
        link.handle_opened(at(0));
        assert_eq!(link.handle_sent(at(0)), Some(LinkEvent::Up));
        link
    }

    #[test]
    fn an_absent_receiver_is_reported_once_though_every_other_datagram_passes() {
        let mut link = opened(false);
        assert_eq!(link.handle_error(at(10)), Some(LinkEvent::Down));
        for ms in 11..2_000 {
            let event = if ms % 2 == 0 { link.handle_error(at(ms)) } else { link.handle_sent(at(ms)) };
            assert_eq!(event, None, "{ms}");
        }
        // It is back: after a second without errors the link is up, once.
        let events: Vec<_> = (2_000..5_000).filter_map(|ms| link.handle_sent(at(ms))).collect();
        assert_eq!(events, [LinkEvent::Up]);
    }

    #[test]
    fn an_answer_brings_the_link_up_at_once() {
        let mut link = opened(true);
        assert_eq!(link.handle_error(at(10)), Some(LinkEvent::Down));
        assert_eq!(link.handle_heard(at(20)), Some(LinkEvent::Up));
        assert_eq!(link.handle_heard(at(30)), None);
    }

    #[test]
    fn the_address_is_looked_up_again_while_the_link_is_down() {
        let mut link = opened(false);
        let _ = link.handle_error(at(10));
        assert!(!link.wants_open(at(2_009)));
        // More errors do not put the look-up off.
        let _ = link.handle_error(at(2_000));
        assert!(link.wants_open(at(2_010)));
        link.handle_opened(at(2_010));
        assert!(!link.wants_open(at(2_011)));
        let _ = link.handle_error(at(2_020));
        assert!(link.wants_open(at(4_010)));
    }

    #[test]
    fn a_name_that_does_not_resolve_is_tried_again() {
        let mut link = LinkMonitor::new(false, at(0));
        assert_eq!(link.handle_error(at(5)), Some(LinkEvent::Down));
        assert_eq!(link.poll_timeout(), at(2_005));
        assert_eq!(link.handle_error(at(2_005)), None);
        assert_eq!(link.poll_timeout(), at(4_005));
    }

    #[test]
    fn silence_of_a_named_receiver_leads_to_a_new_look_up() {
        let mut link = opened(true);
        let _ = link.handle_heard(at(20_000));
        assert!(!link.wants_open(at(49_999)));
        assert!(link.wants_open(at(50_000)));
        // An address cannot move, and plain UDP is always silent.
        assert!(!opened(false).wants_open(at(1_000_000)));
    }
}
