//! `status`: the figures of the whole queue.

use std::collections::HashMap;

use postback_core::{
    queue::{Queue, Stats},
    view::time_text,
};
use serde::Serialize;

use crate::output::Output;

#[derive(Serialize)]
struct Status {
    paused: Option<String>,
    accepted: u64,
    pending: u64,
    delivered: u64,
    dead: u64,
    dropped: u64,
    oldest_row_seconds: Option<f64>,
    backlog_bytes: u64,
    kept_answer_bytes: u64,
    log_bytes: u64,
    batches_taken_over: u64,
    workers: Vec<Worker>,
}

#[derive(Serialize)]
struct Worker {
    worker: String,
    lease_until: String,
    held_batches: u64,
    #[serde(flatten)]
    figures: HashMap<String, String>,
}

pub(crate) async fn run(queue: &Queue, output: &mut Output) -> anyhow::Result<bool> {
    let status = gather(queue).await?;
    if output.is_json() {
        output.document(&status)?;
        return Ok(true);
    }
    if let Some(paused) = &status.paused {
        output.line(&format!("PAUSED: {paused}"))?;
    }
    let oldest = status.oldest_row_seconds.map_or("-".into(), |s| format!("{s:.1} s"));
    let figures = [
        ("pending", status.pending.to_string()),
        ("oldest", oldest),
        ("delivered", status.delivered.to_string()),
        ("dead", status.dead.to_string()),
        ("dropped", status.dropped.to_string()),
        ("accepted", status.accepted.to_string()),
        ("backlog bytes", status.backlog_bytes.to_string()),
        ("of which kept answers", status.kept_answer_bytes.to_string()),
        ("log bytes", status.log_bytes.to_string()),
        ("batches taken over", status.batches_taken_over.to_string()),
    ];
    let rows: Vec<_> = figures.map(|(name, value)| vec![name.to_owned(), value]).into();
    output.table(&rows)?;
    output.line("")?;
    print_workers(&status.workers, output)?;
    Ok(true)
}

fn print_workers(workers: &[Worker], output: &mut Output) -> anyhow::Result<()> {
    if workers.is_empty() {
        return output.line("no workers: is deliver running?");
    }
    let columns = ["box", "pid", "version", "in_flight", "queued"];
    let mut table = vec![
        ["worker", "lease until", "held"].iter().chain(&columns).map(ToString::to_string).collect(),
    ];
    for worker in workers {
        let mut row = vec![
            worker.worker.clone(),
            worker.lease_until.clone(),
            worker.held_batches.to_string(),
        ];
        row.extend(columns.map(|name| worker.figures.get(name).cloned().unwrap_or_default()));
        table.push(row);
    }
    output.table(&table)
}

async fn gather(queue: &Queue) -> anyhow::Result<Status> {
    let (mut sum, mut paused, mut oldest) = (Stats::default(), None, None::<f64>);
    let mut workers = Vec::new();
    for shard in queue.shards() {
        let stats = shard.stats().await?;
        sum.accepted += stats.accepted;
        sum.pending += stats.pending;
        sum.delivered += stats.delivered;
        sum.dead += stats.dead;
        sum.dropped += stats.dropped;
        sum.bytes += stats.bytes;
        sum.answer_bytes += stats.answer_bytes;
        sum.log_bytes += stats.log_bytes;
        sum.taken_over += stats.taken_over;
        paused = paused.or(shard.paused().await?);
        let age = shard.oldest_age().await?.map(|age| age.as_secs_f64());
        oldest = [oldest, age].into_iter().flatten().reduce(f64::max);
        workers.extend(shard.workers().await?);
    }
    let workers = workers.into_iter().map(|info| Worker {
        worker: info.worker,
        lease_until: time_text(info.lease_ms),
        held_batches: info.held,
        figures: info.figures,
    });
    Ok(Status {
        paused,
        accepted: sum.accepted,
        pending: sum.pending,
        delivered: sum.delivered,
        dead: sum.dead,
        dropped: sum.dropped,
        oldest_row_seconds: oldest,
        backlog_bytes: sum.bytes,
        kept_answer_bytes: sum.answer_bytes,
        log_bytes: sum.log_bytes,
        batches_taken_over: sum.taken_over,
        workers: workers.collect(),
    })
}
