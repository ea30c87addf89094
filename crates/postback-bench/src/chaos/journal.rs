//! What is written down of a trial, and nothing else is judged: the generator's journal, the sink's journal, and the
//! delivery log as a file. Each is one JSON object a line.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use anyhow::Context;
use postback_core::queue::{Record, Recorded};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The header by which a hit at the sink is known to belong to a row, whatever became of its URL.
pub(super) const CLICK_HEADER: &str = "x-click";

/// One request to ingest and its answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Request {
    /// From 0, in order of sending.
    pub(super) number: u64,
    pub(super) shape: Shape,
    /// The policy's label.
    pub(super) lane: Option<String>,
    /// The sink's address, as it stands in the URL.
    pub(super) host: String,
    /// Whether no fault concerns that address: what goes there is never late.
    pub(super) steady: bool,
    /// The policy's waits before each retry, milliseconds.
    pub(super) retries_ms: Vec<u64>,
    pub(super) rows: Vec<Row>,
    /// Microseconds since 1970.
    pub(super) sent_us: u64,
    pub(super) answered_us: u64,
    pub(super) answer: Answer,
}

/// How a request is written: its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Shape {
    /// GET with simple placeholders.
    Query,
    /// GET with RFC 6570's lists.
    Lists,
    /// POST whose body is the row.
    Row,
    /// POST with a JSON object as the template of the body.
    Object,
    /// POST with a form.
    Form,
    /// As `Query`, but a row has no value for a placeholder that needs one: refused as a whole.
    Bad,
}

/// One row and what the sink does with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// Its name, different for every row of a trial.
    pub(super) click: String,
    pub(super) act: Act,
    pub(super) n: u64,
    pub(super) text: String,
}

/// What the sink does with a row, by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Act {
    /// 200 at once.
    Deliver,
    /// 200 after so many milliseconds.
    Slow(u64),
    /// 500 to so many attempts, then 200.
    Flaky(u32),
    /// 404: dead at once.
    Refuse,
    /// 500 always: dead after all retries.
    Fail,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// 202, with where the rows were put.
    Accepted(Vec<Stored>),
    /// Surely nothing was stored. Status 0: nginx could not be reached.
    Refused { status: u16, code: String },
    /// It is stored whole or not at all.
    Unknown(String),
}

/// An entry of `batches` in a 202's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) first: u64,
    pub(super) rows: u64,
}

/// One request as the sink saw it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Hit {
    /// Microseconds since 1970.
    pub(super) at_us: u64,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Names,
    pub(super) body: String,
}

/// Whose hit it is. Its other headers are not kept: a trial may have a million hits.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Names {
    #[serde(rename = "webhook-id", default)]
    pub(super) id: String,
    #[serde(rename = "x-click", default)]
    pub(super) click: String,
}

impl Hit {
    /// The `webhook-id`.
    pub(super) fn id(&self) -> &str {
        &self.headers.id
    }

    /// The row's name.
    pub(super) fn click(&self) -> &str {
        &self.headers.click
    }
}

/// What the checker reads of a record of the delivery log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Logged {
    /// The `webhook-id`.
    pub(super) id: String,
    pub(super) click: Option<String>,
    pub(super) url: String,
    /// From 1; 0: it died without an attempt.
    pub(super) attempt: u8,
    /// Milliseconds since 1970, Redis's time.
    pub(super) at_ms: u64,
    /// 0: no complete answer.
    pub(super) status: u16,
    pub(super) took_us: u64,
    pub(super) end: Option<End>,
    pub(super) error: Option<String>,
}

/// How a row ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    Delivered,
    Dead(String),
}

impl From<&Record> for Logged {
    fn from(record: &Record) -> Logged {
        Logged {
            id: record.id.clone(),
            click: record.reference.clone(),
            url: record.url.clone(),
            attempt: record.attempt,
            at_ms: record.at_ms,
            status: record.status,
            took_us: record.response_time_us,
            end: match record.then {
                Recorded::Delivered => Some(End::Delivered),
                Recorded::Retry(_) => None,
                Recorded::Dead(cause) => Some(End::Dead(cause.name().to_owned())),
            },
            error: record.error.clone(),
        }
    }
}

/// The three inputs of the checker.
#[derive(Debug, Clone, Default)]
pub(super) struct Journals {
    pub(super) requests: Vec<Request>,
    pub(super) hits: Vec<Hit>,
    /// Oldest first.
    pub(super) log: Vec<Logged>,
}

impl Journals {
    /// The files' names in a trial's folder.
    pub(super) const REQUESTS: &str = "requests.journal";
    pub(super) const HITS: &str = "sink.journal";
    pub(super) const LOG: &str = "delivery.log";

    /// Reads what a trial left in its folder.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Journals> {
        Ok(Journals {
            requests: lines(&folder.join(Journals::REQUESTS))?,
            hits: lines(&folder.join(Journals::HITS))?,
            log: lines(&folder.join(Journals::LOG))?,
        })
    }
}

fn lines<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let parse = |(n, line): (usize, std::io::Result<String>)| {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        serde_json::from_str(&line).with_context(|| format!("{name}: line {} is no entry", n + 1))
    };
    BufReader::new(file).lines().enumerate().map(parse).collect()
}
