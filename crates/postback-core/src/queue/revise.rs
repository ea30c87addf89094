//! What an operator changes: replay, drop, cancel; pause and resume.
//!
//! Each reads a batch's states, makes the new ones here, and has them stored only if nobody changed them
//! meanwhile and no worker holds the batch.

use super::{QueueError, RowState, RowStates, SCRIPTS, Shard, State};
use crate::{attempt::Cause, id::BatchId};

/// What to do with rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    /// Dead rows are pending again, as if never tried.
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

impl Revision {
    fn of(self, row: RowState) -> Option<RowState> {
        match (self, row.state) {
            (Revision::Replay, State::Dead(_)) => Some(RowState::NEW),
            (Revision::Drop, State::Dead(_)) => Some(RowState { state: State::Dropped, ..row }),
            (Revision::Cancel, State::Pending(_)) => {
                Some(RowState { state: State::Dead(Cause::Cancelled), ..row })
            }
            _ => None,
        }
    }
}

impl Shard {
    /// Stops every worker of this shard from taking rows; `text` says who, when and why.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn pause(&self, text: &str) -> Result<(), QueueError> {
        Ok(self.link.run(redis::cmd("SET").arg(self.key("paused")).arg(text)).await?)
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

    /// Revises those rows of a batch that `chosen` (by row number and state) accepts.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn revise(
        &self,
        id: BatchId,
        revision: Revision,
        chosen: impl Fn(u16, &RowState) -> bool,
    ) -> Result<Revised, QueueError> {
        let Some(batch) = self.batch(id).await? else { return Ok(Revised::Gone) };
        let raw: Option<Vec<u8>> =
            self.link.run(redis::cmd("GET").arg(self.key(&format!("rows:{id}")))).await?;
        let was = raw.unwrap_or_default();
        let mut states =
            RowStates::decode(&was, batch.rows).unwrap_or_else(|| RowStates::new(batch.rows));
        let mut changed = 0;
        for (number, row) in (0..).zip(states.rows.iter_mut()) {
            if let Some(new) = revision.of(*row).filter(|_| chosen(number, row)) {
                *row = new;
                changed += 1;
            }
        }
        if changed == 0 {
            return Ok(Revised::Done(0));
        }
        states.crashes = 0;
        let answer: Vec<String> = self
            .script(&SCRIPTS.revise, |c| {
                c.arg(id.as_str()).arg(batch.rows).arg(was).arg(states.encode());
            })
            .await?;
        Ok(match answer.first().map(String::as_str) {
            Some("ok") => Revised::Done(changed),
            Some("gone") => Revised::Gone,
            _ => Revised::Busy,
        })
    }
}
