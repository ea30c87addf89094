//! What an operator asks for and how it is written: the same words on the pages as in `postbackctl`.
//!
//! What is done with them is in `operate/act.rs`.

mod act;

pub use self::act::{Acting, limit, pause};
use crate::{
    attempt::Cause,
    endpoint::Origin,
    policy::{RateError, parse_rate},
    queue::Revision,
};

/// A cause of death by its name.
///
/// # Errors
/// When there is none of that name; names them all.
pub fn cause(text: &str) -> Result<Cause, String> {
    let found = Cause::NAMES.iter().find(|(_, name)| *name == text);
    let names = || Cause::NAMES.map(|(_, name)| name).join(", ");
    found.map(|(cause, _)| *cause).ok_or_else(|| format!("is not one of {}", names()))
}

/// A host as it is written, `host:port` or `host` for the default ports, as each `host:port` that it means.
///
/// # Errors
/// When it is no host.
pub fn hosts(text: &str) -> Result<Vec<String>, String> {
    let origins = Origin::of_host(text).map_err(|error| error.to_string())?;
    Ok(origins.iter().map(Origin::host_port).collect())
}

/// A limit in rows a second: `100/s`, `30/m`, `10/h`, `0` for none at all; `none` (no limit) is `None`.
///
/// # Errors
/// When it is none; says what would be.
pub fn rate(text: &str) -> Result<Option<f64>, String> {
    match text {
        "none" => return Ok(None),
        "0" => return Ok(Some(0.0)),
        _ => {}
    }
    parse_rate(text).map(Some).map_err(|error| match error {
        RateError::Syntax => "must be a rate such as 100/s, 30/m or 10/h, or 0, or none".to_owned(),
        RateError::TooHigh => error.to_string(),
        // Less than one row a day is not a rate but a pause.
        RateError::TooLow => format!("{error}; 0 pauses the host"),
    })
}

/// How fast rows are replayed, in rows a second.
///
/// # Errors
/// When it is no such rate; says what would be.
pub fn replay_rate(text: &str) -> Result<f64, String> {
    match rate(text) {
        Ok(Some(rate)) if rate > 0.0 => Ok(rate),
        _ => Err("must be a rate such as 100/s, 30/m or 10/h".to_owned()),
    }
}

/// A limit as it is written.
#[must_use]
pub fn rate_text(rate: Option<f64>) -> String {
    let short = |n: f64| format!("{}", (n * 1000.0).round() / 1000.0);
    match rate {
        None => "none".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(rate) if rate >= 1.0 => format!("{}/s", short(rate)),
        Some(rate) if rate * 60.0 >= 1.0 => format!("{}/m", short(rate * 60.0)),
        Some(rate) => format!("{}/h", short(rate * 3600.0)),
    }
}

/// What kind of rows a revision changes, with a blank behind it, and what has been done to them then.
#[must_use]
pub fn words(revision: Revision) -> (&'static str, &'static str) {
    match revision {
        Revision::Replay => ("dead ", "replayed"),
        Revision::Drop => ("dead ", "dropped"),
        Revision::Cancel => ("pending ", "cancelled"),
    }
}

/// `1 dead row`, `2 batches`.
#[must_use]
pub fn counted(n: u64, kind: &str, thing: &str) -> String {
    let ending = match (n, thing) {
        (1, _) => "",
        (_, "batch") => "es",
        _ => "s",
    };
    format!("{n} {kind}{thing}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_may_pause_a_host_or_lift_its_limit_and_is_shown_as_it_is_written() {
        assert_eq!((rate("none"), rate("0/s")), (Ok(None), Ok(Some(0.0))));
        for text in ["100/s", "1.5/s", "30/m", "10/h", "0", "none"] {
            assert_eq!(rate_text(rate(text).unwrap()), text);
        }
        for (text, remedy) in [("100", "0, or none"), ("0.001/h", "0 pauses the host")] {
            let error = rate(text).unwrap_err();
            assert!(error.contains(remedy), "{error}");
        }
        for text in ["0", "none", "fast"] {
            assert!(replay_rate(text).is_err(), "{text}");
        }
    }
}
