//! What ties a request to its postbacks: the request id, and the W3C trace context.

use actix_web::http::header::HeaderMap;

/// The header in which nginx hands on a request's id, and in which the answer repeats it.
pub(crate) const REQUEST_ID: &str = "x-request-id";
const MAX_REQUEST_ID: usize = 128;

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
