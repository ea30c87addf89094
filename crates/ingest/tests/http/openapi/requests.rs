//! The schema and ingest agree on what is a request.

use postback_core::testing::RedisServer;

use super::described::Described;
use crate::support::{Front, GOOD};

/// Asks both about a request's body.
fn agree(bodies: impl IntoIterator<Item = String>, is_good: bool) {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &[]);
    let mut described = Described::new();
    for body in bodies {
        let value = serde_json::from_str(&body).unwrap();
        let fault = described.fault("/components/schemas/Request", &value);
        assert_eq!(fault.is_none(), is_good, "{body}: {fault:?}");
        let status = front.post("/ingest?dry_run=1", &body).status;
        assert_eq!(status, if is_good { 200 } else { 400 }, "{body}");
    }
}

/// A good request with one thing changed.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

fn endpoint(more: &str) -> String {
    with(r#""GET""#, &format!(r#""GET",{more}"#))
}

fn policy(policy: &str) -> String {
    with(r#""data""#, &format!(r#""policy":{policy},"data""#))
}

#[test]
fn what_the_schema_takes_ingest_takes() {
    let endpoints = [
        r#""headers":null,"body":null"#,
        r#""headers":{"X-A":"{k}","B":null},"body":"a {k}""#,
        r#""body":{"a":["{k}"]}"#,
        r#""body":[]"#,
    ];
    let policies = [
        "null",
        "{}",
        r#"{"unmatched":"","ref":"{k}","lane":"a-B_0.9","delay":"0s","expires_in":"7d","timeout":"60s"}"#,
        r#"{"unmatched":null,"ref":null,"lane":null,"delay":null,"expires_in":null,"timeout":null}"#,
        r#"{"retries":[],"success":{"status":["200-299","404",302],"body_contains":"ok","body_excludes":null}}"#,
        r#"{"retries":["250ms","24h"],"success":{}}"#,
        r#"{"retries":null,"success":null}"#,
    ];
    let methods = ["POST", "PUT", "PATCH", "DELETE", "HEAD"].map(|method| with("GET", method));
    let bodies = endpoints.map(endpoint).into_iter().chain(policies.map(policy)).chain(methods);
    agree(bodies.chain([GOOD.to_owned(), with("http:", "HTTPS:"), with("/x?", "?")]), true);
}

#[test]
fn what_the_schema_refuses_ingest_refuses() {
    let changes = [
        (r#""GET""#, r#""get""#),
        (r#""GET""#, "null"),
        ("http:", "ftp:"),
        ("http:", "{k}:"),
        ("a.com", "{k}.com"),
        ("a.com", "u@a.com"),
        ("//a.com", ""),
        ("a.com", ""),
        (r#"[{"k":1},{"k":2}]"#, "[]"),
        (r#"[{"k":1},{"k":2}]"#, "{}"),
        (r#"{"k":1}"#, "1"),
        (r#""data""#, r#""date""#),
        (r#""data""#, r#""date":1,"data""#),
    ];
    let endpoints = [
        r#""x":1"#,
        r#""headers":[]"#,
        r#""headers":{"A":1}"#,
        r#""headers":{"A B":""}"#,
        r#""body":7"#,
        r#""body":true"#,
    ];
    let many = format!(r#"{{"retries":[{}]}}"#, vec!["\"1s\""; 21].join(","));
    let policies = [
        "[]",
        r#"{"retry":[]}"#,
        r#"{"unmatched":1}"#,
        r#"{"unmatched":{}}"#,
        r#"{"unmatched":{"reject":false}}"#,
        r#"{"ref":1}"#,
        r#"{"lane":""}"#,
        r#"{"lane":"a b"}"#,
        r#"{"delay":5}"#,
        r#"{"delay":"5 s"}"#,
        r#"{"timeout":"1.5s"}"#,
        r#"{"expires_in":"1w"}"#,
        r#"{"retries":"5s"}"#,
        r#"{"retries":[null]}"#,
        r#"{"success":{"status":[]}}"#,
        r#"{"success":{"status":["2xx"]}}"#,
        r#"{"success":{"status":[99]}}"#,
        r#"{"success":{"body_contains":""}}"#,
        r#"{"success":{"x":1}}"#,
        &many,
    ];
    let bodies = changes.map(|(from, to)| with(from, to)).into_iter();
    agree(bodies.chain(endpoints.map(endpoint)).chain(policies.map(policy)), false);
}
