//! `dead replay`, `dead drop` and `cancel`: count first, and act with `--yes`.

use anyhow::Context as _;
use postback_core::{
    operate::{self, Acting, counted, words},
    queue::{Queue, Revision},
    select,
};
use serde_json::json;

use super::filter::{DeadFilter, Filter};
use crate::output::{Output, Progress};

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
    #[arg(long, value_parser = operate::replay_rate)]
    rate: Option<f64>,
}

/// Of `dead replay`.
pub(crate) const REPLAY_EXAMPLES: &str = "\
Examples:
  postbackctl dead replay --host partner.example --since 2h
  postbackctl dead replay --host partner.example --since 2h --rate 100/s --yes
  postbackctl dead replay --status 503 --yes";

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
    let selection = selected?;
    let (rows, batches, held) = (selection.rows, selection.batches, selection.held);
    let (mut changed, mut passed_over) = (0, 0);
    if let Some(rate) = act {
        let mut acting = Acting::new(selection, rate);
        let acted = revise(queue, &mut acting, &mut progress, &mut changed).await;
        progress.end();
        acted.with_context(|| {
            format!("stopped after {changed} of {rows} rows; the command can be repeated")
        })?;
        passed_over = acting.selection().passed_over();
    }
    if output.is_json() {
        output.document(&json!({
            "rows": rows, "batches": batches, "held": held,
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
        let (rows, batches) = (counted(rows, kind, "row"), counted(batches, "", "batch"));
        let held =
            if held > 0 { format!(", {held} of them with workers now") } else { String::new() };
        output.line(&format!("{rows} in {batches}{held}"))?;
        output.line(&format!("nothing was changed; with --yes they are {done}"))?;
    }
    Ok(passed_over == 0)
}

/// Revises what was selected to its end; `changed` counts the rows.
async fn revise(
    queue: &Queue,
    acting: &mut Acting,
    progress: &mut Progress,
    changed: &mut u64,
) -> anyhow::Result<()> {
    while let Some(rows) = acting.go_on(queue).await? {
        *changed += rows;
        progress.show(*changed, Some(acting.selection().rows), "rows");
    }
    Ok(())
}
