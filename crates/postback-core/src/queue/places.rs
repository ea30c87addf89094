//! Where batches are: ready in a lane's list, due, held by a worker, or in the index of the dead.
//!
//! All of it is read in pages, none of which keeps Redis busy for long. Pages go from a place's tail: what workers take
//! away at its head meanwhile does not shift the others.

use std::collections::{BTreeSet, HashSet};

use super::{QueueError, Shard};
use crate::id::{BatchId, LaneId};

/// Ids read at a time.
const PAGE: isize = 1000;

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

    /// Lanes, those to be served first in front, `skip` of them left out, at most `most`.
    pub(super) async fn lanes(&self, skip: usize, most: usize) -> Result<Vec<LaneId>, QueueError> {
        let mut ask = redis::cmd("ZRANGE");
        ask.arg(self.key("lanes")).arg(skip).arg(skip + most - 1);
        let found: Vec<String> = self.link.run(&ask).await?;
        Ok(found.into_iter().filter_map(|lane| lane.parse().ok()).collect())
    }

    /// Every batch with pending rows; those of a lane from both ends of its list inwards, so that each is near an end
    /// once the others are taken away. One that moves meanwhile may be missing.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn waiting(&self) -> Result<Waiting, QueueError> {
        let mut waiting = Waiting::default();
        // In the order in which batches move: from due into a list, from there to a worker.
        loop {
            let page = self.last_of_set("due", waiting.placed.len()).await?;
            waiting.placed.extend(page.iter().map(|(id, _)| Placed {
                id: *id,
                depth: 0,
                from_tail: false,
            }));
            if (page.len() as isize) < PAGE {
                break;
            }
        }
        let mut lanes = BTreeSet::new();
        loop {
            let page = self.lanes(lanes.len(), PAGE as usize).await?;
            let known = lanes.len();
            lanes.extend(page);
            if lanes.len() == known {
                break;
            }
        }
        for lane in lanes {
            self.ready(lane, &mut waiting.placed).await?;
        }
        for worker in self.workers().await? {
            let ask =
                redis::cmd("SMEMBERS").arg(self.key(&format!("held:{}", worker.worker))).to_owned();
            let ids: Vec<String> = self.link.run(&ask).await?;
            waiting.held.extend(ids.iter().filter_map(|id| id.parse::<BatchId>().ok()));
        }
        let held: HashSet<BatchId> = waiting.held.iter().copied().collect();
        let mut seen = HashSet::new();
        waiting.placed.retain(|batch| !held.contains(&batch.id) && seen.insert(batch.id));
        Ok(waiting)
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
