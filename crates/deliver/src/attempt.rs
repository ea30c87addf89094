//! One row's attempt: what is still to be sent is filled in and sent, what came of it is written down.

use std::{rc::Rc, time::Duration};

use postback_core::{
    attempt::{Cause, Failure, MAX_RETRY_AFTER, Next, Outcome, Response},
    endpoint::Filled,
    queue::{PARK, State},
    trace::traceparent,
};

use crate::{
    lane::Lane,
    record::{self, Attempted, record},
    send::{Bounds, Connection, MAX_BODY, Prepared, Unsent, send},
    worker::{Held, Item, Worker},
};

/// Sends a row, unless its time is over, and hands on what became of it.
pub(crate) async fn run(
    worker: &Rc<Worker>,
    lane: &Rc<Lane>,
    item: Item,
    connection: &mut Option<Connection>,
) {
    // The lease may have ended, or the process begun to stop, since the row was handed out.
    if !worker.may_send_of(&item.held) {
        return worker.close(&item, false);
    }
    let began_ms = worker.now_ms();
    let nothing = Attempted { at_ms: began_ms, outcome: None };
    match fill(&item) {
        Err(why) => {
            let id = item.held.id.postback(item.row);
            log::error!("postback {id}: {why}; it is dead, cause undecodable");
            finish(worker, &item, &nothing, None, Next::Dead(Cause::Undecodable));
        }
        Ok(filled) if time_left(worker, &item.held, item.row, began_ms).is_zero() => {
            finish(worker, &item, &nothing, Some(filled), Next::Dead(Cause::Expired));
        }
        Ok(filled) => {
            let sent = send_row(worker, lane, &item, &filled, connection, began_ms).await;
            let cut = sent.is_none();
            let outcome = match sent {
                Some(Ok(outcome)) => {
                    steer(worker, lane, &item.held, &outcome);
                    outcome
                }
                Some(Err(unsent)) => {
                    if let Unsent::Shortage(why) = unsent {
                        worker.rest(&why);
                    }
                    drop(filled);
                    return worker.close(&item, false);
                }
                None => cut_off(worker, began_ms),
            };
            let next = judge(worker, &item, &outcome, cut);
            let attempted = Attempted { at_ms: began_ms, outcome: Some(outcome) };
            finish(worker, &item, &attempted, Some(filled), next);
        }
    }
    worker.close(&item, true);
}

fn fill(item: &Item) -> Result<Filled<'_>, String> {
    let batch = &item.held.batch;
    let row = batch.row(item.row).map_err(|error| error.to_string())?;
    batch.endpoint.fill(&row).map_err(|error| error.to_string())
}

/// `None`: it was cut off by the end of the drain or of the lease.
async fn send_row(
    worker: &Worker,
    lane: &Lane,
    item: &Item,
    filled: &Filled<'_>,
    connection: &mut Option<Connection>,
    began_ms: u64,
) -> Option<Result<Outcome, Unsent>> {
    let batch = &item.held.batch;
    let id = item.held.id.postback(item.row).to_string();
    let (source, attempt) = (batch.source(item.row), attempts_before(item).saturating_add(1));
    let given = source.traceparent.as_deref();
    let traceparent = traceparent(given, &source.request_id, &id, attempt, began_ms);
    let (timestamp, body) = (began_ms / 1000, filled.body.as_deref());
    let request = Prepared {
        method: batch.endpoint.template().method,
        origin: &lane.origin,
        target: &filled.target,
        headers: &filled.headers,
        body,
        id: &id,
        traceparent: &traceparent,
        timestamp,
        signature: worker.process.keys.sign(&id, timestamp, body.unwrap_or_default()),
    };
    let time = batch.policy.timeout_ms;
    let bounds = Bounds {
        time: time.map_or(worker.process.config.timeout, Duration::from_millis),
        kept: if batch.policy.success.has_body_rule() { MAX_BODY } else { record::BODY },
    };
    let cut = worker.cut.notified();
    let may = || worker.may_send_of(&item.held);
    tokio::select! {
        sent = send(connection, &worker.process.dialer, request, bounds, may) => return Some(sent),
        () = cut => {}
    }
    *connection = None;
    None
}

/// What is written down for a request that was still open at the end of the drain or of the lease.
fn cut_off(worker: &Worker, began_ms: u64) -> Outcome {
    let why = "cut off by deliver's shutdown or the end of its lease".to_owned();
    let response_time = Duration::from_millis(worker.now_ms().saturating_sub(began_ms));
    Outcome { result: Err(Failure::Reset(why)), response_time }
}

/// `cut`: it was we who cut it off, and no row dies of that.
fn judge(worker: &Rc<Worker>, item: &Item, outcome: &Outcome, cut: bool) -> Next {
    let policy = &item.held.batch.policy;
    let attempts = u32::from(attempts_before(item)) + 1;
    let given: Option<Vec<_>> = policy
        .retries_ms
        .as_ref()
        .map(|all| all.iter().copied().map(Duration::from_millis).collect());
    let retries = given.as_ref().unwrap_or(&worker.process.config.retries.0);
    let left = time_left(worker, &item.held, item.row, worker.now_ms());
    let next = match outcome.verdict(&policy.success).next(
        attempts,
        retries,
        jitter(item, attempts),
        left,
    ) {
        Next::Dead(Cause::Reset) if cut => Next::Retry(Duration::ZERO),
        next => next,
    };
    worker.process.metrics.observe(outcome, &policy.success, next);
    next
}

/// What the outcome means for the lane: its breaker, a probe's answer, a 429's wish.
fn steer(worker: &Worker, lane: &Lane, held: &Held, outcome: &Outcome) {
    let failure = outcome.breaker_failure();
    let why = || match &outcome.result {
        Ok(response) => format!("status {}", response.status),
        Err(failure) => failure.to_string(),
    };
    let many = lane.breaker.count(failure);
    let wish = outcome.result.as_ref().ok().filter(|r| r.status == 429).and_then(|r| r.retry_after);
    if let Some(wait) = wish.filter(|wait| !wait.is_zero()) {
        if held.probe || !lane.breaker.is_parked() {
            held.answered.set(true);
            worker.park(lane, wait.min(MAX_RETRY_AFTER), why());
        }
    } else if held.probe {
        match (&outcome.result, failure) {
            // Says nothing of the partner: another row may probe.
            (Err(Failure::Blocked(_)), _) => return,
            // It answers, if not always to the end.
            (_, Some(false)) => worker.open_lane(lane),
            (Ok(Response { status: ..500, body_failed: Some(_), .. }), _) => worker.open_lane(lane),
            _ => worker.park(lane, PARK, format!("probe: {}", why())),
        }
        held.answered.set(true);
    } else if many {
        worker.park(lane, PARK, format!("10 failures in a row, the last: {}", why()));
    }
}

/// Writes the row's new state and the log's record.
fn finish(
    worker: &Worker,
    item: &Item,
    attempted: &Attempted,
    filled: Option<Filled<'_>>,
    next: Next,
) {
    let made = u8::from(attempted.outcome.is_some());
    let mut states = item.held.states.borrow_mut();
    if std::mem::take(&mut states.crashes) > 0 {
        worker.note_harmless();
    }
    let Some(row) = states.rows.get_mut(usize::from(item.row)) else { return };
    match next {
        Next::Delivered => row.state = State::Delivered,
        Next::Retry(wait) => row.state = State::Waiting(wait.as_millis() as u64),
        Next::Dead(cause) => row.die(cause, worker.now_ms()),
    }
    row.attempts = row.attempts.saturating_add(made);
    row.status = attempted.status().unwrap_or(if made == 0 { row.status } else { 0 });
    let attempts = row.attempts;
    drop(states);
    worker.count(&item.held, attempted.outcome.as_ref(), next);
    worker.record(record(item, attempted, filled, attempts, next, worker.now_ms()));
    if let (Next::Delivered, true) = (next, attempted.outcome.is_some()) {
        let waited = worker.now_ms().saturating_sub(item.held.stored_at_ms);
        worker.process.metrics.delivered_after(Duration::from_millis(waited));
    }
}

fn attempts_before(item: &Item) -> u8 {
    item.held.states.borrow().rows.get(usize::from(item.row)).map_or(0, |row| row.attempts)
}

/// How long a row may still be sent; `now_ms` is Redis's time. Counts from its storing, or from its replay.
pub(crate) fn time_left(worker: &Worker, held: &Held, row: u16, now_ms: u64) -> Duration {
    let states = held.states.borrow();
    let replayed_ms = states.rows.get(usize::from(row)).map_or(0, |row| row.since_ms);
    let expires_in = held.batch.policy.expires_in_ms;
    let expires_in = expires_in.map_or(worker.process.config.expires_in, Duration::from_millis);
    let from_ms = held.stored_at_ms.max(replayed_ms);
    let ends_ms = from_ms.saturating_add(expires_in.as_millis() as u64);
    Duration::from_millis(ends_ms.saturating_sub(now_ms))
}

/// The same for all rows of a batch at the same attempt: they come due together, and the batch is fetched once.
fn jitter(item: &Item, attempts: u32) -> f64 {
    let seed = item.held.id.as_str().bytes().fold(u64::from(attempts), |n, byte| {
        (n ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3) // FNV-1a's prime
    });
    fastrand::Rng::with_seed(seed).f64() * 2.0 - 1.0
}
