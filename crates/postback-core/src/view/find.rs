//! Postbacks looked for by id, request id or ref: in the log, and among what is stored.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Postback, Standing, attempt, from_log, postbacks};
use crate::{
    batch::Batch,
    id::PostbackId,
    needle::Needle,
    queue::{Budget, Queue, QueueError, Record, Recorded, Scan, Shard},
};

/// What a search may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// The most time in the log.
    pub log: Duration,
    /// The most time among the stored batches.
    pub stored: Duration,
    /// The most postbacks.
    pub most: usize,
}

impl Effort {
    /// Whatever it costs.
    pub const ALL: Effort = Effort { log: Duration::MAX, stored: Duration::MAX, most: usize::MAX };
}

/// What a search brought.
#[derive(Debug, Default)]
pub struct Found {
    /// The postbacks, the latest accepted first; of one request in the order of its rows.
    pub postbacks: Vec<Postback>,
    /// There are more than [`Effort::most`].
    pub is_more: bool,
    /// The log was not searched to its end but back to this time only, milliseconds since 1970, Redis's.
    pub log_back_to_ms: Option<u64>,
    /// Of the stored batches only so many were looked at.
    pub stored_looked_at: Option<usize>,
}

impl Queue {
    /// Everything known of one postback; `None`: it never was, or it is over and older than the log.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn postback(&self, id: PostbackId) -> Result<Option<Postback>, QueueError> {
        Ok(self.search_id(id, &Effort::ALL).await?.postbacks.pop())
    }

    /// Every postback with this ref, request id or id.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn find(&self, text: &str) -> Result<Vec<Postback>, QueueError> {
        Ok(self.search(text, &Effort::ALL).await?.postbacks)
    }

    /// The same as far as an effort goes.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn search(&self, text: &str, effort: &Effort) -> Result<Found, QueueError> {
        if let Ok(id) = text.parse() {
            return self.search_id(id, effort).await;
        }
        // What is stored first: a row that ends meanwhile is found in the log.
        let mut found = Found::default();
        let stored = self.search_stored(text, effort, &mut found).await?;
        let asked = text.to_owned();
        let is_asked =
            move |r: &Record| r.reference.as_deref() == Some(&asked) || r.request_id == asked;
        let scan = Scan { text: Some(text.to_owned()), ..scan_all(effort) };
        let mut logged = self.search_log(&scan, effort, is_asked, &mut found).await?;
        for (id, live) in stored {
            let records = logged.remove(&id.to_string()).unwrap_or_default();
            found.postbacks.extend(self.whole(id, Some(live), &records).await?);
        }
        found.postbacks.extend(logged.into_values().filter_map(|records| over(&records)));
        found.postbacks.sort_by_cached_key(place);
        found.is_more |= found.postbacks.len() > effort.most;
        found.postbacks.truncate(effort.most);
        Ok(found)
    }

    /// One postback, as [`Queue::search`].
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn search_id(&self, id: PostbackId, effort: &Effort) -> Result<Found, QueueError> {
        let mut found = Found::default();
        let live = stored_postback(self.shard_of(id.batch.lane()), id).await?;
        let text = id.to_string();
        let lane = Some(id.batch.lane());
        let scan = Scan { text: Some(text.clone()), lane, ..scan_all(effort) };
        let logged = self.search_log(&scan, effort, move |r| r.id == text, &mut found).await?;
        let records = logged.into_values().next().unwrap_or_default();
        found.postbacks.extend(self.whole(id, live, &records).await?);
        Ok(found)
    }

    /// The log's records that are asked for, by postback, each in order of time.
    async fn search_log(
        &self,
        scan: &Scan,
        effort: &Effort,
        is_asked: impl Fn(&Record) -> bool + Send + 'static,
        found: &mut Found,
    ) -> Result<BTreeMap<String, Vec<Record>>, QueueError> {
        let (mut ids, most) = (HashSet::new(), effort.most);
        let take = move |logged: crate::queue::Logged| {
            let record = Some(logged.record).filter(&is_asked)?;
            if ids.contains(&record.id) {
                return Some(Ok(record));
            }
            if ids.len() >= most {
                return Some(Err(()));
            }
            ids.insert(record.id.clone());
            Some(Ok(record))
        };
        let page = self.scan(scan, take).await?;
        found.log_back_to_ms = page.next.and(page.back_to_ms);
        let mut logged: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in page.found {
            match record {
                Ok(record) => logged.entry(record.id.clone()).or_default().push(record),
                Err(()) => found.is_more = true,
            }
        }
        for records in logged.values_mut() {
            records.reverse();
            // A worker that had lost its lease may have told late.
            records.sort_by_key(|record| record.at_ms);
        }
        Ok(logged)
    }

    /// The rows of stored batches that have this ref or request id.
    async fn search_stored(
        &self,
        text: &str,
        effort: &Effort,
        found: &mut Found,
    ) -> Result<BTreeMap<PostbackId, Postback>, QueueError> {
        let needle = Arc::new(Needle::new(text));
        let deadline = Instant::now().checked_add(effort.stored);
        let (mut rows, mut looked_at) = (BTreeMap::new(), 0);
        for shard in self.shards() {
            let mut cursor = 0;
            loop {
                let searched = shard.search_batches(cursor, &needle).await?;
                looked_at += searched.looked_at;
                for id in searched.batches {
                    rows.extend(stored_rows(shard, id, text).await?);
                    let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                    if is_late || rows.len() >= effort.most {
                        break;
                    }
                }
                cursor = searched.next;
                found.is_more |= rows.len() >= effort.most && cursor != 0;
                let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                if cursor != 0 && (is_late || found.is_more) {
                    found.stored_looked_at = Some(looked_at);
                    return Ok(rows);
                }
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(rows)
    }

    /// A postback of what was stored when it was looked for, and of the log as it was read after that.
    async fn whole(
        &self,
        id: PostbackId,
        mut live: Option<Postback>,
        records: &[Record],
    ) -> Result<Option<Postback>, QueueError> {
        if is_doubtful(live.as_ref(), records) {
            live = stored_postback(self.shard_of(id.batch.lane()), id).await?;
        }
        Ok(match live {
            // A row delivered while its siblings wait is told better by the log, which has its last word.
            Some(live) => {
                Some(Postback { attempts: records.iter().filter_map(attempt).collect(), ..live })
            }
            None => over(records),
        })
    }
}

fn scan_all(effort: &Effort) -> Scan {
    let budget = Budget { time: effort.log, ..Budget::NONE };
    Scan { most: usize::MAX, budget, ..Scan::default() }
}

/// The latest accepted first, rows of a batch in their order.
fn place(postback: &Postback) -> (std::cmp::Reverse<String>, Option<PostbackId>) {
    (std::cmp::Reverse(postback.accepted_at.clone()), postback.id.parse().ok())
}

/// What the log tells of a postback that is not stored any more. One that was to be tried again was cancelled, and then
/// dropped: the log hears of neither.
pub(super) fn over(records: &[Record]) -> Option<Postback> {
    let mut postback = from_log(records)?;
    if postback.state == Standing::Pending {
        (postback.state, postback.due_at) = (Standing::Dead, None);
    }
    Some(postback)
}

/// Whether a row that was pending may have ended while the log was read: then only another look can tell that from a
/// replay.
fn is_doubtful(live: Option<&Postback>, records: &[Record]) -> bool {
    live.is_some_and(|live| live.state == Standing::Pending)
        && records.last().is_some_and(|last| !matches!(last.then, Recorded::Retry(_)))
}

async fn stored_postback(shard: &Shard, id: PostbackId) -> Result<Option<Postback>, QueueError> {
    let Some(stored) = shard.batch(id.batch).await? else { return Ok(None) };
    let due = shard.due_ms(id.batch).await?;
    let mut rows = postbacks(&stored, due).into_iter();
    Ok(rows.nth(usize::from(id.row)).map(|(postback, _)| postback))
}

/// The rows of a stored batch that have this ref or request id.
async fn stored_rows(
    shard: &Shard,
    id: crate::id::BatchId,
    text: &str,
) -> Result<Vec<(PostbackId, Postback)>, QueueError> {
    let Some(stored) = shard.batch(id).await? else { return Ok(Vec::new()) };
    let rows = Batch::decode(&stored.bytes).map_or_else(|_| vec![], |batch| batch.rows_with(text));
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let due = shard.due_ms(id).await?;
    let all = (0..).zip(postbacks(&stored, due));
    let asked = all.filter(|(row, _)| rows.contains(row));
    Ok(asked.map(|(row, (postback, _))| (id.postback(row), postback)).collect())
}
