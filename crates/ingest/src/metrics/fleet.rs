//! What Redis knows of all rows and workers.

use std::{sync::atomic::AtomicU64, time::Duration};

use postback_core::queue::{Census, Queue, QueueError, Stats};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// The figures of all shards.
pub(crate) struct Fleet {
    stats: Vec<Stats>,
    census: Vec<Census>,
    oldest: Duration,
    /// Used and at most, bytes; 0: no limit.
    memory: (u64, u64),
}

impl Fleet {
    pub(crate) async fn read(queue: &Queue) -> Result<Fleet, QueueError> {
        let mut fleet = Fleet {
            stats: vec![],
            census: vec![],
            oldest: Duration::ZERO,
            memory: queue.shards()[0].memory_and_limit().await?,
        };
        for shard in queue.shards() {
            fleet.stats.push(shard.stats().await?);
            fleet.census.push(shard.census().await?);
            fleet.oldest = fleet.oldest.max(shard.oldest_age().await?.unwrap_or_default());
        }
        Ok(fleet)
    }

    /// `max_backlog` is this ingest's bound for `postback_backlog_bytes`.
    pub(crate) fn register(&self, registry: &mut Registry, max_backlog: u64) {
        for (name, help, value) in self.counters() {
            let counter = Counter::<u64>::default();
            counter.inc_by(value);
            registry.register(name, help, counter);
        }
        let bound =
            ("postback_max_backlog_bytes", "The bound of postback_backlog_bytes", max_backlog);
        for (name, help, value) in self.rows().into_iter().chain(self.parts()).chain([bound]) {
            let gauge = Gauge::<i64>::default();
            gauge.set(value.try_into().unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        }
        let age = Gauge::<f64, AtomicU64>::default();
        age.set(self.oldest.as_secs_f64());
        registry.register("postback_oldest_row_seconds", "How long the oldest row waits", age);
    }

    fn sum(&self, figure: fn(&Stats) -> u64) -> u64 {
        self.stats.iter().map(figure).sum()
    }

    fn count(&self, figure: fn(&Census) -> u64) -> u64 {
        self.census.iter().map(figure).sum()
    }

    fn counters(&self) -> [(&'static str, &'static str, u64); 4] {
        [
            (
                "postback_rows_accepted",
                "Rows stored since this Redis began",
                self.sum(|stats| stats.accepted),
            ),
            (
                "postback_rows_delivered",
                "Rows delivered since this Redis began",
                self.sum(|stats| stats.delivered),
            ),
            (
                "postback_dropped_rows",
                "Rows dropped from the dead letters, by their bound or by hand",
                self.sum(|stats| stats.dropped),
            ),
            (
                "postback_batches_taken_over",
                "Batches taken back from workers that crashed or froze",
                self.sum(|stats| stats.taken_over),
            ),
        ]
    }

    fn rows(&self) -> [(&'static str, &'static str, u64); 5] {
        [
            (
                "postback_backlog_rows",
                "Rows that wait for an attempt",
                self.sum(|stats| stats.pending),
            ),
            (
                "postback_backlog_bytes",
                "Bytes of batches, row states and kept answers in Redis",
                self.sum(|stats| stats.bytes),
            ),
            (
                "postback_kept_answer_bytes",
                "Those of postback_backlog_bytes that are answers kept for an Idempotency-Key",
                self.sum(|stats| stats.answer_bytes),
            ),
            ("postback_dead_rows", "Rows in the dead letters", self.sum(|stats| stats.dead)),
            (
                "postback_log_bytes",
                "Bytes of the delivery log in Redis",
                self.sum(|stats| stats.log_bytes),
            ),
        ]
    }

    fn parts(&self) -> [(&'static str, &'static str, u64); 8] {
        let (used, limit) = self.memory;
        [
            (
                "postback_waiting_lanes",
                "Lanes with ready batches, or a time before which they are not served",
                self.count(|census| census.lanes),
            ),
            (
                "postback_open_breakers",
                "Lanes parked in the whole fleet",
                self.count(|census| census.parked),
            ),
            (
                "postback_due_batches",
                "Batches that wait for a retry's time or a delay's end",
                self.count(|census| census.due_batches),
            ),
            (
                "postback_fleet_held_batches",
                "Batches that the fleet's workers hold",
                self.count(|census| census.held_batches),
            ),
            (
                "postback_workers",
                "Worker sessions whose lease runs: one a deliver process and shard",
                self.count(|census| census.workers),
            ),
            (
                "postback_paused",
                "1: an operator has paused the fleet",
                self.census.iter().any(|census| census.is_paused).into(),
            ),
            ("postback_redis_memory_bytes", "Memory that Redis uses", used),
            ("postback_redis_max_memory_bytes", "Redis's maxmemory; 0: no limit", limit),
        ]
    }
}
