//! One load on a stack of its own, and its figures.

use std::{
    fmt,
    time::{Duration, Instant},
};

use postback_core::queue::Queue;

use super::clients::{self, Seen, Work};
use crate::isolation::{
    measure::{cpu_seconds, per_mille},
    stack::{Ingest, Plan, Stack},
    table::spread,
};

/// Requests before those that are measured: connections, scripts, memory that is taken once.
const BEFORE: usize = 500;
/// How long deliver may take to deliver the last row.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether something has come.
const LOOK: Duration = Duration::from_millis(20);

/// One load of requests with one row each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) requests: usize,
    pub(super) clients: usize,
    pub(super) endpoints: usize,
    /// Whether a `deliver` delivers the rows meanwhile.
    pub(super) is_delivered: bool,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} clients, {} endpoints", self.clients, self.endpoints)?;
        f.write_str(if self.is_delivered { ", delivered" } else { "" })
    }
}

/// What is measured, in the order of the columns, and the digits after the point.
const COLUMNS: [(&str, usize); 9] = [
    ("requests/s", 0),
    ("rows a batch", 1),
    ("p50 ms", 2),
    ("p99 ms", 2),
    ("ingest CPU s/100k", 2),
    ("Redis CPU s/100k", 2),
    ("deliver CPU s/100k", 2),
    ("stored bytes a row", 0),
    ("Redis bytes a row", 0),
];

/// One trial's figures; `None`: not measured here.
pub(super) type Figures = [Option<f64>; COLUMNS.len()];

/// The table's first line.
pub(super) fn head() -> Vec<String> {
    let columns = COLUMNS.iter().map(|(name, _)| (*name).to_owned());
    ["load", "--coalesce"].map(str::to_owned).into_iter().chain(columns).collect()
}

/// The median of each figure over all rounds, with the least and the greatest.
pub(super) fn medians(rounds: &[Figures]) -> Vec<String> {
    let cell = |(n, (_, places)): (usize, &(&str, usize))| {
        spread(rounds.iter().filter_map(|figures| figures[n]), *places)
    };
    COLUMNS.iter().enumerate().map(cell).collect()
}

/// What the processes have used so far.
struct Used {
    ingest: f64,
    redis: f64,
    deliver: Option<f64>,
    memory: u64,
    stored: u64,
}

/// Runs one load.
pub(super) async fn run(load: &Load, coalesce: &str) -> anyhow::Result<Figures> {
    let mut stack = Stack::start(&Plan::default())?;
    if load.is_delivered {
        stack.deliver(&[]).await?;
    }
    let ingest = Ingest::start(&stack.redis, &["--coalesce", coalesce]).await?;
    let queue = stack.queue()?;
    let work = Work {
        ingest: ingest.listen,
        port: stack.port,
        clients: load.clients,
        endpoints: load.endpoints,
        requests: BEFORE,
    };
    clients::send(work).await?;
    until_delivered(load, &queue, BEFORE).await?;
    let before = used(&stack, &ingest, &queue).await?;
    let seen = clients::send(Work { requests: load.requests, ..work }).await?;
    until_delivered(load, &queue, BEFORE + load.requests).await?;
    let after = used(&stack, &ingest, &queue).await?;
    Ok(figures(load, &seen, &before, &after))
}

fn figures(load: &Load, seen: &Seen, before: &Used, after: &Used) -> Figures {
    let rows = load.requests as f64;
    let wait = |mille| per_mille(&seen.waits, seen.waits.len(), mille).map(|us| us as f64 / 1000.0);
    let cpu = |used: f64| Some(used / rows * 100_000.0);
    let kept = |bytes: u64| (!load.is_delivered).then_some(bytes as f64 / rows);
    [
        Some(rows / seen.took.as_secs_f64()),
        Some(rows / seen.batches as f64),
        wait(500),
        wait(990),
        cpu(after.ingest - before.ingest),
        cpu(after.redis - before.redis),
        after.deliver.zip(before.deliver).and_then(|(after, before)| cpu(after - before)),
        kept(after.stored.saturating_sub(before.stored)),
        kept(after.memory.saturating_sub(before.memory)),
    ]
}

/// Waits until so many rows are delivered, settled and logged, where they are delivered at all.
async fn until_delivered(load: &Load, queue: &Queue, rows: usize) -> anyhow::Result<()> {
    let since = Instant::now();
    while load.is_delivered && queue.shards()[0].stats().await?.delivered < rows as u64 {
        anyhow::ensure!(since.elapsed() < PATIENCE, "not all delivered after {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn used(stack: &Stack, ingest: &Ingest, queue: &Queue) -> anyhow::Result<Used> {
    let shard = &queue.shards()[0];
    Ok(Used {
        ingest: cpu_seconds(ingest.program.pid())?,
        redis: cpu_seconds(stack.redis.pid())?,
        deliver: stack.delivers.first().map(|deliver| cpu_seconds(deliver.pid())).transpose()?,
        memory: shard.memory().await?,
        stored: shard.stats().await?.bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_the_median_with_least_and_greatest() {
        let round = |value| {
            let mut figures = Figures::default();
            figures[2] = Some(value);
            figures
        };
        let cells = medians(&[round(3.0), round(1.0), round(2.0)]);
        assert_eq!((cells[2].as_str(), cells[3].as_str()), ("2.00 (1.00–3.00)", "–"));
        assert_eq!(cells.len() + 2, head().len());
    }
}
