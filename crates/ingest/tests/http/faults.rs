//! A wrong request is told all its faults, up to a bound.

use postback_core::testing::RedisServer;
use serde_json::Value;

use crate::support::{Answer, Front, keys};

/// The places in the `errors` of a problem, and what its `detail` says behind the first of them.
fn faults(answer: &Answer) -> (Vec<String>, String) {
    assert_eq!(answer.status, 400, "{answer:?}");
    let body = answer.json();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
    let errors = body["errors"].as_array().unwrap();
    let first = format!("{}: {}", text(&errors[0], "place"), text(&errors[0], "detail"));
    let detail = text(&body, "detail");
    let more = detail.strip_prefix(&first).unwrap_or_else(|| panic!("{answer:?}"));
    (errors.iter().map(|error| text(error, "place")).collect(), more.to_owned())
}

#[test]
fn the_first_twenty_of_many_bad_rows_are_named_and_nothing_is_stored() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &[]);
    let before = keys(&redis);
    let bad: Vec<usize> = (0..25).map(|n| 7 + n * 40).collect();
    let row = |row| if bad.contains(&row) { r#"{"k":[1]}"# } else { r#"{"k":"v"}"# };
    let rows = (0..1_000).map(row).collect::<Vec<_>>().join(",");
    let endpoint = r#"{"method":"GET","url":"http://a.com/{k:3}"}"#;
    let body = format!(r#"{{"endpoint":{endpoint},"data":[{rows}]}}"#);
    let (places, more) = faults(&front.post("/ingest", &body));
    let expect: Vec<_> = bad[..20].iter().map(|row| format!("data[{row}].k")).collect();
    assert_eq!((places, more.as_str()), (expect, " (and at least 19 more)"));
    assert_eq!(keys(&redis), before);
}

#[test]
fn several_faults_of_endpoint_and_policy_are_named_at_once() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &[]);
    let before = keys(&redis);
    let endpoint = r#"{"method":"get","url":"http://{k}.com/","headers":{"Host":"b","X":1}}"#;
    let policy = r#"{"timeout":"1d","retries":["1s","soon"],"retry":3}"#;
    let body = format!(r#"{{"endpoint":{endpoint},"policy":{policy},"data":[7]}}"#);
    let expect = [
        "endpoint.method",
        "endpoint.url",
        "endpoint.headers.Host",
        "endpoint.headers.X",
        "policy.timeout",
        "policy.retries[1]",
        "policy.retry",
        "data[0]",
    ];
    for path in ["/ingest", "/ingest?dry_run=1"] {
        let (places, more) = faults(&front.post(path, &body));
        assert_eq!((places, more.as_str()), (expect.map(String::from).to_vec(), " (and 7 more)"));
    }
    let (places, more) = faults(&front.post("/ingest", "{"));
    assert_eq!((places, more.as_str()), (vec!["request".to_owned()], ""));
    assert_eq!(keys(&redis), before);
}
