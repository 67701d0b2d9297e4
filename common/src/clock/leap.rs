//! When an announced leap second takes effect.
//!
//! UTC here does as POSIX and NTP clocks do (RFC 5905 section 6): at a leap second it is set back by one
//! second at midnight, or on by one second a second before. Servers that smear announce nothing.

use chrono::{DateTime, Datelike, NaiveDate};

use super::ClockMapping;
use crate::time::{BoardTime, Span, Utc};

/// After a leap second the servers' announcement may go on for a while: it is not believed for so long.
const QUIET: Span = Span::from_secs(24 * 3_600);

/// The leap second ahead, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LeapWatch {
    ahead: Option<(BoardTime, Span)>,
    quiet_until: Option<BoardTime>,
}

impl LeapWatch {
    /// Takes what the server in use announces: its clock will be set by `by` at the end of the month.
    pub(super) fn handle_announcement(&mut self, by: Option<Span>, mapping: &ClockMapping, now: BoardTime) {
        let quiet = self.quiet_until.is_some_and(|until| now < until);
        let announced = by.filter(|_| !quiet);
        self.ahead = announced.and_then(|by| {
            // A deleted second is the last one of the month.
            let at = end_of_month(mapping.utc_at(now).utc)? - by.max(Span::ZERO);
            Some((mapping.mono_at(at), by))
        });
    }

    /// When the leap second takes effect.
    pub(super) fn at(&self) -> Option<BoardTime> {
        self.ahead.map(|(at, _)| at)
    }

    /// By how much UTC is set, once that instant has come.
    pub(super) fn take(&mut self, now: BoardTime) -> Option<Span> {
        let (_, by) = self.ahead.take_if(|(at, _)| *at <= now)?;
        self.quiet_until = Some(now + QUIET);
        Some(by)
    }
}

/// The first instant of the next month; `None` beyond the calendar's end.
fn end_of_month(utc: Utc) -> Option<Utc> {
    let date = DateTime::from_timestamp_nanos(utc.as_unix_nanos()).date_naive();
    let (year, month) =
        if date.month() == 12 { (date.year() + 1, 1) } else { (date.year(), date.month() + 1) };
    let first = NaiveDate::from_ymd_opt(year, month, 1)?.and_hms_opt(0, 0, 0)?;
    first.and_utc().timestamp_nanos_opt().map(Utc::from_unix_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_end_where_the_calendar_says() {
        // 2016-12-31T23:59:59.5Z, 2028-02-29T12:00:00Z.
        for (utc, end) in [(1_483_228_799_500, 1_483_228_800), (1_835_438_400_000, 1_835_481_600)] {
            let utc = Utc::from_unix_nanos(utc * 1_000_000);
            assert_eq!(end_of_month(utc), Some(Utc::from_unix_nanos(end * 1_000_000_000)));
        }
        assert_eq!(end_of_month(Utc::from_unix_nanos(i64::MAX)), None);
    }
}
