//! The queue as ingest uses it: nothing is stored in a Redis that has not been found fit.

use std::{future::Future, sync::Arc, time::Duration};

use postback_core::queue::{Enqueue, EnqueueError, Enqueued, Queue, QueueError, Stats};
use tokio::{sync::OnceCell, time::timeout};

/// Within this a client hears that Redis is away; `--redis-url` to a dead address takes 0.9 s to connect.
const PATIENCE: Duration = Duration::from_millis(1800);

/// One worker's connection.
pub(crate) struct Store {
    queue: Queue,
    /// Whether Redis is set up as it must be, asked once by all workers together.
    fit: Arc<OnceCell<()>>,
}

impl Store {
    /// With a connection of its own: it lives and ends with the worker thread that uses it.
    pub(crate) fn new(queue: &Queue, fit: Arc<OnceCell<()>>) -> Result<Store, QueueError> {
        Ok(Store { queue: queue.reopen()?, fit })
    }

    /// Asks Redis once whether it will keep what it is given.
    pub(crate) async fn check(&self) -> Result<(), QueueError> {
        self.fit.get_or_try_init(|| self.queue.check_server()).await.copied()
    }

    /// Whether rows can be stored now.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        self.ask(self.queue.ping()).await
    }

    /// The counters of each shard.
    pub(crate) async fn stats(&self) -> Result<Vec<Stats>, String> {
        self.ask(async {
            let mut stats = Vec::new();
            for shard in self.queue.shards() {
                stats.push(shard.stats().await?);
            }
            Ok(stats)
        })
        .await
    }

    /// How long the oldest row of all shards waits.
    pub(crate) async fn oldest(&self) -> Result<Duration, String> {
        self.ask(async {
            let mut oldest = Duration::ZERO;
            for shard in self.queue.shards() {
                oldest = oldest.max(shard.oldest_age().await?.unwrap_or_default());
            }
            Ok(oldest)
        })
        .await
    }

    async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, QueueError>>,
    ) -> Result<T, String> {
        let ask = async {
            self.check().await?;
            question.await
        };
        let answer =
            timeout(PATIENCE, ask).await.map_err(|_| "redis does not answer".to_owned())?;
        answer.map_err(|error| error.to_string())
    }

    /// Stores a request's batches, all or none.
    pub(crate) async fn enqueue(
        &self,
        request: Enqueue<'_>,
    ) -> Result<Vec<Enqueued>, EnqueueError> {
        self.check().await.map_err(|error| EnqueueError::NotEnqueued(error.to_string()))?;
        self.queue.enqueue(request).await
    }
}
