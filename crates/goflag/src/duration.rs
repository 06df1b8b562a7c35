//! Durations as Go writes them: `10s`, `1m30s`, `1.5h`, `500ms`, `0`.

use std::time::Duration;

/// Units and their length in nanoseconds; longer names first where one begins with another.
const UNITS: &[(&str, u128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5, micro sign
    ("μs", 1_000), // U+03BC, Greek letter mu
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Go keeps durations as signed 64-bit nanoseconds.
const MAX_NANOS: u128 = i64::MAX as u128;

/// Digits behind the point that count; more cannot matter to the nanosecond.
const MAX_FRACTION_DIGITS: usize = 18;

/// Reads a duration as Go's `time.ParseDuration` does, except that it may not be negative.
/// ```
/// use std::time::Duration;
/// assert_eq!(goflag::duration::parse("1m30s"), Ok(Duration::from_secs(90)));
/// ```
///
/// # Errors
/// Says what is wrong with it.
pub fn parse(text: &str) -> Result<Duration, String> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if unsigned.starts_with('-') {
        return Err(format!("negative duration {text:?}"));
    }
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    let invalid = || format!("invalid duration {text:?}");
    let mut rest = unsigned;
    let mut total: u128 = 0;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let (whole, fraction, after) = number(rest).ok_or_else(invalid)?;
        if after.is_empty() || after.starts_with('.') {
            return Err(format!("missing unit in duration {text:?}"));
        }
        let (unit, after) =
            unit(after).ok_or_else(|| format!("unknown unit in duration {text:?}"))?;
        let nanos = nanoseconds(whole, fraction, unit).ok_or_else(invalid)?;
        total = total.saturating_add(nanos);
        rest = after;
    }
    if total > MAX_NANOS {
        return Err(invalid());
    }
    let total = u64::try_from(total).map_err(|_| invalid())?;
    Ok(Duration::from_nanos(total))
}

/// Digits before and behind the point at the start of `text`, and what follows them.
fn number(text: &str) -> Option<(&str, &str, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    (!whole.is_empty() || !fraction.is_empty()).then_some((whole, fraction, rest))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn unit(text: &str) -> Option<(u128, &str)> {
    let end = text
        .find(|c: char| c.is_ascii_digit() || c == '.')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let (_, nanos) = UNITS.iter().find(|(unit, _)| *unit == name)?;
    Some((*nanos, rest))
}

fn nanoseconds(whole: &str, fraction: &str, unit: u128) -> Option<u128> {
    let whole: u128 = match whole {
        "" => 0,
        whole => whole.parse().ok()?,
    };
    let fraction = fraction.get(..MAX_FRACTION_DIGITS).unwrap_or(fraction);
    let mut part: u128 = 0;
    let mut scale: u128 = 1;
    for digit in fraction.bytes() {
        part = part * 10 + u128::from(digit.wrapping_sub(b'0'));
        scale *= 10;
    }
    whole.checked_mul(unit)?.checked_add(part * unit / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go_are_read() {
        let cases = [
            ("0", 0),
            ("+0", 0),
            ("0s", 0),
            ("10s", 10_000_000_000),
            ("500ms", 500_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("5µs", 5_000),
            ("5μs", 5_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("0.1234567891s", 123_456_789),
            ("0.3333333333333333333h", 1_199_999_999_999),
            ("9223372036854775807ns", 9_223_372_036_854_775_807),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let cases = [
            ("", "invalid duration \"\""),
            ("10", "missing unit in duration \"10\""),
            ("1.5", "missing unit in duration \"1.5\""),
            ("s", "invalid duration \"s\""),
            (".s", "invalid duration \".s\""),
            ("10 s", "unknown unit in duration \"10 s\""),
            ("10d", "unknown unit in duration \"10d\""),
            ("1.2.3s", "missing unit in duration \"1.2.3s\""),
            ("-1s", "negative duration \"-1s\""),
            (
                "9223372036854775808ns",
                "invalid duration \"9223372036854775808ns\"",
            ),
            (
                "99999999999999999999999999999999999999999h",
                "invalid duration \"99999999999999999999999999999999999999999h\"",
            ),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error.to_owned()));
        }
    }
}
