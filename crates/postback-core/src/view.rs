//! One shape for a postback, everywhere: `postbackctl show --json`, `find --json`, the pages' JSON.
//!
//! Put together from the batch while its row is pending or dead, and from the delivery log. One or all of a ref or request
//! are found in `view/find.rs`; lists are in `view/recent.rs` (by the log) and `view/pending.rs` (what waits).

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::{
    attempt::Cause,
    batch::Batch,
    endpoint::Method,
    queue::{Queue, QueueError, Record, Recorded, RowState, RowStates, State, StoredBatch},
    trace,
};

mod find;
mod line;
mod pending;
mod recent;

pub use self::{
    find::{Effort, Found},
    line::line,
    pending::Pending,
    recent::{Listed, Recent, Wanted},
};

/// A postback and what happened to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Postback {
    /// `<batch>-<row>`.
    pub id: String,
    /// The request that brought it.
    pub request_id: String,
    /// The caller's own name for it.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Where it goes: `host:port`.
    pub host: String,
    /// The method; `None`: the stored batch cannot be read.
    pub method: Option<Method>,
    /// The URL as sent.
    pub url: String,
    /// Where it stands.
    pub state: Standing,
    /// Why it is dead.
    pub cause: Option<Cause>,
    /// Placeholders that had no value.
    pub unmatched: Vec<String>,
    /// The request's own `traceparent`, if it had one.
    pub traceparent: Option<String>,
    /// When nginx began to read the request, if it told; RFC 3339, UTC.
    pub nginx_at: Option<String>,
    /// When ingest received the request, by ingest's clock; RFC 3339, UTC.
    pub received_at: Option<String>,
    /// When it was stored in Redis; RFC 3339, UTC.
    pub accepted_at: String,
    /// When the next attempt is due, if it waits for a time; RFC 3339, UTC.
    pub due_at: Option<String>,
    /// What was tried, in order of time, as far as the log goes back.
    pub attempts: Vec<Attempt>,
}

/// Where a postback stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It will be sent.
    Pending,
    /// The partner has it.
    Delivered,
    /// It is in the dead letters, or was dropped from them.
    Dead,
}

impl Standing {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Pending => "pending",
            Standing::Delivered => "delivered",
            Standing::Dead => "dead",
        }
    }
}

/// One attempt. What a log written by an older version does not tell is `None` or empty.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attempt {
    /// When a worker took it from Redis; RFC 3339, UTC.
    pub reserved_at: Option<String>,
    /// When it began; RFC 3339, UTC.
    pub at: String,
    /// The answer's status.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// First byte out to last byte in, milliseconds.
    pub response_time_ms: f64,
    /// The first 1 KiB of the answer's body.
    pub response_body: Option<String>,
    /// Whether the body went on.
    pub truncated: bool,
    /// When Redis had what came of it; RFC 3339, UTC.
    pub settled_at: Option<String>,
    /// The `traceparent` that was sent.
    pub traceparent: Option<String>,
    /// The endpoint's own headers as sent, in their order; those that hold secrets are masked.
    #[serde(serialize_with = "object")]
    pub request_headers: Vec<(String, String)>,
    /// The first 1 KiB of the body that was sent, if there was one.
    pub request_body: Option<String>,
    /// Whether headers or body went on.
    pub request_truncated: bool,
}

fn object<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

/// A time in milliseconds since 1970 as RFC 3339 in UTC.
pub fn time_text(ms: u64) -> String {
    // Far beyond the year 9999 there is no RFC 3339; no stored time is.
    let ms = ms.min(253_402_300_799_000);
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

fn attempt(record: &Record) -> Option<Attempt> {
    let sent = record.sent.as_deref();
    (record.attempt > 0).then(|| Attempt {
        reserved_at: record.reserved_at_ms.map(time_text),
        at: time_text(record.at_ms),
        status: (record.status > 0).then_some(record.status),
        error: record.error.clone(),
        response_time_ms: record.response_time_us as f64 / 1000.0,
        response_body: (record.status > 0).then(|| record.response_body.clone()),
        truncated: record.truncated,
        settled_at: (record.settled_at_ms > 0).then(|| time_text(record.settled_at_ms)),
        traceparent: sent_traceparent(record),
        request_headers: sent.map_or_else(Vec::new, |sent| sent.headers.clone()),
        request_body: sent.and_then(|sent| sent.body.clone()),
        request_truncated: sent.is_some_and(|sent| sent.truncated),
    })
}

/// The `traceparent` that an attempt sent; `None`: nothing was, or version 1 of the log, which knew none, recorded it.
pub fn sent_traceparent(record: &Record) -> Option<String> {
    let Record { request_id, id, attempt, at_ms, .. } = record;
    let given = record.traceparent.as_deref();
    let sent = |_| trace::traceparent(given, request_id, id, *attempt, *at_ms);
    record.reserved_at_ms.filter(|_| *attempt > 0).map(sent)
}

/// Where a postback stands after an attempt, the cause of its death, and when it is due again, milliseconds since 1970.
pub fn standing(then: Recorded) -> (Standing, Option<Cause>, Option<u64>) {
    match then {
        Recorded::Delivered => (Standing::Delivered, None, None),
        Recorded::Retry(at) => (Standing::Pending, None, Some(at)),
        Recorded::Dead(cause) => (Standing::Dead, Some(cause), None),
    }
}

/// The postback that the log's records (of one postback, oldest first) tell of.
fn from_log(records: &[Record]) -> Option<Postback> {
    let last = records.last()?;
    let (state, cause, due) = standing(last.then);
    Some(Postback {
        id: last.id.clone(),
        request_id: last.request_id.clone(),
        reference: last.reference.clone(),
        host: last.host.clone(),
        method: Some(last.method),
        url: last.url.clone(),
        state,
        cause,
        unmatched: last.unmatched.clone(),
        traceparent: last.traceparent.clone(),
        nginx_at: last.nginx_at_ms.map(time_text),
        received_at: last.received_at_ms.map(time_text),
        accepted_at: time_text(last.accepted_at_ms),
        due_at: due.map(time_text),
        attempts: records.iter().filter_map(attempt).collect(),
    })
}

/// The postbacks that a stored batch tells of, without their attempts, each with its row's state. `due_ms`: when the
/// batch becomes due. Of a batch that cannot be read only ids and states are told.
pub fn postbacks(stored: &StoredBatch, due_ms: Option<u64>) -> Vec<(Postback, RowState)> {
    let untried = || RowStates::new(stored.rows);
    let states = stored.states.clone().unwrap_or_else(untried);
    let batch = Batch::decode(&stored.bytes).ok();
    let rows = (0..).zip(states.rows);
    rows.map(|(row, state)| {
        let bare = bare(stored, row, &state, due_ms);
        (batch.as_ref().and_then(|batch| dress(&bare, batch, row)).unwrap_or(bare), state)
    })
    .collect()
}

/// What a row's state alone tells.
fn bare(stored: &StoredBatch, row: u16, state: &RowState, due_ms: Option<u64>) -> Postback {
    let (standing, cause, due) = match state.state {
        State::Pending(at) => (Standing::Pending, None, Some(at).filter(|at| *at > 0).or(due_ms)),
        State::Waiting(_) => (Standing::Pending, None, None),
        State::Delivered => (Standing::Delivered, None, None),
        State::Dead(cause) => (Standing::Dead, Some(cause), None),
        State::Dropped => (Standing::Dead, None, None),
    };
    Postback {
        id: stored.id.postback(row).to_string(),
        request_id: String::new(),
        reference: None,
        host: String::new(),
        method: None,
        url: String::new(),
        state: standing,
        cause,
        unmatched: Vec::new(),
        traceparent: None,
        nginx_at: None,
        received_at: None,
        accepted_at: time_text(stored.stored_at_ms),
        due_at: due.map(time_text),
        attempts: Vec::new(),
    }
}

/// The same with what the batch tells; `None` when the row cannot be filled.
fn dress(bare: &Postback, batch: &Batch, row: u16) -> Option<Postback> {
    let values = batch.row(row).ok()?;
    let filled = batch.endpoint.fill(&values).ok()?;
    let source = batch.source(row);
    Some(Postback {
        request_id: source.request_id.clone(),
        host: batch.endpoint.origin().host_port(),
        method: Some(batch.endpoint.template().method),
        url: batch.endpoint.origin().url(&filled.target),
        unmatched: filled.unmatched.iter().map(ToString::to_string).collect(),
        traceparent: source.traceparent.clone(),
        nginx_at: source.nginx_at_ms().map(time_text),
        received_at: Some(time_text(source.received_at_ms)),
        reference: filled.reference,
        ..bare.clone()
    })
}

impl Queue {
    /// From when on the log knows everything, milliseconds since 1970; `None`: it is empty.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn log_begins_ms(&self) -> Result<Option<u64>, QueueError> {
        let mut begins = None;
        for shard in self.shards() {
            begins = begins.max(shard.log_begins_ms().await?);
        }
        Ok(begins)
    }
}
