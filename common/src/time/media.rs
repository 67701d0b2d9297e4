//! The media clock: 90 kHz ticks that run at the board's own rate, wrapped on the wire.

use std::ops::{Add, Sub};

use super::{BoardTime, Span};

/// Ticks per second of the media clock (RFC 2250 section 2, RFC 6184 section 5.1).
pub const MEDIA_CLOCK_HZ: i64 = 90_000;

/// A media time as RTP carries it: the low 32 bits; wraps every 13.25 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RtpTimestamp(u32);

impl RtpTimestamp {
    /// From the 32 bits on the wire, in host order.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The 32 bits for the wire, in host order.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// Ticks from `earlier` to `self`, signed: the shorter way round.
    #[must_use]
    pub const fn ticks_since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

/// An unwrapped media time in ticks of 1/90000 s; its zero is arbitrary for each stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaTime(i64);

impl MediaTime {
    /// The media time of `ticks`.
    #[must_use]
    pub const fn from_ticks(ticks: i64) -> Self {
        Self(ticks)
    }

    /// Ticks since this clock's zero.
    #[must_use]
    pub const fn as_ticks(self) -> i64 {
        self.0
    }

    /// The low 32 bits, for RTP.
    #[must_use]
    pub const fn to_rtp(self) -> RtpTimestamp {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "wraps by definition")]
        RtpTimestamp(self.0 as u32)
    }

    /// The low 33 bits, for PTS, DTS and the PCR base (ISO/IEC 13818-1 section 2.4.3.6).
    #[must_use]
    pub const fn to_pts(self) -> u64 {
        self.0.cast_unsigned() & ((1 << 33) - 1)
    }
}

impl Add<Span> for MediaTime {
    type Output = Self;
    fn add(self, rhs: Span) -> Self {
        let ticks = rhs.mul_div(MEDIA_CLOCK_HZ, 1_000_000_000).as_nanos();
        Self(self.0.saturating_add(ticks))
    }
}

impl Sub for MediaTime {
    type Output = Span;
    fn sub(self, rhs: Self) -> Span {
        Span::from_nanos(self.0.saturating_sub(rhs.0)).mul_div(1_000_000_000, MEDIA_CLOCK_HZ)
    }
}

/// The fixed linear function from a board's monotonic clock to its media clock. It is never steered:
/// only the mapping from media time to UTC moves.
#[derive(Clone, Copy, Debug)]
pub struct MediaClock {
    offset: u32,
}

impl MediaClock {
    /// A media clock that starts at a random `offset`, as RFC 3550 section 5.1 asks.
    #[must_use]
    pub const fn new(offset: u32) -> Self {
        Self { offset }
    }

    /// The media time at `mono`, rounded down to the tick.
    #[must_use]
    pub fn at(self, mono: BoardTime) -> MediaTime {
        let ticks = i128::from(mono.as_nanos()) * i128::from(MEDIA_CLOCK_HZ);
        let ticks =
            i64::try_from(ticks.div_euclid(1_000_000_000)).expect("a tick is longer than a nanosecond");
        MediaTime(ticks + i64::from(self.offset))
    }

    /// The board's monotonic instant at the start of tick `media`; the inverse of [`Self::at`] to
    /// within one tick (11.1 us).
    #[must_use]
    pub fn to_mono(self, media: MediaTime) -> BoardTime {
        let ticks = media.0.saturating_sub(i64::from(self.offset));
        let ns = (i128::from(ticks) * 1_000_000_000 + i128::from(MEDIA_CLOCK_HZ - 1))
            .div_euclid(i128::from(MEDIA_CLOCK_HZ));
        BoardTime::from_nanos(i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX }))
    }
}

/// Turns a wrapping counter of `BITS` bits into a 64-bit one, choosing each time the value nearest to
/// the last. One per stream and counter: "unwrap once".
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwrapper<const BITS: u32> {
    last: Option<i64>,
}

impl<const BITS: u32> Unwrapper<BITS> {
    /// An unwrapper that takes its first value as it is.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(BITS > 0 && BITS < 63) };
        Self { last: None }
    }

    /// The unwrapped value of `wrapped`, of which only the low `BITS` bits are used. A value a little
    /// older than the last is normal and gives a smaller result, below zero if need be.
    pub fn unwrap(&mut self, wrapped: u64) -> i64 {
        let value = self.peek(wrapped);
        self.last = Some(value);
        value
    }

    /// As [`Self::unwrap`], without moving the reference.
    #[must_use]
    pub fn peek(&self, wrapped: u64) -> i64 {
        let modulus = 1_i64 << BITS;
        let wrapped = (wrapped & (modulus as u64 - 1)).cast_signed();
        let Some(last) = self.last else { return wrapped };
        let ahead = (wrapped.wrapping_sub(last)).rem_euclid(modulus);
        let step = if ahead >= modulus / 2 { ahead - modulus } else { ahead };
        last.saturating_add(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwraps_across_the_wrap_both_ways() {
        let mut unwrapper = Unwrapper::<32>::new();
        assert_eq!(unwrapper.unwrap(0xffff_fff0), 0xffff_fff0);
        assert_eq!(unwrapper.unwrap(0x10), 0x1_0000_0010);
        // A frame older than its report: back across the wrap, not 13.25 hours ahead.
        assert_eq!(unwrapper.unwrap(0xffff_ffff), 0xffff_ffff);
    }

    #[test]
    fn zero_is_a_value_and_not_none() {
        let mut unwrapper = Unwrapper::<32>::new();
        assert_eq!(unwrapper.unwrap(0), 0);
        assert_eq!(unwrapper.unwrap(0xffff_ffff), -1);
    }

    #[test]
    fn media_time_and_board_time_agree_to_a_tick() {
        let clock = MediaClock::new(0xffff_0000);
        for ns in [0, 1, 11_111, 11_112, 3_600_000_000_000, i64::from(u32::MAX) * 100_000] {
            let mono = BoardTime::from_nanos(ns);
            let back = clock.to_mono(clock.at(mono));
            let error = (mono - back).as_nanos();
            assert!((0..=11_112).contains(&error), "{ns}: {error}");
            assert_eq!(clock.at(back), clock.at(mono));
        }
    }

    #[test]
    fn the_ends_of_time_saturate_on_their_own_side() {
        let clock = MediaClock::new(u32::MAX);
        for ns in [i64::MIN, i64::MAX] {
            let back = clock.to_mono(clock.at(BoardTime::from_nanos(ns)));
            assert!((back - BoardTime::from_nanos(ns)).abs() <= Span::from_nanos(11_112));
        }
        assert_eq!(clock.to_mono(MediaTime::from_ticks(i64::MIN)), BoardTime::from_nanos(i64::MIN));
        assert_eq!(clock.to_mono(MediaTime::from_ticks(i64::MAX)), BoardTime::from_nanos(i64::MAX));
    }

    #[test]
    fn rtp_differences_are_signed() {
        let (a, b) = (RtpTimestamp::from_bits(5), RtpTimestamp::from_bits(0xffff_fffe));
        assert_eq!((a.ticks_since(b), b.ticks_since(a)), (7, -7));
    }
}
