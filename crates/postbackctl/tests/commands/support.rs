//! Running a command, rows to work on, and a worker that ends them.

use std::{
    process::{Command, Output},
    time::Duration,
};

use postback_core::{
    batch::{Batch, EncodedBatch, Source, encode},
    endpoint::{BodyTemplate, EndpointTemplate, Method, Origin, Unmatched},
    id::LaneId,
    policy::Policy,
    queue::{
        Enqueue, Queue, Record, Recorded, Reserve, Sent, Settle, SettledBatch, State, Which,
        encode_log,
    },
    testing::RedisServer,
    value::Value as Item,
};
use serde_json::Value;

pub(crate) fn run(server: &RedisServer, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbackctl"));
    command.env("REDIS_URL", server.url_text()).args(words).output().unwrap()
}

pub(crate) fn json(server: &RedisServer, words: &[&str]) -> Value {
    let out = run(server, &[words, &["--json"]].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) const SEND: [&str; 8] = [
    "send",
    "GET",
    "http://partner.example/p?id={id}&x={x}",
    "--row",
    r#"{"id":"8f3a","n":1.10}"#,
    "--policy",
    r#"{"ref":"{id}","lane":"bulk"}"#,
    "--header=X-N: {n}",
];

/// A request of rows with the values `n`, which are their refs too, to one of two hosts.
pub(crate) fn batches(host: &str, request: &str, rows: std::ops::Range<u32>) -> Vec<EncodedBatch> {
    let endpoint = EndpointTemplate {
        method: Method::Get,
        url: format!("http://{host}/?n={{n}}"),
        headers: vec![],
        body: BodyTemplate::None,
        reference: Some("{n}".into()),
        unmatched: Unmatched::Text(String::new()),
    };
    let source = Source {
        request_id: request.into(),
        traceparent: None,
        received_at_ms: 0,
        first_row: 0,
        nginx_ms: None,
    };
    let rows: Vec<_> = rows.map(|n| vec![Item::Literal(n.to_string().into())]).collect();
    encode(&endpoint, &Policy::default(), &source, &rows)
}

pub(crate) async fn enqueue(
    server: &RedisServer,
    host: &str,
    delay: Duration,
    batches: &[EncodedBatch],
) {
    let origin = Origin { tls: false, host: host.into(), port: 80 };
    let queue = Queue::open(&server.url(), "pb", 1).unwrap();
    let lane = LaneId::of(&origin, None);
    let request = Enqueue { lane, name: host, delay, batches, max_backlog: 0 };
    queue.enqueue(request).await.unwrap();
}

/// A worker takes the only batch and gives its only row this end.
pub(crate) async fn end(server: &RedisServer, state: State, then: Recorded) {
    let queue = Queue::open(&server.url(), "pb", 1).unwrap();
    let shard = &queue.shards()[0];
    shard.beat("w", Which::First, &[]).await.unwrap();
    let ask = Reserve { worker: "w", rows: 1, batches: 1, of_lane: 100, ..Reserve::default() };
    let taken = shard.reserve(&ask).await.unwrap().batches.remove(0);
    let batch = Batch::decode(&taken.bytes).unwrap();
    let mut states = taken.states.unwrap();
    states.rows[0].state = state;
    (states.rows[0].attempts, states.rows[0].status) = (1, 410);
    let record = Record {
        id: taken.id.postback(0).to_string(),
        request_id: batch.source(0).request_id.clone(),
        reference: Some("8f3a".into()),
        host: "partner.example:80".into(),
        method: Method::Get,
        url: "http://partner.example/p?id=8f3a&x=".into(),
        unmatched: vec!["x".into()],
        accepted_at_ms: taken.stored_at_ms,
        attempt: 1,
        at_ms: taken.stored_at_ms + 5,
        status: 410,
        error: Some("status 410".into()),
        response_time_us: 1500,
        response_body: "\u{1b}[2Jgone".into(),
        truncated: true,
        then,
        received_at_ms: Some(taken.stored_at_ms - 2),
        nginx_at_ms: Some(taken.stored_at_ms - 3),
        reserved_at_ms: Some(taken.stored_at_ms + 4),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        sent: Some(Box::new(Sent {
            headers: vec![("X-N".into(), "1.10".into())],
            body: Some("{\n\"id\":1}".into()),
            truncated: true,
        })),
        settled_at_ms: 0,
    };
    let settle = Settle {
        number: 1,
        batches: vec![SettledBatch { id: taken.id, rows: 1, leave: true, states: Some(states) }],
        log: encode_log(&[&record]),
        ..Settle::default()
    };
    assert!(shard.settle("w", &settle).await.unwrap());
}
