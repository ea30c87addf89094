//! What pages and commands read: counters, single batches, workers, the log. Where batches are is in `places.rs`.

use std::{collections::HashMap, time::Duration};

use super::{QueueError, Record, Reserved, Shard, decode_log, work::reserved};
use crate::{
    figures::{Class, RETRIED},
    id::BatchId,
};

/// At so many hundredths of Redis's `maxmemory` no more rows are taken.
const NEARLY_FULL: u64 = 95;
/// Entries of the log read at a time.
const PAGE: usize = 64;

/// Worker sessions asked about in one write.
const WORKERS: usize = 256;

/// A shard's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows ever stored.
    pub accepted: u64,
    /// Rows ever delivered.
    pub delivered: u64,
    /// Rows that wait for an attempt.
    pub pending: u64,
    /// Rows in the dead letters.
    pub dead: u64,
    /// Rows removed from the dead letters.
    pub dropped: u64,
    /// Bytes of batches, row states and answers kept for an `Idempotency-Key`.
    pub bytes: u64,
    /// Those of them that are kept answers.
    pub answer_bytes: u64,
    /// Bytes of the delivery log.
    pub log_bytes: u64,
    /// Batches taken back from dead workers.
    pub taken_over: u64,
}

/// What a shard has counted since this Redis began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows that died; one that was replayed and died again counts twice.
    pub died: u64,
    /// Attempts that were to be made again.
    pub retried: u64,
    /// Attempts of each class, in the order of [`Class::NAMES`], and rows whose time was over before one.
    pub classes: [u64; Class::NAMES.len()],
}

/// A batch as it lies in Redis.
pub type StoredBatch = Reserved;

/// A worker session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its name.
    pub worker: String,
    /// When its lease ends, milliseconds since 1970, Redis's time.
    pub lease_ms: u64,
    /// Batches that it holds.
    pub held: u64,
    /// What it told with its last beat: box, pid, version, figures.
    pub figures: HashMap<String, String>,
}

/// One page of the log, newest first.
#[derive(Debug)]
pub struct LogPage {
    /// The records, newest entry first.
    pub records: Vec<Record>,
    /// Where the next page begins; `None`: that was all.
    pub before: Option<String>,
}

impl Shard {
    /// The counters.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn stats(&self) -> Result<Stats, QueueError> {
        let all: HashMap<String, i64> =
            self.link.run(redis::cmd("HGETALL").arg(self.key("stats"))).await?;
        let get = |field: &str| all.get(field).map_or(0, |n| u64::try_from(*n).unwrap_or_default());
        Ok(Stats {
            accepted: get("accepted"),
            delivered: get("delivered"),
            pending: get("pending"),
            dead: get("dead"),
            dropped: get("dropped"),
            bytes: get("bytes"),
            answer_bytes: get("answers"),
            log_bytes: get("log_bytes"),
            taken_over: get("taken_over"),
        })
    }

    /// What was counted of attempts since this Redis began.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn totals(&self) -> Result<Totals, QueueError> {
        let mut ask = redis::cmd("HMGET");
        ask.arg(self.key("stats")).arg("died").arg(RETRIED);
        ask.arg(&Class::NAMES.map(|(_, name)| name)[..]);
        let found: Vec<Option<i64>> = self.link.run(&ask).await?;
        let mut found = found.into_iter().map(|n| n.unwrap_or_default().try_into().unwrap_or(0));
        let mut next = || found.next().unwrap_or(0);
        let (died, retried) = (next(), next());
        Ok(Totals { died, retried, classes: std::array::from_fn(|_| next()) })
    }

    /// The memory that Redis uses for all it holds, bytes.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn memory(&self) -> Result<u64, QueueError> {
        let [used] = self.memory_figures(["used_memory:"]).await?;
        Ok(used)
    }

    /// That, and how much it may be; 0: as much as there is. Bytes.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn memory_and_limit(&self) -> Result<(u64, u64), QueueError> {
        let [used, limit] = self.memory_figures(["used_memory:", "maxmemory:"]).await?;
        Ok((used, limit))
    }

    /// How many bytes must go from Redis's memory where it is nearly used up: what deliver writes of retries and in the
    /// log still finds room then, new rows should not. A hundredth of it more than would do, so that not all who wait
    /// come for the first free byte.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn memory_over(&self) -> Result<Option<u64>, QueueError> {
        let [used, limit] = self.memory_figures(["used_memory:", "maxmemory:"]).await?;
        let is_nearly_full = limit > 0 && used > limit / 100 * NEARLY_FULL;
        Ok(is_nearly_full.then(|| used - limit / 100 * (NEARLY_FULL - 1)))
    }

    async fn memory_figures<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[u64; N], QueueError> {
        let info: String = self.link.run(redis::cmd("INFO").arg("memory")).await?;
        let mut figures = [0; N];
        for (figure, name) in figures.iter_mut().zip(names) {
            let text = info.lines().find_map(|line| line.strip_prefix(name));
            *figure = text
                .and_then(|n| n.trim().parse().ok())
                .ok_or_else(|| QueueError::Answer(format!("no {name}")))?;
        }
        Ok(figures)
    }

    /// Redis's time by the fleet's clock, milliseconds since 1970.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn now_ms(&self) -> Result<u64, QueueError> {
        let mut ask = redis::pipe();
        ask.cmd("TIME").cmd("HMGET").arg(self.key("clock")).arg("offset").arg("last");
        let ((s, us), (offset, last)): ((u64, u64), (Option<i64>, Option<u64>)) =
            self.link.run_all(&ask).await?;
        let real = (s * 1000 + us / 1000).saturating_add_signed(offset.unwrap_or_default());
        Ok(real.max(last.unwrap_or_default()))
    }

    /// By the clock of the log's entries a time that is not after this one by the fleet's clock, both milliseconds since
    /// 1970: entries of older versions have Redis's bare time, to which the fleet's adds an offset that only grows. Until a
    /// beat has put that right the fleet's time stands still while the log's goes on: so it is two beats less.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn logged_from_ms(&self, fleet_ms: u64) -> Result<u64, QueueError> {
        let ask = redis::cmd("HGET").arg(self.key("clock")).arg("offset").to_owned();
        let offset: Option<i64> = self.link.run(&ask).await?;
        let offset = u64::try_from(offset.unwrap_or_default()).unwrap_or_default();
        let still = 2 * super::BEAT_EVERY.as_millis() as u64;
        Ok(fleet_ms.saturating_sub(offset.saturating_add(still)))
    }

    /// Why and since when the fleet is paused, if it is.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn paused(&self) -> Result<Option<String>, QueueError> {
        Ok(self.link.run(redis::cmd("GET").arg(self.key("paused"))).await?)
    }

    /// A batch, if it has pending or dead rows.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn batch(&self, id: BatchId) -> Result<Option<StoredBatch>, QueueError> {
        let mut found = self.batches(&[id]).await?;
        Ok(found.pop().map(|(stored, _)| stored))
    }

    /// Those of a few batches that have pending or dead rows, each with its rows' states as they are stored.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn batches(
        &self,
        ids: &[BatchId],
    ) -> Result<Vec<(StoredBatch, Vec<u8>)>, QueueError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut get = redis::pipe();
        for id in ids {
            get.cmd("GET").arg(self.key(&format!("batch:{id}")));
            get.cmd("GET").arg(self.key(&format!("rows:{id}")));
        }
        let parts: Vec<Option<Vec<u8>>> = self.link.run_all(&get).await?;
        let mut parts = parts.into_iter();
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let (stored, states) = (parts.next().flatten(), parts.next().flatten());
            let Some(stored) = stored else { continue };
            let states = states.unwrap_or_default();
            found.push((reserved(*id, stored, &states), states));
        }
        Ok(found)
    }

    /// The worker sessions.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>, QueueError> {
        let mut ask = redis::cmd("ZRANGE");
        ask.arg(self.key("workers")).arg(0).arg(-1).arg("WITHSCORES");
        let found: Vec<(String, f64)> = self.link.run(&ask).await?;
        let mut workers = Vec::with_capacity(found.len());
        for some in found.chunks(WORKERS) {
            let (mut held, mut figures) = (redis::pipe(), redis::pipe());
            for (worker, _) in some {
                held.cmd("SCARD").arg(self.key(&format!("held:{worker}")));
                figures.cmd("HGETALL").arg(self.key(&format!("worker:{worker}")));
            }
            let held: Vec<u64> = self.link.run_all(&held).await?;
            let figures: Vec<HashMap<String, String>> = self.link.run_all(&figures).await?;
            let told = some.iter().cloned().zip(held).zip(figures);
            workers.extend(told.map(|(((worker, lease), held), figures)| WorkerInfo {
                worker,
                lease_ms: lease as u64,
                held,
                figures,
            }));
        }
        Ok(workers)
    }

    /// The storing time of the oldest batch that waits at a lane's head or is due first, milliseconds since 1970.
    /// Looks at no more than 128 lanes: a lane's list is in order of storing but for what was given back.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn oldest_ms(&self) -> Result<Option<u64>, QueueError> {
        let mut heads = redis::pipe();
        heads.cmd("ZRANGE").arg(self.key("due")).arg(0).arg(0);
        for lane in self.lanes(128).await? {
            heads.cmd("LRANGE").arg(self.key(&format!("lane:{lane}"))).arg(0).arg(0);
        }
        let ids: Vec<Vec<String>> = self.link.run_all(&heads).await?;
        let mut stamps = redis::pipe();
        for id in ids.iter().flatten() {
            stamps.cmd("GETRANGE").arg(self.key(&format!("batch:{id}"))).arg(0).arg(7);
        }
        if ids.iter().all(Vec::is_empty) {
            return Ok(None);
        }
        let stamps: Vec<Vec<u8>> = self.link.run_all(&stamps).await?;
        let stamps = stamps.into_iter().filter_map(|s| s.try_into().ok()).map(u64::from_be_bytes);
        Ok(stamps.min())
    }

    /// When the oldest entry of the delivery log was written, milliseconds since 1970.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn log_begins_ms(&self) -> Result<Option<u64>, QueueError> {
        let mut ask = redis::cmd("XRANGE");
        ask.arg(self.key("log")).arg("-").arg("+").arg("COUNT").arg(1);
        let page: redis::streams::StreamRangeReply = self.link.run(&ask).await?;
        Ok(page.ids.first().map(|entry| entry_ms(&entry.id)))
    }

    /// How long the oldest waiting row waits, as far as [`Shard::oldest_ms`] sees.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn oldest_age(&self) -> Result<Option<Duration>, QueueError> {
        let Some(oldest) = self.oldest_ms().await? else { return Ok(None) };
        Ok(Some(Duration::from_millis(self.now_ms().await?.saturating_sub(oldest))))
    }

    /// A page of the delivery log (`errors`: of the failures alone), newest first, from `before` on.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn log(&self, errors: bool, before: Option<&str>) -> Result<LogPage, QueueError> {
        let mut ask = redis::cmd("XREVRANGE");
        ask.arg(self.key(if errors { "errors" } else { "log" }));
        match before {
            Some(id) => ask.arg(format!("({id}")),
            None => ask.arg("+"),
        };
        ask.arg("-").arg("COUNT").arg(PAGE);
        let page: redis::streams::StreamRangeReply = self.link.run(&ask).await?;
        let before =
            (page.ids.len() == PAGE).then(|| page.ids.last().map(|e| e.id.clone())).flatten();
        let entry =
            |entry: &redis::streams::StreamId| entry.get::<Vec<u8>>("d").unwrap_or_default();
        let records = |e| decode_log(&entry(e), entry_ms(&e.id)).into_iter().rev();
        Ok(LogPage { records: page.ids.iter().flat_map(records).collect(), before })
    }
}

/// When an entry of a stream was written, milliseconds since 1970, Redis's time: its id begins with it.
pub(super) fn entry_ms(id: &str) -> u64 {
    id.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or_default()
}
