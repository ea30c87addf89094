//! `dead list`: the dead letters.

use std::collections::HashSet;

use postback_core::{
    queue::{Queue, Revision, Shard},
    select,
    view::{Postback, postbacks},
};
use serde_json::json;

use super::{filter::DeadFilter, revise};
use crate::output::Output;

/// Batches read at a time.
const PAGE: usize = 16;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Shows dead rows, the latest batch first
    List(ListArgs),
    /// Makes dead rows pending again, as if never tried; counts them first
    Replay(revise::ReplayArgs),
    /// Removes dead rows for good; counts them first
    Drop(revise::DropArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: DeadFilter,
    /// At most so many rows
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

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
    let mut table = vec![["id", "cause", "host", "ref", "accepted"].map(str::to_owned).to_vec()];
    table.extend(found.iter().map(|postback| {
        let cause = postback.cause.map(|cause| cause.to_string()).unwrap_or_default();
        let reference = postback.reference.clone().unwrap_or_default();
        vec![
            postback.id.clone(),
            cause,
            postback.host.clone(),
            reference,
            postback.accepted_at.clone(),
        ]
    }));
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
