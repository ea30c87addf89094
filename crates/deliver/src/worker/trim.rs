//! The bound of the dead letters, by count and age. Every worker sees to it: there is always one that runs.

use std::rc::Rc;

use postback_core::{
    queue::{BEAT_EVERY, QueueError},
    redis::RedisFailure,
};
use tokio::time::sleep;

use super::Worker;

impl Worker {
    pub(super) async fn trim_loop(self: Rc<Self>) {
        let (most, age) = (self.process.config.max_dead, self.process.config.dead_age);
        let most = most.div_ceil(self.queue.shards().len() as u64);
        let mut told = false;
        loop {
            let mut dropped = 0;
            let failed = loop {
                let trimmed = match self.telling.trim_dead(most, age).await {
                    Ok(trimmed) => trimmed,
                    Err(error) => break Some(error),
                };
                dropped += trimmed.rows;
                if !trimmed.more {
                    break None;
                }
            };
            // That Redis is away is told by the loops that cannot do without it.
            if let Some(error @ QueueError::Redis(RedisFailure::Failed(_))) = &failed
                && !told
            {
                log::error!("dead letters are not bounded by --max-dead and --dead-age: {error}");
            }
            told = failed.is_some();
            if dropped > 0 {
                log::warn!(
                    "dropped {dropped} dead rows: beyond --max-dead ({} batches) or older than --dead-age ({age:?})",
                    self.process.config.max_dead
                );
            }
            sleep(BEAT_EVERY).await;
        }
    }
}
