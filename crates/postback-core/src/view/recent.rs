//! Postbacks by the log, each at its latest attempt: pages of what was tried, the latest first.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Postback, Standing, find::over, time_text};
use crate::{
    attempt::Cause,
    endpoint::Method,
    id::{BatchId, PostbackId},
    queue::{
        BatchState, Budget, Logged, Place, Queue, QueueError, Record, Recorded, RowState, Scan,
        State,
    },
};

/// So many records are held against their rows' states at a time.
const PIECE: usize = 256;
/// So long is looked up the log whether what died further down was delivered since.
const LOOK_UP: Duration = Duration::from_millis(150);

/// Which postbacks; all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Where they stand.
    pub state: Option<Standing>,
    /// Any of these hosts, each `host:port`.
    pub hosts: Option<Vec<String>>,
    /// The last attempt's HTTP status, from and to (both included); 0: there was no answer.
    pub status: Option<(u16, u16)>,
    /// What they died of.
    pub cause: Option<Cause>,
    /// The method.
    pub method: Option<Method>,
}

/// A postback in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// What is known of it; of its attempts only the latest.
    pub postback: Postback,
    /// How many attempts were made.
    pub attempts: u8,
    /// When it last changed as far as the list knows: when the latest attempt was settled, or else when it was accepted;
    /// milliseconds since 1970, Redis's time.
    pub at_ms: u64,
}

/// A page of a list.
#[derive(Debug, Default)]
pub struct Recent {
    /// The postbacks, the latest first.
    pub listed: Vec<Listed>,
    /// Where to go on; `None`: that was all.
    pub next: Option<Place>,
    /// How far back was looked, milliseconds since 1970, Redis's time.
    pub back_to_ms: Option<u64>,
    /// Whether the page ended because its budget was spent.
    pub is_cut_short: bool,
}

impl Wanted {
    /// What a record alone tells. One of a row to be tried again may be the last word on it only while it is pending.
    fn accepts(&self, record: &Record) -> bool {
        let state = match (self.state, record.then) {
            (Some(Standing::Delivered), then) => then == Recorded::Delivered,
            (Some(Standing::Dead), then) => matches!(then, Recorded::Dead(_)),
            _ => true,
        };
        let cause = self.cause.is_none_or(|asked| record.then == Recorded::Dead(asked));
        state
            && cause
            && self.hosts.as_ref().is_none_or(|hosts| hosts.contains(&record.host))
            && self.accepts_status(record.status)
            && self.method.is_none_or(|asked| asked == record.method)
    }

    pub(super) fn accepts_status(&self, status: u16) -> bool {
        self.status.is_none_or(|(from, to)| (from..=to).contains(&status))
    }
}

impl Queue {
    /// A page of the postbacks that the log tells of. A postback is on it once, at its latest attempt, and with the
    /// state that it has now. What was cancelled is told as long as it is stored, and only at its last attempt.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn recent(&self, wanted: &Wanted, scan: &Scan) -> Result<Recent, QueueError> {
        let deadline = Instant::now().checked_add(scan.budget.time);
        let seen: Arc<Mutex<HashSet<String>>> = Arc::default();
        let (mut recent, mut records) = (Recent::default(), scan.budget.records);
        recent.next = scan.before;
        loop {
            let left = scan.most.saturating_sub(recent.listed.len());
            let time = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let budget = Budget { records, time: time.unwrap_or(scan.budget.time) };
            let text = wanted.hosts.as_ref().and_then(|hosts| match &hosts[..] {
                [host] => Some(host.clone()),
                _ => None,
            });
            let part =
                Scan { before: recent.next, most: left.min(PIECE), budget, text, ..scan.clone() };
            let page = self.scan(&part, take(wanted.clone(), seen.clone())).await?;
            recent.back_to_ms = page.back_to_ms.or(recent.back_to_ms);
            recent.next = page.next;
            recent.is_cut_short = page.is_cut_short(&part);
            records = records.saturating_sub(page.looked_at);
            // Below the top the log may have a later word on a postback than what this page has seen.
            let is_top = scan.before.is_none() && scan.until_ms.is_none();
            let listed = self.latest(page.found, is_top).await?;
            recent.listed.extend(listed.into_iter().filter(|listed| {
                wanted.state.is_none_or(|state| state == listed.postback.state)
                    && wanted.cause.is_none_or(|cause| Some(cause) == listed.postback.cause)
            }));
            if recent.next.is_none() || recent.is_cut_short || recent.listed.len() >= scan.most {
                return Ok(recent);
            }
        }
    }

    /// Of records, each the latest of its postback that the page has seen, those that are the latest of all, with the
    /// states that the rows have now.
    async fn latest(&self, records: Vec<Logged>, is_top: bool) -> Result<Vec<Listed>, QueueError> {
        let rows = self.rows_of(&records).await?;
        let retried = |logged: &Logged| matches!(logged.record.then, Recorded::Retry(_));
        let died = |logged: &Logged| matches!(logged.record.then, Recorded::Dead(_));
        // What was to be tried again has ended since: at the top after the page was read, further down before. What died
        // was dropped, or replayed and delivered.
        let is_gone = |(logged, row): &(&Logged, &Option<_>)| {
            row.is_none() && if is_top { retried(logged) } else { died(logged) }
        };
        let gone: Vec<&Logged> =
            records.iter().zip(&rows).filter(is_gone).map(|(logged, _)| logged).collect();
        let mut ended = self.ended(&gone, is_top).await?;
        let mut latest = Vec::with_capacity(records.len());
        for (mut logged, row) in records.into_iter().zip(rows) {
            match row {
                Some((row, _)) if row.attempts > logged.record.attempt => continue,
                Some((row, _)) if !is_top && is_outdated(&logged, &row) => continue,
                None if retried(&logged) => {
                    let Some(last) = ended.remove(&logged.record.id) else { continue };
                    logged = last;
                }
                None if !is_top => {
                    let last = ended.get(&logged.record.id);
                    if last.is_some_and(|last| last.record.at_ms > logged.record.at_ms) {
                        continue;
                    }
                }
                _ => {}
            }
            let Some(mut postback) = over(std::slice::from_ref(&logged.record)) else { continue };
            if let Some((row, due_ms)) = row {
                stand(&mut postback, &row, due_ms);
            }
            let (attempts, at_ms) = (logged.record.attempt, logged.settled_ms);
            latest.push(Listed { postback, attempts, at_ms });
        }
        Ok(latest)
    }

    /// The last word of the log on postbacks that are not stored any more: it may have come after the page was read. From
    /// further down it may be far: as far as a bounded look goes.
    async fn ended(
        &self,
        gone: &[&Logged],
        is_top: bool,
    ) -> Result<HashMap<String, Logged>, QueueError> {
        let Some(since_ms) = gone.iter().map(|logged| logged.settled_ms).min() else {
            return Ok(HashMap::new());
        };
        let asked: HashSet<String> = gone.iter().map(|logged| logged.record.id.clone()).collect();
        let time = if is_top { Duration::MAX } else { LOOK_UP };
        let budget = Budget { time, ..Budget::NONE };
        let scan = Scan { since_ms: Some(since_ms), most: usize::MAX, budget, ..Scan::default() };
        let page =
            self.scan(&scan, move |logged| asked.contains(&logged.record.id).then_some(logged));
        let mut ended = HashMap::new();
        for logged in page.await?.found {
            ended.entry(logged.record.id.clone()).or_insert(logged);
        }
        Ok(ended)
    }

    /// How the records' rows stand now, and when they are due.
    async fn rows_of(
        &self,
        records: &[Logged],
    ) -> Result<Vec<Option<(RowState, Option<u64>)>>, QueueError> {
        let ids: Vec<Option<PostbackId>> =
            records.iter().map(|logged| logged.record.id.parse().ok()).collect();
        // What is delivered stays so, and nothing is stored of most.
        let asked = records.iter().zip(&ids);
        let asked = asked.filter(|(logged, _)| logged.record.then != Recorded::Delivered);
        let batches: HashSet<BatchId> =
            asked.filter_map(|(_, id)| Some(id.as_ref()?.batch)).collect();
        let mut states: HashMap<BatchId, BatchState> = HashMap::new();
        for shard in self.shards() {
            let own = |id: &&BatchId| std::ptr::eq(self.shard_of(id.lane()), shard);
            let own: Vec<BatchId> = batches.iter().filter(own).copied().collect();
            states.extend(shard.batch_states(&own).await?);
        }
        let row = |id: &Option<PostbackId>| {
            let id = id.as_ref()?;
            let batch = states.get(&id.batch)?;
            let row = batch.states.as_ref()?.rows.get(usize::from(id.row))?;
            Some((*row, batch.due_ms))
        };
        Ok(ids.iter().map(row).collect())
    }
}

/// Whether a row was replayed and tried after a record: then the log has a later one of it. `since_ms` is when it was
/// replayed, or in whole seconds when it died; of deaths without an attempt by a worker the log does not tell.
fn is_outdated(logged: &Logged, row: &RowState) -> bool {
    match row.state {
        State::Delivered => logged.record.then != Recorded::Delivered,
        State::Pending(_) | State::Waiting(_) => {
            row.attempts > 0 && row.since_ms > logged.settled_ms
        }
        State::Dead(Cause::Cancelled | Cause::WorkerCrash | Cause::Undecodable) => false,
        State::Dead(_) => row.since_ms > logged.settled_ms,
        State::Dropped => false,
    }
}

/// Takes what is wanted of what was not seen before.
fn take(
    wanted: Wanted,
    seen: Arc<Mutex<HashSet<String>>>,
) -> impl FnMut(Logged) -> Option<Logged> + Send + 'static {
    move |logged| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = seen.insert(logged.record.id.clone());
        (is_new && wanted.accepts(&logged.record)).then_some(logged)
    }
}

/// The row's state as it is now.
fn stand(postback: &mut Postback, row: &RowState, due_ms: Option<u64>) {
    let (state, cause, due) = match row.state {
        State::Pending(at) => (Standing::Pending, None, Some(at).filter(|at| *at > 0).or(due_ms)),
        State::Waiting(_) => (Standing::Pending, None, None),
        State::Delivered => (Standing::Delivered, None, None),
        State::Dead(cause) => (Standing::Dead, Some(cause), None),
        State::Dropped => (Standing::Dead, postback.cause, None),
    };
    (postback.state, postback.cause, postback.due_at) = (state, cause, due.map(time_text));
}
