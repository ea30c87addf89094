//! What pages look up of many batches at a time: which may hold a text, and how their rows stand.

use std::{collections::HashMap, sync::Arc};

use tokio::task::spawn_blocking;

use super::{QueueError, RowStates, Shard};
use crate::{batch::Batch, id::BatchId, needle::Needle, redis::RedisFailure};

/// Bytes of batches that are read at a time, about.
const PIECE: usize = 1024 * 1024;

/// What a step of a search brought.
#[derive(Debug)]
pub struct Searched {
    /// Where to go on; 0: that was all.
    pub next: u64,
    /// How many batches were looked at.
    pub looked_at: usize,
    /// Those that may hold the text.
    pub batches: Vec<BatchId>,
}

/// How the rows of a stored batch stand.
#[derive(Debug, Clone)]
pub struct BatchState {
    /// The rows' states; `None`: they cannot be read.
    pub states: Option<RowStates>,
    /// When the batch becomes due, milliseconds since 1970, Redis's time; `None`: it is ready, held or only dead.
    pub due_ms: Option<u64>,
}

impl Shard {
    /// Looks for a ref or a request id in some of the stored batches, from a cursor (0 at first) on.
    ///
    /// # Errors
    /// When Redis fails.
    pub(crate) async fn search_batches(
        &self,
        cursor: u64,
        needle: &Arc<Needle>,
    ) -> Result<Searched, QueueError> {
        let (next, ids) = self.scan_batches(cursor).await?;
        let mut searched = Searched { next, looked_at: ids.len(), batches: Vec::new() };
        if ids.is_empty() {
            return Ok(searched);
        }
        let mut ask = redis::pipe();
        for id in &ids {
            ask.cmd("STRLEN").arg(self.key(&format!("batch:{id}")));
        }
        let sizes: Vec<usize> = self.link.run_all(&ask).await?;
        let mut rest = &ids[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let sizes = &sizes[ids.len() - rest.len()..];
            let fit = sizes.iter().take_while(|size| {
                bytes += *size;
                bytes <= PIECE
            });
            let (piece, after) = rest.split_at(fit.count().max(1));
            rest = after;
            searched.batches.extend(self.sift(piece, needle).await?);
        }
        Ok(searched)
    }

    async fn sift(
        &self,
        ids: &[BatchId],
        needle: &Arc<Needle>,
    ) -> Result<Vec<BatchId>, QueueError> {
        let mut get = redis::pipe();
        for id in ids {
            get.cmd("GET").arg(self.key(&format!("batch:{id}")));
        }
        let stored: Vec<Option<Vec<u8>>> = self.link.run_all(&get).await?;
        let (ids, needle) = (ids.to_vec(), needle.clone());
        let sift = move || {
            let all = ids.into_iter().zip(stored);
            // Behind the time of storing.
            let may_have = |stored: Vec<u8>| {
                stored.get(8..).is_some_and(|bytes| Batch::may_have(bytes, &needle))
            };
            all.filter_map(|(id, stored)| may_have(stored?).then_some(id)).collect()
        };
        spawn_blocking(sift).await.map_err(|_| RedisFailure::Unanswered.into())
    }

    /// How the rows of batches stand; those that are gone are left out.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn batch_states(
        &self,
        ids: &[BatchId],
    ) -> Result<HashMap<BatchId, BatchState>, QueueError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let mut ask = redis::pipe();
        for id in ids {
            // Version and row count: see `batch.rs`.
            ask.cmd("GETRANGE").arg(self.key(&format!("batch:{id}"))).arg(8).arg(10);
            ask.cmd("GET").arg(self.key(&format!("rows:{id}")));
            ask.cmd("ZSCORE").arg(self.key("due")).arg(id.as_str());
        }
        type Answer = (Vec<u8>, Option<Vec<u8>>, Option<f64>);
        let answers: Vec<redis::Value> = self.link.run_all(&ask).await?;
        let mut found = HashMap::with_capacity(ids.len());
        for (id, answer) in ids.iter().zip(answers.chunks_exact(3)) {
            let whole = redis::Value::Array(answer.to_vec());
            let (head, states, due): Answer =
                redis::from_redis_value(whole).map_err(super::work::bad)?;
            let [_, r0, r1] = head[..] else { continue };
            let states = states.unwrap_or_default();
            let rows = u16::from_be_bytes([r0, r1]).max(1);
            let states = RowStates::decode(&states, rows);
            found.insert(*id, BatchState { states, due_ms: due.map(|ms| ms as u64) });
        }
        Ok(found)
    }
}
