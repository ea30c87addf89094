//! An attempt as one line of JSON, as `deliver --log-deliveries` writes it.

use serde::Serialize;

use super::{Standing, sent_traceparent, standing, time_text};
use crate::{attempt::Cause, endpoint::Method, inert, queue::Record};

/// Named as in [`super::Postback`] and [`super::Attempt`].
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    id: &'a str,
    request_id: &'a str,
    #[serde(rename = "ref")]
    reference: Option<&'a str>,
    host: &'a str,
    method: Method,
    url: &'a str,
    attempt: u8,
    at: String,
    status: Option<u16>,
    error: Option<&'a str>,
    response_time_ms: Option<f64>,
    response_body: Option<&'a str>,
    truncated: bool,
    state: Standing,
    cause: Option<Cause>,
    due_at: Option<String>,
    accepted_at: String,
    traceparent: Option<String>,
}

/// One line, with its end, of an attempt (`attempt` from 1) or of a death without one (0). `now_ms`: when it is written,
/// milliseconds since 1970. No headers are in it, so no secrets of theirs.
pub fn line(record: &Record, now_ms: u64) -> String {
    let (state, cause, due) = standing(record.then);
    let is_answer = record.status > 0;
    let line = Line {
        time: time_text(now_ms),
        id: &record.id,
        request_id: &record.request_id,
        reference: record.reference.as_deref(),
        host: &record.host,
        method: record.method,
        url: &record.url,
        attempt: record.attempt,
        at: time_text(record.at_ms),
        status: is_answer.then_some(record.status),
        error: record.error.as_deref(),
        response_time_ms: (record.attempt > 0).then(|| record.response_time_us as f64 / 1000.0),
        response_body: is_answer.then_some(&*record.response_body),
        truncated: record.truncated,
        state,
        cause,
        due_at: due.map(time_text),
        accepted_at: time_text(record.accepted_at_ms),
        traceparent: sent_traceparent(record),
    };
    // Plain data: serde_json has no way to fail on these types.
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    if !text.bytes().all(|byte| byte < 0x7f) {
        text = inert::json(&text);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::queue::{Recorded, Sent};

    fn record() -> Record {
        Record {
            id: "b-0".into(),
            request_id: "0af7651916cd43dd8448eb211c80319c".into(),
            reference: Some("click".into()),
            host: "a.example:80".into(),
            method: Method::Post,
            url: "http://a.example/?x=1".into(),
            unmatched: vec![],
            accepted_at_ms: 1_700_000_000_000,
            attempt: 2,
            at_ms: 1_700_000_000_005,
            status: 503,
            error: Some("status 503".into()),
            response_time_us: 1500,
            response_body: "a\u{1b}[2J\n\u{9b}\u{202e}é\u{7f}".into(),
            truncated: true,
            then: Recorded::Retry(1_700_000_005_000),
            received_at_ms: Some(1_699_999_999_999),
            nginx_at_ms: None,
            reserved_at_ms: Some(1_700_000_000_004),
            traceparent: None,
            sent: Some(Box::new(Sent {
                headers: vec![("X-Key".into(), "s3cr3t".into())],
                body: Some("s3cr3t".into()),
                truncated: false,
            })),
            settled_at_ms: 0,
        }
    }

    fn read(line: &str) -> Value {
        let one = line.strip_suffix('\n').unwrap();
        assert!(!one.contains(inert::moves) && !one.contains("s3cr3t"), "{one:?}");
        serde_json::from_str(one).unwrap()
    }

    #[test]
    fn an_attempt_is_one_inert_line_in_the_one_shape() {
        let told = read(&line(&record(), 1_700_000_000_006));
        let trace = told["traceparent"].as_str().unwrap();
        assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{trace}");
        let expected = json!({
            "time": "2023-11-14T22:13:20.006Z",
            "id": "b-0",
            "request_id": "0af7651916cd43dd8448eb211c80319c",
            "ref": "click",
            "host": "a.example:80",
            "method": "POST",
            "url": "http://a.example/?x=1",
            "attempt": 2,
            "at": "2023-11-14T22:13:20.005Z",
            "status": 503,
            "error": "status 503",
            "response_time_ms": 1.5,
            "response_body": "a\u{1b}[2J\n\u{9b}\u{202e}é\u{7f}",
            "truncated": true,
            "state": "pending",
            "cause": null,
            "due_at": "2023-11-14T22:13:25.000Z",
            "accepted_at": "2023-11-14T22:13:20.000Z",
            "traceparent": trace,
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn a_death_without_an_attempt_has_neither_answer_nor_trace() {
        let dead = Recorded::Dead(Cause::Expired);
        let record = Record { attempt: 0, status: 0, error: None, then: dead, ..record() };
        let told = read(&line(&record, 1_700_000_000_006));
        for field in ["status", "error", "response_time_ms", "response_body", "traceparent"] {
            assert_eq!(told[field], Value::Null, "{field}");
        }
        assert_eq!((&told["state"], &told["cause"]), (&json!("dead"), &json!("expired")));
    }
}
