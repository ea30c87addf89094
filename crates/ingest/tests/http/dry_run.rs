//! `?dry_run=1`: the rows as they would be sent, and nothing stored.

use postback_core::testing::RedisServer;
use serde_json::{Value, json};

use crate::support::{Front, keys};

/// The rows that a dry run shows.
fn rows(request: &Value) -> Vec<Value> {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &[]);
    let before = keys(&redis);
    let answer = front.post("/ingest?dry_run=1", &request.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(keys(&redis), before);
    let body = answer.json();
    assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"));
    body["rows"].as_array().unwrap().clone()
}

fn get(url: &str, unmatched: &[&str]) -> Value {
    json!({"method": "GET", "url": url, "headers": {}, "body": null, "unmatched": unmatched})
}

#[test]
fn the_old_systems_own_request_gives_what_it_gave() {
    let request = json!({
        "endpoint": {"method": "GET", "url": "http://a.com/data?key={key}&value={value}&foo={bar}"},
        "data": [{"key": "Azureus", "value": "Dendrobates"}, {"key": "Phyllobates", "value": "Terribilis"}],
    });
    let first = get("http://a.com/data?key=Azureus&value=Dendrobates&foo=", &["bar"]);
    let second = get("http://a.com/data?key=Phyllobates&value=Terribilis&foo=", &["bar"]);
    assert_eq!(rows(&request), [first, second]);
}

#[test]
fn placeholders_go_by_their_own_names() {
    let url = "http://sample_domain_endpoint.com/data?title={mascot}&image={location}&foo={bar}";
    let request = json!({
        "endpoint": {"method": "GET", "url": url},
        "data": [{"mascot": "Gopher", "location": "https://blog.golang.org/gopher/gopher.png"}],
    });
    let sent = "http://sample_domain_endpoint.com/data?title=Gopher\
                &image=https%3A%2F%2Fblog.golang.org%2Fgopher%2Fgopher.png&foo=";
    assert_eq!(rows(&request), [get(sent, &["bar"])]);
}

#[test]
fn headers_and_body_are_shown_as_they_would_be_sent() {
    let request = json!({
        "endpoint": {
            "method": "POST",
            "url": "https://a.com:8443/",
            "headers": {"X-Click": "{click.id}", "Content-Type": "application/json"},
            "body": "{\"n\": {n}, \"t\": \"{t}\"}",
        },
        "data": [{"click": {"id": "c1"}, "n": 7, "t": "a\"b"}],
    });
    let sent = json!({
        "method": "POST",
        "url": "https://a.com:8443/",
        "headers": {"X-Click": "c1", "Content-Type": "application/json"},
        "body": "{\"n\": 7, \"t\": \"a\\\"b\"}",
        "unmatched": [],
    });
    assert_eq!(rows(&request), [sent]);
}

#[test]
fn numbers_arrive_digit_for_digit() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &[]);
    let row = r#"{ "a" : 1.10, "b":12345678901234567890123,"c":1e400 }"#;
    let endpoint = r#"{"method":"POST","url":"http://a.com/{a}/{b}/{c}"}"#;
    let body = format!(r#"{{"endpoint":{endpoint},"data":[{row}]}}"#);
    let sent = &front.post("/i?dry_run=1", &body).json()["rows"][0];
    assert_eq!(sent["url"], "http://a.com/1.10/12345678901234567890123/1e400");
    assert_eq!(sent["body"], row);
    assert_eq!(sent["headers"], json!({"Content-Type": "application/json"}));
}

#[test]
fn a_dry_run_is_asked_for_with_1_and_refuses_what_a_real_one_would() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &["--unmatched", "none"]);
    let good = r#"{"endpoint":{"method":"GET","url":"http://a.com/?k={k}"},"data":[{}]}"#;
    let before = keys(&redis);
    let sent = &front.post("/ingest?x=y&dry_run=1", good).json()["rows"][0];
    assert_eq!(sent["url"], "http://a.com/?k=none");
    for query in ["dry_run", "dry_run=", "dry_run=true", "dry_run=2"] {
        assert_eq!(front.post(&format!("/ingest?{query}"), good).status, 400, "{query}");
    }
    assert_eq!(front.post("/ingest?dry_run=1", &good.replace("[{}]", "[]")).status, 400);
    assert_eq!(keys(&redis), before);
}

#[test]
fn a_short_request_that_would_send_much_is_not_shown_whole() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &["--max-body", "1MiB"]);
    let rows = |n| vec!["{}"; n].join(",");
    let endpoint =
        format!(r#"{{"method":"POST","url":"http://a.com/","body":"{}"}}"#, "x".repeat(30_000));
    let body = |n| format!(r#"{{"endpoint":{endpoint},"data":[{}]}}"#, rows(n));
    assert_eq!(front.post("/i?dry_run=1", &body(34)).json()["rows"].as_array().unwrap().len(), 34);
    let answer = front.post("/i?dry_run=1", &body(35));
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("too_large")));
    assert_eq!(front.post("/i", &body(35)).status, 202);
}
