//! Where batches are: ready in a lane's list, due, held by a worker, or in the index of the dead.
//!
//! All of it is read in pages, none of which keeps Redis busy for long. Pages go from a place's tail: what workers take
//! away at its head meanwhile does not shift the others.

use std::collections::{BTreeSet, HashSet};

use super::{QueueError, Shard};
use crate::id::{BatchId, LaneId};

/// Ids read at a time.
const PAGE: isize = 1000;
/// How often all places are read at most.
const LOOKS: usize = 4;

/// An entry of the dead index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadBatch {
    /// The batch.
    pub id: BatchId,
    /// When its first row died, milliseconds since 1970, Redis's time.
    pub at_ms: u64,
}

/// A batch that no worker holds, and how to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The batch.
    pub id: BatchId,
    /// How many others of its lane's list were nearer to an end; 0 elsewhere.
    pub depth: usize,
    /// Whether that end is the tail.
    pub from_tail: bool,
}

/// All batches with pending rows.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Those that wait in Redis.
    pub placed: Vec<Placed>,
    /// Those that workers hold.
    pub held: Vec<BatchId>,
}

impl Shard {
    /// When a waiting batch becomes due; `None` when it is ready, held, or has no pending rows.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn due_ms(&self, id: BatchId) -> Result<Option<u64>, QueueError> {
        let score: Option<f64> =
            self.link.run(redis::cmd("ZSCORE").arg(self.key("due")).arg(id.as_str())).await?;
        Ok(score.map(|ms| ms as u64))
    }

    /// Batches with dead rows, the newest first, `skip` of them left out, at most 1,000.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn dead(&self, skip: usize) -> Result<Vec<DeadBatch>, QueueError> {
        let found = self.last_of_set("dead", skip).await?.into_iter();
        Ok(found.map(|(id, at_ms)| DeadBatch { id, at_ms }).collect())
    }

    /// Batches with dead rows in the order of [`Shard::dead`], from the batch with this time and id on (which comes again
    /// if it is still there), at most `most`, up to 1,000.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn dead_from(
        &self,
        from: Option<(u64, BatchId)>,
        most: usize,
    ) -> Result<Vec<DeadBatch>, QueueError> {
        let most = most.min(PAGE as usize);
        let (mut dead, mut skip) = (Vec::new(), 0);
        loop {
            let mut ask = redis::cmd("ZREVRANGEBYSCORE");
            let last = from.map_or("+inf".to_owned(), |(at_ms, _)| at_ms.to_string());
            ask.arg(self.key("dead")).arg(last).arg("-inf").arg("WITHSCORES");
            ask.arg("LIMIT").arg(skip).arg(PAGE);
            let found: Vec<(String, f64)> = self.link.run(&ask).await?;
            skip += found.len();
            let is_last = (found.len() as isize) < PAGE;
            for (id, at) in found {
                let (Ok(id), at_ms) = (id.parse(), at as u64) else { continue };
                // Those that died at the same time are in the order of their ids.
                if from.is_none_or(|from| (at_ms, id) <= from) {
                    dead.push(DeadBatch { id, at_ms });
                }
                if dead.len() == most {
                    return Ok(dead);
                }
            }
            if is_last {
                return Ok(dead);
            }
        }
    }

    /// Some of the stored batches: Redis's SCAN from a cursor (0 at first), until it comes back as 0.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn scan_batches(&self, cursor: u64) -> Result<(u64, Vec<BatchId>), QueueError> {
        let start = self.key("batch:");
        let mut ask = redis::cmd("SCAN");
        ask.arg(cursor).arg("MATCH").arg(format!("{start}*")).arg("COUNT").arg(PAGE);
        let (next, keys): (u64, Vec<String>) = self.link.run(&ask).await?;
        let ids = keys.iter().filter_map(|key| key.strip_prefix(&start)?.parse().ok());
        Ok((next, ids.collect()))
    }

    /// Lanes, those to be served first in front, at most `most`.
    pub(super) async fn lanes(&self, most: usize) -> Result<Vec<LaneId>, QueueError> {
        let mut ask = redis::cmd("ZRANGE");
        ask.arg(self.key("lanes")).arg(0).arg(most - 1);
        let found: Vec<String> = self.link.run(&ask).await?;
        Ok(found.into_iter().filter_map(|lane| lane.parse().ok()).collect())
    }

    /// Every batch with pending rows; those of a lane from both ends of its list inwards, so that each is near an end
    /// once the others are taken away. Looks until it finds no more, four times at most: batches move meanwhile.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn waiting(&self) -> Result<Waiting, QueueError> {
        let (mut placed, mut held) = (Vec::new(), BTreeSet::new());
        let mut known = HashSet::new();
        for _ in 0..LOOKS {
            let before = known.len();
            held.extend(self.all_held().await?);
            for batch in self.all_placed().await? {
                if known.insert(batch.id) {
                    placed.push(batch);
                }
            }
            held.extend(self.all_held().await?);
            known.extend(&held);
            if known.len() == before {
                break;
            }
        }
        placed.retain(|batch: &Placed| !held.contains(&batch.id));
        Ok(Waiting { placed, held: held.into_iter().collect() })
    }

    async fn all_placed(&self) -> Result<Vec<Placed>, QueueError> {
        let mut placed = Vec::new();
        loop {
            let page = self.last_of_set("due", placed.len()).await?;
            placed.extend(page.iter().map(|(id, _)| Placed {
                id: *id,
                depth: 0,
                from_tail: false,
            }));
            if (page.len() as isize) < PAGE {
                break;
            }
        }
        for lane in self.all_lanes().await? {
            self.ready(lane, &mut placed).await?;
        }
        Ok(placed)
    }

    /// Every lane in the order of service, in no order: pages by rank would miss those that are served meanwhile.
    async fn all_lanes(&self) -> Result<BTreeSet<LaneId>, QueueError> {
        let (mut lanes, mut cursor) = (BTreeSet::new(), 0u64);
        loop {
            let mut ask = redis::cmd("ZSCAN");
            ask.arg(self.key("lanes")).arg(cursor).arg("COUNT").arg(PAGE);
            let (next, page): (u64, Vec<(String, f64)>) = self.link.run(&ask).await?;
            lanes.extend(page.iter().filter_map(|(lane, _)| lane.parse::<LaneId>().ok()));
            cursor = next;
            if cursor == 0 {
                return Ok(lanes);
            }
        }
    }

    pub(super) async fn all_held(&self) -> Result<Vec<BatchId>, QueueError> {
        let mut held = Vec::new();
        for worker in self.workers().await? {
            let key = self.key(&format!("held:{}", worker.worker));
            let ids: Vec<String> = self.link.run(redis::cmd("SMEMBERS").arg(key)).await?;
            held.extend(ids.iter().filter_map(|id| id.parse::<BatchId>().ok()));
        }
        Ok(held)
    }

    /// Every batch of a lane that is ready.
    async fn ready(&self, lane: LaneId, into: &mut Vec<Placed>) -> Result<(), QueueError> {
        let key = self.key(&format!("lane:{lane}"));
        let length: usize = self.link.run(redis::cmd("LLEN").arg(&key)).await?;
        let (mut end, first) = (-1isize, into.len());
        loop {
            let mut ask = redis::cmd("LRANGE");
            ask.arg(&key).arg(end + 1 - PAGE).arg(end);
            let ids: Vec<String> = self.link.run(&ask).await?;
            let behind = (-1 - end) as usize;
            for (n, id) in ids.iter().rev().enumerate() {
                let Ok(id) = id.parse() else { continue };
                let behind = behind + n;
                let before = length.saturating_sub(behind + 1);
                into.push(Placed { id, depth: behind.min(before), from_tail: behind < before });
            }
            if (ids.len() as isize) < PAGE {
                break;
            }
            end -= PAGE;
        }
        into[first..].sort_by_key(|batch| batch.depth);
        Ok(())
    }

    /// A page of a set of batches with a time each, the latest first.
    async fn last_of_set(
        &self,
        name: &str,
        skip: usize,
    ) -> Result<Vec<(BatchId, u64)>, QueueError> {
        let mut ask = redis::cmd("ZREVRANGE");
        ask.arg(self.key(name)).arg(skip).arg(skip + PAGE as usize - 1).arg("WITHSCORES");
        let found: Vec<(String, f64)> = self.link.run(&ask).await?;
        Ok(found.into_iter().filter_map(|(id, at)| Some((id.parse().ok()?, at as u64))).collect())
    }
}
