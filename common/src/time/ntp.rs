//! UTC on the wire: the 64-bit and 32-bit NTP formats (RFC 5905 section 6).

use super::{Span, Utc};

/// Seconds from the NTP epoch (1900-01-01) to the Unix epoch (RFC 5905 figure 4).
const UNIX_EPOCH_IN_NTP: i64 = 2_208_988_800;
const ERA_SECONDS: i64 = 1 << 32;

/// A 64-bit NTP timestamp: 32 bits of seconds since 1900 (modulo an era of 136 years) and 32 bits of
/// fraction. Used in sender reports (RFC 3550 section 6.4.1), RFC 6051 extensions and NTP packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NtpTimestamp(u64);

impl NtpTimestamp {
    /// From the 64 bits on the wire, in host order.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits for the wire, in host order.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Whether this is the all-zero value that protocols use for "unknown".
    #[must_use]
    pub const fn is_unknown(self) -> bool {
        self.0 == 0
    }

    /// The middle 32 bits, as LSR and DLSR fields carry it (RFC 3550 section 6.4.1).
    #[must_use]
    pub const fn middle(self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the middle 32 bits are wanted")]
        {
            (self.0 >> 16) as u32
        }
    }

    /// The timestamp of `utc`, its fraction rounded to the nearest 2^-32 s.
    #[must_use]
    pub fn from_utc(utc: Utc) -> Self {
        let ns = i128::from(utc.as_unix_nanos()) + i128::from(UNIX_EPOCH_IN_NTP) * 1_000_000_000;
        let units = ((ns << 32) + 500_000_000).div_euclid(1_000_000_000);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "modulo one era")]
        Self(units as u64)
    }

    /// The instant of UTC, taking the era that puts it nearest to `pivot`: the format repeats every
    /// 136 years, the first time in 2036.
    #[must_use]
    pub fn to_utc(self, pivot: Utc) -> Utc {
        let seconds = i64::from((self.0 >> 32) as u32) - UNIX_EPOCH_IN_NTP;
        let fraction = i64::from(self.0 as u32);
        let ns = (fraction * 1_000_000_000 + (1 << 31)) >> 32;
        let pivot_seconds = pivot.as_unix_nanos().div_euclid(1_000_000_000);
        let eras = (pivot_seconds - seconds + ERA_SECONDS / 2).div_euclid(ERA_SECONDS);
        let seconds = seconds + eras * ERA_SECONDS;
        Utc::from_unix_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(ns))
    }
}

/// A 32-bit NTP short: 16 bits of seconds and 16 of fraction; root delay, root dispersion, DLSR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtpShort(u32);

impl NtpShort {
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

    /// The length of time it stands for.
    #[must_use]
    pub fn to_span(self) -> Span {
        Span::from_nanos((i64::from(self.0) * 1_000_000_000) >> 16)
    }

    /// `span` rounded up to the next 2^-16 s, saturating at both ends of the format.
    #[must_use]
    pub fn from_span(span: Span) -> Self {
        let ns = i128::from(span.as_nanos().max(0));
        let units = ((ns << 16) + 999_999_999) / 1_000_000_000;
        Self(u32::try_from(units).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Utc = Utc::from_unix_nanos(1_790_000_000_123_456_789);

    #[test]
    fn utc_survives_the_wire_to_the_nanosecond() {
        for ns in [0, 1, 999_999_999, 500_000_000, 123_456_789] {
            let utc = Utc::from_unix_nanos(1_790_000_000_000_000_000 + ns);
            assert_eq!(NtpTimestamp::from_utc(utc).to_utc(NOW), utc);
        }
    }

    #[test]
    fn the_era_is_the_one_nearest_the_pivot() {
        // 2036-02-07T06:28:16Z is second 0 of era 1 (RFC 5905 figure 4).
        let rollover = Utc::from_unix_nanos((ERA_SECONDS - UNIX_EPOCH_IN_NTP) * 1_000_000_000);
        assert_eq!(NtpTimestamp::from_utc(rollover).to_bits(), 0);
        for offset in [-1, 0, 1] {
            let utc = rollover + Span::from_secs(offset);
            assert_eq!(NtpTimestamp::from_utc(utc).to_utc(NOW), utc);
        }
    }

    #[test]
    fn short_format_rounds_up_and_saturates() {
        assert_eq!(NtpShort::from_span(Span::from_nanos(1)).to_bits(), 1);
        assert_eq!(NtpShort::from_span(Span::from_secs(-1)).to_bits(), 0);
        assert_eq!(NtpShort::from_span(Span::MAX).to_bits(), u32::MAX);
        assert_eq!(NtpShort::from_bits(1 << 16).to_span(), Span::from_secs(1));
    }
}
