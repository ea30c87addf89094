//! The process: options, log, signals, exit code.

use std::process::ExitCode;

use ingest::{config::Config, server};
use postback_core::{daemon_log, logging};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let config = Config::read();
    logging::start(config.log.log_format);
    match actix_web::rt::System::new().block_on(run(&config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: &Config) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let ingest = server::bind(config).await?;
    actix_web::rt::spawn(daemon_log::keep(config.queue.open()?, "ingest"));
    log::info!("listening on {}, admin on {}", config.listen, config.admin_listen);
    let token_files = ingest.token_files.clone();
    let shutdown = async {
        loop {
            tokio::select! {
                _ = term.recv() => break,
                _ = int.recv() => break,
                _ = hangup.recv() => token_files.reread(),
            }
        }
        log::info!("stopping: finishing the requests in progress");
    };
    ingest.run(shutdown).await
}
