//! When a simulated camera exposes.

use framelock_common::time::{Span, Utc};

use crate::capture::{FrameRate, TestSpec};

/// A camera's frame clock. Its first exposure lies on the grid of UTC that the rate and the phase
/// span; from there it runs by itself, at its own rate, on the kernel's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Oscillator {
    /// Kernel monotonic time of frame 0, in ns.
    origin: i64,
    /// The grid point of frame 0, counted from the Unix epoch.
    first: i64,
    rate: FrameRate,
    drift_ppb: i64,
}

impl Oscillator {
    /// A camera switched on at `kernel` ns of monotonic time, which is `utc`.
    pub(crate) fn new(utc: Utc, kernel: i64, rate: FrameRate, spec: TestSpec) -> Self {
        let since_epoch = i128::from((utc - Utc::from_unix_nanos(0)).as_nanos() - spec.phase.as_nanos());
        let frames =
            since_epoch * i128::from(rate.numerator()) / (i128::from(rate.denominator()) * 1_000_000_000);
        // The first grid point that is still to come, rounding in the division allowed for.
        let mut first = i64::try_from(frames).unwrap_or(i64::MAX / 2);
        while rate.time_of(first) + spec.phase <= utc - Utc::from_unix_nanos(0) {
            first += 1;
        }
        let wait = Utc::from_unix_nanos(0) + rate.time_of(first) + spec.phase - utc;
        Self { origin: kernel + wait.as_nanos(), first, rate, drift_ppb: spec.drift_ppb }
    }

    /// The kernel's monotonic time at which frame `number` is exposed, in ns.
    pub(crate) fn exposure(&self, number: u64) -> i64 {
        let number = i64::try_from(number).unwrap_or(i64::MAX / 2);
        let nominal = self.rate.time_of(self.first.saturating_add(number)) - self.rate.time_of(self.first);
        // An oscillator that is fast makes its periods short.
        let true_time = nominal.mul_div(1_000_000_000, 1_000_000_000 + self.drift_ppb);
        self.origin.saturating_add(true_time.as_nanos())
    }

    /// Moves all exposures that are still to come by `by`.
    pub(crate) const fn shift(&mut self, by: Span) {
        self.origin = self.origin.saturating_add(by.as_nanos());
    }

    /// The last frame exposed at or before `kernel` ns; 0 before the first.
    pub(crate) fn last_before(&self, kernel: i64) -> u64 {
        let running = Span::from_nanos(kernel.saturating_sub(self.origin));
        let nominal = running.mul_div(1_000_000_000 + self.drift_ppb, 1_000_000_000);
        let frames = i128::from(nominal.as_nanos()) * i128::from(self.rate.numerator())
            / (i128::from(self.rate.denominator()) * 1_000_000_000);
        let mut number = u64::try_from(frames + 1).unwrap_or(0);
        while number > 0 && self.exposure(number) > kernel {
            number -= 1;
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Utc = Utc::from_unix_nanos(1_790_000_000_123_456_789);
    const KERNEL: i64 = 77_000_000_000;

    fn utc_of(kernel: i64) -> i64 {
        NOW.as_unix_nanos() + kernel - KERNEL
    }

    #[test]
    fn without_drift_every_exposure_is_on_the_grid() {
        for (rate, phase_ms) in [("30", 12), ("25", 0), ("15", -7), ("1", 999)] {
            let rate: FrameRate = rate.parse().unwrap();
            let spec = TestSpec { phase: Span::from_millis(phase_ms), drift_ppb: 0 };
            let camera = Oscillator::new(NOW, KERNEL, rate, spec);
            let wait = camera.exposure(0) - KERNEL;
            assert!((1..=rate.period().as_nanos() + 1).contains(&wait), "{wait}");
            for number in [0, 1, 29, 30, 1_000_000] {
                // Within each second the grid repeats.
                let in_second =
                    (utc_of(camera.exposure(number)) - phase_ms * 1_000_000).rem_euclid(1_000_000_000);
                let hz = i64::from(rate.numerator());
                let nearest = (in_second * hz + 500_000_000) / 1_000_000_000;
                assert!((in_second - nearest * 1_000_000_000 / hz).abs() <= 1, "{in_second}");
            }
        }
    }

    #[test]
    fn cameras_of_the_same_phase_are_in_step_whenever_they_start() {
        let rate: FrameRate = "30000/1001".parse().unwrap();
        let spec = TestSpec::default();
        let a = Oscillator::new(NOW, KERNEL, rate, spec);
        let later = 3_141_592_653;
        let b = Oscillator::new(NOW + Span::from_nanos(later), KERNEL + later, rate, spec);
        let distance = (b.exposure(0) - a.exposure(0)) % rate.period().as_nanos();
        let off = distance.min(rate.period().as_nanos() - distance);
        assert!(off <= 100, "{off} ns"); // 94 truncated periods of less than a ns each
    }

    #[test]
    fn a_fast_oscillator_gains_what_was_asked() {
        let rate = FrameRate::from_hz(30);
        let camera = Oscillator::new(NOW, KERNEL, rate, TestSpec { phase: Span::ZERO, drift_ppb: 20_000 });
        let hundred_seconds = camera.exposure(3_000) - camera.exposure(0);
        assert_eq!(hundred_seconds, 99_998_000_039); // 100 s / (1 + 20e-6)
    }

    #[test]
    fn the_last_frame_before_an_instant_is_found() {
        for drift_ppb in [0, 50_000, -50_000] {
            let rate: FrameRate = "29.97".parse().unwrap();
            let camera = Oscillator::new(NOW, KERNEL, rate, TestSpec { phase: Span::ZERO, drift_ppb });
            assert_eq!(camera.last_before(KERNEL - 5), 0);
            for number in [0, 1, 2, 1_000, 2_592_000] {
                let exposure = camera.exposure(number);
                assert_eq!(camera.last_before(exposure), number);
                assert_eq!(camera.last_before(exposure - 1), number.saturating_sub(1));
            }
        }
    }
}
