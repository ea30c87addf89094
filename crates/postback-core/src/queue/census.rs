//! How many there are of what the queue consists of, for figures: a few cheap commands a shard.

use super::{QueueError, Shard};

/// What a shard holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Lanes that have ready batches, or a time before which they are not served.
    pub lanes: u64,
    /// Lanes that are parked, their breakers being open.
    pub parked: u64,
    /// Batches that wait for a time: a retry's, or a delay's end.
    pub due_batches: u64,
    /// Worker sessions whose lease runs.
    pub workers: u64,
    /// Batches that workers hold, those without a lease among them.
    pub held_batches: u64,
    /// The fleet is paused.
    pub is_paused: bool,
}

impl Shard {
    /// Counts, in a few exchanges for each 256 workers.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn census(&self) -> Result<Census, QueueError> {
        let mut ask = redis::pipe();
        ask.cmd("ZCARD").arg(self.key("lanes"));
        ask.cmd("HLEN").arg(self.key("breakers"));
        ask.cmd("ZCARD").arg(self.key("due"));
        ask.cmd("EXISTS").arg(self.key("paused"));
        let (lanes, parked, due_batches, is_paused) = self.link.run_all(&ask).await?;
        let now_ms = self.now_ms().await?;
        let workers = self.workers().await?;
        Ok(Census {
            lanes,
            parked,
            due_batches,
            workers: workers.iter().filter(|worker| worker.lease_ms > now_ms).count() as u64,
            held_batches: workers.iter().map(|worker| worker.held).sum(),
            is_paused,
        })
    }
}
