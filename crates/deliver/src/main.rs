//! The `deliver` daemon: options, logging, signals. The rest is in the library.

use std::process::ExitCode;

use clap::Parser;
use deliver::{Config, run};
use postback_core::logging;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

fn main() -> ExitCode {
    let config = Config::parse();
    logging::start(config.log.log_format);
    // A task that panicked would keep its slot and its batch for good: the lease brings the work back.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    match start(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One process is one thread: more cores are more processes (ARCHITECTURE.md, Decisions).
fn start(config: Config) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = LocalSet::new().block_on(&runtime, async {
        let (mut term, mut int) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut any = async move || tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} };
        let shutdown = async move {
            any().await;
            tokio::task::spawn_local(async move {
                any().await;
                log::warn!("second signal: leaving at once; what is in flight will be sent again");
                std::process::exit(1);
            });
        };
        run(config, shutdown).await
    });
    // A thread may wait for silent name servers, for longer than supervisord waits for us.
    runtime.shutdown_background();
    ended
}
