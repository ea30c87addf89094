//! What the delivery log keeps of an attempt.

use postback_core::{
    attempt::{Cause, Next, Outcome},
    batch::{Batch, Source},
    endpoint::{Filled, Method},
    id::PostbackId,
    queue::{Record, Recorded, Sent},
};

use crate::worker::Item;

/// So much of a body is kept, the answer's and the request's, in bytes.
pub(crate) const BODY: usize = 1024;
/// So much is kept of a request's own headers, names and values together, in bytes.
const HEADERS: usize = 2048;
/// Headers whose values are secrets: the log never has them.
const SECRET: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];
/// What stands for a secret.
const MASK: &str = "***";

/// An attempt, or a death without one.
pub(crate) struct Attempted {
    /// When it began, milliseconds since 1970, Redis's time.
    pub(crate) at_ms: u64,
    /// What happened; `None`: nothing was sent.
    pub(crate) outcome: Option<Outcome>,
}

impl Attempted {
    pub(crate) fn status(&self) -> Option<u16> {
        self.outcome.as_ref().and_then(Outcome::status)
    }
}

/// The log's record of an attempt; `attempts` counts this one, `now_ms` is Redis's time. A row that cannot be filled
/// is told without its URL.
pub(crate) fn record(
    item: &Item,
    attempted: &Attempted,
    filled: Option<Filled<'_>>,
    attempts: u8,
    next: Next,
    now_ms: u64,
) -> Record {
    let batch = &item.held.batch;
    let (source, origin) = (batch.source(item.row), batch.endpoint.origin());
    let (response_body, truncated) = body(attempted);
    let unmatched = filled.as_ref().map_or(&[][..], |filled| &filled.unmatched);
    Record {
        id: item.held.id.postback(item.row).to_string(),
        request_id: source.request_id.clone(),
        host: origin.host_port(),
        method: batch.endpoint.template().method,
        url: filled.as_ref().map_or_else(String::new, |filled| origin.url(&filled.target)),
        unmatched: unmatched.iter().map(ToString::to_string).collect(),
        accepted_at_ms: item.held.stored_at_ms,
        attempt: if attempted.outcome.is_some() { attempts } else { 0 },
        at_ms: attempted.at_ms,
        status: attempted.status().unwrap_or(0),
        error: error(attempted, next),
        response_time_us: attempted
            .outcome
            .as_ref()
            .map_or(0, |o| o.response_time.as_micros() as u64),
        response_body,
        truncated,
        then: match next {
            Next::Delivered => Recorded::Delivered,
            Next::Retry(wait) => Recorded::Retry(now_ms + wait.as_millis() as u64),
            Next::Dead(cause) => Recorded::Dead(cause),
        },
        received_at_ms: Some(source.received_at_ms),
        nginx_at_ms: source.nginx_at_ms(),
        reserved_at_ms: Some(item.held.reserved_at_ms),
        traceparent: source.traceparent.clone(),
        sent: filled.as_ref().filter(|_| attempted.outcome.is_some()).and_then(sent),
        settled_at_ms: 0,
        reference: filled.and_then(|filled| filled.reference),
    }
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

fn body(attempted: &Attempted) -> (String, bool) {
    let Some(Ok(response)) = attempted.outcome.as_ref().map(|outcome| &outcome.result) else {
        return (String::new(), false);
    };
    let kept = &response.body[..response.body.len().min(BODY)];
    (
        String::from_utf8_lossy(kept).into_owned(),
        response.truncated || response.body_failed.is_some() || kept.len() < response.body.len(),
    )
}

fn error(attempted: &Attempted, next: Next) -> Option<String> {
    match (&attempted.outcome.as_ref()?.result, next) {
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
    /// The log's record of one of the rows, without its URL.
    pub(crate) fn record(&self, id: PostbackId) -> Record {
        let batch = self.batch;
        let source = batch.map(|batch| batch.source(id.row));
        Record {
            id: id.to_string(),
            request_id: source.map_or_else(String::new, |source| source.request_id.clone()),
            reference: None,
            host: batch.map_or_else(String::new, |batch| batch.endpoint.origin().host_port()),
            method: batch.map_or(Method::Get, |batch| batch.endpoint.template().method),
            url: String::new(),
            unmatched: Vec::new(),
            accepted_at_ms: self.stored_at_ms,
            attempt: 0,
            at_ms: self.at_ms,
            status: 0,
            error: Some(self.why.to_owned()),
            response_time_us: 0,
            response_body: String::new(),
            truncated: false,
            then: Recorded::Dead(self.cause),
            received_at_ms: source.map(|source| source.received_at_ms),
            nginx_at_ms: source.and_then(Source::nginx_at_ms),
            reserved_at_ms: Some(self.reserved_at_ms),
            traceparent: source.and_then(|source| source.traceparent.clone()),
            sent: None,
            settled_at_ms: 0,
        }
    }
}
