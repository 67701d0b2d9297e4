//! What the kernel says of its clock: `adjtimex(2)` with `modes = 0`, which changes nothing and needs no
//! privileges.
//!
//! This crate only reads. What a reading is worth is in [`KernelClock`] of `framelock-common`; reading the
//! clocks themselves is the business of the sender's and the aggregator's clock modules.

use std::io;

use framelock_common::clock::KernelClock;
use framelock_common::clock::ntp::Leap;
use framelock_common::time::Span;

/// Reads the state of the kernel's clock discipline.
///
/// # Errors
/// When the kernel does not answer: some sandboxes forbid the call.
pub fn read() -> io::Result<KernelClock> {
    // SAFETY: `timex` is a C structure of integers, for which all zeros are a value; `modes` = 0 then only reads.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live `timex`, which the call fills and does not keep.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 { Err(io::Error::last_os_error()) } else { Ok(interpret(state, &timex)) }
}

/// Both ways in which the kernel says "not synchronized" are heeded: `TIME_ERROR` also covers a lost PPS
/// signal that the discipline was told to use.
fn interpret(state: libc::c_int, timex: &libc::timex) -> KernelClock {
    let leap = match timex.status & (libc::STA_INS | libc::STA_DEL) {
        libc::STA_INS => Leap::Insert,
        libc::STA_DEL => Leap::Delete,
        _ => Leap::None,
    };
    KernelClock {
        synchronized: timex.status & libc::STA_UNSYNC == 0 && state != libc::TIME_ERROR,
        max_error: Span::from_micros(wide(timex.maxerror)),
        est_error: Span::from_micros(wide(timex.esterror)),
        leap,
        tai_offset: timex.tai,
    }
}

/// The fields are `long`, which has 32 bits on 32-bit boards.
#[expect(clippy::useless_conversion, reason = "useful on 32-bit machines")]
fn wide(field: libc::c_long) -> i64 {
    i64::from(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timex(status: libc::c_int, max: libc::c_long, est: libc::c_long) -> libc::timex {
        // SAFETY: as in `read`.
        let zero: libc::timex = unsafe { std::mem::zeroed() };
        libc::timex { status, maxerror: max, esterror: est, tai: 37, ..zero }
    }

    #[test]
    fn this_machine_answers_and_stays_as_it_is() {
        let (first, second) = (read().expect("allowed"), read().expect("allowed"));
        assert!(first.max_error >= Span::ZERO && first.est_error >= Span::ZERO, "{first:?}");
        // NTP_PHASE_LIMIT of the kernel: 16 s and an hour's growth.
        assert!(first.max_error <= Span::from_secs(20), "{first:?}");
        assert_eq!((first.synchronized, first.tai_offset), (second.synchronized, second.tai_offset));
    }

    #[test]
    fn the_flags_and_figures_are_the_kernels() {
        let good = interpret(libc::TIME_OK, &timex(libc::STA_NANO, 1_500, 20));
        let expected = KernelClock {
            synchronized: true,
            max_error: Span::from_micros(1_500),
            est_error: Span::from_micros(20),
            leap: Leap::None,
            tai_offset: 37,
        };
        assert_eq!(good, expected);
        assert!(!interpret(libc::TIME_ERROR, &timex(libc::STA_UNSYNC, 16_000_000, 16_000_000)).synchronized);
        assert!(!interpret(libc::TIME_ERROR, &timex(0, 0, 0)).synchronized, "a lost PPS signal");
        assert!(!interpret(libc::TIME_OK, &timex(libc::STA_UNSYNC, 0, 0)).synchronized);
        for (flag, leap) in [(libc::STA_INS, Leap::Insert), (libc::STA_DEL, Leap::Delete)] {
            assert_eq!(interpret(libc::TIME_INS, &timex(flag, 0, 0)).leap, leap);
        }
    }
}
