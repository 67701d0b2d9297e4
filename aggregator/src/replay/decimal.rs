//! Decimal seconds to nanoseconds, exactly: a float has no room for the nanoseconds of today.

/// Reads decimal seconds (`1790000000.123456789`, `-0.5`, `1e-05`) as nanoseconds; digits beyond the ninth
/// decimal are rounded to the nearest, halves away from zero. Floats printed by other programs have them.
/// `None` for anything else, and for what is outside of 292 years around zero.
pub(super) fn parse_seconds(text: &str) -> Option<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().ok()?),
        None => (text, 0),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && decimals.is_empty() {
        return None;
    }
    // The digit at place 0 of `whole + decimals` counts 10^highest nanoseconds.
    let highest = i64::try_from(whole.len()).ok()? - 1 + i64::from(exponent) + 9;
    let mut ns: i128 = 0;
    let mut round_up = false;
    for (place, digit) in (0_i64..).zip(whole.bytes().chain(decimals.bytes())) {
        let digit = i128::from(char::from(digit).to_digit(10)?);
        match highest - place {
            power @ 0.. if digit > 0 => {
                ns += digit * 10_i128.checked_pow(u32::try_from(power).ok().filter(|p| *p < 20)?)?;
            }
            -1 => round_up = digit >= 5,
            _ => {}
        }
    }
    let ns = ns + i128::from(round_up);
    i64::try_from(if negative { -ns } else { ns }).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse_seconds;

    #[test]
    fn seconds_are_read_to_the_nanosecond() {
        for (text, ns) in [
            ("0", 0),
            ("1790000000.123456789", 1_790_000_000_123_456_789),
            ("1790000000.1", 1_790_000_000_100_000_000),
            ("-0.5", -500_000_000),
            ("+2.", 2_000_000_000),
            (".25", 250_000_000),
            ("0.03333333333333333", 33_333_333),
            ("0.0000000005", 1),
            ("0.00000000049999", 0),
            ("-0.0000000005", -1),
            ("0.9999999999", 1_000_000_000),
            ("1e-05", 10_000),
            ("1.5E3", 1_500_000_000_000),
            ("00000000000000000000000000000000000000000001", 1_000_000_000),
            ("9223372036.854775807", i64::MAX),
            ("-9223372036.854775808", i64::MIN),
            ("0e9999", 0),
            ("5e-9999", 0),
        ] {
            assert_eq!(parse_seconds(text), Some(ns), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        for text in
            ["", ".", "-", "+", "-.", "abc", "1,5", "1.2.3", "--1", "1e", "e5", "1e1.5", "0x10", "nan", "inf"]
        {
            assert_eq!(parse_seconds(text), None, "{text}");
        }
        for text in ["9223372036.854775808", "1e10", "1e300", "99999999999999999999999999999999999999", "1 "]
        {
            assert_eq!(parse_seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_nanosecond_survives_writing_and_reading(ns in any::<i64>()) {
            let sign = if ns < 0 { "-" } else { "" };
            let (s, rest) = (ns.unsigned_abs() / 1_000_000_000, ns.unsigned_abs() % 1_000_000_000);
            prop_assert_eq!(parse_seconds(&format!("{sign}{s}.{rest:09}")), Some(ns));
        }

        #[test]
        fn any_text_gives_a_number_or_none(text in "\\PC*") {
            let _ = parse_seconds(&text);
        }
    }
}
