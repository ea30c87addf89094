//! What is stored today can be read tomorrow: samples of every stored form, written once by its version.
//!
//! When one of these fails, the layout has changed: give it a new version number, read the old one too, and add a
//! sample of the new one (`POSTBACK_WRITE_SAMPLES=1` writes those that are missing).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use postback_core::{
    attempt::Cause,
    batch::{Batch, Source, VERSION, encode},
    endpoint::{BodyTemplate, EndpointTemplate, Method, Unmatched},
    policy::{Policy, Success},
    queue::{Record, Recorded, RowState, RowStates, Sent, State, decode_log, encode_log},
    value::{Row, Value},
};

/// The sample of this name; `now`: what this version writes.
fn sample(name: &str, now: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stored").join(name);
    if !path.exists() && std::env::var_os("POSTBACK_WRITE_SAMPLES").is_some() {
        let digits: Vec<String> = now.iter().map(|byte| format!("{byte:02x}")).collect();
        let lines: Vec<String> = digits.chunks(40).map(<[String]>::concat).collect();
        fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let text: String = fs::read_to_string(&path).unwrap().split_whitespace().collect();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn get() -> (EndpointTemplate, Policy, Vec<Row<'static>>) {
    let endpoint = EndpointTemplate {
        method: Method::Get,
        url: "http://127.77.0.1:18753/ok?a={a}&b={b}".into(),
        headers: vec![],
        body: BodyTemplate::None,
        reference: None,
        unmatched: Unmatched::Text(String::new()),
    };
    let row = |a: &'static str, b| vec![Value::Text(a.into()), Value::Literal(b)];
    (endpoint, Policy::default(), vec![row("é", "1.10".into()), row("", "true".into())])
}

fn post() -> (EndpointTemplate, Policy, Vec<Row<'static>>) {
    let endpoint = EndpointTemplate {
        method: Method::Post,
        url: "http://127.77.0.1:18753/ok".into(),
        headers: vec![("X-Click".into(), "{id}".into())],
        body: BodyTemplate::Json(r#"{"id":"{id}","all":"{list}"}"#.into()),
        reference: Some("{id}".into()),
        unmatched: Unmatched::Reject,
    };
    let policy = Policy {
        label: Some("bulk".into()),
        expires_in_ms: Some(3_600_000_000),
        timeout_ms: Some(2_000),
        retries_ms: Some(vec![1_000, 60_000]),
        success: Success {
            status: vec![(200, 204)],
            body_contains: Some("ok".into()),
            body_excludes: Some("error".into()),
        },
    };
    let row = |n: u32| {
        let object = vec![("k".into(), Value::Null), ("l".into(), Value::Literal("0".into()))];
        let list = Value::List(vec![Value::Text("x".into()), Value::Object(object)]);
        vec![Value::Text(format!("click-{n}").into()), list]
    };
    (endpoint, policy, (0..40).map(row).collect())
}

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// `version`: the sample's; `nginx_ms`: what version 2 has more.
fn check_batch(
    name: &str,
    version: u8,
    nginx_ms: Option<u32>,
    (endpoint, policy, rows): (EndpointTemplate, Policy, Vec<Row<'_>>),
) {
    let source = Source {
        request_id: "request-1".into(),
        traceparent: Some(TRACE.into()),
        received_at_ms: 1_700_000_000_000,
        first_row: 0,
        nginx_ms,
    };
    let now = encode(&endpoint, &policy, &source, &rows).remove(0).bytes;
    let stored = sample(name, &now);
    assert_eq!((stored[0], &stored[1..3]), (version, &now[1..3]), "{name}: version and rows");
    // What zstd makes of it may change with its version; what is stored plain may not.
    if version == VERSION && stored[3..7] == [0; 4] {
        assert_eq!(now, stored, "{name}: the layout has changed");
    }
    let batch = Batch::decode(&stored).unwrap();
    assert_eq!((batch.endpoint.template(), &*batch.policy), (&endpoint, &policy), "{name}");
    assert_eq!((batch.sources.as_slice(), usize::from(batch.len())), (&[source][..], rows.len()));
    for (n, row) in (0..).zip(&rows) {
        assert_eq!(&batch.row(n).unwrap(), row, "{name}");
    }
}

#[test]
fn a_batch_of_version_1_is_read() {
    check_batch("batch-1-get.hex", 1, None, get());
    check_batch("batch-1-post.hex", 1, None, post());
}

#[test]
fn a_batch_of_version_2_is_read() {
    check_batch("batch-2-get.hex", 2, Some(45), get());
    check_batch("batch-2-post.hex", 2, None, post());
}

#[test]
fn row_states_are_read() {
    let mut states = RowStates::new(5);
    states.crashes = 2;
    let row = |state, attempts, status, since_ms| RowState { state, attempts, status, since_ms };
    states.rows[1] = row(State::Pending(1_700_000_030_000), 1, 503, 1_700_000_000_000);
    states.rows[2] = row(State::Delivered, 2, 204, 0);
    states.rows[3] = row(State::Dead(Cause::Cancelled), 8, 0, 1_700_000_001_000);
    states.rows[4] = row(State::Dropped, 8, 410, 1_700_000_001_000);
    let now = states.encode();
    assert_eq!(sample("rows-1.hex", &now), now, "the layout has changed");
    assert_eq!(RowStates::decode(&now, 5), Some(states));
}

/// Records as version 1 had them.
fn records() -> [Record; 3] {
    let record = |n: u8, then| Record {
        id: format!("batch-{n}"),
        request_id: "request-1".into(),
        reference: Some("click".into()),
        host: "a.example:80".into(),
        method: Method::Patch,
        url: "http://a.example/".into(),
        unmatched: vec!["x".into()],
        accepted_at_ms: 1_700_000_000_000,
        attempt: n,
        at_ms: 1_700_000_000_005,
        status: 500,
        error: Some("status 500".into()),
        response_time_us: 1500,
        response_body: "no".into(),
        truncated: true,
        then,
        received_at_ms: None,
        nginx_at_ms: None,
        reserved_at_ms: None,
        traceparent: None,
        sent: None,
        settled_at_ms: 1_700_000_000_020,
    };
    [
        record(1, Recorded::Retry(1_700_000_005_000)),
        record(2, Recorded::Dead(Cause::Status)),
        record(3, Recorded::Delivered),
    ]
}

#[test]
fn an_entry_of_the_log_of_version_1_is_read() {
    let stored = sample("log-1.hex", &[]);
    assert_eq!(decode_log(&stored, 1_700_000_000_020), records());
}

#[test]
fn an_entry_of_the_log_of_version_2_is_read() {
    let [a, b, c] = records();
    let later = Record {
        received_at_ms: Some(1_699_999_999_998),
        nginx_at_ms: Some(1_699_999_999_900),
        reserved_at_ms: Some(1_700_000_000_004),
        traceparent: Some(TRACE.into()),
        ..b
    };
    let sent = Sent {
        headers: vec![("X-Click".into(), "c".into()), ("Cookie".into(), "***".into())],
        body: Some("{}".into()),
        truncated: true,
    };
    let records = [a, later, Record { sent: Some(Box::new(sent)), ..c }];
    let now = encode_log(&records.iter().collect::<Vec<_>>());
    let stored = sample("log-2.hex", &now);
    assert_eq!(stored, now, "the layout has changed");
    assert_eq!(decode_log(&stored, 1_700_000_000_020), records);
}
