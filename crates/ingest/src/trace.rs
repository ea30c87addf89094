//! What ties a request to its postbacks: the request id, the W3C trace context, and when nginx began to read it.

use std::time::Duration;

use actix_web::http::header::HeaderMap;

/// The header in which nginx hands on a request's id, and in which the answer repeats it.
pub(crate) const REQUEST_ID: &str = "x-request-id";
const MAX_REQUEST_ID: usize = 128;
/// The header in which nginx tells when it began to read a request.
const REQUEST_START: &str = "x-request-start";
/// A request that took longer to arrive is not believed to have: nginx gives up long before.
const MAX_READING: Duration = Duration::from_secs(3600);

/// A request's id: the client's or nginx's where it is fit to be one, otherwise new.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

impl RequestId {
    pub(crate) fn of(headers: &HeaderMap) -> RequestId {
        let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let fit = |id: &&str| {
            let good =
                |b| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'_' | b'-');
            (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(good)
        };
        let new = || format!("{:032x}", fastrand::u128(..));
        RequestId(given.filter(fit).map_or_else(new, Into::into))
    }
}

/// The request's `traceparent`, if there is exactly one and it is valid (W3C Trace Context, section 3.2).
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let mut given = headers.get_all("traceparent");
    let (text, None) = (given.next()?.to_str().ok()?, given.next()) else { return None };
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, length| hex(part, length) && part.bytes().any(|b| b != b'0');
    let mut parts = text.splitn(5, '-');
    let version = parts.next().filter(|part| hex(part, 2) && *part != "ff")?;
    parts.next().filter(|part| id(part, 32))?;
    parts.next().filter(|part| id(part, 16))?;
    parts.next().filter(|part| hex(part, 2))?;
    match (version, parts.next()) {
        ("00", Some(_)) => None,
        // A later version may append fields; what is passed on is what version 00 knows.
        _ => Some(format!("00{}", &text[2..55])),
    }
}

/// How long before `received` (since 1970) nginx began to read the request, milliseconds; `None`: it does not tell, or of
/// a time that cannot be.
///
/// `X-Request-Start: t=SECONDS`, as many proxies write it, or with what has passed since then as nginx counts it:
/// `t=SECONDS;elapsed=SECONDS`. Both with parts of a second, `t` since 1970.
pub(crate) fn nginx_ms(headers: &HeaderMap, received: Duration) -> Option<u32> {
    let mut given = headers.get_all(REQUEST_START);
    let (text, None) = (given.next()?.to_str().ok()?, given.next()) else { return None };
    let (told, elapsed) = text.split_once(";elapsed=").unwrap_or((text, "0"));
    let began = seconds(told.strip_prefix("t=")?)?.checked_sub(seconds(elapsed)?)?;
    // Whole milliseconds, as times are stored.
    let before = received.as_millis().checked_sub(began.as_millis())?;
    u32::try_from(before).ok().filter(|_| before <= MAX_READING.as_millis())
}

fn seconds(text: &str) -> Option<Duration> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number =
        |text: &str| (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 9 {
        return None;
    }
    let nanos = format!("{part:0<9}").parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_fit_request_id_is_kept_and_another_replaced() {
        let check = |id: &str, kept: bool| {
            let RequestId(got) = RequestId::of(&headers(REQUEST_ID, &[id]));
            assert_eq!(got == id, kept, "{id}");
            assert!(got.len() == id.len() || got.len() == 32);
        };
        for id in ["a", "4bf92f3577b34da6a3ce929d0e0e4736", "A.b_c-9", &"x".repeat(128)] {
            check(id, true);
        }
        for id in ["", "a b", "a\"", "é", "a/b", &"x".repeat(129)] {
            check(id, false);
        }
    }

    #[test]
    fn nginx_s_begin_is_believed_where_it_can_be() {
        let received = Duration::from_millis(1_700_000_000_500);
        let check = |text: &str, expect: Option<u32>| {
            assert_eq!(nginx_ms(&headers(REQUEST_START, &[text]), received), expect, "{text}");
        };
        check("t=1700000000.498;elapsed=0.045", Some(47));
        check("t=1700000000.500;elapsed=0.000", Some(0));
        check("t=1700000000.5", Some(0));
        check("t=1700000000", Some(500));
        check("t=1700000000.4989", Some(2));
        check("t=1699996400.500", Some(3_600_000));
        // Longer ago than an hour, or yet to come.
        check("t=1699996400.499", None);
        check("t=1700000000.500;elapsed=3600.001", None);
        check("t=1700000000.501", None);
        check("t=1700000000.501;elapsed=0.001", Some(0));
        let bad = [
            "",
            "t=",
            "1700000000.498",
            "t=-1",
            "t=1e9",
            "t=1700000000.",
            "t=.5",
            "t=99999999999999999999",
        ];
        for text in bad.iter().chain(&[
            "t=1700000000;elapsed=",
            "t=1700000000;elapsed=x",
            "t=1;elapsed=2",
            "t= 1",
        ]) {
            check(text, None);
        }
        let good = "t=1700000000.498";
        assert_eq!(nginx_ms(&headers(REQUEST_START, &[good, good]), received), None);
        assert_eq!(nginx_ms(&HeaderMap::new(), received), None);
    }

    #[test]
    fn a_valid_trace_context_is_passed_on_and_another_dropped() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(traceparent(&headers("traceparent", &[text])).as_deref(), expect, "{text}");
        };
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        check(good, Some(good));
        let later = good.replacen("00", "cc", 1);
        check(&later, Some(good));
        check(&format!("{later}-what-else"), Some(good));
        check(&format!("{good}-x"), None);
        check(&good.replacen("00", "ff", 1), None);
        check(&good.to_uppercase(), None);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", None);
        check("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b71-01", None);
        check("", None);
        assert_eq!(traceparent(&headers("traceparent", &[good, good])), None);
        assert_eq!(traceparent(&HeaderMap::new()), None);
    }
}
