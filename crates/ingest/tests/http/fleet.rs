//! A worker that the test plays: it takes what is ready and tells what became of it.

use std::cell::Cell;

use postback_core::{
    attempt::Cause,
    batch::Batch,
    queue::{Queue, Record, Recorded, Reserve, Settle, SettledBatch, State, Which, encode_log},
    testing::RedisServer,
};

use crate::support::{Answer, Front, request, send};

pub(crate) const HTML: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
pub(crate) const AS_JSON: (&str, &str) = ("Accept", "application/json");
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// Markup, quotes, a terminal's escape, a reversal of text.
pub(crate) const HOSTILE: &str = "\"'><script>alert(1)</script>\u{1b}[2J\u{202e}x";

/// Whether a page shows a hostile text, and nothing of it lives.
pub(crate) fn is_inert(page: &Answer) -> bool {
    let lives = ["<script>alert", "\u{1b}", "\u{202e}", "'><script"];
    page.status < 500
        && page.body.contains("script&#62;alert(1)")
        && page.body.contains("\\u{202e}x")
        && lives.iter().all(|text| !page.body.contains(text))
}

pub(crate) struct Fleet {
    pub(crate) queue: Queue,
    number: Cell<u64>,
}

impl Fleet {
    pub(crate) async fn start(redis: &RedisServer, figures: &[(&str, String)]) -> Fleet {
        let queue = Queue::open(&redis.url(), "pb", 1).unwrap();
        queue.shards()[0].beat("w", Which::First, figures).await.unwrap();
        Fleet { queue, number: Cell::new(0) }
    }

    /// Has every row that is ready die of this with its first attempt; returns the rows' ids.
    pub(crate) async fn fail(&self, cause: Cause, status: u16, error: &str) -> Vec<String> {
        let mut ids = vec![];
        loop {
            let some = self.fail_some(cause, status, error).await;
            if some.is_empty() {
                return ids;
            }
            ids.extend(some);
        }
    }

    /// About as many as a worker settles at a time.
    async fn fail_some(&self, cause: Cause, status: u16, error: &str) -> Vec<String> {
        let shard = &self.queue.shards()[0];
        let ask = Reserve {
            worker: "w",
            rows: 1024,
            batches: 100,
            held: 0,
            of_lane: 10_000,
            wants: &[],
            only: false,
            room: &[],
        };
        let now_ms = shard.now_ms().await.unwrap();
        let (mut batches, mut records) = (vec![], vec![]);
        for reserved in shard.reserve(&ask).await.unwrap().batches {
            let batch = Batch::decode(&reserved.bytes).unwrap();
            let mut states = reserved.states.clone().unwrap();
            for (n, row) in (0..).zip(&mut states.rows) {
                if matches!(row.state, State::Pending(_)) {
                    row.die(cause, now_ms);
                    (row.attempts, row.status) = (1, status);
                    let id = reserved.id.postback(n).to_string();
                    records.push(record(&batch, n, id, (cause, status, error), now_ms));
                }
            }
            let (id, rows) = (reserved.id, reserved.rows);
            batches.push(SettledBatch { id, rows, leave: true, states: Some(states) });
        }
        self.number.set(self.number.get() + 1);
        let log = encode_log(&records.iter().collect::<Vec<_>>());
        let number = self.number.get();
        let settle = Settle { number, batches, log: log.clone(), errors: log, ..Settle::default() };
        assert!(shard.settle("w", &settle).await.unwrap(), "the lease ended");
        records.into_iter().map(|record| record.id).collect()
    }

    pub(crate) async fn stats(&self) -> postback_core::queue::Stats {
        self.queue.shards()[0].stats().await.unwrap()
    }
}

fn record(
    batch: &Batch,
    row: u16,
    id: String,
    (cause, status, error): (Cause, u16, &str),
    at_ms: u64,
) -> Record {
    let values = batch.row(row).unwrap();
    let filled = batch.endpoint.fill(&values).unwrap();
    let origin = batch.endpoint.origin();
    Record {
        id,
        request_id: batch.source(row).request_id.clone(),
        reference: filled.reference.clone(),
        host: origin.host_port(),
        method: batch.endpoint.template().method,
        url: origin.url(&filled.target),
        unmatched: vec![],
        accepted_at_ms: at_ms,
        attempt: 1,
        at_ms,
        status,
        error: Some(error.to_owned()),
        response_time_us: 1,
        response_body: HOSTILE.to_owned(),
        truncated: false,
        then: Recorded::Dead(cause),
        received_at_ms: None,
        nginx_at_ms: None,
        reserved_at_ms: None,
        traceparent: None,
        sent: None,
        settled_at_ms: 0,
    }
}

/// Stores rows for a host, each with its number as ref.
pub(crate) fn store(front: &Front, host: &str, refs: &[&str]) {
    let rows: Vec<_> = refs.iter().map(|n| serde_json::json!({ "n": n })).collect();
    let body = serde_json::json!({
        "endpoint": {"method": "GET", "url": format!("http://{host}/p?n={{n}}&token=secret")},
        "data": rows,
        "policy": {"ref": "{n}"},
    });
    let answer = front.post("/i", &body.to_string());
    assert_eq!(answer.status, 202, "{answer:?}");
}

pub(crate) fn look(front: &Front, path: &str, accept: (&str, &str)) -> Answer {
    send(front.admin, &request("GET", path, &[accept], ""))
}

/// What a page's form sends.
pub(crate) fn act(
    front: &Front,
    path: &str,
    fields: &[(&str, &str)],
    accept: (&str, &str),
) -> Answer {
    let encode = |text: &str| -> String {
        let one = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(one).collect()
    };
    let pairs: Vec<_> =
        fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    send(front.admin, &request("POST", path, &[FORM, accept], &pairs.join("&")))
}
