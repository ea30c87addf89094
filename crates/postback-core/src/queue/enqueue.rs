//! What ingest does: store a request's batches, all or none, and under an `Idempotency-Key` once.

use std::time::Duration;

use redis::Value;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{Queue, QueueError, Reply, Room, SCRIPTS};
use crate::{
    batch::EncodedBatch,
    id::{BatchId, LaneId},
    redis::RedisFailure,
};

/// The first byte of a kept answer.
const KEPT_VERSION: u8 = 1;
/// Version and body hash, which the script compares.
const KEPT_HEAD: usize = 33;

/// Why rows were not stored.
#[derive(Debug, Clone, Error)]
pub enum EnqueueError {
    /// Nothing was stored.
    #[error("{0}")]
    NotEnqueued(String),
    /// Whether it was stored is not known.
    #[error("{0}")]
    Unknown(String),
}

impl From<QueueError> for EnqueueError {
    fn from(error: QueueError) -> EnqueueError {
        if error.is_unknown() {
            EnqueueError::Unknown(error.to_string())
        } else {
            EnqueueError::NotEnqueued(error.to_string())
        }
    }
}

impl QueueError {
    /// Of an [`Queue::enqueue`]: rows may have been stored nevertheless.
    pub fn is_unknown(&self) -> bool {
        // An answer that is not understood came from a script that has run: a newer version may have kept it for the key.
        matches!(
            self,
            QueueError::Redis(RedisFailure::Lost(_) | RedisFailure::Failed(_))
                | QueueError::Answer(_)
        )
    }
}

/// A request's rows on their way into the queue.
#[derive(Debug, Clone, Copy)]
pub struct Enqueue<'a> {
    /// The lane, from the endpoint's origin and the policy's label.
    pub lane: LaneId,
    /// The lane's name for people ([`crate::id::lane_name`]).
    pub name: &'a str,
    /// Wait before the first attempt.
    pub delay: Duration,
    /// The batches, in row order.
    pub batches: &'a [EncodedBatch],
    /// Most bytes in Redis, over all shards; 0: no bound.
    pub max_backlog: u64,
}

/// Where rows were put: `rows` postbacks from `<id>-<first>` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    /// The batch.
    pub id: BatchId,
    /// The first row's number in the batch.
    pub first: u32,
    /// How many rows.
    pub rows: u16,
}

/// What makes a repeated request the same: it is stored once, and its answer kept. Keys of one lane's shard do not
/// meet those of another's.
#[derive(Debug, Clone)]
pub struct Once {
    key: [u8; 16],
    body: [u8; 32],
    /// What is to be told again, beside the batches.
    pub note: Vec<u8>,
    /// How long the answer is kept.
    pub ttl: Duration,
}

impl Once {
    /// `key` as the client chose it, and whose it is: the same key from another caller is another key. `body` as the
    /// client meant it, any coding undone.
    pub fn new(key: &[u8], caller: &[u8], body: &[u8], note: Vec<u8>, ttl: Duration) -> Once {
        // The caller's length keeps (`ab`, `c`) and (`a`, `bc`) apart.
        let caller_length = (caller.len() as u64).to_be_bytes();
        let hash = Sha256::new().chain_update(caller_length).chain_update(caller).chain_update(key);
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finalize()[..16]);
        Once { key, body: Sha256::digest(body).into(), note, ttl }
    }
}

/// What became of a request that is stored once.
#[derive(Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was stored now.
    Now(Vec<Enqueued>),
    /// It had been stored before: where, and its [`Once::note`].
    Before(Vec<Enqueued>, Vec<u8>),
}

/// What is kept of an answer, behind version and body hash.
#[derive(Serialize, Deserialize)]
struct Kept {
    batches: Vec<(BatchId, u16)>,
    note: Vec<u8>,
}

impl Queue {
    /// Stores a request's batches, all or none.
    ///
    /// # Errors
    /// See [`EnqueueError`].
    pub async fn enqueue(&self, request: Enqueue<'_>) -> Result<Vec<Enqueued>, EnqueueError> {
        Ok(self.store(&request).await?)
    }

    /// As [`Queue::enqueue`], with the failure as it is.
    ///
    /// # Errors
    /// Where [`QueueError::is_unknown`], it may be stored; otherwise nothing is.
    pub async fn store(&self, request: &Enqueue<'_>) -> Result<Vec<Enqueued>, QueueError> {
        match self.store_once(request, None).await? {
            Stored::Now(batches) | Stored::Before(batches, _) => Ok(batches),
        }
    }

    /// As [`Queue::store`], unless a request with the same key has been stored; then that one's answer, or
    /// [`QueueError::OtherBody`]. One script call: no crash can part the rows from the key.
    ///
    /// # Errors
    /// As [`Queue::store`].
    pub async fn store_once(
        &self,
        request: &Enqueue<'_>,
        once: Option<&Once>,
    ) -> Result<Stored, QueueError> {
        let shard = self.shard_of(request.lane);
        let most = request.max_backlog.div_ceil(self.shards.len() as u64);
        let ids: Vec<BatchId> =
            request.batches.iter().map(|_| BatchId::new(request.lane, fastrand::u64(..))).collect();
        let rows = request.batches.iter().map(|batch| batch.rows);
        let batches: Vec<(BatchId, u16)> = ids.into_iter().zip(rows).collect();
        let reply: Reply = shard
            .script(&SCRIPTS.enqueue, |c| {
                c.arg(request.lane.as_str()).arg(request.name);
                c.arg(request.delay.as_millis() as u64).arg(most);
                match once {
                    None => c.arg("").arg("").arg(0),
                    Some(once) => c
                        .arg(hex(&once.key))
                        .arg(keep(once, &batches))
                        .arg(once.ttl.as_millis() as u64),
                };
                for ((id, rows), batch) in batches.iter().zip(request.batches) {
                    c.arg(id.as_str()).arg(rows).arg(&batch.bytes[..]);
                }
            })
            .await?;
        match reply.status.as_str() {
            "ok" => Ok(Stored::Now(placed(batches))),
            "before" => kept(&reply.rest).ok_or_else(|| {
                QueueError::Answer("an answer kept for a key that cannot be read".into())
            }),
            "other" => Err(QueueError::OtherBody),
            "full" => Err(QueueError::Full(Room::read(&reply.rest))),
            other => Err(QueueError::Answer(format!("`{other}` to an enqueue"))),
        }
    }
}

fn placed(batches: Vec<(BatchId, u16)>) -> Vec<Enqueued> {
    batches.into_iter().map(|(id, rows)| Enqueued { id, first: 0, rows }).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn keep(once: &Once, batches: &[(BatchId, u16)]) -> Vec<u8> {
    let mut kept = vec![KEPT_VERSION];
    kept.extend_from_slice(&once.body);
    let rest = Kept { batches: batches.to_vec(), note: once.note.clone() };
    // Plain data in memory: postcard has no way to fail on these types.
    kept.extend(postcard::to_allocvec(&rest).unwrap_or_default());
    kept
}

fn kept(reply: &[Value]) -> Option<Stored> {
    let Value::BulkString(bytes) = reply.first()? else { return None };
    let (head, rest) = bytes.split_at_checked(KEPT_HEAD)?;
    let Kept { batches, note } = postcard::from_bytes(rest).ok()?;
    (head[0] == KEPT_VERSION).then(|| Stored::Before(placed(batches), note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_its_caller() {
        let key = |key: &str, caller: &str| {
            Once::new(key.as_bytes(), caller.as_bytes(), b"", vec![], Duration::ZERO).key
        };
        assert_eq!(key("a", "b"), key("a", "b"));
        assert_ne!(key("a", "b"), key("a", "c"));
        assert_ne!(key("bc", "a"), key("c", "ab"));
    }
}
