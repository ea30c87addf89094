//! Wake-ups: told by the scripts that let a lane be served which was not waiting.

use futures_util::StreamExt;

use super::{Queue, QueueError};
use crate::redis::RedisFailure;

/// Tells when rows come into an empty queue.
pub struct Wakeups(redis::aio::PubSub);

impl Queue {
    /// Listens for wake-ups of every shard, on a connection of its own.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn wakeups(&self) -> Result<Wakeups, QueueError> {
        let channels: Vec<String> = self.shards.iter().map(|shard| shard.key("wake")).collect();
        Ok(Wakeups(self.link.subscribe(&channels).await?))
    }
}

impl Wakeups {
    /// Waits for the next wake-up.
    ///
    /// # Errors
    /// When the connection is lost; listen anew then.
    pub async fn next(&mut self) -> Result<(), QueueError> {
        match self.0.on_message().next().await {
            Some(_) => Ok(()),
            None => Err(RedisFailure::Lost("wake-up connection closed".into()).into()),
        }
    }
}
