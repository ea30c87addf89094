//! The stack of one measurement: Redis, the lean sink, ingest and deliver processes, nginx where it is wanted; what they
//! used so far; and whether each row arrived once.

use std::{
    cell::Cell,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context;
use postback_core::queue::{Queue, Shard, Stats};
use tokio::{task::JoinSet, time::sleep};

use super::{
    front::Front,
    used::{Counts, Used, redis_figures},
};
use crate::{
    bare,
    isolation::{
        measure::{cpu_seconds, memory, page},
        stack::{Ingest, Plan, Stack, beside},
    },
};

/// How long nothing may arrive before rows count as lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked whether rows have arrived.
const LOOK: Duration = Duration::from_millis(20);
/// Redis's options: the append-only file as in production (`everysec` is the default), but never rewritten, so that it
/// grows by what is written.
const REDIS: [&str; 2] = ["--auto-aof-rewrite-percentage", "0"];

/// A running stack.
pub(super) struct Rig {
    // In the order in which they are to be stopped.
    front: Option<Front>,
    ingest: Ingest,
    pub(super) stack: Stack,
    queue: Queue,
    /// How often the sink was asked for its counts, each time over a connection.
    asked: Cell<u64>,
}

/// What a rig is made of, beside what each has.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Parts<'a> {
    /// Further options of the sink.
    pub(super) sink: &'a [&'a str],
    /// Further options of ingest.
    pub(super) ingest: &'a [&'a str],
    /// The checkout whose nginx stands in front.
    pub(super) front: Option<&'a Path>,
}

/// Requests to ingest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load<'a> {
    pub(super) requests: u64,
    /// Rows in each.
    pub(super) rows: u64,
    pub(super) clients: u64,
    /// Further options of `load`.
    pub(super) options: &'a [&'a str],
}

impl Load<'_> {
    /// Rows in requests of so many, in a closed loop of 8 clients.
    pub(super) fn of(rows: u64, each: u64) -> Load<'static> {
        Load { requests: rows / each, rows: each, clients: 8, options: &[] }
    }

    pub(super) fn all_rows(&self) -> u64 {
        self.requests * self.rows
    }
}

impl Rig {
    /// Starts all but deliver.
    pub(super) async fn start(parts: Parts<'_>) -> anyhow::Result<Rig> {
        let sink = [&["--lean"], parts.sink].concat();
        let stack = Stack::start(&Plan { sink: &sink, redis: &REDIS, ..Plan::default() })?;
        let start = |root| Front::start(root, stack.redis.dir());
        let front = parts.front.map(start).transpose()?;
        let mut options = vec!["--max-backlog=0"];
        options.extend(parts.ingest);
        if let Some(front) = &front {
            options.extend(["--listen", &front.upstream]);
        }
        let ingest = Ingest::start(&stack.redis, &options).await?;
        let queue = stack.queue()?;
        Ok(Rig { front, ingest, stack, queue, asked: Cell::new(0) })
    }

    fn shard(&self) -> &Shard {
        &self.queue.shards()[0]
    }

    /// Sends requests to ingest, or to nginx where it is; fails unless each is answered with 202. The seconds from the
    /// first to the last answer.
    pub(super) async fn load(&self, load: Load<'_>) -> anyhow::Result<f64> {
        let listen = self.front.as_ref().map_or(self.ingest.listen, |front| front.listen);
        send(&listen.to_string(), self.stack.port, load).await
    }

    /// Stores rows while no deliver takes any.
    pub(super) async fn fill(&self, load: Load<'_>) -> anyhow::Result<()> {
        self.shard().pause("filling").await?;
        let before = self.stats().await?.pending;
        self.load(load).await?;
        let waiting = self.stats().await?.pending - before;
        anyhow::ensure!(
            waiting == load.all_rows(),
            "{waiting} rows wait of {} that ingest accepted",
            load.all_rows()
        );
        Ok(())
    }

    /// Lets deliver take what was filled in.
    pub(super) async fn resume(&self) -> anyhow::Result<()> {
        Ok(self.shard().resume().await?)
    }

    /// Starts so many further deliver processes.
    pub(super) async fn deliver(&mut self, count: usize, options: &[&str]) -> anyhow::Result<()> {
        for _ in 0..count {
            self.stack.deliver(options).await?;
        }
        Ok(())
    }

    /// Lets what waits be delivered, until so many rows more have been and none waits, or until so many have arrived if
    /// others still wait. What that used, the seconds from the first arrival on, and the rows.
    pub(super) async fn drain(&self, rows: u64, all: bool) -> anyhow::Result<Drained> {
        let (before, counts) = (self.used().await?, self.counts().await?);
        self.resume().await?;
        let asked = Instant::now();
        while self.counts().await?.requests == counts.requests {
            anyhow::ensure!(asked.elapsed() < PATIENCE, "nothing is delivered");
            sleep(Duration::from_millis(2)).await;
        }
        let start = Instant::now();
        let arrived = self.until_arrived(counts.requests + rows).await? - counts.requests;
        if all {
            self.until_settled().await?;
        }
        let (seconds, used) = (start.elapsed().as_secs_f64(), self.used().await?.since(before));
        Ok(Drained { used, seconds, rows: if all { rows } else { arrived } as f64 })
    }

    /// Waits until the sink has had so many requests; how many it has had.
    pub(super) async fn until_arrived(&self, requests: u64) -> anyhow::Result<u64> {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let arrived = self.counts().await?.requests;
            if arrived >= requests {
                return Ok(arrived);
            }
            if arrived > last {
                (last, since) = (arrived, Instant::now());
            }
            anyhow::ensure!(
                since.elapsed() < PATIENCE,
                "rows are lost or stuck: {arrived} of {requests} requests arrived, none for {PATIENCE:?}"
            );
            sleep(LOOK).await;
        }
    }

    /// Waits until every row is delivered, settled and logged.
    pub(super) async fn until_settled(&self) -> anyhow::Result<()> {
        let since = Instant::now();
        loop {
            let stats = self.stats().await?;
            if stats.pending == 0 {
                return Ok(());
            }
            anyhow::ensure!(
                since.elapsed() < PATIENCE,
                "{} rows are not settled after {PATIENCE:?}",
                stats.pending
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Fails unless all so many rows were delivered, each of them once.
    pub(super) async fn check(&self, rows: u64) -> anyhow::Result<()> {
        let (counts, stats) = (self.counts().await?, self.stats().await?);
        let arrived = counts.requests - counts.failed;
        let is_good = stats.accepted == rows && stats.delivered == rows && arrived == rows;
        anyhow::ensure!(
            is_good && stats.pending == 0 && stats.dead == 0,
            "rows are lost or were delivered twice: {rows} were sent, ingest stored {}, {arrived} arrived at the sink, \
             {} are recorded as delivered, {} wait, {} are dead",
            stats.accepted,
            stats.delivered,
            stats.pending,
            stats.dead
        );
        Ok(())
    }

    /// Fails unless all so many rows are stored and wait.
    pub(super) async fn check_stored(&self, rows: u64) -> anyhow::Result<()> {
        let stats = self.stats().await?;
        let stored = (stats.accepted, stats.pending);
        anyhow::ensure!(
            stored == (rows, rows),
            "{rows} rows were accepted; stored, waiting: {stored:?}"
        );
        Ok(())
    }

    async fn stats(&self) -> anyhow::Result<Stats> {
        Ok(self.shard().stats().await?)
    }

    /// What the sink counted, without the connections of those who asked.
    pub(super) async fn counts(&self) -> anyhow::Result<Counts> {
        self.asked.set(self.asked.get() + 1);
        let mut counts: Counts =
            serde_json::from_str(&page(self.stack.sink_address(), "/__count").await?)?;
        counts.connections -= self.asked.get();
        Ok(counts)
    }

    /// What was used so far.
    pub(super) async fn used(&self) -> anyhow::Result<Used> {
        let delivers = self.stack.delivers.iter();
        let bytes = redis_figures(&self.stack.redis)?;
        Ok(Used {
            nginx: self.front.as_ref().map(Front::cpu_seconds).transpose()?.unwrap_or_default(),
            ingest: cpu_seconds(self.ingest.program.pid())?,
            redis: cpu_seconds(self.stack.redis.pid())?,
            deliver: delivers
                .map(|deliver| cpu_seconds(deliver.pid()))
                .sum::<anyhow::Result<_>>()?,
            sink: cpu_seconds(self.stack.sink.pid())?,
            log: self.stats().await?.log_bytes as f64,
            ..bytes
        })
    }

    /// The most memory that the first deliver has had (`VmHWM`), or has now (`VmRSS`); bytes.
    pub(super) fn deliver_memory(&self, line: &str) -> anyhow::Result<f64> {
        let deliver = self.stack.delivers.first().context("no deliver runs")?;
        Ok(memory(deliver.pid(), line)? as f64)
    }

    /// Stops deliver, and lets the bare client send as many requests to the same sink; what it used.
    pub(super) async fn bare(
        &mut self,
        requests: u64,
        options: &[&str],
    ) -> anyhow::Result<bare::Used> {
        self.stack.delivers.clear();
        let before = self.counts().await?.requests;
        let (sink, count) = (self.stack.sink_address().to_string(), requests.to_string());
        let words = ["bare-client", "--sink", &sink, "--requests", &count];
        let used = output(&[&words, options].concat()).await?;
        let arrived = self.counts().await?.requests - before;
        anyhow::ensure!(
            arrived == requests,
            "the bare client's requests arrived {arrived} times of {requests}"
        );
        Ok(serde_json::from_str(&used)?)
    }

    /// Stops deliver, and lets so many bare clients at a time share so many requests to the same sink; the CPU seconds of
    /// all for 100,000.
    pub(super) async fn bare_crew(&mut self, clients: u64, requests: u64) -> anyhow::Result<f64> {
        self.stack.delivers.clear();
        let (sink, each) =
            (self.stack.sink_address().to_string(), (requests / clients).to_string());
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let words = ["bare-client", "--sink", &sink, "--requests", &each].map(str::to_owned);
            running.spawn(async move { output(&words.each_ref().map(String::as_str)).await });
        }
        let mut seconds = 0.0;
        while let Some(used) = running.join_next().await {
            seconds += serde_json::from_str::<bare::Used>(&used??)?.cpu_seconds;
        }
        Ok(seconds / (requests / clients * clients) as f64 * 100_000.0)
    }
}

/// What draining a queue used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drained {
    pub(super) used: Used,
    pub(super) seconds: f64,
    /// Rows that arrived.
    pub(super) rows: f64,
}

/// Sends requests to a server like ingest at `listen`, as [`Rig::load`] does.
pub(super) async fn send(listen: &str, port: u16, load: Load<'_>) -> anyhow::Result<f64> {
    let [requests, rows, clients] = [load.requests, load.rows, load.clients].map(|n| n.to_string());
    let (url, endpoint) = (format!("http://{listen}/ingest"), format!("http://127.0.0.1:{port}"));
    let words = ["load", "--seed=1", "--url", &url, "--endpoint", &endpoint];
    let sizes = ["--requests", &requests, "--rows", &rows, "--clients", &clients];
    let line = output(&[&words[..], &sizes, load.options].concat()).await?;
    seconds(&line).with_context(|| format!("the load did not tell its time: `{line}`"))
}

/// What a command of this program writes; killed when it is not waited for any more.
async fn output(words: &[&str]) -> anyhow::Result<String> {
    let output = tokio::process::Command::new(beside("postback-bench")?)
        .args(words)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{words:?} failed: {text} {}", error.trim());
    Ok(text)
}

/// The time in a line of `load`'s.
fn seconds(line: &str) -> Option<f64> {
    line.split_once(" accepted in ")?.1.split_once(" s:")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_load_is_read() {
        let line =
            "10 requests with 1000 rows accepted in 0.25 s: 4000 rows/s, 40 requests/s, p50 1.0 ms";
        assert_eq!(seconds(line), Some(0.25));
        assert_eq!(seconds("nothing"), None);
    }
}
