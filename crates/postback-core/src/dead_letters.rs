//! The dead letters page by page, as people read them. They are chosen and revised by `select`.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    str::FromStr,
    time::Instant,
};

use crate::{
    id::{BatchId, IdError, PostbackId},
    queue::{DeadBatch, Queue, QueueError, Revision, StoredBatch},
    select::Filter,
    view::{Postback, postbacks},
};

/// Batches read at a time: 1 MiB of them, mostly.
const PAGE: usize = 16;
/// Ids of batches asked for at a time.
const IDS: usize = 200;

/// A row of the dead letters.
#[derive(Debug, Clone)]
pub struct DeadRow {
    /// The postback, without its attempts.
    pub postback: Postback,
    /// How many attempts were made; 255: that many or more.
    pub attempts: u8,
    /// The last attempt's HTTP status; 0: none.
    pub status: u16,
    /// When it died, milliseconds since 1970, Redis's time, in whole seconds.
    pub died_ms: u64,
}

/// Some of the dead letters, the latest batch first.
#[derive(Debug, Default)]
pub struct DeadPage {
    /// The rows.
    pub rows: Vec<DeadRow>,
    /// Where those after them begin; `None`: that was all.
    pub next: Option<DeadCursor>,
    /// How many batches were read for it.
    pub batches: usize,
}

/// A place in the dead letters, written `<time>.<postback id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadCursor {
    /// The batch's time in the index.
    at_ms: u64,
    /// The first row of it.
    row: PostbackId,
}

impl fmt::Display for DeadCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at_ms, self.row)
    }
}

impl FromStr for DeadCursor {
    type Err = IdError;

    fn from_str(text: &str) -> Result<DeadCursor, IdError> {
        let (at, row) = text.split_once('.').unwrap_or_default();
        Ok(DeadCursor { row: row.parse()?, at_ms: at.parse().unwrap_or_default() })
    }
}

/// The dead batches of all shards in one order, each with its shard's number.
struct Merged<'a> {
    queue: &'a Queue,
    /// What is known of each shard, and whether there may be more.
    shards: Vec<(VecDeque<DeadBatch>, bool)>,
}

impl Merged<'_> {
    async fn new(queue: &Queue, from: Option<(u64, BatchId)>) -> Result<Merged<'_>, QueueError> {
        let mut shards = Vec::new();
        for shard in queue.shards() {
            let found = shard.dead_from(from, IDS).await?;
            let is_more = found.len() == IDS;
            shards.push((found.into(), is_more));
        }
        Ok(Merged { queue, shards })
    }

    async fn next(&mut self) -> Result<Option<(usize, DeadBatch)>, QueueError> {
        let fronts = self.shards.iter().enumerate();
        let fronts = fronts.filter_map(|(n, (known, _))| Some((n, *known.front()?)));
        let Some((n, batch)) = fronts.max_by_key(|(_, batch)| (batch.at_ms, batch.id)) else {
            return Ok(None);
        };
        let (known, is_more) = &mut self.shards[n];
        known.pop_front();
        if known.is_empty() && *is_more {
            let from = Some((batch.at_ms, batch.id));
            let found = self.queue.shards()[n].dead_from(from, IDS).await?;
            *is_more = found.len() == IDS;
            known.extend(found.into_iter().filter(|found| found.id != batch.id));
        }
        Ok(Some((n, batch)))
    }

    /// The next batches.
    async fn page(&mut self) -> Result<Vec<(usize, DeadBatch)>, QueueError> {
        let mut page = Vec::with_capacity(PAGE);
        while page.len() < PAGE
            && let Some(batch) = self.next().await?
        {
            page.push(batch);
        }
        Ok(page)
    }
}

impl Queue {
    /// The dead rows that a filter accepts, from a place on, at most `most`. After `until` it ends with what it has found:
    /// a filter may accept few of very many.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn dead_page(
        &self,
        filter: &Filter,
        from: Option<DeadCursor>,
        most: usize,
        until: Instant,
    ) -> Result<DeadPage, QueueError> {
        let mut page = DeadPage::default();
        let mut merged = Merged::new(self, from.map(|from| (from.at_ms, from.row.batch))).await?;
        loop {
            let batches = merged.page().await?;
            if page.batches > 0
                && Instant::now() > until
                && let Some((_, batch)) = batches.first()
            {
                page.next = Some(DeadCursor { at_ms: batch.at_ms, row: batch.id.postback(0) });
                return Ok(page);
            }
            let mut stored = self.dead_batches(&batches).await?;
            for (_, batch) in &batches {
                let first = from.filter(|from| from.row.batch == batch.id);
                let first = first.map_or(0, |from| from.row.row);
                let Some(stored) = stored.remove(&batch.id) else { continue };
                for (row, dead) in dead_rows(&stored, filter, first) {
                    if page.rows.len() == most {
                        let row = batch.id.postback(row);
                        page.next = Some(DeadCursor { at_ms: batch.at_ms, row });
                        return Ok(page);
                    }
                    page.rows.push(dead);
                }
            }
            page.batches += batches.len();
            if batches.len() < PAGE {
                return Ok(page);
            }
        }
    }

    async fn dead_batches(
        &self,
        batches: &[(usize, DeadBatch)],
    ) -> Result<HashMap<BatchId, StoredBatch>, QueueError> {
        let mut found = HashMap::new();
        for (n, shard) in self.shards().iter().enumerate() {
            let here = batches.iter().filter(|(shard, _)| *shard == n);
            let ids: Vec<_> = here.map(|(_, batch)| batch.id).collect();
            let stored = shard.batches(&ids).await?;
            found.extend(stored.into_iter().map(|(stored, _)| (stored.id, stored)));
        }
        Ok(found)
    }
}

/// A batch's dead rows that the filter accepts, from this row on.
fn dead_rows(stored: &StoredBatch, filter: &Filter, first: u16) -> Vec<(u16, DeadRow)> {
    let asked = filter.rows(stored, Revision::Replay);
    if asked.last().is_none_or(|last| *last < first) {
        return Vec::new();
    }
    let all = (0..).zip(postbacks(stored, None));
    all.filter(|(row, _)| *row >= first && asked.binary_search(row).is_ok())
        .map(|(row, (postback, state))| {
            let (attempts, status, died_ms) = (state.attempts, state.status, state.since_ms);
            (row, DeadRow { postback, attempts, status, died_ms })
        })
        .collect()
}
