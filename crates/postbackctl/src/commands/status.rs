//! `status`: the figures of the whole queue, once or again and again.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use clap::{CommandFactory as _, error::ErrorKind};
use postback_core::{
    policy::parse_duration,
    queue::{PastSteps, Queue, Span, Stats, WorkerInfo},
    view::time_text,
};
use serde::Serialize;

use crate::output::{Column, Output, Table};

/// How often `--watch` looks.
const LEAST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(3600);

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Show it again and again, every 2s or as given, until interrupted
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "2s", value_parser = every)]
    watch: Option<Duration>,
}

const EXAMPLES: &str = "\
Examples:
  postbackctl status
  postbackctl status --json
  postbackctl status --watch 5s";

/// Seconds may be given without their unit.
fn every(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs).ok();
    let every = seconds.or_else(|| parse_duration(text).ok());
    let fits = |every: &Duration| (LEAST..=MOST).contains(every);
    every.filter(fits).ok_or_else(|| "must be from 100ms to 1h, such as 5s or 5".to_owned())
}

#[derive(Serialize)]
struct Status {
    paused: Option<String>,
    accepted: u64,
    pending: u64,
    delivered: u64,
    dead: u64,
    dropped: u64,
    /// Over the last whole minute and the one under way, as on the overview.
    accepted_per_second: f64,
    delivered_per_second: f64,
    dead_per_second: f64,
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
    /// Less than 0: it ran out, and nobody has taken over yet.
    lease_left_seconds: f64,
    held_batches: u64,
    #[serde(flatten)]
    figures: HashMap<String, String>,
}

pub(crate) async fn run(queue: &Queue, args: &Args, output: &mut Output) -> anyhow::Result<bool> {
    let Some(every) = args.watch else {
        let status = gather(queue).await?;
        if output.is_json() {
            output.document(&status)?;
        } else {
            print(&status, output)?;
        }
        return Ok(true);
    };
    if output.is_json() {
        let why = "--json is one document: not with --watch";
        crate::Args::command().error(ErrorKind::ArgumentConflict, why).exit()
    }
    loop {
        let gathered = gather(queue).await;
        output.next_screen()?;
        // Redis may be back by the next time.
        match gathered {
            Ok(status) => print(&status, output)?,
            Err(error) => output.line(&format!("{error:#}"))?,
        }
        output.flush()?;
        tokio::time::sleep(every).await;
    }
}

fn print(status: &Status, output: &mut Output) -> anyhow::Result<()> {
    if let Some(paused) = &status.paused {
        output.line(&format!("PAUSED: {paused}"))?;
    }
    let rate = |rate: f64| format!("{rate:.1}/s");
    let oldest = status.oldest_row_seconds.map(|s| format!("oldest {s:.1} s")).unwrap_or_default();
    let mut table = Table::new(&[Column::whole(""), Column::number(""), Column::text("")]);
    let mut row = |name: &str, n: u64, more: String| table.row([name.into(), n.to_string(), more]);
    row("pending", status.pending, oldest);
    row("accepted", status.accepted, rate(status.accepted_per_second));
    row("delivered", status.delivered, rate(status.delivered_per_second));
    row("dead", status.dead, rate(status.dead_per_second));
    row("dropped", status.dropped, String::new());
    row("backlog bytes", status.backlog_bytes, String::new());
    row("of which kept answers", status.kept_answer_bytes, String::new());
    row("log bytes", status.log_bytes, String::new());
    row("batches taken over", status.batches_taken_over, String::new());
    output.table(&table)?;
    output.line("")?;
    print_workers(&status.workers, output)
}

fn print_workers(workers: &[Worker], output: &mut Output) -> anyhow::Result<()> {
    if workers.is_empty() {
        return output.line("no workers: is deliver running?");
    }
    let mut table = Table::new(&[
        Column::whole("worker"),
        Column::text("box"),
        Column::number("pid"),
        Column::whole("version"),
        Column::number("in flight"),
        Column::number("queued"),
        Column::number("batches"),
        Column::number("lease left"),
    ]);
    for worker in workers {
        let figure = |name| worker.figures.get(name).cloned().unwrap_or_default();
        table.row([
            worker.worker.clone(),
            figure("box"),
            figure("pid"),
            figure("version"),
            figure("in_flight"),
            figure("queued"),
            worker.held_batches.to_string(),
            format!("{:.0} s", worker.lease_left_seconds),
        ]);
    }
    output.table(&table)
}

async fn gather(queue: &Queue) -> anyhow::Result<Status> {
    let (mut sum, mut paused, mut oldest) = (Stats::default(), None, None::<f64>);
    let mut workers = Vec::new();
    let minutes = queue.minutes(Span::Hour, &PastSteps::default()).await?;
    let (now_ms, recent) = (minutes.now_ms, minutes.recent);
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
    let per_second = |rows: u64| rows as f64 / recent.time.as_secs_f64().max(1.0);
    Ok(Status {
        paused,
        accepted: sum.accepted,
        pending: sum.pending,
        delivered: sum.delivered,
        dead: sum.dead,
        dropped: sum.dropped,
        accepted_per_second: per_second(recent.figures.accepted),
        delivered_per_second: per_second(recent.figures.delivered),
        dead_per_second: per_second(recent.figures.dead),
        oldest_row_seconds: oldest,
        backlog_bytes: sum.bytes,
        kept_answer_bytes: sum.answer_bytes,
        log_bytes: sum.log_bytes,
        batches_taken_over: sum.taken_over,
        workers: merged(workers, now_ms),
    })
}

/// Each worker once, by box and name: it has a lease in every shard.
fn merged(infos: Vec<WorkerInfo>, now_ms: u64) -> Vec<Worker> {
    let mut workers: BTreeMap<(Option<String>, String), WorkerInfo> = BTreeMap::new();
    for info in infos {
        let key = (info.figures.get("box").cloned(), info.worker.clone());
        match workers.get_mut(&key) {
            Some(known) => {
                known.held += info.held;
                known.lease_ms = known.lease_ms.min(info.lease_ms);
            }
            None => _ = workers.insert(key, info),
        }
    }
    let shown = workers.into_values().map(|info| Worker {
        worker: info.worker,
        lease_until: time_text(info.lease_ms),
        lease_left_seconds: (info.lease_ms as f64 - now_ms as f64) / 1000.0,
        held_batches: info.held,
        figures: info.figures,
    });
    shown.collect()
}
