//! Rows that wait, the latest accepted first: tried or not, as far as a bounded look goes.

use super::{Listed, Wanted, postbacks};
use crate::{
    batch::Batch,
    queue::{Queue, QueueError, RowState, Shard, StoredBatch},
};

/// Batches read at a time: 1 MiB of them, mostly.
const PAGE: usize = 16;
/// The most batches that are read.
const BATCHES: usize = 1000;

/// Rows that wait.
#[derive(Debug, Default)]
pub struct Pending {
    /// The rows, the latest accepted first; of one batch in their order.
    pub listed: Vec<Listed>,
    /// Whether there may be others.
    pub is_more: bool,
}

impl Queue {
    /// At most so many rows that wait, accepted in this time (from, before; milliseconds since 1970, Redis's time).
    /// Looks at the newest batches of each lane, at those due first, and at what workers hold.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn pending(
        &self,
        wanted: &Wanted,
        since_ms: Option<u64>,
        until_ms: Option<u64>,
        most: usize,
    ) -> Result<Pending, QueueError> {
        let mut pending = Pending::default();
        // What waits has not died of anything.
        if wanted.cause.is_some() {
            return Ok(pending);
        }
        let mut batches = Vec::new();
        for shard in self.shards() {
            let lanes = match &wanted.hosts {
                Some(hosts) => Some(shard.lanes_of(hosts).await?),
                None => None,
            };
            let newest = shard.newest_pending(lanes.as_ref()).await?;
            pending.is_more |= newest.is_more;
            batches.extend(newest.batches.into_iter().map(|(id, at_ms)| (at_ms, id, shard)));
        }
        batches.retain(|(at_ms, ..)| {
            since_ms.is_none_or(|since| *at_ms >= since)
                && until_ms.is_none_or(|until| *at_ms < until)
        });
        batches.sort_by_key(|(at_ms, id, _)| (u64::MAX - at_ms, *id));
        pending.is_more |= batches.len() > BATCHES;
        batches.truncate(BATCHES);
        for page in batches.chunks(PAGE) {
            if pending.listed.len() > most {
                break;
            }
            for shard in self.shards() {
                let own = page.iter().filter(|(.., of)| std::ptr::eq(*of, shard));
                let own: Vec<_> = own.map(|(_, id, _)| *id).collect();
                for (stored, _) in shard.batches(&own).await? {
                    rows(shard, &stored, wanted, &mut pending.listed).await?;
                }
            }
        }
        pending.listed.sort_by_key(|listed| u64::MAX - listed.at_ms);
        pending.is_more |= pending.listed.len() > most;
        pending.listed.truncate(most);
        Ok(pending)
    }
}

/// The rows of a batch that wait and are wanted.
async fn rows(
    shard: &Shard,
    stored: &StoredBatch,
    wanted: &Wanted,
    into: &mut Vec<Listed>,
) -> Result<(), QueueError> {
    let is_asked = |row: &RowState| row.is_pending() && wanted.accepts_status(row.status);
    if stored.states.as_ref().is_some_and(|states| states.count(is_asked) == 0) {
        return Ok(());
    }
    if let Some(method) = wanted.method
        && Batch::decode(&stored.bytes).is_ok_and(|b| b.endpoint.template().method != method)
    {
        return Ok(());
    }
    let due_ms = shard.due_ms(stored.id).await?;
    let rows = postbacks(stored, due_ms).into_iter().filter(|(postback, row)| {
        is_asked(row) && wanted.hosts.as_ref().is_none_or(|hosts| hosts.contains(&postback.host))
    });
    let at_ms = stored.stored_at_ms;
    into.extend(rows.map(|(postback, row)| Listed { postback, attempts: row.attempts, at_ms }));
    Ok(())
}
