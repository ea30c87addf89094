//! The `Retry-After` header (RFC 9110, 10.2.3). How long a wait is followed is
//! `postback_core::attempt`'s.

use std::time::{Duration, UNIX_EPOCH};

use hyper::{
    HeaderMap,
    header::{DATE, RETRY_AFTER},
};

/// The wait that the answer asks for: seconds, or the time until a date, counted from the answer's own
/// `Date` where it has one, else from `now` (seconds since 1970). What cannot be read is no wish.
pub(super) fn parse(headers: &HeaderMap, now: u64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let sent = headers.get(DATE).and_then(|date| date.to_str().ok());
    let sent = sent.and_then(|date| httpdate::parse_http_date(date).ok());
    let from = match sent {
        Some(date) => date,
        None => UNIX_EPOCH.checked_add(Duration::from_secs(now))?,
    };
    Some(until.duration_since(from).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date_and_garbage_is_none() {
        // 784111777 is Sun, 06 Nov 1994 08:49:37 GMT.
        let check = |text: &str, date: Option<&str>, expect: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            let found = parse(&headers, 784_111_700);
            assert_eq!(found, expect.map(Duration::from_secs), "{text} {date:?}");
        };
        check("0", None, Some(0));
        check(" 120 ", None, Some(120));
        check("99999999999", None, Some(99_999_999_999));
        check("999999999999999999999999", None, None);
        check("", None, None);
        check("-1", None, None);
        check("1.5", None, None);
        check("soon", None, None);
        check("\u{e9}", None, None);
        check("Sun, 06 Nov 1994 08:49:37 GMT", None, Some(77));
        check("Sunday, 06-Nov-94 08:49:37 GMT", None, Some(77));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some("Sun, 06 Nov 1994 08:49:27 GMT"), Some(10));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some("Sun, 06 Nov 1994 09:49:37 GMT"), Some(0));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some("today"), Some(77));
        check("Sun, 06 Nov 1994 08:00:00 GMT", None, Some(0));
        assert_eq!(parse(&HeaderMap::new(), 0), None);
    }
}
