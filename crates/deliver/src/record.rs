//! What the delivery log keeps of an attempt: written as soon as it is over, from where its texts are.

use std::borrow::Cow;

use postback_core::{
    attempt::{Cause, Next, Outcome},
    batch::{Batch, Source},
    endpoint::{Filled, Method},
    id::PostbackId,
    queue::{RecordRef, Recorded, Sent},
};

use crate::{lane::Lane, worker::Item};

/// So much of a body is kept, the answer's and the request's, in bytes.
pub(crate) const BODY: usize = 1024;
/// So much is kept of a request's own headers, names and values together, in bytes.
const HEADERS: usize = 2048;
/// Headers whose values are secrets: the log never has them.
const SECRET: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];
/// What stands for a secret.
const MASK: &str = "***";

/// An attempt, or a death without one.
pub(crate) struct Attempted<'a> {
    pub(crate) lane: &'a Lane,
    pub(crate) item: &'a Item,
    /// The postback's id.
    pub(crate) id: &'a str,
    /// The request; `None`: the row could not be filled in.
    pub(crate) filled: Option<&'a Filled<'a>>,
    /// What happened; `None`: nothing was sent.
    pub(crate) outcome: Option<&'a Outcome>,
    pub(crate) next: Next,
    /// Attempts made, this one included.
    pub(crate) attempts: u8,
    /// When it began and ended, milliseconds since 1970, Redis's time.
    pub(crate) began_ms: u64,
    pub(crate) ended_ms: u64,
}

/// Hands the log's record of an attempt to `keep`. A row that cannot be filled is told without its URL.
pub(crate) fn record(attempted: &Attempted<'_>, keep: impl FnOnce(&RecordRef<'_>)) {
    let &Attempted { lane, item, filled, outcome, next, .. } = attempted;
    let batch = &item.held.batch;
    let source = batch.source(item.row);
    let (response_body, truncated) = body(outcome);
    let error = error(outcome, next);
    let sent = filled.filter(|_| outcome.is_some()).and_then(sent);
    let mut url = String::new();
    if let Some(filled) = filled {
        url.reserve_exact(lane.front.len() + filled.target.len());
        url.push_str(&lane.front);
        url.push_str(&filled.target);
    }
    keep(&RecordRef {
        id: attempted.id,
        request_id: &source.request_id,
        reference: filled.and_then(|filled| filled.reference.as_deref()),
        host: &lane.host_port,
        method: batch.endpoint.template().method,
        url: &url,
        unmatched: filled.map_or(&[], |filled| &filled.unmatched),
        accepted_at_ms: item.held.stored_at_ms,
        attempt: if outcome.is_some() { attempted.attempts } else { 0 },
        at_ms: attempted.began_ms,
        status: outcome.and_then(Outcome::status).unwrap_or(0),
        error: error.as_deref(),
        response_time_us: outcome.map_or(0, |o| o.response_time.as_micros() as u64),
        response_body: &response_body,
        truncated,
        then: match next {
            Next::Delivered => Recorded::Delivered,
            Next::Retry(wait) => Recorded::Retry(attempted.ended_ms + wait.as_millis() as u64),
            Next::Dead(cause) => Recorded::Dead(cause),
        },
        received_at_ms: Some(source.received_at_ms),
        nginx_at_ms: source.nginx_at_ms(),
        reserved_at_ms: Some(item.held.reserved_at_ms),
        traceparent: source.traceparent.as_deref(),
        sent: sent.as_deref(),
    });
}

/// What was sent beside the URL; nothing, and no memory for it, where there is neither a header nor a body.
fn sent(filled: &Filled<'_>) -> Option<Box<Sent>> {
    if filled.headers.is_empty() && filled.body.is_none() {
        return None;
    }
    let mut sent = Sent::default();
    let mut room = HEADERS;
    for (name, value) in &filled.headers {
        let is_secret = SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret));
        let value = if is_secret { MASK } else { value };
        let Some(left) = room.checked_sub(name.len()) else {
            sent.truncated = true;
            break;
        };
        let kept = start(value, left);
        sent.truncated |= kept.len() < value.len();
        room = left - kept.len();
        sent.headers.push(((*name).to_owned(), kept.to_owned()));
    }
    sent.body = filled.body.as_deref().map(|body| {
        let kept = start(body, BODY);
        sent.truncated |= kept.len() < body.len();
        kept.to_owned()
    });
    Some(Box::new(sent))
}

/// As much of a text's start as fits into so many bytes.
fn start(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn body(outcome: Option<&Outcome>) -> (Cow<'_, str>, bool) {
    let Some(Ok(response)) = outcome.map(|outcome| &outcome.result) else {
        return (Cow::Borrowed(""), false);
    };
    let kept = &response.body[..response.body.len().min(BODY)];
    (
        String::from_utf8_lossy(kept),
        response.truncated || response.body_failed.is_some() || kept.len() < response.body.len(),
    )
}

fn error(outcome: Option<&Outcome>, next: Next) -> Option<String> {
    match (&outcome?.result, next) {
        (Err(failure), _) => Some(failure.to_string()),
        (Ok(_), Next::Delivered) => None,
        (Ok(response), _) => Some(match &response.body_failed {
            Some(failure) => failure.to_string(),
            None if (200..300).contains(&response.status) => {
                "the answer does not satisfy policy.success".into()
            }
            None => format!("status {}", response.status),
        }),
    }
}

/// What is known of rows that die because their batch cannot be sent.
pub(crate) struct Buried<'a> {
    /// The batch, where it could be read.
    pub(crate) batch: Option<&'a Batch>,
    /// Redis's time, as the next two; milliseconds since 1970.
    pub(crate) stored_at_ms: u64,
    pub(crate) reserved_at_ms: u64,
    pub(crate) at_ms: u64,
    pub(crate) cause: Cause,
    /// For people.
    pub(crate) why: &'a str,
}

impl Buried<'_> {
    /// Hands the log's record of one of the rows to `keep`, without its URL.
    pub(crate) fn record(&self, id: PostbackId, keep: impl FnOnce(&RecordRef<'_>)) {
        let batch = self.batch;
        let source = batch.map(|batch| batch.source(id.row));
        let host = batch.map_or_else(String::new, |batch| batch.endpoint.origin().host_port());
        keep(&RecordRef {
            id: &id.text(),
            request_id: source.map_or("", |source| &source.request_id),
            reference: None,
            host: &host,
            method: batch.map_or(Method::Get, |batch| batch.endpoint.template().method),
            url: "",
            unmatched: &[],
            accepted_at_ms: self.stored_at_ms,
            attempt: 0,
            at_ms: self.at_ms,
            status: 0,
            error: Some(self.why),
            response_time_us: 0,
            response_body: "",
            truncated: false,
            then: Recorded::Dead(self.cause),
            received_at_ms: source.map(|source| source.received_at_ms),
            nginx_at_ms: source.and_then(Source::nginx_at_ms),
            reserved_at_ms: Some(self.reserved_at_ms),
            traceparent: source.and_then(|source| source.traceparent.as_deref()),
            sent: None,
        });
    }
}
