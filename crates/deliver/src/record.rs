//! What the delivery log keeps of an attempt.

use postback_core::{
    attempt::{Cause, Next, Outcome},
    batch::Batch,
    endpoint::{Filled, Method},
    id::PostbackId,
    queue::{Record, Recorded},
};

use crate::worker::Item;

/// So much of an answer's body is kept, in bytes.
pub(crate) const BODY: usize = 1024;

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
    let origin = batch.endpoint.origin();
    let (response_body, truncated) = body(attempted);
    let unmatched = filled.as_ref().map_or(&[][..], |filled| &filled.unmatched);
    Record {
        id: item.held.id.postback(item.row).to_string(),
        request_id: batch.source(item.row).request_id.clone(),
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
        reference: filled.and_then(|filled| filled.reference),
    }
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
    /// Redis's time, as the next one; milliseconds since 1970.
    pub(crate) stored_at_ms: u64,
    pub(crate) at_ms: u64,
    pub(crate) cause: Cause,
    /// For people.
    pub(crate) why: &'a str,
}

impl Buried<'_> {
    /// The log's record of one of the rows, without its URL.
    pub(crate) fn record(&self, id: PostbackId) -> Record {
        let batch = self.batch;
        Record {
            id: id.to_string(),
            request_id: batch.map_or_else(String::new, |b| b.source(id.row).request_id.clone()),
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
        }
    }
}
