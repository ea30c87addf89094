//! Partners as they are: each fault of the sink, and what becomes of the postback.
//!
//! A [`Case`] is one row in a lane of its own, followed by a healthy row: whatever the first met, the slot
//! must be free in time and the answer to the second its own.
//!
//! [`table`] has most faults; the other files have what needs more than one row or a look elsewhere.

mod bodies;
mod connections;
mod floods;
mod later;
mod proxy;
mod table;
mod tls;

use std::time::{Duration, Instant};

use postback_core::{
    attempt::Cause,
    endpoint::{BodyTemplate, EndpointTemplate, Method},
    id::PostbackId,
    policy::{Policy, Success},
    value::Value,
    view::{Attempt, Postback, Standing},
};

use crate::support::{Seen, Stack};

const SOON: Duration = Duration::from_secs(60);
/// The time-out of a case's row.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_millis(2500);

/// What is kept of the last answer's body.
#[derive(Debug, Clone, Copy)]
enum Kept {
    Any,
    Is(&'static str),
    /// So many of this character; whether there is the mark that there was more.
    Of(usize, char, bool),
    /// It begins so, and there is the mark.
    CutAfter(&'static str),
}

/// How much of the time-out the last attempt takes.
#[derive(Debug, Clone, Copy)]
enum Takes {
    Less,
    AtMost,
    Whole,
}

/// One row and what must become of it.
#[derive(Debug, Clone)]
struct Case {
    path: String,
    method: Method,
    rule: Option<&'static str>,
    retries: &'static [u64],
    /// The causes of death that are right; empty: it is to be delivered.
    causes: &'static [Cause],
    /// Each attempt's status.
    statuses: &'static [Option<u16>],
    kept: Kept,
    takes: Takes,
}

fn case(path: &str) -> Case {
    Case {
        path: path.to_owned(),
        method: Method::Get,
        rule: None,
        retries: &[],
        causes: &[],
        statuses: &[Some(200)],
        kept: Kept::Any,
        takes: Takes::Less,
    }
}

impl Case {
    fn post(self) -> Case {
        Case { method: Method::Post, ..self }
    }

    fn head(self) -> Case {
        Case { method: Method::Head, ..self }
    }

    /// `policy.success.body_contains`.
    fn rule(self, text: &'static str) -> Case {
        Case { rule: Some(text), ..self }
    }

    fn retries(self, waits_ms: &'static [u64]) -> Case {
        Case { retries: waits_ms, ..self }
    }

    fn delivered(self, statuses: &'static [Option<u16>], kept: Kept) -> Case {
        Case { statuses, kept, ..self }
    }

    fn dead(self, causes: &'static [Cause], statuses: &'static [Option<u16>]) -> Case {
        Case { causes, statuses, ..self }
    }

    fn takes(self, takes: Takes) -> Case {
        Case { takes, ..self }
    }

    fn endpoint(&self, stack: &Stack) -> EndpointTemplate {
        let body = match self.method {
            Method::Post => BodyTemplate::Json(r#"{"n":"{n}"}"#.into()),
            _ => BodyTemplate::None,
        };
        EndpointTemplate { method: self.method, body, ..stack.endpoint(&self.path) }
    }

    /// What is wrong with the row's end, `None` when nothing is.
    fn fault(&self, shown: &Postback, seen: &[Seen]) -> Option<String> {
        let statuses: Vec<_> = shown.attempts.iter().map(|attempt| attempt.status).collect();
        let sent = seen.iter().filter(|seen| seen.id() == shown.id).count();
        let ended = match (shown.state, shown.cause) {
            (Standing::Delivered, None) => self.causes.is_empty(),
            (Standing::Dead, Some(cause)) => self.causes.contains(&cause),
            _ => false,
        };
        let right = ended
            && statuses == self.statuses
            && sent == statuses.len()
            && shown.attempts.last().is_some_and(|last| self.took(last) && self.kept(last));
        (!right).then(|| format!("{self:?}\nwas sent {sent} times: {shown:#?}"))
    }

    fn took(&self, attempt: &Attempt) -> bool {
        let (least, most) = match self.takes {
            Takes::Less => (Duration::ZERO, TIMEOUT),
            Takes::AtMost => (Duration::ZERO, TIMEOUT + SLACK),
            Takes::Whole => (TIMEOUT, TIMEOUT + SLACK),
        };
        (least..most).contains(&Duration::from_secs_f64(attempt.response_time_ms / 1000.0))
    }

    fn kept(&self, attempt: &Attempt) -> bool {
        let body = attempt.response_body.as_deref().unwrap_or_default();
        match self.kept {
            Kept::Any => true,
            Kept::Is(text) => body == text && !attempt.truncated,
            Kept::Of(n, c, truncated) => {
                body.chars().eq(std::iter::repeat_n(c, n)) && attempt.truncated == truncated
            }
            Kept::CutAfter(text) => body.starts_with(text) && attempt.truncated,
        }
    }
}

/// A lane of its own at the sink; `label` need not be one.
fn lane(label: &str) -> Policy {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let label = label.chars().map(plain).take(64).collect();
    Policy {
        label: Some(label),
        timeout_ms: Some(TIMEOUT.as_millis() as u64),
        retries_ms: Some(vec![]),
        ..Policy::default()
    }
}

/// Stores one row; its only value goes into the query.
async fn enqueue_one(stack: &Stack, endpoint: &EndpointTemplate, policy: &Policy) -> PostbackId {
    let join = if endpoint.url.contains('?') { '&' } else { '?' };
    let url = format!("{}{join}n={{n}}", endpoint.url);
    let row = [vec![Value::Literal("7".into())]];
    let endpoint = EndpointTemplate { url, ..endpoint.clone() };
    stack.enqueue(&endpoint, policy, &row).await[0].id.postback(0)
}

/// The postback, once it is delivered or dead.
async fn ended(stack: &Stack, id: PostbackId) -> Postback {
    let since = Instant::now();
    loop {
        let shown = stack.queue.postback(id).await.unwrap();
        if let Some(ended) = shown.as_ref().filter(|shown| shown.state != Standing::Pending) {
            return ended.clone();
        }
        assert!(since.elapsed() < SOON, "{id} did not end: {shown:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs all cases side by side in one `deliver` and tells all that went wrong.
async fn check(cases: &[Case]) {
    let mut stack = Stack::start();
    let mut stored = vec![];
    for (number, case) in cases.iter().enumerate() {
        let policy = lane(&format!("{number}{}", case.path));
        let success = Success { body_contains: case.rule.map(Into::into), ..Success::default() };
        let given = Policy { retries_ms: Some(case.retries.to_vec()), success, ..policy.clone() };
        let first = enqueue_one(&stack, &case.endpoint(&stack), &given).await;
        let given = Policy { retries_ms: Some(vec![20; 3]), ..policy };
        let next = enqueue_one(&stack, &stack.endpoint("/next"), &given).await;
        stored.push((case, first, next));
    }
    // One at a time in each lane: the next row waits for the slot, and gets the connection if it was kept.
    stack.deliver(&["--per-host", "1"]);
    let mut wrong = vec![];
    for (case, first, next) in stored {
        let (first, next) = (ended(&stack, first).await, ended(&stack, next).await);
        let seen = stack.seen();
        wrong.extend(case.fault(&first, &seen));
        wrong.extend(fault_of_next(case, &first, &next, &seen));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// What is wrong with the healthy row after a case's.
fn fault_of_next(case: &Case, first: &Postback, next: &Postback, seen: &[Seen]) -> Option<String> {
    let times = |id: &str| -> Vec<u64> {
        seen.iter().filter(|seen| seen.id() == id).map(|seen| seen.at_us).collect()
    };
    let (before, sent) = (times(&first.id), times(&next.id));
    let gap = sent.last().zip(before.first()).map(|(sent, begun)| sent.saturating_sub(*begun));
    let body = next.attempts.last().and_then(|attempt| attempt.response_body.as_deref());
    let right = next.state == Standing::Delivered
        && body == Some("ok\n")
        && (1..=next.attempts.len()).contains(&sent.len())
        && gap.is_some_and(|gap| Duration::from_micros(gap) < TIMEOUT + SLACK);
    (!right).then(|| format!("after {}, {gap:?} us later: {next:#?}", case.path))
}
