//! The two listeners: what clients use and what operators use, from binding to the last answer.

use std::{
    fs,
    future::{Future, ready},
    io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

use actix_web::{App, HttpServer, dev, middleware::from_fn, web};
use anyhow::Context;
use postback_core::{
    queue::{Queue, QueueError},
    redis::Trouble,
    request::Limits,
};

use crate::{
    accept::Bounds,
    coalesce::Coalescer,
    config::{Config, Listen},
    door::{Door, Doors},
    routes,
    store::Store,
};

pub use crate::door::TokenFiles;

/// Above nginx's 60 s, so that it is nginx that closes a quiet connection: one that ingest closes just as nginx
/// writes a request into it costs that request.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may take to send a head.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long requests in progress may go on after SIGTERM, in seconds.
const DRAIN: u64 = 15;

/// How long before that no connection is accepted. actix-server counts a connection only after it has handed it to a
/// worker: one that comes and goes at the moment of stopping makes a worker with one request believe that it has none.
const SETTLE: Duration = Duration::from_millis(100);

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
}

/// What every worker thread starts from.
#[derive(Clone)]
struct Shared {
    queue: Queue,
    trouble: Arc<Trouble>,
    bounds: web::Data<Bounds>,
    coalesce: Duration,
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
            max_body: usize::try_from(config.max_body).unwrap_or(usize::MAX),
            max_backlog: config.max_backlog,
            idempotency_ttl: config.idempotency_ttl,
            limits: Limits {
                max_rows: config.max_rows as usize,
                unmatched: config.unmatched.clone(),
            },
        }),
        coalesce: config.coalesce,
    };
    // Anything else may pass, and is in the log.
    let found = Store::new(&shared.queue, shared.trouble.clone())?.ready().await;
    if let Err(error @ (QueueError::Unsafe(..) | QueueError::Shards { .. })) = found {
        return Err(error.into());
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (public, address) = serve(&shared, doors.public, &config.listen, workers, routes::public)?;
    let (admin, admin_address) =
        serve(&shared, doors.admin, &config.admin_listen, 1, routes::admin)?;
    Ok(Ingest { public, admin, address, admin_address, token_files: doors.files })
}

fn serve(
    shared: &Shared,
    door: web::Data<Door>,
    listen: &Listen,
    workers: usize,
    routes: fn(&mut web::ServiceConfig),
) -> anyhow::Result<(dev::Server, SocketAddr)> {
    let shared = shared.clone();
    let app = move || {
        let Shared { queue, trouble, bounds, coalesce } = shared.clone();
        App::new()
            .data_factory(move || ready(Store::new(&queue, trouble.clone())))
            .app_data(bounds)
            .app_data(door.clone())
            .app_data(web::Data::new(Coalescer::new(coalesce)))
            .wrap(from_fn(routes::frame))
            .configure(routes)
    };
    let server = HttpServer::new(app)
        .workers(workers)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIME)
        .shutdown_timeout(DRAIN)
        .disable_signals();
    let server = match listen {
        Listen::Tcp(_, addresses) => server.bind(&addresses[..]),
        Listen::Unix(path) => socket(path).and_then(|listener| server.listen_uds(listener)),
    };
    let server = server.with_context(|| format!("cannot listen on {listen}"))?;
    let address = server.addrs().first().copied().context("no address to listen on")?;
    Ok((server.run(), address))
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
        tokio::try_join!(self.public, self.admin, stop)?;
        Ok(())
    }
}

/// A socket file for us and our group. One that nobody listens on any more is replaced.
fn socket(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?
            }
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}
