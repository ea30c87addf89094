//! What an operator changes of rows: replay, drop, cancel; the bound of the dead letters; pause and resume.
//!
//! A revision reads batches' states, makes the new ones here, and has them stored only if nobody changed them
//! meanwhile and no worker holds the batch.

use std::time::Duration;

use redis::FromRedisValue;

use super::{Placed, QueueError, Reply, RowState, RowStates, SCRIPTS, Shard, State, StoredBatch};
use crate::attempt::Cause;

/// What to do with rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    /// Dead rows are pending again, as if never tried; their `expires_in` counts from now.
    Replay,
    /// Dead rows are removed.
    Drop,
    /// Pending rows are dead, cause `cancelled`.
    Cancel,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revised {
    /// So many rows were changed.
    Done(usize),
    /// A worker holds the batch, or changed it meanwhile: try again later.
    Busy,
    /// There is no such batch any more.
    Gone,
}

/// What the bound of the dead letters took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trimmed {
    /// Rows dropped.
    pub rows: u64,
    /// Whether there may be more to drop.
    pub more: bool,
}

/// Batches that one call of `trim` looks at at most.
const TRIM: u64 = 50;

impl Revision {
    /// Whether rows in this state are what it changes.
    pub fn concerns(self, row: &RowState) -> bool {
        match self {
            Revision::Replay | Revision::Drop => matches!(row.state, State::Dead(_)),
            Revision::Cancel => row.is_pending(),
        }
    }

    fn revise(self, row: &mut RowState, now_ms: u64) {
        match self {
            Revision::Replay => *row = RowState { since_ms: now_ms, ..RowState::NEW },
            Revision::Drop => row.state = State::Dropped,
            Revision::Cancel => row.die(Cause::Cancelled, now_ms),
        }
    }
}

impl Shard {
    /// Stops every worker of this shard from taking rows; `text` says who, when and why.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn pause(&self, text: &str) -> Result<(), QueueError> {
        let _: String = self
            .script(&SCRIPTS.pause, |c| {
                c.arg(text);
            })
            .await?;
        Ok(())
    }

    /// Lets the workers go on.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn resume(&self) -> Result<(), QueueError> {
        let mut go = redis::pipe();
        go.cmd("DEL").arg(self.key("paused")).ignore();
        go.cmd("PUBLISH").arg(self.key("wake")).arg("").ignore();
        Ok(self.link.run_all(&go).await?)
    }

    /// Revises those rows of some batches that `choose` names, as far as the revision concerns them. Answers for each
    /// batch, in order.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn revise(
        &self,
        batches: &[Placed],
        revision: Revision,
        mut choose: impl FnMut(&StoredBatch) -> Vec<u16>,
    ) -> Result<Vec<Revised>, QueueError> {
        let ids: Vec<_> = batches.iter().map(|batch| batch.id).collect();
        let now_ms = self.now_ms().await?;
        let mut stored = self.batches(&ids).await?.into_iter().peekable();
        let mut revised = vec![Revised::Gone; batches.len()];
        let mut asked = Vec::new();
        let mut command = Vec::new();
        for (n, batch) in batches.iter().enumerate() {
            let Some((found, was)) = stored.next_if(|(found, _)| found.id == batch.id) else {
                continue;
            };
            let rows = choose(&found);
            let (states, changed) = new_states(&found, revision, &rows, now_ms);
            revised[n] = Revised::Done(changed);
            if changed > 0 {
                asked.push(n);
                command.push((batch, found.rows, was, states.encode()));
            }
        }
        if asked.is_empty() {
            return Ok(revised);
        }
        let answers: Vec<String> = self
            .script(&SCRIPTS.revise, |c| {
                for (batch, rows, was, states) in &command {
                    c.arg(batch.id.as_str()).arg(*rows).arg(if batch.from_tail { -1 } else { 1 });
                    c.arg(was).arg(states);
                }
            })
            .await?;
        for (n, answer) in asked.into_iter().zip(answers) {
            match answer.as_str() {
                "ok" => {}
                "gone" => revised[n] = Revised::Gone,
                _ => revised[n] = Revised::Busy,
            }
        }
        Ok(revised)
    }

    /// Drops the dead rows of the oldest of more than `most` batches, and rows that have been dead for longer than `age`:
    /// a bounded number of them. Entries of the delivery log and the failures' log that are older than 30 days go, too.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn trim_dead(&self, most: u64, age: Duration) -> Result<Trimmed, QueueError> {
        let reply: Reply = self
            .script(&SCRIPTS.trim, |c| {
                c.arg(most).arg(age.as_millis() as u64);
            })
            .await?;
        let mut numbers =
            reply.rest.into_iter().map(|n| u64::from_redis_value(n).map_err(super::work::bad));
        let mut number = || numbers.next().unwrap_or(Ok(0));
        Ok(Trimmed { rows: number()?, more: number()? >= TRIM })
    }
}

/// The states after a revision of these rows, and how many changed.
fn new_states(
    stored: &StoredBatch,
    revision: Revision,
    rows: &[u16],
    now_ms: u64,
) -> (RowStates, usize) {
    let mut states = stored.states.clone().unwrap_or_else(|| RowStates::new(stored.rows));
    let mut changed = 0;
    for row in rows {
        let row = states.rows.get_mut(usize::from(*row));
        if let Some(row) = row.filter(|row| revision.concerns(row)) {
            revision.revise(row, now_ms);
            changed += 1;
        }
    }
    if revision == Revision::Replay {
        states.crashes = 0;
    }
    (states, changed)
}
