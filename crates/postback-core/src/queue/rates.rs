//! What came and went in the last whole minute, from the per-minute counters.

use super::{QueueError, Shard};

const MINUTE_MS: u64 = 60_000;

/// Rows of one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastMinute {
    /// Stored.
    pub accepted: u64,
    /// Delivered.
    pub delivered: u64,
    /// Become dead.
    pub dead: u64,
}

impl Shard {
    /// The counters of the minute before the one that runs at `now_ms` (by [`Shard::now_ms`]).
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn last_minute(&self, now_ms: u64) -> Result<LastMinute, QueueError> {
        let key = self.key(&format!("minute:{}", (now_ms / MINUTE_MS).saturating_sub(1)));
        let mut ask = redis::cmd("HMGET");
        ask.arg(key).arg("accepted").arg("delivered").arg("dead");
        let [accepted, delivered, dead]: [Option<u64>; 3] = self.link.run(&ask).await?;
        let count = Option::unwrap_or_default;
        Ok(LastMinute { accepted: count(accepted), delivered: count(delivered), dead: count(dead) })
    }
}
