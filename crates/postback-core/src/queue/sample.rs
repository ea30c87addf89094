//! What is not counted but looked at every few seconds: the queue's state, and how each box is.

use std::time::Duration;

use super::{Queue, QueueError, Reply, SCRIPTS, Shard};
use crate::health::{Health, Nginx};

/// Workers whose requests in flight are added up.
const WORKERS: usize = 4096;

impl Queue {
    /// Keeps how a box is in this minute. Returns whether the caller shall [`Queue::sample`]: of all processes one
    /// does, each 15 s.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn tell_health(
        &self,
        name: &str,
        health: Option<&Health>,
        nginx: Option<&Nginx>,
    ) -> Result<bool, QueueError> {
        let reply: Reply = self.shards()[0]
            .script(&SCRIPTS.health, |c| {
                c.arg(name).arg(health.map(Health::encode).unwrap_or_default());
                c.arg(nginx.map(Nginx::encode).unwrap_or_default());
            })
            .await?;
        Ok(reply.status == "take")
    }

    /// Keeps the queue's state in this minute: backlog, the oldest row's age, dead rows, requests in flight.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn sample(&self) -> Result<(), QueueError> {
        let mut in_flight = self.in_flight().await?.to_string();
        for shard in self.shards() {
            let oldest = shard.oldest_age().await?.unwrap_or_default();
            shard.keep_sample(oldest, &in_flight).await?;
            in_flight.clear();
        }
        Ok(())
    }

    /// Requests in flight in all processes, as they told with their last beats (every 5 s).
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn in_flight(&self) -> Result<u64, QueueError> {
        // Each process has a worker in every shard, which tells of the whole process.
        let shard = &self.shards()[0];
        let mut ask = redis::cmd("ZRANGEBYSCORE");
        ask.arg(shard.key("workers")).arg(shard.now_ms().await?).arg("+inf");
        let workers: Vec<String> = shard.link.run(ask.arg("LIMIT").arg(0).arg(WORKERS)).await?;
        if workers.is_empty() {
            return Ok(0);
        }
        let mut ask = redis::pipe();
        for worker in workers {
            ask.cmd("HGET").arg(shard.key(&format!("worker:{worker}"))).arg("in_flight");
        }
        let figures: Vec<Option<u64>> = shard.link.run_all(&ask).await?;
        Ok(figures.into_iter().flatten().sum())
    }

    /// Lanes that are parked by a breaker or a partner's wish.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn breakers(&self) -> Result<u64, QueueError> {
        let mut all = 0;
        for shard in self.shards() {
            let ask = redis::cmd("HLEN").arg(shard.key("breakers")).to_owned();
            all += shard.link.run::<u64>(&ask).await?;
        }
        Ok(all)
    }
}

impl Shard {
    async fn keep_sample(&self, oldest: Duration, in_flight: &str) -> Result<(), QueueError> {
        let _: Reply = self
            .script(&SCRIPTS.sample, |c| {
                c.arg(oldest.as_millis() as u64).arg(in_flight);
            })
            .await?;
        Ok(())
    }
}
