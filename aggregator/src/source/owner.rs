//! Who may speak for a camera when a second sender appears in its place: the same one restarted, or
//! another by mistake.

use framelock_common::time::{HostTime, Span};

/// A sender silent for this long has lost its camera to whoever sends in its place.
const SILENT: Span = Span::from_millis(500);
/// So has one of which no good frame came for this long, however much it sends.
const FRUITLESS: Span = Span::from_secs(2);

/// What is known of the sender that has the camera.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    /// When it was last heard.
    pub(super) heard: HostTime,
    /// When it last gave a good frame, or got the camera.
    pub(super) productive: HostTime,
}

/// What a newcomer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// The camera: its owner is gone.
    Take,
    /// Nothing yet: the owner may be gone or not.
    Wait,
    /// Nothing: the owner goes on sending beside it.
    Refuse,
}

/// Rules on a newcomer first heard at `first`.
pub(super) fn rule(owner: Owner, first: HostTime, now: HostTime) -> Ruling {
    if now - owner.heard >= SILENT || now - owner.productive >= FRUITLESS {
        Ruling::Take
    } else if owner.heard - first >= SILENT {
        Ruling::Refuse
    } else {
        Ruling::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: i64) -> HostTime {
        HostTime::from_nanos(ms * 1_000_000)
    }

    const fn owner(ms: i64) -> Owner {
        Owner { heard: at(ms), productive: at(ms) }
    }

    #[test]
    fn a_restarted_sender_takes_over_and_a_second_one_does_not() {
        // Restart: the owner was last heard at 1000, the newcomer begins at 1100.
        assert_eq!(rule(owner(1_000), at(1_100), at(1_200)), Ruling::Wait);
        assert_eq!(rule(owner(1_000), at(1_100), at(1_500)), Ruling::Take);
        // Two at once: the owner is heard half a second after the newcomer began.
        assert_eq!(rule(owner(1_590), at(1_100), at(1_600)), Ruling::Wait);
        assert_eq!(rule(owner(1_600), at(1_100), at(1_600)), Ruling::Refuse);
    }

    #[test]
    fn noise_does_not_hold_a_camera() {
        let noisy = Owner { heard: at(5_000), productive: at(3_000) };
        assert_eq!(rule(noisy, at(4_000), at(4_999)), Ruling::Refuse);
        assert_eq!(rule(noisy, at(4_000), at(5_000)), Ruling::Take);
    }
}
