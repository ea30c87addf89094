//! `postbackctl`: the operator's hand on the queue. Each command is a file under `commands/`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use postback_core::options::QueueOptions;

mod commands;
mod output;

use self::{
    commands::{dead, find, hosts, limit, pause, revise, send, show, status},
    output::Output,
};

/// Looks into the queue and the delivery log, changes what waits, and sends single postbacks.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Args {
    #[command(flatten)]
    queue: QueueOptions,

    /// One JSON document instead of text
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  postbackctl status
  postbackctl find 8f3a                     what happened to click 8f3a?
  postbackctl show 0aB…-17 --json
  postbackctl dead list --cause timeout --host partner.example
  postbackctl dead replay --host partner.example --since 2h --rate 100/s --yes
  postbackctl cancel --request 5f0c… --yes
  postbackctl hosts --busy
  postbackctl limit partner.example 100/s   over the whole fleet; 0 pauses the host, none lifts it
  postbackctl pause --reason 'partner asked'   until postbackctl resume
  postbackctl send GET 'https://partner.example/p?id={id}' --row '{\"id\":1}' --dry-run

Exit codes: 0 done, 1 failed, or find and show found nothing, or rows were passed over, 2 wrong usage.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Rows waiting, delivered and dead, and the workers
    Status,
    /// One postback with all its attempts
    Show(show::Args),
    /// Postbacks by ref, request id or id: in the log, then live and dead
    Find(find::Args),
    /// Sends one postback through the queue, or shows it
    Send(send::Args),
    /// The lanes: what waits, limits, breakers
    Hosts(hosts::Args),
    /// Sets a host's rate over the whole fleet
    Limit(limit::Args),
    /// Stops every deliver on every box from taking rows; they stay up
    Pause(pause::Args),
    /// Lets them go on
    Resume,
    /// The dead letters: list, replay, drop
    #[command(subcommand)]
    Dead(dead::Command),
    /// Ends rows that are not delivered yet: they are dead, cause `cancelled`; counts them first
    Cancel(revise::CancelArgs),
}

impl Command {
    /// Whether it needs no Redis.
    fn is_dry_run(&self) -> bool {
        matches!(self, Command::Send(args) if args.dry_run)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(args)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("postbackctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command; false: it found nothing.
async fn run(args: Args) -> anyhow::Result<bool> {
    let queue = args.queue.open()?;
    let mut output = Output::new(args.json);
    if !args.command.is_dry_run() {
        queue.check_shards().await?;
    }
    match args.command {
        Command::Status => status::run(&queue, &mut output).await,
        Command::Show(args) => show::run(&queue, &args, &mut output).await,
        Command::Find(args) => find::run(&queue, &args, &mut output).await,
        Command::Send(args) => send::run(&queue, &args, &mut output).await,
        Command::Hosts(args) => hosts::run(&queue, &args, &mut output).await,
        Command::Limit(args) => limit::run(&queue, &args, &mut output).await,
        Command::Pause(args) => pause::pause(&queue, &args, &mut output).await,
        Command::Resume => pause::resume(&queue, &mut output).await,
        Command::Dead(command) => dead::run(&queue, &command, &mut output).await,
        Command::Cancel(args) => revise::cancel(&queue, &args, &mut output).await,
    }
}
