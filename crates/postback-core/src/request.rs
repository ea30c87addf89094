//! The request's JSON (what a client posts to ingest), read strictly: every fault is named with its place, up to
//! [`MAX_ERRORS`] of them, and the rows borrow from the body.
//!
//! `request/envelope.rs` reads endpoint and policy, `request/rows.rs` the rows, `request/problems.rs` gathers what is
//! wrong with them. HTTP is ingest's; what a template or a URL may be is `endpoint`'s.

use std::{collections::BTreeMap, time::Duration};

use crate::{endpoint::Endpoint, policy::Policy, value::Row};

mod cursor;
mod envelope;
mod json;
mod node;
mod problems;
#[cfg(test)]
mod properties;
mod rows;
#[cfg(test)]
mod tests;

pub use self::problems::{ErrorKind, MAX_ERRORS, RequestError, RequestErrors};
use self::{
    envelope::Envelope,
    json::Json,
    node::Node,
    problems::{Problem, Problems},
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
pub struct Request<'b> {
    /// What to call.
    pub endpoint: Endpoint,
    /// How to deliver.
    pub policy: Policy,
    /// How long the first attempt waits.
    pub delay: Duration,
    /// The rows, for [`Endpoint::fill`].
    pub rows: Vec<Row<'b>>,
    /// How many rows lack a value for which name.
    pub unmatched: BTreeMap<String, u64>,
}

/// Reads a request's body. Every row has been filled in once when this succeeds.
///
/// # Errors
/// For the faults found; nothing of the request is to be used then. Text that is not JSON is one fault, an object with
/// a key twice is, and so is a row. Rows are tried only with an endpoint that is right: with another one it is only
/// seen whether they are objects. Too many rows, or rows that make too much work, end the reading at once.
pub fn parse<'b>(body: &'b [u8], limits: &Limits) -> Result<Request<'b>, RequestErrors> {
    let mut problems = Problems::default();
    let json = Json::check(body).map_err(|reason| Problem::new(body.as_ptr(), "request", reason));
    let json = problems.note(json);
    let request = json.and_then(|json| read(&Node::root(json), limits, &mut problems));
    problems.finish(request)
}

fn read<'b>(root: &Node<'b>, limits: &Limits, problems: &mut Problems) -> Option<Request<'b>> {
    let [endpoint, data, policy] = root.fields(["endpoint", "data", "policy"], problems)?;
    let endpoint = root.required("endpoint", endpoint, problems);
    let data = root.required("data", data, problems);
    let envelope = envelope::read(endpoint.as_ref(), policy.as_ref(), limits, problems);
    let data = data?;
    let Some(Envelope { endpoint, policy, delay }) = envelope else {
        rows::check(&data, problems);
        return None;
    };
    let (rows, unmatched) = rows::read(&data, &endpoint, limits.max_rows, problems)?;
    Some(Request { endpoint, policy, delay, rows, unmatched })
}
