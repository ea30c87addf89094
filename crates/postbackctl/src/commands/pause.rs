//! `pause` and `resume`: every deliver on every box stops taking rows, and goes on.

use std::{env, fs};

use postback_core::{operate, queue::Queue};
use serde_json::json;

use crate::output::Output;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Why, for those who find the fleet paused
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Of `resume`.
pub(crate) const RESUME_EXAMPLES: &str = "\
Examples:
  postbackctl resume";

const EXAMPLES: &str = "\
Examples:
  postbackctl pause --reason 'moving Redis'
  postbackctl resume";

pub(crate) async fn pause(queue: &Queue, args: &Args, output: &mut Output) -> anyhow::Result<bool> {
    let text = operate::pause(queue, &who(), &args.reason).await?;
    if output.is_json() {
        output.document(&json!({ "paused": text }))?;
    } else {
        output.line(&format!("paused {text}"))?;
        output
            .line("every deliver takes no more within a second, and finishes what is in flight")?;
    }
    Ok(true)
}

pub(crate) async fn resume(queue: &Queue, output: &mut Output) -> anyhow::Result<bool> {
    let mut was = None;
    for shard in queue.shards() {
        was = was.or(shard.paused().await?);
        shard.resume().await?;
    }
    if output.is_json() {
        output.document(&json!({ "paused": null, "was": was }))?;
        return Ok(true);
    }
    output.line(
        &was.map_or("was not paused".to_owned(), |was| format!("goes on; was paused {was}")),
    )?;
    Ok(true)
}

/// `user@box`, as far as they are known.
fn who() -> String {
    let user = env::var("USER").or_else(|_| env::var("LOGNAME")).unwrap_or_else(|_| "?".into());
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", name.trim())
}
