//! The daemon from start to end: check the options, wait for Redis, work, drain.

use std::{future::Future, rc::Rc, time::Duration};

use anyhow::Context as _;
use postback_core::{
    daemon_log,
    queue::{Queue, QueueError},
    sampler,
};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep, timeout},
};

use crate::{
    config::Config,
    connect::{Dialer, DialerConfig},
    metrics::{Load, Metrics, serve},
    process::Process,
    sign::SigningKeys,
    worker::Worker,
};

/// How long Redis may take at the end to hear the last outcomes.
const LAST_SETTLE: Duration = Duration::from_secs(5);

/// How long giving the leases back may take; all in all less than the 10 s that supervisord waits beyond the drain.
const RETIRE: Duration = Duration::from_secs(1);

/// How often it is looked whether Redis still keeps what it is given.
const WATCH: Duration = Duration::from_secs(5);

/// Works until `shutdown` is over, then drains. Must run inside a `LocalSet` on a current-thread runtime.
///
/// # Errors
/// When an option is wrong, a port is taken, or Redis is one that would lose postbacks.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(&config.metrics_listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.metrics_listen))?;
    let dialer = Dialer::new(DialerConfig {
        allow_net: config.allow_net.clone(),
        ca_file: config.ca_file.clone(),
        bind: config.bind,
    })?;
    let queue = config.queue.open()?;
    let keys = config.signing_key_file.as_deref().map(SigningKeys::read).transpose()?;
    let metrics = Metrics::new(queue.trips());
    let process = Process::new(config, dialer, keys.unwrap_or_default(), metrics);
    tokio::task::spawn_local(daemon_log::keep(queue.clone(), "deliver"));
    let shards = 0..queue.shards().len();
    let workers =
        shards.map(|n| Worker::new(process.clone(), &queue, n)).collect::<Result<Vec<_>, _>>()?;
    let all = workers.clone();
    let load = move || {
        let loads = all.iter().map(|worker| worker.load());
        loads.reduce(Load::and).unwrap_or_default()
    };
    tokio::task::spawn_local(serve(listener, process.clone(), Rc::new(load)));

    let writing = process.clone();
    tokio::task::spawn_local(async move {
        if let Some(deliveries) = &writing.deliveries {
            deliveries.flush_loop().await;
        }
    });
    tokio::pin!(shutdown);
    tokio::select! {
        checked = wait_for_redis(&queue, &process) => checked?,
        () = &mut shutdown => return Ok(()),
    }
    for worker in &workers {
        worker.start();
    }
    tokio::task::spawn_local(sampler::run(queue.clone(), async || None));
    tokio::task::spawn_local(watch_redis(queue));
    log::info!(
        "deliver {} takes postbacks from {}",
        env!("CARGO_PKG_VERSION"),
        process.config.queue.redis_url
    );
    shutdown.await;
    drain(&process, &workers).await;
    if let Some(deliveries) = &process.deliveries {
        deliveries.finish();
    }
    log::info!("stopped");
    Ok(())
}

/// Returns when Redis is there and is one that keeps what it is given.
async fn wait_for_redis(queue: &Queue, process: &Process) -> anyhow::Result<()> {
    loop {
        match queue.check_server().await {
            Ok(()) => return Ok(()),
            Err(error @ (QueueError::Unsafe(..) | QueueError::Shards { .. })) => {
                return Err(error.into());
            }
            Err(error) => process.redis_failed(&error),
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Tells once when Redis becomes one that would lose postbacks, as by a restart with other settings. Sending goes on:
/// what is there is safest at the partners. After a FLUSHALL this also names the fleet's number of shards again.
async fn watch_redis(queue: Queue) {
    let mut told = String::new();
    loop {
        sleep(WATCH).await;
        match queue.check_server().await {
            Ok(()) if !told.is_empty() => {
                log::info!("redis keeps postbacks again");
                told.clear();
            }
            Err(error @ (QueueError::Unsafe(..) | QueueError::Shards { .. }))
                if told != error.to_string() =>
            {
                told = error.to_string();
                log::error!("{told}; sending goes on, but set it right");
            }
            // Other failures are the workers' to tell.
            _ => {}
        }
    }
}

/// Gives back what is not sent, lets finish what is in flight, and tells Redis.
async fn drain(process: &Process, workers: &[Rc<Worker>]) {
    let deadline = Instant::now() + process.config.drain;
    process.stopping.set(true);
    for worker in workers {
        worker.give_back_all();
        worker.ask_for_rows(); // to see that there are to be none
    }
    log::info!("stopping: {} requests in flight", process.in_flight());
    while process.in_flight() > 0 {
        let quiet = process.quiet.notified();
        if timeout(deadline.saturating_duration_since(Instant::now()), quiet).await.is_err() {
            log::warn!(
                "{} requests still open at the end of the drain are cut off",
                process.in_flight()
            );
            workers.iter().for_each(|worker| worker.cut.notify_waiters());
            break;
        }
    }
    let last = Instant::now() + LAST_SETTLE;
    while process.in_flight() > 0 || !workers.iter().all(|worker| worker.is_done()) {
        if Instant::now() > last {
            log::error!(
                "redis did not take the last outcomes; their postbacks will be sent again in 30 s"
            );
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    let retire = async {
        for worker in workers {
            worker.retire().await;
        }
    };
    drop(timeout(RETIRE, retire).await);
}
