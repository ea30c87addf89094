//! `dead list`: the dead letters.

use std::collections::HashSet;

use postback_core::{
    queue::{Queue, Revision, Shard},
    select,
    view::{Postback, postbacks},
};
use serde_json::json;

use super::{filter::DeadFilter, revise};
use crate::output::{Column, Output, Table};

/// Batches read at a time.
const PAGE: usize = 16;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Shows dead rows, the latest batch first
    List(ListArgs),
    /// Makes dead rows pending again, as if never tried; counts them first
    ///
    /// Each row that was counted is replayed once, also when it dies again meanwhile. Rows whose batch a worker holds are
    /// passed over and counted; the command then exits with 1 and can be repeated.
    #[command(after_help = revise::REPLAY_EXAMPLES)]
    Replay(revise::ReplayArgs),
    /// Removes dead rows for good; counts them first
    #[command(after_help = revise::DROP_EXAMPLES)]
    Drop(revise::DropArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: DeadFilter,
    /// At most so many rows
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

const LIST_EXAMPLES: &str = "\
Examples:
  postbackctl dead list
  postbackctl dead list --cause timeout --host partner.example --since 2h
  postbackctl dead list --limit 1000 --json";

pub(crate) async fn run(
    queue: &Queue,
    command: &Command,
    output: &mut Output,
) -> anyhow::Result<bool> {
    match command {
        Command::List(args) => list(queue, args, output).await,
        Command::Replay(args) => revise::replay(queue, args, output).await,
        Command::Drop(args) => revise::drop(queue, args, output).await,
    }
}

async fn list(queue: &Queue, args: &ListArgs, output: &mut Output) -> anyhow::Result<bool> {
    let filter = args.filter.at(queue.shards()[0].now_ms().await?);
    let mut found = Vec::new();
    for shard in queue.shards() {
        collect(shard, &filter, args.limit + 1, &mut found).await?;
    }
    let more = found.len() > args.limit;
    found.truncate(args.limit);
    if output.is_json() {
        output.document(&json!({ "postbacks": found }))?;
        return Ok(true);
    }
    let mut table = Table::new(&[
        Column::whole("id"),
        Column::whole("cause"),
        Column::ends("host"),
        Column::text("ref"),
        Column::whole("accepted"),
    ]);
    for postback in found {
        let cause = postback.cause.map(|cause| cause.to_string()).unwrap_or_default();
        let reference = postback.reference.unwrap_or_default();
        table.row([postback.id, cause, postback.host, reference, postback.accepted_at]);
    }
    output.table(&table)?;
    if more {
        output.line(&format!("there are more than {}; see --limit", args.limit))?;
    }
    Ok(true)
}

/// Adds a shard's dead rows, up to `most` in all.
async fn collect(
    shard: &Shard,
    filter: &select::Filter,
    most: usize,
    found: &mut Vec<Postback>,
) -> anyhow::Result<()> {
    // New deaths come in front, and shift the others into the next page once more.
    let (mut skip, mut seen) = (0, HashSet::new());
    loop {
        let dead = shard.dead(skip).await?;
        if dead.is_empty() {
            return Ok(());
        }
        skip += dead.len();
        for page in dead.chunks(PAGE) {
            let ids = page.iter().map(|batch| batch.id).filter(|id| seen.insert(*id));
            let ids: Vec<_> = ids.collect();
            for (stored, _) in shard.batches(&ids).await? {
                let rows = filter.rows(&stored, Revision::Replay);
                if rows.is_empty() {
                    continue;
                }
                let all = (0..).zip(postbacks(&stored, None));
                let asked = all.filter(|(row, _)| rows.contains(row));
                found.extend(asked.map(|(_, (postback, _))| postback));
                if found.len() >= most {
                    found.truncate(most);
                    return Ok(());
                }
            }
        }
    }
}
