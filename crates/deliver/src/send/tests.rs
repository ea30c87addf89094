mod partner;
mod tls;

use postback_core::endpoint::Method;
use tokio::task::LocalSet;

use self::partner::{Then, partner};
use super::*;
use crate::connect::tests::{dialer, origin};

/// As the tests want it: the whole body kept, and no shortage.
async fn send(
    slot: &mut Option<Connection>,
    dialer: &Dialer,
    postback: Prepared<'_>,
    time: Duration,
) -> Outcome {
    super::send(slot, dialer, postback, Bounds { time, kept: MAX_BODY }, |_| true).await.unwrap()
}

const LIMIT: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(50);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn get<'a>(origin: &'a Origin, target: &'a str) -> Prepared<'a> {
    Prepared {
        method: Method::Get,
        origin,
        host: host_header(origin),
        target,
        headers: &[],
        body: None,
        id: "lane-batch-7",
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        timestamp: 1_700_000_000,
        signature: None,
    }
}

fn post<'a>(origin: &'a Origin, target: &'a str) -> Prepared<'a> {
    Prepared { method: Method::Post, body: Some("{}"), ..get(origin, target) }
}

/// Sends one GET to a partner that does this.
async fn send_to(
    dialer: &Dialer,
    answer: impl Into<String>,
    then: Then,
    limit: Duration,
) -> (Outcome, bool) {
    let answer = answer.into();
    let sent = async move {
        let (origin, _) = partner(move |_| (answer.clone(), then)).await;
        let mut slot = None;
        let outcome = send(&mut slot, dialer, get(&origin, "/"), limit).await;
        (outcome, slot.is_some())
    };
    LocalSet::new().run_until(sent).await
}

/// Only a partner that stalls is worth a time-out.
fn limit(then: Then) -> Duration {
    if matches!(then, Then::Stall) { SHORT } else { LIMIT }
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

fn response(status: u16, body: &str) -> Response {
    let body = body.as_bytes().to_vec();
    Response { status, retry_after: None, body, truncated: false, body_failed: None }
}

#[tokio::test]
async fn a_request_is_written_as_prepared() {
    let dialer = dialer();
    let check = async |prepared: Prepared<'static>, first: &str, between: &str, last: &str| {
        let sent = async {
            let (origin, seen) = partner(|_| (OK.to_owned(), Then::Keep)).await;
            let postback = Prepared { origin: &origin, host: host_header(&origin), ..prepared };
            assert_eq!(send(&mut None, &dialer, postback, LIMIT).await.status(), Some(200));
            seen.requests.take()[0].replace(&format!(":{}", origin.port), ":PORT")
        };
        let agent = concat!("user-agent: postback/", env!("CARGO_PKG_VERSION"));
        let agent =
            if between.contains("user-agent") { between } else { &format!("{agent}\r\n{between}") };
        let expect = format!(
            "{first} HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n{agent}webhook-id: lane-batch-7\r\n\
             webhook-timestamp: 1700000000\r\n{last}"
        );
        assert_eq!(LocalSet::new().run_until(sent).await, expect);
    };
    let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let (no_body, no_length) =
        (format!("{trace}\r\n"), format!("{trace}content-length: 0\r\n\r\n"));
    let nowhere: &Origin = Box::leak(Box::new(origin("", 0)));
    let headers: &[(&str, String)] = Box::leak(Box::new([
        ("User-Agent", "me/1".to_owned()),
        ("X-Click", "a b\u{e9}".to_owned()),
    ]));
    let plain = || get(nowhere, "/data?title=Gopher&x=%2e%2e");

    check(plain(), "GET /data?title=Gopher&x=%2e%2e", "", &no_body).await;
    check(get(nowhere, "//a/../b?c=[]|^"), "GET //a/../b?c=[]|^", "", &no_body).await;
    let user = "user-agent: me/1\r\nx-click: a b\u{e9}\r\n";
    check(Prepared { headers, ..plain() }, "GET /data?title=Gopher&x=%2e%2e", user, &no_body).await;
    let signature = Some("v1,abc=".to_owned());
    let signed = format!("webhook-signature: v1,abc=\r\n{no_body}");
    check(Prepared { signature, ..get(nowhere, "/") }, "GET /", "", &signed).await;
    let body = format!("{trace}content-length: 2\r\n\r\n{{}}");
    for (method, empty) in [
        (Method::Get, &no_body),
        (Method::Head, &no_body),
        (Method::Delete, &no_body),
        (Method::Post, &no_length),
        (Method::Put, &no_length),
        (Method::Patch, &no_length),
    ] {
        let first = format!("{} /", method.as_str());
        check(Prepared { method, ..get(nowhere, "/") }, &first, "", empty).await;
        check(Prepared { method, body: Some(""), ..get(nowhere, "/") }, &first, "", empty).await;
        check(Prepared { method, body: Some("{}"), ..get(nowhere, "/") }, &first, "", &body).await;
    }
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let sent = async {
        let (origin, seen) = partner(|_| (OK.to_owned(), Then::Keep)).await;
        let (mut slot, dialer) = (None, dialer());
        for _ in 0..3 {
            let outcome = send(&mut slot, &dialer, post(&origin, "/"), LIMIT).await;
            assert_eq!(outcome.result, Ok(response(200, "ok")));
        }
        assert_eq!((seen.opened.get(), seen.requests.borrow().len()), (1, 3));
    };
    LocalSet::new().run_until(sent).await;
}

#[tokio::test]
async fn every_complete_answer_is_a_response() {
    let dialer = dialer();
    let check = async |answer: &'static str, then, expect: Response, reused: bool| {
        let (outcome, kept) = send_to(&dialer, answer, then, LIMIT).await;
        assert_eq!((outcome.result, kept), (Ok(expect), reused), "{answer}");
    };
    use Then::{Close, Keep};
    check(OK, Keep, response(200, "ok"), true).await;
    check("HTTP/1.1 204 No Content\r\n\r\n", Keep, response(204, ""), true).await;
    check("HTTP/1.1 304 X\r\ncontent-length: 9\r\n\r\n", Keep, response(304, ""), true).await;
    let redirect = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n";
    check(redirect, Keep, response(302, ""), true).await;
    check(
        "HTTP/1.1 100 X\r\n\r\nHTTP/1.1 299 X\r\ncontent-length: 0\r\n\r\n",
        Keep,
        response(299, ""),
        true,
    )
    .await;
    check(
        "HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        Keep,
        response(500, "no"),
        true,
    )
    .await;
    check("HTTP/1.1 200 OK\r\n\r\nuntil the end", Close, response(200, "until the end"), false)
        .await;
    check("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", Keep, response(200, "ok"), false).await;
    check(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        Keep,
        response(200, "ok"),
        false,
    )
    .await;
    let wait = Response { retry_after: Some(Duration::from_secs(7)), ..response(429, "") };
    check("HTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n", Keep, wait, true).await;
    check(
        "HTTP/1.1 101 X\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        Keep,
        response(101, ""),
        false,
    )
    .await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_failure() {
    let dialer = dialer();
    let check = async |answer: String, then, expect: Failure| {
        let (outcome, kept) = send_to(&dialer, answer, then, limit(then)).await;
        assert_eq!(outcome.result, Err(expect));
        assert!(!kept);
        assert!(outcome.response_time > Duration::ZERO);
    };
    use Then::{Close, Keep, Reset, Stall};
    let timeout = || Failure::Timeout("no answer within 50ms".to_owned());
    let closed = "the connection was closed before the answer was complete";
    let closed = || Failure::Reset(closed.to_owned());
    let head = "HTTP/1.1 200 OK\r\nx: ";
    check(String::new(), Stall, timeout()).await;
    check(head.to_owned(), Stall, timeout()).await;
    check(String::new(), Close, closed()).await;
    check(head.to_owned(), Close, closed()).await;
    check(String::new(), Reset, Failure::Reset("connection reset by peer".to_owned())).await;
    let garbage = "invalid http version parsed".to_owned();
    check("\0garbage\r\n\r\n".to_owned(), Keep, Failure::Protocol(garbage)).await;
    let large = "the response's head is over 64 KiB or 100 headers".to_owned();
    let long = format!("{head}{}\r\n\r\n", "x".repeat(64 * 1024));
    check(long, Keep, Failure::Protocol(large.clone())).await;
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
    check(many, Keep, Failure::Protocol(large)).await;
}

#[tokio::test]
async fn a_body_that_fails_leaves_the_status_and_what_came() {
    let dialer = dialer();
    let check = async |rest: &str, then, expect: fn(String) -> Failure, why: &str| {
        let (outcome, kept) =
            send_to(&dialer, format!("HTTP/1.1 200 OK\r\n{rest}"), then, limit(then)).await;
        let body_failed = Some(expect(why.to_owned()));
        assert_eq!(outcome.result, Ok(Response { body_failed, ..response(200, "half") }));
        assert!(!kept);
    };
    let ten = "content-length: 10\r\n\r\nhalf";
    check(ten, Then::Stall, Failure::Timeout, "the body stalled after 4 bytes").await;
    check(ten, Then::Close, Failure::Reset, "end of file before message length reached").await;
    check(ten, Then::Reset, Failure::Reset, "connection reset by peer").await;
    let chunked = "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    check(chunked, Then::Stall, Failure::Timeout, "the body stalled after 4 bytes").await;
    check(
        &format!("{chunked}x"),
        Then::Keep,
        Failure::Protocol,
        "invalid chunk size line: missing size digit",
    )
    .await;
}

#[tokio::test]
async fn at_most_64_kib_of_a_body_are_read() {
    let dialer = dialer();
    let check = async |length: usize, truncated: bool| {
        let body = "x".repeat(length);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        let (outcome, kept) = send_to(&dialer, answer, Then::Keep, LIMIT).await;
        let expect = Response { truncated, ..response(200, &body[..length.min(MAX_BODY)]) };
        assert_eq!((outcome.result, kept), (Ok(expect), !truncated));
    };
    check(64 * 1024, false).await;
    check(64 * 1024 + 1, true).await;
    check(10 * 1024 * 1024, true).await;
}

#[tokio::test]
async fn what_may_not_be_sent_any_more_once_there_is_a_connection_is_not_written() {
    let sent = async {
        let (origin, seen) = partner(|_| (OK.to_owned(), Then::Keep)).await;
        let (mut slot, dialer) = (None, dialer());
        let bounds = Bounds { time: LIMIT, kept: MAX_BODY };
        let fenced = super::send(&mut slot, &dialer, post(&origin, "/"), bounds, |_| false).await;
        assert!(matches!(fenced, Err(Unsent::Fenced)), "{fenced:?}");
        send(&mut slot, &dialer, post(&origin, "/later"), LIMIT).await;
        assert_eq!((seen.opened.get(), seen.requests.borrow().len()), (1, 1));
    };
    LocalSet::new().run_until(sent).await;
}

/// Sends twice to a partner that hangs up in between.
async fn send_again_after_hang_up(before_second: impl AsyncFnOnce()) {
    let sent = async {
        let (origin, seen) = partner(|_| (OK.to_owned(), Then::Keep)).await;
        let (mut slot, dialer) = (None, dialer());
        send(&mut slot, &dialer, post(&origin, "/"), LIMIT).await;
        assert!(slot.is_some());
        seen.hang_up.notify_one();
        until(|| seen.closed.get() == 1).await;
        before_second().await;
        let outcome = send(&mut slot, &dialer, post(&origin, "/"), LIMIT).await;
        assert_eq!(outcome.status(), Some(200));
        assert_eq!((seen.opened.get(), seen.requests.borrow().len()), (2, 2));
    };
    LocalSet::new().run_until(sent).await;
}

#[tokio::test]
async fn a_kept_connection_found_closed_is_replaced() {
    send_again_after_hang_up(async || tokio::task::yield_now().await).await;
}

#[tokio::test]
async fn a_request_that_was_never_written_goes_out_on_a_new_connection() {
    // Without budget tokio's sockets tell nothing: the connection looks open until hyper has the request.
    let use_up_budget = async || {
        while tokio::task::coop::has_budget_remaining() {
            tokio::task::coop::consume_budget().await;
        }
    };
    send_again_after_hang_up(use_up_budget).await;
}

#[tokio::test]
async fn a_written_request_is_never_written_again() {
    let check = async |then| {
        let sent = async {
            let script =
                move |n| if n == 0 { (OK.to_owned(), Then::Keep) } else { (String::new(), then) };
            let (origin, seen) = partner(script).await;
            let (mut slot, dialer) = (None, dialer());
            send(&mut slot, &dialer, post(&origin, "/"), LIMIT).await;
            let outcome = send(&mut slot, &dialer, post(&origin, "/"), limit(then)).await;
            assert!(outcome.result.is_err(), "{outcome:?}");
            assert!(slot.is_none());
            assert_eq!((seen.opened.get(), seen.requests.borrow().len()), (1, 2));
        };
        LocalSet::new().run_until(sent).await;
    };
    check(Then::Close).await;
    check(Then::Reset).await;
    check(Then::Stall).await;
}

#[tokio::test]
async fn what_was_not_sent_took_no_time() {
    let dialer = dialer();
    let blocked = origin("10.0.0.1", 80);
    let outcome = send(&mut None, &dialer, get(&blocked, "/"), LIMIT).await;
    assert_eq!(outcome.response_time, Duration::ZERO);
    assert!(matches!(outcome.result, Err(Failure::Blocked(_))), "{outcome:?}");
    let unwritable = send(&mut None, &dialer, get(&blocked, "/a b"), LIMIT).await;
    assert!(matches!(unwritable.result, Err(Failure::Blocked(_))), "{unwritable:?}");
}
