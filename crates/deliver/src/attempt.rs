//! One row's attempt: what is still to be sent is filled in and sent, what came of it is written down.

use std::{pin::Pin, rc::Rc, time::Duration};

use postback_core::{
    attempt::{Cause, Failure, MAX_RETRY_AFTER, Next, Outcome, Response, Verdict},
    endpoint::Filled,
    queue::{PARK, State},
    trace::traceparent,
};
use tokio::{sync::futures::Notified, time::Instant};

use crate::{
    lane::Lane,
    record::{self, Attempted, record},
    send::{Bounds, Connection, MAX_BODY, Prepared, Unsent, send},
    worker::{Held, Item, Worker},
};

/// Sends a row, unless its time is over, and hands on what became of it. `began`: now. `cut`: what tells of a request that
/// must be cut off; it serves one attempt after the other. Returns when it was over.
pub(crate) async fn run<'w>(
    worker: &'w Rc<Worker>,
    lane: &Rc<Lane>,
    item: Item,
    connection: &mut Option<Connection>,
    cut: Pin<&mut Notified<'w>>,
    began: Instant,
) -> Instant {
    // The lease may have ended, or the process begun to stop, since the row was handed out.
    if !worker.may_send_of(&item.held, began) {
        worker.close(&item, false);
        return began;
    }
    let attempt = Attempt {
        worker,
        lane,
        item: &item,
        id: item.held.id.postback(item.row).text(),
        began_ms: worker.ms_at(began),
    };
    let (was_made, ended) = attempt.make(connection, cut, began).await;
    worker.close(&item, was_made);
    ended
}

struct Attempt<'a> {
    worker: &'a Rc<Worker>,
    lane: &'a Rc<Lane>,
    item: &'a Item,
    /// The postback's id.
    id: String,
    /// Milliseconds since 1970, Redis's time.
    began_ms: u64,
}

impl Attempt<'_> {
    /// Tells whether there is something to report of the row, and when it was over.
    async fn make(
        &self,
        connection: &mut Option<Connection>,
        cut: Pin<&mut Notified<'_>>,
        began: Instant,
    ) -> (bool, Instant) {
        let dies = |filled, cause| self.finish(None, filled, Next::Dead(cause), self.began_ms);
        let filled = match fill(self.item) {
            Ok(filled) => filled,
            Err(why) => {
                log::error!("postback {}: {why}; it is dead, cause undecodable", self.id);
                dies(None, Cause::Undecodable);
                return (true, began);
            }
        };
        if self.time_left(self.began_ms).is_zero() {
            dies(Some(&filled), Cause::Expired);
            return (true, began);
        }
        let sent = self.send(&filled, connection, cut).await;
        let ended = Instant::now();
        let ended_ms = self.worker.ms_at(ended);
        let is_cut = sent.is_none();
        let outcome = match sent {
            Some(Ok(outcome)) => {
                steer(self.worker, self.lane, &self.item.held, &outcome);
                outcome
            }
            Some(Err(unsent)) => {
                if let Unsent::Shortage(why) = unsent {
                    self.worker.rest(&why);
                }
                return (false, ended);
            }
            None => cut_off(ended - began),
        };
        let next = self.judge(&outcome, is_cut, ended_ms);
        self.finish(Some(&outcome), Some(&filled), next, ended_ms);
        (true, ended)
    }

    /// `None`: it was cut off by the end of the drain or of the lease.
    async fn send(
        &self,
        filled: &Filled<'_>,
        connection: &mut Option<Connection>,
        mut cut: Pin<&mut Notified<'_>>,
    ) -> Option<Result<Outcome, Unsent>> {
        let (worker, item, began_ms) = (self.worker, self.item, self.began_ms);
        let batch = &item.held.batch;
        let (source, attempt) = (batch.source(item.row), attempts_before(item).saturating_add(1));
        let given = source.traceparent.as_deref();
        let traceparent = traceparent(given, &source.request_id, &self.id, attempt, began_ms);
        let (timestamp, body) = (began_ms / 1000, filled.body.as_deref());
        let request = Prepared {
            method: batch.endpoint.template().method,
            origin: &self.lane.origin,
            host: self.lane.host.clone(),
            target: &filled.target,
            headers: &filled.headers,
            body,
            id: &self.id,
            traceparent,
            timestamp,
            signature: worker.process.keys.sign(&self.id, timestamp, body.unwrap_or_default()),
        };
        let time = batch.policy.timeout_ms;
        let bounds = Bounds {
            time: time.map_or(worker.process.config.timeout, Duration::from_millis),
            kept: if batch.policy.success.has_body_rule() { MAX_BODY } else { record::BODY },
        };
        let may = |now| worker.may_write_of(&item.held, now);
        tokio::select! {
            biased;
            sent = send(connection, &worker.process.dialer, request, bounds, may) => return Some(sent),
            () = cut.as_mut() => {}
        }
        *connection = None;
        None
    }

    /// `is_cut`: it was we who cut it off, and no row dies of that. `now_ms` is Redis's time.
    fn judge(&self, outcome: &Outcome, is_cut: bool, now_ms: u64) -> Next {
        let policy = &self.item.held.batch.policy;
        let next = match outcome.verdict(&policy.success) {
            Verdict::Delivered => Next::Delivered,
            verdict => match self.after(verdict, now_ms) {
                Next::Dead(Cause::Reset) if is_cut => Next::Retry(Duration::ZERO),
                next => next,
            },
        };
        self.worker.process.metrics.observe(outcome, &policy.success, next);
        next
    }

    fn after(&self, verdict: Verdict, now_ms: u64) -> Next {
        let attempts = u32::from(attempts_before(self.item)) + 1;
        let given = self.item.held.batch.policy.retries_ms.as_ref();
        let given: Option<Vec<_>> =
            given.map(|all| all.iter().copied().map(Duration::from_millis).collect());
        let retries = given.as_ref().unwrap_or(&self.worker.process.config.retries.0);
        verdict.next(attempts, retries, jitter(self.item, attempts), self.time_left(now_ms))
    }

    /// Writes the row's new state and the log's record.
    fn finish(
        &self,
        outcome: Option<&Outcome>,
        filled: Option<&Filled<'_>>,
        next: Next,
        now_ms: u64,
    ) {
        let (worker, held) = (self.worker, &self.item.held);
        let Some(attempts) = self.note_state(outcome, next, now_ms) else { return };
        worker.count(held, outcome, next, now_ms);
        let attempted = Attempted {
            lane: self.lane,
            item: self.item,
            id: &self.id,
            filled,
            outcome,
            next,
            attempts,
            began_ms: self.began_ms,
            ended_ms: now_ms,
        };
        record(&attempted, |record| worker.record(record));
        if let (Next::Delivered, true) = (next, outcome.is_some()) {
            let waited = now_ms.saturating_sub(held.stored_at_ms);
            worker.process.metrics.delivered_after(Duration::from_millis(waited));
        }
    }

    /// Sets the row's state, and tells how many attempts were made.
    fn note_state(&self, outcome: Option<&Outcome>, next: Next, now_ms: u64) -> Option<u8> {
        let made = u8::from(outcome.is_some());
        let mut states = self.item.held.states.borrow_mut();
        if std::mem::take(&mut states.crashes) > 0 {
            self.worker.note_harmless();
        }
        let row = states.rows.get_mut(usize::from(self.item.row))?;
        match next {
            Next::Delivered => row.state = State::Delivered,
            Next::Retry(wait) => row.state = State::Waiting(wait.as_millis() as u64),
            Next::Dead(cause) => row.die(cause, now_ms),
        }
        row.attempts = row.attempts.saturating_add(made);
        let status = outcome.and_then(Outcome::status);
        row.status = status.unwrap_or(if made == 0 { row.status } else { 0 });
        Some(row.attempts)
    }

    fn time_left(&self, now_ms: u64) -> Duration {
        time_left(self.worker, &self.item.held, self.item.row, now_ms)
    }
}

fn fill(item: &Item) -> Result<Filled<'_>, String> {
    let batch = &item.held.batch;
    let row = batch.row(item.row).map_err(|error| error.to_string())?;
    batch.endpoint.fill(&row).map_err(|error| error.to_string())
}

/// What is written down for a request that was still open at the end of the drain or of the lease.
fn cut_off(response_time: Duration) -> Outcome {
    let why = "cut off by deliver's shutdown or the end of its lease".to_owned();
    Outcome { result: Err(Failure::Reset(why)), response_time }
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
