//! `dead replay`, `dead drop` and `cancel`: count first, and act with `--yes`.

use std::time::Duration;

use anyhow::ensure;
use postback_core::{
    queue::{Queue, Revision},
    select::Selection,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    filter::Filter,
    limit::{Rate, rate},
};
use crate::output::{Output, Progress};

/// Rows that workers hold are tried again after this, so many times without success.
const AGAIN: Duration = Duration::from_secs(1);
const TRIES: u32 = 3;

/// At a rate, rows go out in portions this far apart.
const PORTION: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Do it; without it the rows are only counted
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    args: Args,
    /// At most so many rows in a time, such as 100/s [default: all at once]
    #[arg(long, value_parser = rate)]
    rate: Option<Rate>,
}

pub(crate) async fn replay(
    queue: &Queue,
    args: &ReplayArgs,
    output: &mut Output,
) -> anyhow::Result<bool> {
    let rate = args.rate.and_then(|rate| rate.0);
    ensure!(rate != Some(0.0), "--rate is 0: leave it out, or give a rate such as 100/s");
    run(queue, &args.args, Revision::Replay, rate, output).await
}

pub(crate) async fn drop(queue: &Queue, args: &Args, output: &mut Output) -> anyhow::Result<bool> {
    run(queue, args, Revision::Drop, None, output).await
}

pub(crate) async fn cancel(
    queue: &Queue,
    args: &Args,
    output: &mut Output,
) -> anyhow::Result<bool> {
    ensure!(
        args.filter.to_filter().cause.is_none(),
        "--cause is of dead rows: cancel is for rows that are not dead yet"
    );
    run(queue, args, Revision::Cancel, None, output).await
}

async fn run(
    queue: &Queue,
    args: &Args,
    revision: Revision,
    rate: Option<f64>,
    output: &mut Output,
) -> anyhow::Result<bool> {
    let mut progress = Progress::new();
    let filter = args.filter.to_filter();
    let count = |batches| progress.show(|| format!("{batches} batches looked at"));
    let mut selection = queue.select(revision, filter, count).await?;
    let mut changed = 0;
    if args.yes {
        changed = act(queue, &mut selection, rate, &mut progress).await?;
    }
    progress.end();
    let passed_over = if args.yes { selection.passed_over() } else { 0 };
    if output.is_json() {
        output.document(&json!({
            "rows": selection.rows, "batches": selection.batches, "held": selection.held,
            "acted": args.yes, "changed": changed, "passed_over": passed_over,
        }))?;
        return Ok(true);
    }
    let (kind, done) = words(revision);
    if args.yes {
        output.line(&format!("{done} {changed} {kind} rows"))?;
        if passed_over > 0 {
            let text =
                "passed over because workers hold their batches; run the command again later";
            output.line(&format!("{passed_over} rows were {text}"))?;
        }
    } else {
        let Selection { rows, batches, held, .. } = selection;
        let held =
            if held > 0 { format!(", {held} of them with workers now") } else { String::new() };
        output.line(&format!("{rows} {kind} rows in {batches} batches{held}"))?;
        output.line(&format!("nothing was changed; with --yes they are {done}"))?;
    }
    Ok(true)
}

fn words(revision: Revision) -> (&'static str, &'static str) {
    match revision {
        Revision::Replay => ("dead", "replayed"),
        Revision::Drop => ("dead", "dropped"),
        Revision::Cancel => ("pending", "cancelled"),
    }
}

/// Revises the selection, at a rate (rows a second) if one is given; returns how many rows were.
async fn act(
    queue: &Queue,
    selection: &mut Selection,
    rate: Option<f64>,
    progress: &mut Progress,
) -> anyhow::Result<u64> {
    let (start, mut changed, mut tries) = (Instant::now(), 0, 0);
    loop {
        let allowed = match rate {
            None => usize::MAX,
            Some(rate) => ((start.elapsed().as_secs_f64() * rate) as u64 + 1)
                .saturating_sub(changed)
                .try_into()
                .unwrap_or(usize::MAX),
        };
        if allowed == 0 {
            sleep(PORTION).await;
            continue;
        }
        let now = selection.step(queue, allowed).await?;
        changed += now;
        tries = if now > 0 { 0 } else { tries };
        progress.show(|| format!("{changed} of {} rows", selection.rows));
        if selection.is_over() {
            if selection.passed_over() == 0 || tries == TRIES {
                return Ok(changed);
            }
            tries += 1;
            sleep(AGAIN).await;
            selection.try_again();
        } else if rate.is_some() {
            sleep(PORTION).await;
        }
    }
}
