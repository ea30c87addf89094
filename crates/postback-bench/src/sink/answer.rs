//! The sink's proper answers, by path. What is not HTTP, or not to the end, is in `fault`.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER},
    http::request::Parts,
};
use percent_encoding::percent_decode_str;

use super::{Connection, Sink};

/// Each path with what it does, for the help.
pub(super) const PATHS: [(&str, &str); 15] = [
    ("/status/CODE", "this status"),
    ("/slow/MS", "200 after so many milliseconds"),
    ("/flaky/N", "500 to the first N attempts of a webhook-id, then 200"),
    ("/retry-after/VALUE", "429 with this Retry-After (percent-decoded); `date+5` is in 5 s"),
    ("/redirect/CODE?to=URL", "this status with that Location (percent-decoded)"),
    ("/body/html", "200 with a script in the body"),
    ("/body/ansi", "200 with terminal escapes in the body"),
    ("/body/invalid-utf8", "200 with a body that is not UTF-8"),
    ("/body/nul", "200 with NUL in the body"),
    ("/body/large", "200 with 70 KiB, which no cut at an even place leaves valid UTF-8"),
    ("/body/length/N", "200 with so many bytes (at most 64 MiB)"),
    ("/close-next", "200 that keeps the connection; its next request is read, then it is closed"),
    ("/ill", "500 with a script in the body until `/__heal` was asked for, then 200"),
    ("/__heal", "ends what `/ill` has; not counted"),
    ("/__count", "what came so far, as JSON; not counted itself"),
];

const HTML: &str = "<!doctype html><script>alert(document.domain)</script>\
                    <img src=x onerror=\"alert(1)\">\n";
/// Breaks out of an attribute, an element and a script, and shows by the page's title that it ran.
const ILL: &str = "</pre></td></script>'\"><script>document.title='ran'</script>\
                   <img src=x onerror=\"document.title='ran'\">{{7*7}} the partner is ill\n";
/// Clears the screen, colours, sets the title and the clipboard, an 8-bit CSI, and reverses the text's direction.
const ANSI: &str =
    "\x1b[2J\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b]52;c;eA==\x07\u{9b}1m\u{202e}txet\r\x08\n";
/// A byte that never occurs, a lone continuation, a pair cut short, an encoded surrogate.
const INVALID: &[u8] = b"ok \xff \x80 \xc3( \xed\xa0\x80 end\n";
const NUL: &str = "a\0b\0\n";
const LARGE: usize = 70 * 1024;
const MAX_LENGTH: usize = 64 * 1024 * 1024;

type Answer = anyhow::Result<Response<Full<Bytes>>>;

/// The answer to a request that asks for no fault; an error closes the connection.
pub(super) async fn to(connection: &Connection, head: &Parts) -> Answer {
    let path: Vec<&str> = head.uri.path().split('/').skip(1).collect();
    match *path {
        ["status", code, ..] => with(status(code)?, format!("status {code}\n")),
        ["slow", millis, ..] => {
            tokio::time::sleep(Duration::from_millis(number(millis)?)).await;
            with(StatusCode::OK, "slow\n")
        }
        ["flaky", failures, ..] => flaky(&connection.sink, &head.headers, number(failures)?),
        ["retry-after", value, ..] => later(value),
        ["redirect", code, ..] => redirect(status(code)?, head.uri.query().unwrap_or_default()),
        ["body", "length", length, ..] => {
            with(StatusCode::OK, vec![b'x'; number::<usize>(length)?.min(MAX_LENGTH)])
        }
        ["body", kind, ..] => body(kind),
        ["ill", ..] if connection.sink.is_healed.get() => with(StatusCode::OK, "healed\n"),
        ["ill", ..] => html(StatusCode::INTERNAL_SERVER_ERROR, ILL),
        ["close-next", ..] => {
            connection.doomed.set(true);
            with(StatusCode::OK, "ok\n")
        }
        _ => with(StatusCode::OK, "ok\n"),
    }
}

/// An answer of a status and a body.
pub(super) fn with(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    Ok(Response::builder().status(status).body(Full::new(body.into()))?)
}

fn html(status: StatusCode, body: &'static str) -> Answer {
    let mut answer = with(status, body)?;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    Ok(answer)
}

fn number<N: std::str::FromStr>(text: &str) -> anyhow::Result<N> {
    text.parse().ok().with_context(|| format!("`{text}` is no number that fits"))
}

fn status(text: &str) -> anyhow::Result<StatusCode> {
    Ok(StatusCode::from_u16(number(text)?)?)
}

fn flaky(sink: &Sink, headers: &HeaderMap, failures: u32) -> Answer {
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok());
    let mut flaky = sink.flaky.borrow_mut();
    let seen = flaky.entry(id.unwrap_or_default().to_owned()).or_default();
    *seen += 1;
    if *seen <= failures {
        with(StatusCode::INTERNAL_SERVER_ERROR, "not yet\n")
    } else {
        with(StatusCode::OK, "at last\n")
    }
}

fn later(value: &str) -> Answer {
    let value: Vec<u8> = percent_decode_str(value).collect();
    let mut answer = with(StatusCode::TOO_MANY_REQUESTS, "later\n")?;
    let value = match date(&value, SystemTime::now()) {
        Some(date) => date.try_into()?,
        None => HeaderValue::from_bytes(&value)?,
    };
    answer.headers_mut().insert(RETRY_AFTER, value);
    Ok(answer)
}

/// `date+SECONDS` or `date-SECONDS` as an HTTP date (RFC 9110, 5.6.7).
fn date(value: &[u8], now: SystemTime) -> Option<String> {
    let offset: i64 = std::str::from_utf8(value.strip_prefix(b"date")?).ok()?.parse().ok()?;
    let seconds = Duration::from_secs(offset.unsigned_abs());
    let at = if offset < 0 { now.checked_sub(seconds) } else { now.checked_add(seconds) };
    // What lies past the year 9999 has no HTTP date.
    let furthest = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    at.filter(|at| (SystemTime::UNIX_EPOCH..=furthest).contains(at)).map(httpdate::fmt_http_date)
}

fn redirect(status: StatusCode, query: &str) -> Answer {
    let to = query.strip_prefix("to=").context("a redirect needs `?to=URL`")?;
    let mut answer = with(status, "elsewhere\n")?;
    let to: Vec<u8> = percent_decode_str(to).collect();
    answer.headers_mut().insert(LOCATION, HeaderValue::from_bytes(&to)?);
    Ok(answer)
}

fn body(kind: &str) -> Answer {
    let body = match kind {
        "html" => return html(StatusCode::OK, HTML),
        "ansi" => Bytes::from(ANSI),
        "invalid-utf8" => INVALID.into(),
        "nul" => NUL.into(),
        // One byte before the pairs: 1,024 and 65,536 fall into the middle of one.
        "large" => format!("x{}x", "é".repeat(LARGE / 2 - 1)).into(),
        _ => anyhow::bail!("no body is called `{kind}`"),
    };
    let mut answer = with(StatusCode::OK, body)?;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_so_many_seconds_from_now() {
        // Sun, 06 Nov 1994 08:49:37 GMT.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let check = |value: &str, expect: Option<&str>| {
            assert_eq!(date(value.as_bytes(), now).as_deref(), expect, "{value}");
        };
        check("date+0", Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        check("date+5", Some("Sun, 06 Nov 1994 08:49:42 GMT"));
        check("date-37", Some("Sun, 06 Nov 1994 08:49:00 GMT"));
        check("date+999999999999999", None);
        check("date-999999999", None);
        check("date", None);
        check("2", None);
        check("-1", None);
    }
}
