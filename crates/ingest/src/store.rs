//! The queue as ingest uses it: nothing is stored in a Redis that has not been found fit, and an operator hears of
//! Redis's troubles once, not with each request.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use postback_core::{
    queue::{Enqueue, Once, Queue, QueueError, Stored},
    redis::{RedisFailure, Trips, Trouble},
};
use tokio::{
    sync::Mutex,
    time::{timeout, timeout_at},
};

use crate::{metrics::Fleet, problem::Problem};

/// Within this a client hears that Redis is away; `--redis-url` to a dead address takes 0.9 s to connect.
const PATIENCE: Duration = Duration::from_millis(1800);
/// So often it is asked anew whether Redis is fit, and with each new connection: settings can be changed at any time.
const FIT: Duration = Duration::from_secs(5);
/// So often it is asked whether Redis's memory is nearly used up.
const ROOM: Duration = Duration::from_secs(1);
/// The longest that a page may read, or an action take.
const READING: Duration = Duration::from_secs(20);
/// The bound that refuses everything but what a kept answer answers.
const NO_ROOM: u64 = 1;

/// Why a request was not stored, or may not be.
#[derive(Debug, Clone)]
pub(crate) struct NotStored {
    pub(crate) error: QueueError,
    /// It may be stored nevertheless.
    pub(crate) is_unknown: bool,
    /// Repeating it is safe.
    pub(crate) has_key: bool,
}

/// One worker's connection.
pub(crate) struct Store {
    queue: Queue,
    /// Over which connection Redis was found to be set up as it must be, and when.
    fit: Mutex<Option<(u64, Instant)>>,
    /// How many bytes must go from Redis's memory, if it was nearly full, and when it said so.
    memory_over: Cell<Option<(Option<u64>, Instant)>>,
    /// What all workers know of Redis.
    trouble: Arc<Trouble>,
}

impl Store {
    /// With a connection of its own: it lives and ends with the worker thread that uses it.
    pub(crate) fn new(queue: &Queue, trouble: Arc<Trouble>) -> Result<Store, QueueError> {
        Ok(Store {
            queue: queue.reopen()?,
            fit: Mutex::default(),
            memory_over: Cell::default(),
            trouble,
        })
    }

    /// Asks Redis whether it will keep what it is given, where that is not known.
    async fn check(&self) -> Result<(), QueueError> {
        let mut fit = self.fit.lock().await;
        let connection = self.queue.connection().await?;
        if fit.is_some_and(|(known, at)| known == connection && at.elapsed() < FIT) {
            return Ok(());
        }
        *fit = None;
        self.queue.check_server().await?;
        *fit = Some((connection, Instant::now()));
        Ok(())
    }

    /// How many bytes must go where Redis has too little room left for new rows.
    async fn memory_over(&self) -> Result<Option<u64>, QueueError> {
        if let Some((known, at)) = self.memory_over.get()
            && at.elapsed() < ROOM
        {
            return Ok(known);
        }
        let over = self.queue.shards()[0].memory_over().await?;
        self.memory_over.set(Some((over, Instant::now())));
        Ok(over)
    }

    /// Whether rows can be stored now, as far as reading tells.
    pub(crate) async fn ready(&self) -> Result<(), QueueError> {
        self.ask(async || self.queue.ping().await).await
    }

    /// Why the fleet is paused, if it is.
    pub(crate) async fn paused(&self) -> Result<Option<String>, QueueError> {
        self.ask(async || self.queue.shards()[0].paused().await).await
    }

    /// Reads for a page: as much as it takes, within bounds. Tried again over a new connection where one was closed.
    pub(crate) async fn read<T>(
        &self,
        question: impl AsyncFn(&Queue) -> Result<T, QueueError>,
    ) -> Result<T, Problem> {
        self.ready().await.map_err(|error| Problem::not_ready(&error))?;
        let asked = timeout(READING, once_more(async || question(&self.queue).await));
        let answer = asked.await.unwrap_or_else(|_| Err(silent()));
        answer.map_err(|error| Problem::not_ready(&error))
    }

    /// Changes something for an operator: begun once, whatever becomes of the connection.
    pub(crate) async fn act<T>(
        &self,
        action: impl AsyncFnOnce(&Queue) -> Result<T, QueueError>,
    ) -> Result<T, Problem> {
        self.ready().await.map_err(|error| Problem::not_ready(&error))?;
        let acted = timeout(READING, action(&self.queue)).await;
        acted.unwrap_or_else(|_| Err(silent())).map_err(|error| Problem::not_ready(&error))
    }

    /// The figures of all shards. That they are not read in time, there being many, is no trouble of those who store.
    pub(crate) async fn fleet(&self) -> Result<Fleet, QueueError> {
        let read = timeout(PATIENCE, once_more(async || Fleet::read(&self.queue).await));
        read.await.unwrap_or_else(|_| Err(silent()))
    }

    /// What all workers have asked of Redis.
    pub(crate) fn trips(&self) -> &Trips {
        self.queue.trips()
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFn() -> Result<T, QueueError>,
    ) -> Result<T, QueueError> {
        let asked = timeout(
            PATIENCE,
            once_more(async || {
                self.check().await?;
                question().await
            }),
        );
        let answer = asked.await.unwrap_or_else(|_| Err(silent()));
        self.note(answer.as_ref().err(), Trouble::answered);
        answer
    }

    /// Stores a request's batches, all or none; with `once` unless that has been done before.
    pub(crate) async fn enqueue(
        &self,
        request: Enqueue<'_>,
        once: Option<&Once>,
    ) -> Result<Stored, NotStored> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let is_sent = Cell::new(false);
        let stored = once_more(async || {
            is_sent.set(false);
            let fit = async {
                self.check().await?;
                self.memory_over().await
            };
            let over = timeout_at(deadline, fit).await.unwrap_or_else(|_| Err(silent()))?;
            let max_backlog = if over.is_some() { NO_ROOM } else { request.max_backlog };
            let request = Enqueue { max_backlog, ..request };
            is_sent.set(true);
            let stored = timeout_at(deadline, self.queue.store_once(&request, once)).await;
            match stored.unwrap_or_else(|_| Err(RedisFailure::Lost("timed out".to_owned()).into()))
            {
                Err(QueueError::Full(room)) => Err(match over {
                    Some(over) => QueueError::Memory(room.of(over)),
                    None => QueueError::Full(room),
                }),
                stored => stored,
            }
        })
        .await;
        let of_redis =
            stored.as_ref().err().filter(|error| !matches!(error, QueueError::OtherBody));
        self.note(of_redis, Trouble::well);
        stored.map_err(|error| NotStored {
            is_unknown: is_sent.get() && error.is_unknown(),
            has_key: once.is_some(),
            error,
        })
    }

    /// One log line when Redis gets into trouble, for each new reason, and when it is well again.
    fn note(&self, error: Option<&QueueError>, well: fn(&Trouble, Instant) -> Option<Duration>) {
        let now = Instant::now();
        match error {
            Some(error) if self.trouble.failed(error.kind(), now) => {
                log::error!("requests get 503: {error}");
            }
            Some(_) => {}
            None => {
                if let Some(lasted) = well(&self.trouble, now) {
                    log::info!("redis is well again after {lasted:.1?}: requests are taken");
                }
            }
        }
    }
}

/// Tries a second time where the open connection turned out to be closed: a restart of Redis costs no request.
async fn once_more<T>(work: impl AsyncFn() -> Result<T, QueueError>) -> Result<T, QueueError> {
    match work().await {
        Err(QueueError::Redis(RedisFailure::Closed(_))) => work().await,
        result => result,
    }
}

fn silent() -> QueueError {
    RedisFailure::Unanswered.into()
}
