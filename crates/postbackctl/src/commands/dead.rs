//! `dead`: the dead letters.

use postback_core::{
    attempt::Cause,
    queue::{Queue, Shard, State},
    view::{Postback, postbacks},
};
use serde_json::json;

use crate::output::Output;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Shows dead rows, the latest batch first
    List(Filter),
}

/// Which rows; all that is given must hold.
#[derive(Debug, clap::Args)]
pub(crate) struct Filter {
    /// Rows of this request
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Rows to this host, with or without its port
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Rows whose last answer had this status
    #[arg(long)]
    status: Option<u16>,
    /// Rows that died of this
    #[arg(long, value_parser = cause)]
    cause: Option<Cause>,
    /// Rows with this ref
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// At most so many rows
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

fn cause(text: &str) -> Result<Cause, String> {
    let found = Cause::NAMES.iter().find(|(_, name)| *name == text);
    let names = || Cause::NAMES.map(|(_, name)| name).join(", ");
    found.map(|(cause, _)| *cause).ok_or_else(|| format!("is not one of {}", names()))
}

impl Filter {
    fn accepts(&self, postback: &Postback, status: u16) -> bool {
        let host = |asked: &String| {
            let host = &postback.host;
            host == asked || host.strip_suffix(":80").or(host.strip_suffix(":443")) == Some(asked)
        };
        self.request.as_ref().is_none_or(|asked| *asked == postback.request_id)
            && self.host.as_ref().is_none_or(host)
            && self.status.is_none_or(|asked| asked == status)
            && self.cause.is_none_or(|asked| Some(asked) == postback.cause)
            && self
                .reference
                .as_ref()
                .is_none_or(|asked| Some(asked) == postback.reference.as_ref())
    }
}

pub(crate) async fn list(
    queue: &Queue,
    filter: &Filter,
    output: &mut Output,
) -> anyhow::Result<bool> {
    let mut found = Vec::new();
    for shard in queue.shards() {
        collect(shard, filter, &mut found).await?;
    }
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
    if found.len() == filter.limit {
        output.line(&format!("only the first {} rows; see --limit", filter.limit))?;
    }
    Ok(true)
}

async fn collect(shard: &Shard, filter: &Filter, found: &mut Vec<Postback>) -> anyhow::Result<()> {
    let mut skip = 0;
    loop {
        let page = shard.dead(skip).await?;
        if page.is_empty() {
            return Ok(());
        }
        skip += page.len();
        for dead in page {
            let Some(stored) = shard.batch(dead.id).await? else { continue };
            for (postback, state) in postbacks(&stored, None) {
                let is_dead = matches!(state.state, State::Dead(_));
                if is_dead && filter.accepts(&postback, state.status) {
                    found.push(postback);
                }
                if found.len() >= filter.limit {
                    return Ok(());
                }
            }
        }
    }
}
