//! The two listeners: what clients use and what operators use, from binding to the last answer.

mod listen;

use std::{
    convert::Infallible,
    future::{Future, ready},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use actix_http::HttpService;
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_web::{App, dev, middleware::from_fn, web};
use anyhow::Context;
use postback_core::{
    descriptors,
    queue::{Queue, QueueError},
    redis::Trouble,
    request::{Limits, RequestReader},
    sampler,
};

use self::listen::{Listener, Socket};
use crate::{
    accept::Bounds,
    admin::{Runs, redact::Redact},
    body::Bodies,
    coalesce::Coalescing,
    config::{Config, Listen, NginxStatus},
    connection::{Connection, LINGER},
    door::{Door, Doors},
    metrics::Requests,
    routes,
    store::Store,
};

pub use crate::door::TokenFiles;

/// How long requests in progress may go on after SIGTERM, in seconds.
const DRAIN: u64 = 15;

/// How long before that no connection is accepted. actix-server counts a connection only after it has handed it to a
/// worker: one that comes and goes at the moment of stopping makes a worker with one request believe that it has none.
const SETTLE: Duration = Duration::from_millis(100);

/// Connections of operators and programs that watch.
const ADMIN_CONNECTIONS: usize = 64;
/// Descriptors that are kept for other things: a worker thread has 4 and a connection to each shard's Redis, a second one
/// while it is replaced; names are asked for, and files read.
const OTHER_FILES: usize = 64;
const FILES_OF_WORKER: usize = 8;
/// What actix-server takes at most by itself, for a process without a known limit.
const UNLIMITED: usize = 25_600;

/// An ingest that listens and does not answer yet.
pub struct Ingest {
    public: dev::Server,
    admin: dev::Server,
    /// Where clients connect; a made-up address for a unix socket.
    pub address: SocketAddr,
    /// Where operators connect; a made-up address for a unix socket.
    pub admin_address: SocketAddr,
    /// The files whose tokens it takes.
    pub token_files: TokenFiles,
    /// What it tells Redis of its box.
    sampled: (Queue, Option<NginxStatus>),
}

/// What every worker thread starts from.
#[derive(Clone)]
struct Shared {
    queue: Queue,
    trouble: Arc<Trouble>,
    bounds: web::Data<Bounds>,
    requests: web::Data<Requests>,
    redact: web::Data<Redact>,
    runs: web::Data<Runs>,
    coalescing: Coalescing,
}

/// Listens. Works without Redis; requests get 503 until it is there.
///
/// # Errors
/// When a token file is bad, an address is taken, or Redis is set up so that it would lose postbacks.
pub async fn bind(config: &Config) -> anyhow::Result<Ingest> {
    let doors = Doors::open(config)?;
    let shared = Shared {
        queue: config.queue.open()?,
        trouble: Arc::default(),
        bounds: web::Data::new(Bounds {
            bodies: Bodies::new(usize::try_from(config.max_body).unwrap_or(usize::MAX)),
            max_backlog: config.max_backlog,
            idempotency_ttl: config.idempotency_ttl,
            requests: RequestReader::new(Limits {
                max_rows: config.max_rows as usize,
                unmatched: config.unmatched.clone(),
            }),
        }),
        requests: web::Data::default(),
        redact: web::Data::new(Redact::new(&config.redact)),
        runs: web::Data::default(),
        coalescing: Coalescing::new(config.coalesce),
    };
    // Anything else may pass, and is in the log.
    let found = Store::new(&shared.queue, shared.trouble.clone())?.ready().await;
    if let Err(error @ (QueueError::Unsafe(..) | QueueError::Shards { .. })) = found {
        return Err(error.into());
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let connections = connections(descriptors::soft_limit(), workers, config.queue.shards.into());
    log::info!("taking at most {} connections at a time", workers * connections);
    let (public, address) =
        serve(&shared, doors.public, &config.listen, (workers, connections), routes::public)?;
    let admin = (1, ADMIN_CONNECTIONS);
    let (admin, admin_address) =
        serve(&shared, doors.admin, &config.admin_listen, admin, routes::admin)?;
    let sampled = (shared.queue.reopen()?, config.nginx_status.clone());
    Ok(Ingest { public, admin, address, admin_address, token_files: doors.files, sampled })
}

/// How many connections one of so many workers takes at most, so that the process never runs out of descriptors. Further
/// clients wait in the listener's queue: refusing them would need a descriptor too.
fn connections(limit: Option<u64>, workers: usize, shards: usize) -> usize {
    let Some(limit) = limit else { return UNLIMITED };
    let others = OTHER_FILES + ADMIN_CONNECTIONS + workers * (FILES_OF_WORKER + 2 * shards);
    let all = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(others);
    (all / workers).clamp(1, UNLIMITED)
}

fn serve(
    shared: &Shared,
    door: web::Data<Door>,
    listen: &Listen,
    (workers, connections): (usize, usize),
    routes: fn(&mut web::ServiceConfig),
) -> anyhow::Result<(dev::Server, SocketAddr)> {
    let server = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections)
        .shutdown_timeout(DRAIN)
        .disable_signals();
    let draining = server.graceful_shutdown_signal();
    let cannot = || format!("cannot listen on {listen}");
    let mut address = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut server = server;
    for listener in listen::bind(listen).with_context(cannot)? {
        let (shared, door, draining) = (shared.clone(), door.clone(), draining.clone());
        server = match listener {
            Listener::Tcp(listener) => {
                address = listener.local_addr()?;
                server.listen("tcp", listener, move || http(&shared, &door, &draining, routes))
            }
            Listener::Unix(listener) => {
                server.listen_uds("unix", listener, move || http(&shared, &door, &draining, routes))
            }
        }
        .with_context(cannot)?;
    }
    Ok((server.run(), address))
}

/// What `HttpServer` builds, with a connection of ours between the socket and actix-http.
fn http<S: Socket>(
    shared: &Shared,
    door: &web::Data<Door>,
    draining: &GracefulShutdownSignal,
    routes: fn(&mut web::ServiceConfig),
) -> impl ServiceFactory<S, Config = (), Response = (), InitError = ()> + use<S> {
    let Shared { queue, trouble, bounds, requests, redact, runs, coalescing } = shared.clone();
    let app = App::new()
        .data_factory(move || ready(Store::new(&queue, trouble.clone())))
        .data_factory(move || ready(Ok::<_, Infallible>(coalescing.on_this_thread())))
        .app_data(bounds)
        .app_data(requests)
        .app_data(redact)
        .app_data(runs)
        .app_data(door.clone())
        .wrap(from_fn(routes::frame))
        .configure(routes)
        .into_factory()
        .map_err(|error: actix_web::Error| error.error_response());
    let draining = draining.clone();
    let service = HttpService::build()
        .graceful_shutdown_signal(move || {
            let draining = draining.clone();
            async move { draining.notified().await }
        })
        // The connection's own limits: these hold for the first request only, or for no more than waiting.
        .keep_alive(actix_http::KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(LINGER)
        .on_connect_ext(|connection: &Connection<S>, data| {
            data.insert(connection.watch());
        })
        .h1(map_config(app, |()| dev::AppConfig::default()));
    fn_service(|socket: S| async {
        let peer = socket.peer();
        socket.send_at_once();
        Ok((Connection::new(socket), peer))
    })
    .and_then(service)
}

impl Ingest {
    /// Answers until `shutdown`, then finishes the requests in progress.
    ///
    /// # Errors
    /// When a listener breaks.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (public, admin) = (self.public.handle(), self.admin.handle());
        let stop = async {
            shutdown.await;
            public.pause().await;
            tokio::time::sleep(SETTLE).await;
            public.stop(true).await;
            admin.stop(true).await;
            Ok(())
        };
        let (queue, status) = self.sampled;
        let sampler = sampler::run(queue, async || status.as_ref()?.ask().await);
        tokio::select! {
            ended = async { tokio::try_join!(self.public, self.admin, stop) } => Ok(ended.map(drop)?),
            () = sampler => Ok(()), // it never ends
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        let check = |limit, workers, shards, expect| {
            assert_eq!(connections(limit, workers, shards), expect, "{limit:?} {workers} {shards}");
        };
        check(Some(1024), 2, 1, 438);
        check(Some(65_536), 2, 1, 25_600);
        check(Some(20_000), 2, 1, 9926);
        check(Some(20_000), 8, 16, 2444);
        check(Some(10), 2, 1, 1);
        check(None, 2, 1, 25_600);
    }
}
