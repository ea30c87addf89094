//! `show`: one postback.

use postback_core::{id::PostbackId, queue::Queue};

use super::{find::print_missing, timeline::print_postback};
use crate::output::Output;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The postback's id: `<batch>-<row>`
    id: PostbackId,
}

const EXAMPLES: &str = "\
Examples:
  postbackctl show 2vUrtVx8Jd01XkRb7nQ0aZ-17
  postbackctl show 2vUrtVx8Jd01XkRb7nQ0aZ-17 --json";

pub(crate) async fn run(queue: &Queue, args: &Args, output: &mut Output) -> anyhow::Result<bool> {
    let Some(postback) = queue.postback(args.id).await? else {
        print_missing(queue, &args.id.to_string()).await?;
        return Ok(false);
    };
    if output.is_json() {
        output.document(&postback)?;
    } else {
        print_postback(&postback, output)?;
    }
    Ok(true)
}
