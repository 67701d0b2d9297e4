//! What a driver's timestamp is worth.

use framelock_common::rtcp::CaptureKind;
use framelock_common::time::Span;
use framelock_v4l2::TimestampSource;

/// The driver of USB cameras.
pub(crate) const USB_DRIVER: &str = "uvcvideo";

/// How old a frame may be when it is fetched; an older timestamp is of another clock.
const OLDEST: i64 = 5_000_000_000;
/// How far ahead of now a timestamp may lie, beside a period: rounding, and a driver that hands a frame
/// out before the end that it stamps it with, as vivid does.
const AHEAD: i64 = 2_000_000;

/// Half-width of the error of an interrupt handler's timestamp.
const INTERRUPT_JITTER: Span = Span::from_micros(200);
/// The same of the first payload of a USB frame: it waits for its turn on the bus and in the
/// controller's ring.
const FIRST_PAYLOAD_JITTER: Span = Span::from_millis(1);

/// By how much the exposure may lie before an instant of this kind where nobody has measured the camera; one
/// frame lasts `period`.
///
/// The first payload of a USB frame leaves the camera after the exposure, which takes a period at most, and
/// after as much of readout and compression as the camera does first; how long that is no driver tells. What
/// other drivers stamp is the event that the kind names.
pub(crate) const fn unmeasured_latency(kind: CaptureKind, period: Span) -> Span {
    match kind {
        CaptureKind::FirstPayload => period,
        _ => Span::ZERO,
    }
}

/// An instant on the kernel's monotonic clock, and what it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Nanoseconds of the kernel's `CLOCK_MONOTONIC`.
    pub(crate) kernel: i64,
    pub(crate) kind: CaptureKind,
    pub(crate) jitter: Span,
    /// Whether the driver's timestamp was of no use.
    pub(crate) made_up: bool,
}

/// The stamp of a frame that `driver` stamped with `timestamp`, fetched at `now`; both in ns of the
/// kernel's `CLOCK_MONOTONIC`. Where the timestamp cannot be of that clock, a frame counts as taken
/// when it was fetched, give or take a `period`.
pub(crate) fn stamp(driver: &str, source: TimestampSource, timestamp: i64, now: i64, period: Span) -> Stamp {
    let latest = now.saturating_add(period.as_nanos()).saturating_add(AHEAD);
    let sane = (now.saturating_sub(OLDEST)..=latest).contains(&timestamp);
    let known = |kind, jitter| Stamp { kernel: timestamp, kind, jitter, made_up: false };
    match source {
        // It says "start of exposure" and means the first payload that reached the host.
        TimestampSource::StartOfExposure if sane && driver == USB_DRIVER => {
            known(CaptureKind::FirstPayload, FIRST_PAYLOAD_JITTER)
        }
        TimestampSource::StartOfExposure if sane => known(CaptureKind::StartOfExposure, INTERRUPT_JITTER),
        TimestampSource::EndOfFrame if sane => known(CaptureKind::EndOfFrame, INTERRUPT_JITTER),
        _ => Stamp { kernel: now, kind: CaptureKind::Unknown, jitter: period, made_up: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 100_000_000_000;
    const PERIOD: Span = Span::from_millis(33);

    #[test]
    fn the_flags_become_the_kind() {
        let kind = |driver, source| stamp(driver, source, NOW - 20_000_000, NOW, PERIOD).kind;
        assert_eq!(kind("vivid", TimestampSource::StartOfExposure), CaptureKind::StartOfExposure);
        assert_eq!(kind("vivid", TimestampSource::EndOfFrame), CaptureKind::EndOfFrame);
        assert_eq!(kind("uvcvideo", TimestampSource::StartOfExposure), CaptureKind::FirstPayload);
        assert_eq!(kind("vivid", TimestampSource::Unknown), CaptureKind::Unknown);
    }

    #[test]
    fn only_what_usb_stamps_has_a_latency_that_is_not_known() {
        let of = |driver, source| {
            unmeasured_latency(stamp(driver, source, NOW - 20_000_000, NOW, PERIOD).kind, PERIOD)
        };
        assert_eq!(of("uvcvideo", TimestampSource::StartOfExposure), PERIOD);
        assert_eq!(of("vivid", TimestampSource::StartOfExposure), Span::ZERO);
        assert_eq!(of("vivid", TimestampSource::EndOfFrame), Span::ZERO);
    }

    #[test]
    fn a_frame_may_be_handed_out_before_its_end() {
        let early = stamp("vivid", TimestampSource::EndOfFrame, NOW + 30_000_000, NOW, PERIOD);
        assert_eq!((early.kernel, early.kind), (NOW + 30_000_000, CaptureKind::EndOfFrame));
    }

    #[test]
    fn a_timestamp_of_another_clock_is_not_believed() {
        for timestamp in
            [0, i64::MAX, i64::MIN, NOW + 36_000_000, NOW - 6_000_000_000, 1_790_000_000_000_000_000]
        {
            let stamp = stamp("vivid", TimestampSource::EndOfFrame, timestamp, NOW, PERIOD);
            let expected = Stamp { kernel: NOW, kind: CaptureKind::Unknown, jitter: PERIOD, made_up: true };
            assert_eq!(stamp, expected, "{timestamp}");
        }
    }
}
