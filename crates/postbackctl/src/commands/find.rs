//! `find`: postbacks by ref, request id or id.

use postback_core::{queue::Queue, view::time_text};
use serde_json::json;

use super::print_postback;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A ref, a request id, or a postback's id
    text: String,
}

pub(crate) async fn run(queue: &Queue, args: &Args, output: &mut Output) -> anyhow::Result<bool> {
    let found = queue.find(&args.text).await?;
    if output.is_json() {
        output.document(&json!({ "postbacks": found }))?;
    } else {
        for postback in &found {
            print_postback(postback, output)?;
        }
    }
    if found.is_empty() {
        print_missing(queue, &args.text).await?;
    }
    Ok(!found.is_empty())
}

/// Says on standard error how far back the log goes, since what was delivered before is gone.
pub(crate) async fn print_missing(queue: &Queue, text: &str) -> anyhow::Result<()> {
    let text = text.escape_debug();
    match queue.log_begins_ms().await? {
        Some(ms) => eprintln!(
            "nothing found for `{text}`; what was delivered before {} is older than the log",
            time_text(ms)
        ),
        None => eprintln!("nothing found for `{text}`; the delivery log is empty"),
    }
    Ok(())
}
