//! `dead replay`, `dead drop` and `cancel`: count first, and act with `--yes`.

use std::time::Duration;

use anyhow::Context as _;
use postback_core::{
    queue::{Queue, Revision},
    select::{self, Selection},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    filter::{DeadFilter, Filter},
    limit::{Rate, rate},
};
use crate::output::{Output, Progress};

/// Rows that workers hold are tried again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// Given up when nothing could be revised for so long.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same at a rate: a worker holds a batch for as long as the rows take that were just replayed, 60 s at most.
const RATE_PATIENCE: Duration = Duration::from_secs(75);

/// At a rate, rows go out in portions this far apart.
const PORTION: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
#[command(after_help = CANCEL_EXAMPLES)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    filter: Filter,
    /// Do it; without it the rows are only counted
    #[arg(long)]
    yes: bool,
}

const CANCEL_EXAMPLES: &str = "\
Examples:
  postbackctl cancel --request 5f0c6d1e2b3a49788796a5b4c3d2e1f0
  postbackctl cancel --host partner.example --until 1h --yes";

#[derive(Debug, clap::Args)]
pub(crate) struct DropArgs {
    #[command(flatten)]
    filter: DeadFilter,
    /// Do it; without it the rows are only counted
    #[arg(long)]
    yes: bool,
}

/// Of `dead drop`.
pub(crate) const DROP_EXAMPLES: &str = "\
Examples:
  postbackctl dead drop --host old.example
  postbackctl dead drop --until 2026-02-28T15:00:00Z --yes";

#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    args: DropArgs,
    /// At most so many rows in a time, such as 100/s [default: all at once]
    #[arg(long, value_parser = replay_rate)]
    rate: Option<f64>,
}

/// Of `dead replay`.
pub(crate) const REPLAY_EXAMPLES: &str = "\
Examples:
  postbackctl dead replay --host partner.example --since 2h
  postbackctl dead replay --host partner.example --since 2h --rate 100/s --yes
  postbackctl dead replay --status 503 --yes";

fn replay_rate(text: &str) -> Result<f64, String> {
    match rate(text) {
        Ok(Rate(Some(rate))) if rate > 0.0 => Ok(rate),
        _ => Err("must be a rate such as 100/s, 30/m or 10/h".to_owned()),
    }
}

pub(crate) async fn replay(
    queue: &Queue,
    args: &ReplayArgs,
    output: &mut Output,
) -> anyhow::Result<bool> {
    let filter = args.args.filter.at(queue.shards()[0].now_ms().await?);
    run(queue, filter, Revision::Replay, args.args.yes.then_some(args.rate), output).await
}

pub(crate) async fn drop(
    queue: &Queue,
    args: &DropArgs,
    output: &mut Output,
) -> anyhow::Result<bool> {
    let filter = args.filter.at(queue.shards()[0].now_ms().await?);
    run(queue, filter, Revision::Drop, args.yes.then_some(None), output).await
}

pub(crate) async fn cancel(
    queue: &Queue,
    args: &CancelArgs,
    output: &mut Output,
) -> anyhow::Result<bool> {
    let filter = args.filter.at(queue.shards()[0].now_ms().await?);
    run(queue, filter, Revision::Cancel, args.yes.then_some(None), output).await
}

/// Counts, and acts if it is asked to (at a rate, if there is one). False: workers hold some of the rows.
async fn run(
    queue: &Queue,
    filter: select::Filter,
    revision: Revision,
    act: Option<Option<f64>>,
    output: &mut Output,
) -> anyhow::Result<bool> {
    let mut progress = Progress::new();
    let count = |batches: usize| progress.show(batches as u64, None, "batches looked at");
    let selected = queue.select(revision, filter, count).await;
    progress.end();
    let mut selection = selected?;
    let (mut changed, mut passed_over) = (0, 0);
    if let Some(rate) = act {
        let acted = revise(queue, &mut selection, rate, &mut progress, &mut changed).await;
        progress.end();
        acted.with_context(|| {
            format!(
                "stopped after {changed} of {} rows; the command can be repeated",
                selection.rows
            )
        })?;
        passed_over = selection.passed_over();
    }
    if output.is_json() {
        output.document(&json!({
            "rows": selection.rows, "batches": selection.batches, "held": selection.held,
            "acted": act.is_some(), "changed": changed, "passed_over": passed_over,
        }))?;
        return Ok(passed_over == 0);
    }
    let (kind, done) = words(revision);
    if act.is_some() {
        output.line(&format!("{done}: {}", counted(changed, kind, "row")))?;
        if passed_over > 0 {
            let rows = counted(passed_over, "", "row");
            let why = "passed over because workers hold their batches; run the command again later";
            output.line(&format!("{rows} {why}"))?;
        }
    } else {
        let (rows, batches) =
            (counted(selection.rows, kind, "row"), counted(selection.batches, "", "batch"));
        let held = selection.held;
        let held =
            if held > 0 { format!(", {held} of them with workers now") } else { String::new() };
        output.line(&format!("{rows} in {batches}{held}"))?;
        output.line(&format!("nothing was changed; with --yes they are {done}"))?;
    }
    Ok(passed_over == 0)
}

fn words(revision: Revision) -> (&'static str, &'static str) {
    match revision {
        Revision::Replay => ("dead ", "replayed"),
        Revision::Drop => ("dead ", "dropped"),
        Revision::Cancel => ("pending ", "cancelled"),
    }
}

fn counted(n: u64, kind: &str, thing: &str) -> String {
    let ending = match (n, thing) {
        (1, _) => "",
        (_, "batch") => "es",
        _ => "s",
    };
    format!("{n} {kind}{thing}{ending}")
}

/// Revises the selection, at a rate (rows a second) if one is given; `changed` counts the rows.
async fn revise(
    queue: &Queue,
    selection: &mut Selection,
    rate: Option<f64>,
    progress: &mut Progress,
    changed: &mut u64,
) -> anyhow::Result<()> {
    let mut credit = Credit { rate, rows: 1.0, at: Instant::now() };
    let patience = if rate.is_some() { RATE_PATIENCE } else { PATIENCE };
    let mut last = Instant::now();
    loop {
        while !selection.is_over() && credit.whole() > 0 {
            let rows = selection.step(queue, credit.whole()).await?;
            credit.spend(rows);
            *changed += rows;
            if rows > 0 {
                last = Instant::now();
            }
            progress.show(*changed, Some(selection.rows), "rows");
        }
        if selection.is_over() {
            if selection.passed_over() == 0 || last.elapsed() > patience {
                return Ok(());
            }
            sleep(AGAIN).await;
            selection.try_again();
        } else {
            sleep(PORTION).await;
        }
        credit.grow();
    }
}

/// How many rows may be replayed by now. What is not used is kept for a portion, not for later.
struct Credit {
    rate: Option<f64>,
    rows: f64,
    at: Instant,
}

impl Credit {
    fn whole(&self) -> usize {
        if self.rate.is_some() { self.rows as usize } else { usize::MAX }
    }

    fn spend(&mut self, rows: u64) {
        self.rows -= rows as f64;
    }

    fn grow(&mut self) {
        let gone = self.at.elapsed().as_secs_f64();
        self.at = Instant::now();
        if let Some(rate) = self.rate {
            let most = (2.0 * PORTION.as_secs_f64() * rate).max(1.0);
            self.rows = (self.rows + gone * rate).min(most);
        }
    }
}
