//! `find`: postbacks by ref, request id or id.

use postback_core::{
    queue::Queue,
    view::{Postback, time_text},
};
use serde_json::json;

use super::timeline::{answer, print_postback};
use crate::output::{Column, Output, Table, tell};

/// Of more than these there is one line each.
const WHOLE: usize = 5;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A ref, a request id, or a postback's id
    text: String,
}

const EXAMPLES: &str = "\
Examples:
  postbackctl find 8f3a
  postbackctl find 5f0c6d1e2b3a49788796a5b4c3d2e1f0      # every row of a request
  postbackctl find 8f3a --json";

pub(crate) async fn run(queue: &Queue, args: &Args, output: &mut Output) -> anyhow::Result<bool> {
    let found = queue.find(&args.text).await?;
    if output.is_json() {
        output.document(&json!({ "postbacks": found }))?;
    } else if found.len() > WHOLE {
        print_lines(&found, output)?;
    } else {
        for (n, postback) in found.iter().enumerate() {
            if n > 0 {
                output.line("")?;
            }
            print_postback(postback, output)?;
        }
    }
    if found.is_empty() {
        print_missing(queue, &args.text).await?;
    }
    Ok(!found.is_empty())
}

fn print_lines(found: &[Postback], output: &mut Output) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        Column::whole("id"),
        Column::whole("state"),
        Column::number("attempts"),
        Column::text("last answer"),
        Column::ends("host"),
        Column::text("ref"),
        Column::whole("accepted"),
    ]);
    for postback in found {
        let cause = postback.cause.map(|cause| format!(", {cause}")).unwrap_or_default();
        table.row([
            postback.id.clone(),
            format!("{}{cause}", postback.state.as_str()),
            postback.attempts.len().to_string(),
            postback.attempts.last().map(answer).unwrap_or_default(),
            postback.host.clone(),
            postback.reference.clone().unwrap_or_default(),
            postback.accepted_at.clone(),
        ]);
    }
    output.table(&table)?;
    output.line(&format!("{} postbacks; postbackctl show ID tells the whole of one", found.len()))
}

/// Says on standard error how far back the log goes, since what was delivered before is gone.
pub(crate) async fn print_missing(queue: &Queue, text: &str) -> anyhow::Result<()> {
    let text = text.escape_debug();
    match queue.log_begins_ms().await? {
        Some(ms) => tell(&format!(
            "nothing found for `{text}`; what was delivered before {} is older than the log",
            time_text(ms)
        )),
        None => tell(&format!("nothing found for `{text}`; the delivery log is empty")),
    }
    Ok(())
}
