//! A postback's moments in the order of its life, each with its distance from the first.

use std::time::{Duration, UNIX_EPOCH};

use postback_core::view::{Attempt, Postback, Standing, time_text};

use crate::admin::shown;

/// So long an error is in the timeline; it is whole with its attempt.
const ERROR: usize = 120;

/// A moment.
#[derive(Debug, PartialEq)]
pub(super) struct Moment {
    pub(super) what: String,
    /// RFC 3339, UTC; empty: not known.
    pub(super) at: String,
    /// From the first moment on, such as `+1.234 s`.
    pub(super) offset: String,
    /// Whether it lies before the first one: clocks of boxes differ.
    pub(super) is_before: bool,
}

/// The moments, as far as they are known.
pub(super) fn of(postback: &Postback) -> Vec<Moment> {
    let mut moments: Vec<(String, Option<u64>)> = Vec::new();
    let mut add = |what: String, at: Option<&str>| {
        moments.extend(at.and_then(ms).map(|at| (what, Some(at))));
    };
    add("nginx began to read the request".to_owned(), postback.nginx_at.as_deref());
    add("ingest had it".to_owned(), postback.received_at.as_deref());
    add("stored in Redis".to_owned(), Some(&postback.accepted_at));
    for (number, attempt) in (1..).zip(&postback.attempts) {
        let mut add = |what: &str, at| add(format!("attempt {number}{what}"), at);
        add(": reserved by a worker", attempt.reserved_at.as_deref());
        add(" began", Some(&attempt.at));
        add(&format!(" settled: {}", came_of(attempt)), attempt.settled_at.as_deref());
    }
    moments.extend(next(postback));
    let first = moments.iter().find_map(|(_, at)| *at);
    moments.into_iter().map(|(what, at)| moment(what, at, first)).collect()
}

fn came_of(attempt: &Attempt) -> String {
    match (attempt.status, &attempt.error) {
        (Some(status), _) => format!("answer {status} in {:.1} ms", attempt.response_time_ms),
        (None, Some(error)) => shown::brief(error, ERROR),
        (None, None) => "no answer".to_owned(),
    }
}

/// What came after all that.
fn next(postback: &Postback) -> Option<(String, Option<u64>)> {
    let tried = !postback.attempts.is_empty();
    let (what, at) = match (postback.state, &postback.due_at) {
        (Standing::Delivered, _) => ("delivered".to_owned(), None),
        (Standing::Dead, _) => match postback.cause {
            Some(cause) => (format!("dead: {cause}"), None),
            None => ("dropped from the dead letters".to_owned(), None),
        },
        (Standing::Pending, Some(due)) if tried => ("next attempt due".to_owned(), ms(due)),
        (Standing::Pending, Some(due)) => ("first attempt due".to_owned(), ms(due)),
        (Standing::Pending, None) => ("waits to be sent".to_owned(), None),
    };
    Some((what, at))
}

fn moment(what: String, at: Option<u64>, first: Option<u64>) -> Moment {
    let apart = at.zip(first).map(|(at, first)| (at < first, at.abs_diff(first)));
    Moment {
        what,
        at: at.map(time_text).unwrap_or_default(),
        offset: apart.map_or_else(String::new, |(is_before, ms)| offset(is_before, ms)),
        is_before: apart.is_some_and(|(is_before, _)| is_before),
    }
}

/// Milliseconds as `+1.234 s`, longer ones as `+2h 3m 4s`.
fn offset(is_before: bool, ms: u64) -> String {
    let sign = if is_before { '−' } else { '+' };
    if ms < 60_000 {
        return format!("{sign}{}.{:03} s", ms / 1000, ms % 1000);
    }
    format!("{sign}{}", humantime::format_duration(Duration::from_secs(ms / 1000)))
}

/// A time of a postback in milliseconds since 1970.
fn ms(text: &str) -> Option<u64> {
    let at = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(at.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_told_as_it_is_read() {
        let check = |is_before, ms, expect: &str| assert_eq!(offset(is_before, ms), expect);
        check(false, 0, "+0.000 s");
        check(false, 1234, "+1.234 s");
        check(true, 12, "−0.012 s");
        check(false, 7_384_500, "+2h 3m 4s");
    }
}
