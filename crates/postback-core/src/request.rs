//! The request's JSON (what a client posts to ingest), read strictly: every fault is named with its place, up to
//! [`MAX_ERRORS`] of them, and the rows borrow from the body.
//!
//! `request/strict.rs` and, where something may be wrong, `request/json.rs` judge the text. `request/envelope.rs` reads
//! endpoint and policy, `request/known.rs` keeps those that come again, `request/rows.rs` reads the rows,
//! `request/problems.rs` gathers what is wrong with them. HTTP is ingest's; what a template or a URL may be is
//! `endpoint`'s.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use crate::{batch::EncodedRows, value::Row};

mod cursor;
mod envelope;
mod json;
mod known;
mod node;
mod problems;
#[cfg(test)]
mod properties;
mod rows;
mod strict;
#[cfg(test)]
mod tests;

pub use self::{
    envelope::Envelope,
    problems::{ErrorKind, MAX_ERRORS, RequestError, RequestErrors},
};
use self::{
    json::Json,
    known::Known,
    node::Node,
    problems::{Problem, Problems},
    rows::Sink,
};

/// The longest `endpoint` and `policy` together, in bytes of JSON. They are stored once in each batch, which has 64 KiB.
pub const MAX_ENVELOPE: usize = 32 * 1024;
/// The most different names that an endpoint's templates may use.
pub const MAX_NAMES: usize = 1000;
/// The longest `policy.delay`.
pub const MAX_DELAY: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the daemon allows and adds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most rows in a request.
    pub max_rows: usize,
    /// What a placeholder without a value gets where neither it nor the request says; empty: nothing.
    pub unmatched: String,
}

/// A request whose every row can be sent.
#[derive(Debug)]
pub struct Request<R> {
    /// What is said of all rows.
    pub envelope: Arc<Envelope>,
    /// The rows.
    pub rows: R,
    /// How many rows lack a value for which name.
    pub unmatched: BTreeMap<String, u64>,
}

/// Reads a request's body. Every row can be filled in by [`crate::endpoint::Endpoint::fill`] when this succeeds.
///
/// # Errors
/// For the faults found; nothing of the request is to be used then. Text that is not JSON is one fault, an object with
/// a key twice is, and so is a row. Rows are tried only with an endpoint that is right: with another one it is only
/// seen whether they are objects. Too many rows, or rows that make too much work, end the reading at once.
pub fn parse<'b>(body: &'b [u8], limits: &Limits) -> Result<Request<Vec<Row<'b>>>, RequestErrors> {
    read(body, limits, &Known::default(), |_| Vec::new())
}

/// Reads the bodies of many requests, and knows the envelopes that come again and again.
#[derive(Debug)]
pub struct RequestReader {
    limits: Limits,
    known: Known,
}

impl RequestReader {
    /// One for requests within these limits.
    pub fn new(limits: Limits) -> RequestReader {
        RequestReader { limits, known: Known::default() }
    }

    /// What the daemon allows and adds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// As [`parse`], the rows encoded.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn encode(&self, body: &[u8]) -> Result<Request<EncodedRows>, RequestErrors> {
        read(body, &self.limits, &self.known, |envelope| EncodedRows::of(envelope.head.clone()))
    }
}

const FIELDS: [&str; 3] = ["endpoint", "data", "policy"];

fn read<'b, R: Sink<'b>>(
    body: &'b [u8],
    limits: &Limits,
    known: &Known,
    begin: impl Fn(&Envelope) -> R,
) -> Result<Request<R>, RequestErrors> {
    let mut problems = Problems::default();
    let taken = std::str::from_utf8(body).ok().and_then(strict::object);
    let (root, fields) = match taken {
        Some((json, members)) => {
            let root = Node::root(json);
            let members = members.into_iter().map(|(key, json)| (Cow::Borrowed(key), json));
            let fields = root.fields_of(members, FIELDS, &mut problems);
            (Some(root), fields)
        }
        None => {
            let json =
                Json::check(body).map_err(|reason| Problem::new(body.as_ptr(), "request", reason));
            let root = problems.note(json).map(Node::root);
            let fields = root.as_ref().and_then(|root| root.fields(FIELDS, &mut problems));
            (root, fields)
        }
    };
    let request = root.zip(fields).and_then(|(root, [endpoint, data, policy])| {
        let endpoint = root.required("endpoint", endpoint, &mut problems);
        let data = root.required("data", data, &mut problems);
        let read = || {
            let envelope =
                envelope::read(endpoint.as_ref(), policy.as_ref(), limits, &mut problems);
            (envelope, problems.len() == 0)
        };
        let envelope = known.get(endpoint.as_ref(), policy.as_ref(), read);
        let data = data?;
        let Some(envelope) = envelope else {
            rows::check(&data, &mut problems);
            return None;
        };
        let (endpoint, begin) = (&envelope.endpoint, || begin(&envelope));
        let (rows, unmatched) = rows::read(&data, endpoint, limits.max_rows, begin, &mut problems)?;
        Some(Request { envelope, rows, unmatched })
    });
    problems.finish(request)
}
