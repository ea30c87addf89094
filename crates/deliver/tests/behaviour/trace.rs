//! What the log keeps of a request's way, and by what it is traced.

use std::time::Duration;

use postback_core::{
    endpoint::{BodyTemplate, EndpointTemplate, Method},
    policy::Policy,
    view::{Attempt, Postback},
};

use crate::support::{Stack, numbers};

const SOON: Duration = Duration::from_secs(60);

async fn shown(stack: &Stack, id: &str) -> Postback {
    stack.queue.postback(id.parse().unwrap()).await.unwrap().unwrap()
}

/// An attempt's times in order, as texts of the same form.
fn steps(attempt: &Attempt) -> [&str; 3] {
    let reserved = attempt.reserved_at.as_deref().unwrap();
    [reserved, &attempt.at, attempt.settled_at.as_deref().unwrap()]
}

#[tokio::test]
async fn every_attempt_is_a_span_of_its_request_s_trace_and_is_shown_as_it_was_sent() {
    let mut stack = Stack::start();
    let policy = Policy { retries_ms: Some(vec![50]), ..Policy::default() };
    stack.enqueue(&stack.endpoint("/flaky/1?n={n}"), &policy, &numbers(2)).await;
    stack.deliver(&[]);
    stack.until(SOON, "delivery", |stats| stats.delivered == 2).await;
    let seen = stack.seen();
    let trace = |text: &str| text[..36].to_owned();
    let mut sent: Vec<_> = seen.iter().map(|seen| seen.headers["traceparent"].clone()).collect();
    // The request had no trace, and its id, `test`, is none: SHA-256 makes one of it.
    assert!(sent.iter().all(|sent| trace(sent) == "00-9f86d081884c7d659a2feaa0c55ad015-"));
    for id in seen.iter().map(|seen| seen.id()) {
        let shown = shown(&stack, id).await;
        let ours = seen.iter().filter(|seen| seen.id() == id);
        let ours: Vec<_> = ours.map(|seen| Some(seen.headers["traceparent"].clone())).collect();
        let told: Vec<_> = shown.attempts.iter().map(|a| a.traceparent.clone()).collect();
        assert_eq!((told.len(), told), (2, ours));
    }
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), 4, "{sent:?}");
}

#[tokio::test]
async fn each_attempt_is_logged_with_its_times_headers_and_body_but_without_secrets() {
    let mut stack = Stack::start();
    let secret = |name: &str| (name.to_owned(), format!("s3cr3t-{name}"));
    let endpoint = EndpointTemplate {
        method: Method::Post,
        headers: vec![
            ("X-Click".into(), "c-{n}".into()),
            secret("Authorization"),
            secret("cOOkie"),
            ("Content-Type".into(), "text/plain".into()),
        ],
        body: BodyTemplate::Text(format!("{{n}}{}", "é".repeat(600))),
        ..stack.endpoint("/flaky/1?n={n}")
    };
    let policy = Policy { retries_ms: Some(vec![50]), ..Policy::default() };
    let stored = stack.enqueue(&endpoint, &policy, &numbers(1)).await;
    let plain = stack.enqueue_numbers("/plain", 0..1).await;
    stack.deliver(&[]);
    stack.until(SOON, "delivery", |stats| stats.delivered == 2).await;
    // The partner has them.
    let headers = &stack.seen().into_iter().find(|seen| seen.target == "/flaky/1?n=0").unwrap();
    assert_eq!(headers.headers["authorization"], "s3cr3t-Authorization");

    let shown = self::shown(&stack, &stored[0].id.postback(0).to_string()).await;
    assert_eq!(shown.attempts.len(), 2);
    for attempt in &shown.attempts {
        let told = attempt.request_headers.iter().map(|(name, value)| (&name[..], &value[..]));
        let expected = [("X-Click", "c-0"), ("Authorization", "***"), ("cOOkie", "***")];
        let expected = expected.into_iter().chain([("Content-Type", "text/plain")]);
        assert!(told.eq(expected), "{attempt:?}");
        // 1 KiB, less the half of a character.
        let body = attempt.request_body.as_deref().unwrap();
        assert_eq!((body.len(), &body[..3], attempt.request_truncated), (1023, "0é", true));
        assert!(steps(attempt).is_sorted(), "{attempt:?}");
    }
    let [first, second] = &shown.attempts[..] else { panic!("{shown:?}") };
    let order = [&steps(first)[..], &steps(second)].concat();
    assert!(order.is_sorted() && shown.accepted_at.as_str() <= order[0], "{shown:?}");

    let plain = self::shown(&stack, &plain[0].id.postback(0).to_string()).await;
    let attempt = &plain.attempts[0];
    assert_eq!((attempt.request_headers.len(), &attempt.request_body), (0, &None));
    assert!(!attempt.request_truncated);
    // Plain JSON for the pages: headers as an object.
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!(json["attempts"][0]["request_headers"]["X-Click"], "c-0");
    assert!(!json.to_string().contains("s3cr3t"));
}
