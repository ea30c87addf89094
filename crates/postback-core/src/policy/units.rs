//! Durations, sizes and rates as people write them, in requests and on command lines: a number and a unit.

use std::time::Duration;

use thiserror::Error;

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Not a whole number and a known unit.
    #[error("a duration must be a whole number and its unit: `250ms`, `5s`, `2m`, `1h` or `7d`")]
    Syntax,
    /// It has more than 2^64 milliseconds.
    #[error("this duration is longer than can be reckoned with")]
    TooLong,
}

/// Why a text is no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SizeError {
    /// Not a whole number with a known unit or none.
    #[error(
        "a size must be a whole number of bytes, or one with its unit: `512KiB`, `8MiB` or `1GiB`"
    )]
    Syntax,
    /// It has more than 2^64 bytes.
    #[error("this size is larger than can be reckoned with")]
    TooLarge,
}

/// The highest rate, in things a second: beyond it a limit costs more than it holds back.
const MOST_RATE: f64 = 1_000_000.0;

/// Why a text is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RateError {
    /// Not a number, a slash and a known unit.
    #[error("a rate must be a number and its unit: `100/s`, `30/m` or `10/h`")]
    Syntax,
    /// More than a million a second.
    #[error("a rate must be at most {MOST_RATE}/s")]
    TooHigh,
    /// More than none, but less than one a day.
    #[error("a rate must be at least one a day")]
    TooLow,
}

/// Reads `250ms`, `5s`, `2m`, `1h` or `7d`; nothing else, not even blanks.
///
/// # Errors
/// When the text is written otherwise or the duration has more than 2^64 milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let (number, unit) = split(text).ok_or(DurationError::Syntax)?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return Err(DurationError::Syntax),
    };
    times(number, ms).map(Duration::from_millis).ok_or(DurationError::TooLong)
}

/// Reads `512KiB`, `8MiB`, `1GiB` or a number of bytes.
///
/// # Errors
/// When the text is written otherwise or the size has more than 2^64 bytes.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let (number, unit) = split(text).ok_or(SizeError::Syntax)?;
    let bytes = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(SizeError::Syntax),
    };
    times(number, bytes).ok_or(SizeError::TooLarge)
}

/// Reads `100/s`, `0.5/s`, `30/m` or `10/h`; in things a second. `0/s` is none at all.
///
/// # Errors
/// When the text is written otherwise, or the rate is over a million a second or under one a day.
pub fn parse_rate(text: &str) -> Result<f64, RateError> {
    let (number, unit) = text.split_once('/').ok_or(RateError::Syntax)?;
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(RateError::Syntax),
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = number.parse::<f64>().ok().filter(|_| plain).ok_or(RateError::Syntax)?;
    match number / seconds {
        rate if rate > MOST_RATE => Err(RateError::TooHigh),
        rate if rate > 0.0 && rate < 1.0 / 86_400.0 => Err(RateError::TooLow),
        rate => Ok(rate),
    }
}

/// The digits at the start, at least one, and what follows them.
fn split(text: &str) -> Option<(&str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0).then(|| text.split_at(digits))
}

fn times(digits: &str, unit: u64) -> Option<u64> {
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_its_unit() {
        let check = |text: &str, expect: Option<u64>| {
            let ms = parse_duration(text).ok().map(|time| time.as_millis() as u64);
            assert_eq!(ms, expect, "{text:?}");
        };
        check("250ms", Some(250));
        check("0s", Some(0));
        check("5s", Some(5_000));
        check("05s", Some(5_000));
        check("2m", Some(120_000));
        check("1h", Some(3_600_000));
        check("7d", Some(604_800_000));
        check("18446744073709551615ms", Some(u64::MAX));
        for text in [
            "", "5", "s", "ms", "-5s", "+5s", "5 s", " 5s", "5s ", "1.5s", "5S", "5sec", "1h30m",
            "1w", "٥s", "5µs", "0x5s", "1_000s", "null",
        ] {
            assert_eq!(parse_duration(text), Err(DurationError::Syntax), "{text:?}");
        }
        for text in ["18446744073709551616ms", "18446744073709552s", "99999999999999999999999d"] {
            assert_eq!(parse_duration(text), Err(DurationError::TooLong), "{text:?}");
        }
    }

    #[test]
    fn a_size_is_a_number_of_bytes_or_has_its_unit() {
        let check = |text: &str, expect: u64| assert_eq!(parse_size(text), Ok(expect), "{text:?}");
        check("0", 0);
        check("1048576", 1 << 20);
        check("512KiB", 512 << 10);
        check("8MiB", 8 << 20);
        check("1GiB", 1 << 30);
        for text in ["", "KiB", "1KB", "1kib", "1k", "1B", "1 MiB", "-1", "1.5GiB", "1TiB"] {
            assert_eq!(parse_size(text), Err(SizeError::Syntax), "{text:?}");
        }
        for text in ["18446744073709551616", "17179869184GiB"] {
            assert_eq!(parse_size(text), Err(SizeError::TooLarge), "{text:?}");
        }
    }
    #[test]
    fn a_rate_is_a_number_and_its_unit() {
        let check = |text: &str, expect| assert_eq!(parse_rate(text), expect, "{text:?}");
        check("100/s", Ok(100.0));
        check("0.5/s", Ok(0.5));
        check("30/m", Ok(0.5));
        check("1800/h", Ok(0.5));
        check("0/s", Ok(0.0));
        check("1000000/s", Ok(1_000_000.0));
        for text in ["", "100", "/s", "-1/s", "1e9/s", "inf/s", "NaN/s", "1/d", "1 /s", "none"] {
            check(text, Err(RateError::Syntax));
        }
        check("2000000/s", Err(RateError::TooHigh));
        check("0.001/h", Err(RateError::TooLow));
    }
}
