//! When each packet of a frame may leave (sans-IO).
//!
//! A small frame leaves at once. A large one, as key frames are, would overrun switch and receive
//! buffers at line rate: after a first burst its packets are spread evenly over a window of half a
//! frame period. A new frame pushes whatever is left of the one before out at once, so pacing never
//! adds up to latency.
//!
//! The packets themselves do not live here: the pacer counts, the sender keeps them in order.

use framelock_common::time::{BoardTime, Span};

/// Packets that are worth waking up for: a wake-up costs more than they do, and 5 kB overrun nothing.
const WORTH: usize = 4;

/// What the pacer goes by.
#[derive(Clone, Copy, Debug)]
pub struct PacerConfig {
    /// Packets of a frame that leave at once; a frame of no more than these is not paced at all.
    pub burst: usize,
    /// The time in which the rest of a large frame leaves: half a frame period.
    pub window: Span,
}

/// The rest of a large frame, spread over `window` from `start` on.
#[derive(Clone, Copy, Debug)]
struct Train {
    packets: usize,
    sent: usize,
    start: BoardTime,
    window: Span,
}

impl Train {
    /// When `more` packets are due, or all: packet `i` of `n` leaves `i/n` of the window after the start.
    fn due(&self, more: usize) -> BoardTime {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let last = (self.sent + more).min(self.packets);
        self.start + self.window.mul_div(count(last), count(self.packets).max(1))
    }
}

/// Decides how many of the queued packets may leave now.
#[derive(Debug)]
pub struct Pacer {
    config: PacerConfig,
    ready: usize,
    train: Option<Train>,
}

impl Pacer {
    /// A pacer with nothing queued.
    #[must_use]
    pub const fn new(config: PacerConfig) -> Self {
        Self { config, ready: 0, train: None }
    }

    /// The rest of a large frame leaves within `window` from the next one on.
    pub const fn set_window(&mut self, window: Span) {
        self.config.window = window;
    }

    /// A frame of `packets` packets has been queued behind all earlier ones.
    pub fn handle_frame(&mut self, packets: usize, now: BoardTime) {
        self.flush();
        let burst = packets.min(self.config.burst);
        self.ready += burst;
        if packets > burst {
            self.train =
                Some(Train { packets: packets - burst, sent: 0, start: now, window: self.config.window });
        }
    }

    /// Lets everything queued leave at once.
    pub fn flush(&mut self) {
        self.ready += self.train.take().map_or(0, |train| train.packets - train.sent);
    }

    /// Time has come to `now`: takes note of what has become due.
    pub fn handle_timeout(&mut self, now: BoardTime) {
        let Some(train) = &mut self.train else { return };
        while train.sent < train.packets && train.due(1) <= now {
            train.sent += 1;
            self.ready += 1;
        }
        if train.sent == train.packets {
            self.train = None;
        }
    }

    /// Takes one packet that may leave now; false when there is none.
    pub fn poll(&mut self) -> bool {
        let some = self.ready > 0;
        self.ready -= usize::from(some);
        some
    }

    /// When the next packets become due, a few together; `None` when nothing is held back.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<BoardTime> {
        self.train.as_ref().map(|train| train.due(WORTH))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Span = Span::from_millis(16);

    fn pacer() -> Pacer {
        Pacer::new(PacerConfig { burst: 16, window: WINDOW })
    }

    fn at(us: i64) -> BoardTime {
        BoardTime::from_nanos(us * 1_000)
    }

    /// Takes what may leave now.
    fn drain(pacer: &mut Pacer) -> usize {
        std::iter::from_fn(|| pacer.poll().then_some(())).count()
    }

    #[test]
    fn a_small_frame_leaves_at_once() {
        let mut pacer = pacer();
        pacer.handle_frame(16, at(0));
        assert_eq!((drain(&mut pacer), pacer.poll_timeout()), (16, None));
    }

    #[test]
    fn a_key_frame_is_spread_evenly_and_out_within_half_a_period() {
        let mut pacer = pacer();
        pacer.handle_frame(116, at(0));
        assert_eq!(drain(&mut pacer), 16);
        pacer.handle_timeout(at(8_000));
        assert_eq!(drain(&mut pacer), 50);
        pacer.handle_timeout(at(15_999));
        assert_eq!(drain(&mut pacer), 49);
        assert_eq!(pacer.poll_timeout(), Some(at(16_000)));
        pacer.handle_timeout(at(16_000));
        assert_eq!((drain(&mut pacer), pacer.poll_timeout()), (1, None));
    }

    #[test]
    fn packets_that_are_held_back_leave_a_few_at_a_time() {
        let mut pacer = pacer();
        pacer.handle_frame(26, at(0));
        let mut left = vec![drain(&mut pacer)];
        let mut times = Vec::new();
        while let Some(due) = pacer.poll_timeout() {
            pacer.handle_timeout(due);
            times.push(due);
            left.push(drain(&mut pacer));
        }
        assert_eq!(left, [16, 4, 4, 2]);
        assert_eq!(times, [at(6_400), at(12_800), at(16_000)]);
    }

    #[test]
    fn the_next_frame_pushes_the_rest_out() {
        let mut pacer = pacer();
        pacer.handle_frame(100, at(0));
        pacer.handle_timeout(at(1_000));
        let first = drain(&mut pacer);
        pacer.handle_frame(5, at(2_000));
        assert_eq!(first + drain(&mut pacer), 105);
    }

    proptest! {
        /// Whatever the load, every packet leaves exactly once, none before its frame came, and a
        /// frame is out after one window or with the next frame.
        #[test]
        fn every_packet_leaves_once_and_in_time(
            frames in prop::collection::vec((0_usize..300, 1_000_i64..50_000), 1..20)
        ) {
            let mut pacer = pacer();
            let (mut now, mut queued, mut left) = (at(0), 0, 0);
            for (packets, period_us) in frames {
                pacer.handle_frame(packets, now);
                queued += packets;
                let next = now + Span::from_micros(period_us);
                left += drain(&mut pacer);
                while let Some(due) = pacer.poll_timeout().filter(|due| *due <= next) {
                    prop_assert!(due <= now + WINDOW);
                    pacer.handle_timeout(due);
                    left += drain(&mut pacer);
                }
                prop_assert!(left <= queued);
                if next >= now + WINDOW {
                    prop_assert_eq!(left, queued);
                }
                now = next;
            }
            pacer.flush();
            left += drain(&mut pacer);
            prop_assert_eq!(left, queued);
        }
    }
}
