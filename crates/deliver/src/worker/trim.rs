//! The bound of the dead letters, by count and age. Every worker sees to it: there is always one that runs.

use std::rc::Rc;

use postback_core::queue::BEAT_EVERY;
use tokio::time::sleep;

use super::Worker;

impl Worker {
    pub(super) async fn trim_loop(self: Rc<Self>) {
        let (most, age) = (self.process.config.max_dead, self.process.config.dead_age);
        let most = most / self.queue.shards().len() as u64;
        loop {
            let mut dropped = 0;
            // What goes wrong with Redis is told by the loops that cannot do without it.
            while let Ok(trimmed) = self.telling.trim_dead(most, age).await {
                dropped += trimmed.rows;
                if !trimmed.more {
                    break;
                }
            }
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
