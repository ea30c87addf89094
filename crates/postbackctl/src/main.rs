//! `postbackctl`: the operator's hand on the queue. The command line is `args.rs`, each command a file under `commands/`.

use std::process::ExitCode;

use clap::Parser as _;

mod args;
mod commands;
mod output;

use self::{
    args::{Args, Command},
    commands::{completions, dead, find, hosts, limit, man, pause, revise, send, show, status},
    output::Output,
};

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(args)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::tell(&format!("postbackctl: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs a command; false: it found nothing, or passed rows over.
async fn run(args: Args) -> anyhow::Result<bool> {
    let queue = args.queue.open()?;
    let mut output = Output::new(args.json);
    if !args.command.is_dry_run() {
        queue.check_shards().await?;
    }
    let done = match args.command {
        Command::Status(args) => status::run(&queue, &args, &mut output).await,
        Command::Show(args) => show::run(&queue, &args, &mut output).await,
        Command::Find(args) => find::run(&queue, &args, &mut output).await,
        Command::Send(args) => send::run(&queue, &args, &mut output).await,
        Command::Hosts(args) => hosts::run(&queue, &args, &mut output).await,
        Command::Limit(args) => limit::run(&queue, &args, &mut output).await,
        Command::Pause(args) => pause::pause(&queue, &args, &mut output).await,
        Command::Resume => pause::resume(&queue, &mut output).await,
        Command::Dead(command) => dead::run(&queue, &command, &mut output).await,
        Command::Cancel(args) => revise::cancel(&queue, &args, &mut output).await,
        Command::Completions(args) => completions::run(&args, &mut output),
        Command::Man(args) => man::run(&args, &mut output),
    }?;
    output.flush()?;
    Ok(done)
}
