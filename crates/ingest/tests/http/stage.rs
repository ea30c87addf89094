//! Postbacks with a past: rows that came over HTTP, and attempts on them settled as a worker settles them.

use std::cell::Cell;

use postback_core::{
    attempt::Cause,
    endpoint::Method,
    id::PostbackId,
    queue::{
        Queue, Record, Recorded, Reserve, RowState, Settle, SettledBatch, State, Which, encode_log,
    },
    testing::RedisServer,
};
use tokio::runtime::Runtime;

use crate::support::{Answer, Front, request, send};

pub(crate) const HTML: (&str, &str) = ("Accept", "text/html,*/*;q=0.8");
pub(crate) const AS_JSON: (&str, &str) = ("Accept", "application/json");

/// What came of an attempt.
#[derive(Clone, Copy)]
pub(crate) enum Came {
    Delivered,
    /// To be tried again after so many milliseconds.
    Retry(u64),
    Dead(Cause),
}

pub(crate) struct Stage {
    pub(crate) front: Front,
    pub(crate) queue: Queue,
    pub(crate) redis: RedisServer,
    runtime: Runtime,
    settles: Cell<u64>,
}

impl Stage {
    pub(crate) fn new(options: &[&str]) -> Stage {
        let redis = RedisServer::start();
        let front = Front::start(&redis.url_text(), options);
        let queue = Queue::open(&redis.url(), "pb", 1).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(queue.shards()[0].beat("w", Which::First, &[])).unwrap();
        Stage { front, queue, redis, runtime, settles: Cell::new(0) }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Stores a request; its postbacks' ids, in the order of its rows.
    pub(crate) fn post(&self, body: &str) -> Vec<PostbackId> {
        let answer = self.front.post("/i", body);
        assert_eq!(answer.status, 202, "{answer:?}");
        let batches = answer.json()["batches"].as_array().unwrap().clone();
        let ids = batches.iter().flat_map(|batch| {
            let (first, rows) = (batch["first"].as_u64().unwrap(), batch["rows"].as_u64().unwrap());
            let id = batch["id"].as_str().unwrap().to_owned();
            (first..first + rows).map(move |row| format!("{id}-{row}").parse().unwrap())
        });
        ids.collect()
    }

    /// A row of its own with this ref, to a host.
    pub(crate) fn row(&self, host: &str, reference: &str) -> PostbackId {
        let reference = serde_json::to_string(reference).unwrap();
        let body = format!(
            r#"{{"endpoint":{{"method":"GET","url":"http://{host}/x?k={{k}}&miss={{miss}}"}},"policy":{{"ref":"{{k}}"}},"data":[{{"k":{reference}}}]}}"#
        );
        self.post(&body)[0]
    }

    /// Takes what is ready and makes an attempt on one row; `edit` may change what the log is told.
    pub(crate) fn attempt(
        &self,
        id: PostbackId,
        came: Came,
        status: u16,
        edit: impl FnOnce(&mut Record),
    ) {
        let shard = &self.queue.shards()[0];
        let mut record = self.record(id);
        let ask =
            Reserve { worker: "w", rows: 1000, batches: 200, of_lane: 1000, ..Reserve::default() };
        let reserved = self.run(shard.reserve(&ask)).unwrap();
        let mut settle = Settle { number: self.settles.get() + 1, ..Settle::default() };
        self.settles.set(settle.number);
        let mut is_there = false;
        for batch in reserved.batches {
            let mut states = None;
            if batch.id == id.batch {
                is_there = true;
                let mut rows = batch.states.unwrap();
                let row = &mut rows.rows[usize::from(id.row)];
                row.attempts += 1;
                row.status = status;
                record.attempt = row.attempts;
                record.then = come(row, came, reserved.now_ms);
                states = Some(rows);
            }
            settle.batches.push(SettledBatch {
                id: batch.id,
                rows: batch.rows,
                leave: true,
                states,
            });
        }
        assert!(is_there, "{id} is not ready");
        (record.at_ms, record.status) = (reserved.now_ms, status);
        record.reserved_at_ms = Some(reserved.now_ms);
        edit(&mut record);
        settle.log = encode_log(&[&record]);
        if !matches!(came, Came::Delivered) {
            settle.errors = encode_log(&[&record]);
        }
        assert!(self.run(shard.settle("w", &settle)).unwrap());
    }

    /// Replays a dead row and makes it die once more, with an answer.
    pub(crate) fn attempt_again(&self, id: PostbackId, edit: impl FnOnce(&mut Record)) {
        assert_eq!(
            self.act(&format!("/postbacks/{id}/replay"), AS_JSON).json()["done"],
            "replayed"
        );
        self.attempt(id, Came::Dead(Cause::Status), 404, edit);
    }

    /// Has a worker hold everything that is ready, as if it was sending it.
    pub(crate) fn hold(&self) {
        let ask =
            Reserve { worker: "w", rows: 1000, batches: 200, of_lane: 1000, ..Reserve::default() };
        assert!(!self.run(self.queue.shards()[0].reserve(&ask)).unwrap().batches.is_empty());
    }

    /// What the log would tell of a first attempt.
    fn record(&self, id: PostbackId) -> Record {
        let postback = self.run(self.queue.postback(id)).unwrap().unwrap();
        Record {
            id: id.to_string(),
            request_id: postback.request_id,
            reference: postback.reference,
            host: postback.host,
            method: postback.method.unwrap_or(Method::Get),
            url: postback.url,
            unmatched: postback.unmatched,
            accepted_at_ms: self.run(self.queue.shards()[0].now_ms()).unwrap(),
            attempt: 1,
            at_ms: 0,
            status: 0,
            error: None,
            response_time_us: 12_300,
            response_body: String::new(),
            truncated: false,
            then: Recorded::Delivered,
            received_at_ms: None,
            nginx_at_ms: None,
            reserved_at_ms: None,
            traceparent: None,
            sent: None,
            settled_at_ms: 0,
        }
    }

    pub(crate) fn page(&self, path: &str) -> Answer {
        send(self.front.admin, &request("GET", path, &[HTML], ""))
    }

    pub(crate) fn json(&self, path: &str) -> serde_json::Value {
        let answer = send(self.front.admin, &request("GET", path, &[AS_JSON], ""));
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    pub(crate) fn act(&self, path: &str, accept: (&str, &str)) -> Answer {
        send(self.front.admin, &request("POST", path, &[accept, ("Content-Length", "0")], ""))
    }

    /// The ids on a page of `/requests`.
    pub(crate) fn ids(&self, path: &str) -> Vec<String> {
        let page = self.json(path);
        let postbacks = page["postbacks"].as_array().unwrap();
        postbacks.iter().map(|postback| postback["id"].as_str().unwrap().to_owned()).collect()
    }
}

fn come(row: &mut RowState, came: Came, now_ms: u64) -> Recorded {
    match came {
        Came::Delivered => {
            row.state = State::Delivered;
            Recorded::Delivered
        }
        Came::Retry(wait) => {
            row.state = State::Waiting(wait);
            Recorded::Retry(now_ms + wait)
        }
        Came::Dead(cause) => {
            row.die(cause, now_ms);
            Recorded::Dead(cause)
        }
    }
}
