//! The page `/try`: a dry run, a test postback, and what is wrong beside the form.

use postback_core::testing::RedisServer;
use serde_json::json;

use crate::{
    answers::front,
    fleet::{AS_JSON, Fleet, HOSTILE, HTML, act, is_inert, look},
    support::keys,
};

const URL: (&str, &str) = ("url", "http://a.com/p?k={k}&token={t}&x={gone}");
const ROW: (&str, &str) = ("row", r#"{"k": 1.10, "t": "secret"}"#);

#[tokio::test]
async fn what_would_be_sent_is_shown_and_nothing_is_stored() {
    let (redis, front) = front(&["--redact", "token"]);
    let typed = [
        ("method", "POST"),
        URL,
        ("headers", "X-K: {k}\r\nAuthorization: Bearer abc\r\n\r\n"),
        ("body", r#"{"k": "{k}", "token": "x"}"#),
        ROW,
        ("do", "show"),
    ];
    let before = keys(&redis);
    let shown = act(&front, "/try", &typed, AS_JSON).json()["dry_run"].clone();
    assert_eq!(shown["method"], "POST");
    assert_eq!(shown["url"], "http://a.com/p?k=1.10&token=***&x=");
    let headers = shown["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["X-K", "1.10"])), "{headers:?}");
    assert!(headers.contains(&json!(["Authorization", "***"])), "{headers:?}");
    assert_eq!(shown["body"], r#"{"k":1.10,"token":"***"}"#);
    assert_eq!(shown["unmatched"], json!(["gone"]));
    let page = act(&front, "/try", &typed, HTML);
    assert_eq!(page.status, 200);
    for kept in ["<option selected>POST", "{k}&#34;", "Bearer abc", "name=\"do\" value=\"send\""] {
        assert!(page.body.contains(kept), "{kept} in {page:?}");
    }
    assert_eq!(keys(&redis), before);
}

#[tokio::test]
async fn a_test_postback_is_stored_as_a_request_s_row_is() {
    let (redis, front) = front(&[]);
    let fleet = Fleet::start(&redis, &[]).await;
    let typed = [("method", "GET"), URL, ROW, ("policy", r#"{"ref": "{k}"}"#), ("do", "send")];
    let sent = act(&front, "/try", &typed, AS_JSON);
    assert_eq!(sent.status, 200, "{sent:?}");
    let id = sent.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(sent.json()["request_id"].as_str(), sent.header("x-request-id"));
    let stored = fleet.queue.postback(id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(stored.url, "http://a.com/p?k=1.10&token=secret&x=");
    assert_eq!(stored.reference.as_deref(), Some("1.10"));
    assert_eq!(stored.request_id, sent.json()["request_id"]);
    // A browser is led on, so that loading the page again sends nothing.
    let led = act(&front, "/try", &typed, HTML);
    assert_eq!(led.status, 303);
    let place = led.header("location").unwrap().to_owned();
    assert!(place.starts_with("/try?sent="), "{place}");
    let page = look(&front, &place, HTML).body;
    assert!(page.contains("Stored as <a href=\"/postbacks/"), "{page}");
    assert!(page.contains("value=\"http://a.com/p?k={k}&#38;token={t}&#38;x={gone}\""), "{page}");
    assert_eq!(fleet.stats().await.accepted, 2);
    let long = [("method", "POST"), URL, ("body", &"x".repeat(5000)), ("do", "send")];
    let place = act(&front, "/try", &long, HTML);
    assert!(place.header("location").unwrap().len() < 100, "{place:?}");
    assert!(!look(&front, "/try?sent=%22%3E", HTML).body.contains("Stored as"));
}

#[test]
fn what_is_hidden_does_not_get_into_a_link() {
    let (_redis, front) = front(&["--redact", "token"]);
    let typed = [
        ("method", "POST"),
        ("url", "http://a.com/p?token=secret&k={k}"),
        ("headers", "Authorization: Bearer secret\r\nX-K: 1\r\ncookie:a=secret"),
        ("body", r#"{"token": "secret", "n": 1.10}"#),
        ("row", r#"{"k": 1, "token": "secret"}"#),
        ("do", "send"),
    ];
    let led = act(&front, "/try", &typed, HTML);
    let place = led.header("location").unwrap();
    assert!(led.status == 303 && !place.contains("secret"), "{led:?}");
    let page = look(&front, place, HTML).body;
    for kept in ["X-K: 1", "Authorization: ***", "token=***&#38;k={k}", "1.10", "put it in before"]
    {
        assert!(page.contains(kept), "{kept} in {page}");
    }
    assert!(!look(&front, "/try?url=http%3A%2F%2Fa.com", HTML).body.contains("put it in before"));
}

#[test]
fn a_refusal_has_the_id_of_its_answer() {
    let (_redis, front) = front(&[]);
    let refused = act(&front, "/try", &[("url", "ftp://a.com"), ("do", "send")], AS_JSON);
    assert_eq!(
        refused.json()["request_id"].as_str(),
        refused.header("x-request-id"),
        "{refused:?}"
    );
    assert_eq!(refused.json()["errors"][0]["place"], "endpoint.url");
}

#[tokio::test]
async fn what_is_wrong_is_told_beside_the_form_and_what_was_typed_is_kept() {
    let (redis, front) = front(&[]);
    let check = |typed: &[(&str, &str)], field: &str, text: &str| {
        let page = act(&front, "/try", typed, HTML);
        assert_eq!(page.status, 400, "{page:?}");
        let fault = format!("id=\"fault-{field}\">");
        let (_, after) =
            page.body.split_once(&fault).unwrap_or_else(|| panic!("{fault} in {page:?}"));
        let told = after.split("</p>").next().unwrap();
        assert!(told.contains(text), "{told}");
        assert!(page.body.contains("aria-describedby=\"fault-"), "{page:?}");
        let problem = act(&front, "/try", typed, AS_JSON);
        assert_eq!((problem.status, &problem.json()["code"]), (400, &json!("bad_request")));
    };
    let before = keys(&redis);
    check(&[("url", "http://a.com/{"), ("do", "send")], "url", "");
    check(&[("url", "ftp://a.com/"), ("do", "show")], "url", "http");
    check(&[URL, ("headers", "no colon")], "headers", "`no colon` has no colon");
    check(&[URL, ("headers", "X: 1\nX: 2")], "headers", "given twice");
    check(&[URL, ("headers", "Host: a"), ("do", "send")], "headers", "");
    check(&[URL, ("row", "{"), ("do", "send")], "row", "is not JSON");
    check(&[URL, ("row", "[1]"), ("do", "send")], "row", "");
    check(&[URL, ("policy", "{\"retries\": 1}"), ("do", "send")], "policy", "");
    check(&[URL, ("policy", "nothing"), ("do", "send")], "policy", "is not JSON");
    assert_eq!(keys(&redis), before);
    let hostile = [URL, ("row", HOSTILE), ("headers", HOSTILE), ("do", "send")];
    let page = act(&front, "/try", &hostile, HTML);
    assert!(page.body.contains("`&#34;&#39;&#62;&#60;script&#62;alert(1)"), "{page:?}");
    assert!(!page.body.contains("<script>alert"), "{page:?}");
}

#[tokio::test]
async fn when_redis_is_full_or_away_the_form_says_so_and_when_to_come_again() {
    let redis = RedisServer::start();
    let front = crate::support::Front::start(&redis.url_text(), &["--max-backlog", "1"]);
    let sent = [URL, ROW, ("do", "send")];
    act(&front, "/try", &sent, AS_JSON);
    let full = act(&front, "/try", &sent, HTML);
    assert_eq!(full.status, 503, "{full:?}");
    assert!(full.body.contains("nothing was stored: the backlog is full"), "{full:?}");
    assert!(full.header("retry-after").is_some() && full.body.contains("tried again in "));
    assert!(full.body.contains("value=\"http://a.com/p"), "{full:?}");
    drop(redis);
    let away = act(&front, "/try", &sent, HTML);
    assert_eq!(away.status, 503, "{away:?}");
    assert!(away.body.contains("Redis does not answer") && away.header("retry-after").is_some());
}

#[test]
fn a_link_fills_the_form() {
    let (_redis, front) = front(&[]);
    let page = look(
        &front,
        "/try?method=PUT&url=http%3A%2F%2Fa.com%2F%22%3E&headers=X%3A%201&body=%3C%2Ftextarea%3E%3Cscript%3Ealert(1)",
        HTML,
    );
    for filled in ["<option selected>PUT", "http://a.com/&#34;&#62;", "X: 1", "&#60;/textarea&#62;"]
    {
        assert!(page.body.contains(filled), "{filled} in {page:?}");
    }
    assert!(!page.body.contains("<script>alert"));
    // Of the shown texts a hostile one is inert too.
    let shown = act(
        &front,
        "/try",
        &[("method", "POST"), ("url", "http://a.com/"), ("body", HOSTILE)],
        HTML,
    );
    assert!(shown.body.contains("<pre class=\"body\">"), "{shown:?}");
    let (_, body) = shown.body.split_once("<pre class=\"body\">").unwrap();
    let shown = crate::support::read(format!("HTTP/1.1 200 OK\r\n\r\n{body}").as_bytes());
    assert!(is_inert(&shown), "{shown:?}");
}
