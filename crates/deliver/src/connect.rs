//! From an origin to an open connection: resolve, judge, connect, TLS, HTTP/1.1.
//!
//! The connection goes to an address that was judged here and to no other. Which addresses pass is
//! [`guard`]'s; what is sent over the connection is `send`'s.

mod checked;
mod metered;
mod names;

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_tls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use native_tls::{Certificate, Protocol, TlsConnector};
use postback_core::{attempt::Failure, endpoint::Origin};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Sleep, sleep_until, timeout},
};

use self::{
    metered::{Budget, Metered},
    names::Names,
};
use crate::{descriptors::is_shortage, guard};

/// The longest response head, in bytes; hyper's own limit of 100 headers holds beside it.
const MAX_HEAD: usize = 64 * 1024;
/// So many of a name's addresses are tried.
const MAX_ADDRESSES: usize = 8;

type Stream = MaybeHttpsStream<TokioIo<Metered>>;
type Driver = http1::Connection<Stream, Full<Bytes>>;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoConnection {
    /// The attempt failed.
    Failed(Failure),
    /// This box has run out of something, for people; there was no attempt.
    Shortage(String),
}

impl From<Failure> for NoConnection {
    fn from(failure: Failure) -> NoConnection {
        NoConnection::Failed(failure)
    }
}

/// What a [`Dialer`] is made from.
#[derive(Debug, Clone, Default)]
pub(crate) struct DialerConfig {
    /// Ranges open beside the public ones, with all their ports.
    pub(crate) allow_net: Vec<IpNet>,
    /// PEM file of root certificates trusted beside the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Source address of all connections; only addresses of its family are called.
    pub(crate) bind: Option<IpAddr>,
}

/// The longest that each step to a connection may take (DESIGN, delivery rules).
#[derive(Debug, Clone, Copy)]
struct Limits {
    dns: Duration,
    connect: Duration,
    tls: Duration,
}

const LIMITS: Limits = Limits {
    dns: Duration::from_secs(5),
    connect: Duration::from_secs(5),
    tls: Duration::from_secs(5),
};

/// Makes connections; one for the whole process.
pub(crate) struct Dialer {
    allow: Vec<IpNet>,
    bind: Option<IpAddr>,
    names: Names,
    tls: TlsConnector,
    http: http1::Builder,
    limits: Limits,
}

impl Dialer {
    /// Reads the certificates and prepares TLS.
    ///
    /// # Errors
    /// The file of certificates cannot be read or holds none, or the source address is not this box's.
    pub(crate) fn new(config: DialerConfig) -> anyhow::Result<Dialer> {
        if let Some(bind) = config.bind {
            std::net::UdpSocket::bind((bind, 0)).with_context(|| {
                format!("cannot call from --bind {bind}: is it an address of this box?")
            })?;
        }
        let mut tls = TlsConnector::builder();
        tls.min_protocol_version(Some(Protocol::Tlsv12));
        for root in config.ca_file.as_deref().map(roots).transpose()?.unwrap_or_default() {
            tls.add_root_certificate(root);
        }
        let mut http = http1::Builder::new();
        http.max_header_size(MAX_HEAD).max_buf_size(MAX_HEAD).writev(false);
        Ok(Dialer {
            allow: config.allow_net,
            bind: config.bind,
            names: Names::default(),
            tls: tls.build().context("cannot set up TLS")?,
            http,
            limits: LIMITS,
        })
    }

    /// Opens a connection to the origin; nothing of a request is sent yet.
    ///
    /// # Errors
    /// `Blocked`, `Dns`, `Connect` or `Tls`, by the step that failed; or a shortage here.
    pub(crate) async fn connect(&self, origin: &Origin) -> Result<Connection, NoConnection> {
        let addresses = self.addresses(origin).await?;
        let budget = Budget::new();
        let stream = TokioIo::new(Metered::new(self.open(&addresses).await?, budget.clone()));
        let stream = if origin.tls {
            self.secure(origin, stream).await?
        } else {
            MaybeHttpsStream::Http(stream)
        };
        let connection = self.http.handshake(stream).await;
        let (sender, driver) = connection.map_err(|error| Failure::Connect(error.to_string()))?;
        let timer = Box::pin(sleep_until(Instant::now().into()));
        Ok(Connection { sender, driver: Some(Box::new(driver)), budget, timer, paused: false })
    }

    /// The origin's addresses that may be called, in the resolver's order; at least one.
    async fn addresses(&self, origin: &Origin) -> Result<Vec<SocketAddr>, NoConnection> {
        if self.allow.is_empty() {
            // No address could open this port: no need to ask for one.
            guard::judge_port(origin.port).map_err(Failure::Blocked)?;
        }
        let found = match literal(&origin.host) {
            Some(ip) => [SocketAddr::new(ip, origin.port)].into(),
            None => self.names.lookup(&origin.host, self.limits.dns).await?,
        };
        let mut refusal = String::new();
        let mut open = Vec::new();
        for mut address in found.iter().copied() {
            address.set_port(origin.port);
            match guard::judge(address, &self.allow) {
                Ok(()) => open.push(address),
                Err(reason) => refusal = reason,
            }
        }
        if open.is_empty() {
            return Err(Failure::Blocked(refusal).into());
        }
        if let Some(bind) = self.bind {
            open.retain(|address| address.is_ipv4() == bind.is_ipv4());
        }
        if open.is_empty() {
            let text = "no address of the family of --bind".to_owned();
            return Err(Failure::Connect(text).into());
        }
        open.truncate(MAX_ADDRESSES);
        Ok(open)
    }

    /// Connects to the first address that answers; each has its equal share of the time left.
    async fn open(&self, addresses: &[SocketAddr]) -> Result<TcpStream, NoConnection> {
        let deadline = Instant::now() + self.limits.connect;
        let mut failures = Vec::new();
        for (left, &address) in (1..=addresses.len() as u32).rev().zip(addresses) {
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            match timeout(share, self.open_one(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) if is_shortage(&error) => {
                    return Err(NoConnection::Shortage(plain(&error)));
                }
                Ok(Err(error)) => failures.push(format!("{address}: {}", plain(&error))),
                Err(_) => failures.push(format!("{address}: no answer within {share:.1?}")),
            }
        }
        Err(Failure::Connect(failures.join(", ")).into())
    }

    async fn open_one(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(bind) = self.bind {
            socket.bind(SocketAddr::new(bind, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn secure(&self, origin: &Origin, tcp: TokioIo<Metered>) -> Result<Stream, Failure> {
        let handshake = checked::secure(&self.tls, &origin.host, tcp);
        match timeout(self.limits.tls, handshake).await {
            Ok(result) => result.map_err(Failure::Tls),
            Err(_) => Err(Failure::Tls(format!("no handshake within {:?}", self.limits.tls))),
        }
    }
}

/// One HTTP/1.1 connection for one request at a time.
///
/// hyper's driver is not spawned: whoever waits for an answer drives it. That costs no more than a task
/// (1.88 s against 1.91 s for 200,000 requests) and leaves none to abort. Dropping it closes the connection.
pub(crate) struct Connection {
    pub(crate) sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once the connection is over.
    driver: Option<Box<Driver>>,
    budget: Budget,
    /// The end of the attempt. One timer serves them all: moving it on costs next to nothing, a new one the timer wheel's
    /// lock twice.
    timer: Pin<Box<Sleep>>,
    /// Whether it was kept without a request since it was last looked at.
    paused: bool,
}

/// The attempt's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Late;

impl Connection {
    /// Whether a request could be sent, as far as is known without looking at the socket.
    pub(crate) fn is_usable(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Lets an attempt last until then, and the partner send as many bytes as it may in one attempt.
    pub(crate) fn begin(&mut self, deadline: tokio::time::Instant) {
        self.budget.renew();
        self.timer.as_mut().reset(deadline);
    }

    /// The connection was kept without a request: it may have been closed meanwhile.
    pub(crate) fn note_pause(&mut self) {
        self.paused = true;
    }

    /// Whether a request can be sent. The socket is looked at only where it may tell something new.
    pub(crate) async fn is_open(&mut self) -> bool {
        if std::mem::take(&mut self.paused) { self.is_ready().await } else { self.is_usable() }
    }

    /// Looks at the socket and tells whether a request can be sent now.
    pub(crate) async fn is_ready(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            self.turn(cx);
            Poll::Ready(())
        })
        .await;
        self.is_usable()
    }

    /// Runs the connection until `what`, which waits for something that comes over it, is done, or until the attempt's
    /// time is over. The driver is turned only where `what` is not there yet: that is what costs.
    pub(crate) async fn drive<F: Future>(&mut self, what: F) -> Result<F::Output, Late> {
        let mut what = pin!(what);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = what.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            self.turn(cx);
            if let Poll::Ready(done) = what.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            self.timer.as_mut().poll(cx).map(|()| Err(Late))
        })
        .await
    }

    /// Lets the driver read and write what it can. One that is done is dropped, whatever its result:
    /// that is how a waiting request or body learns of the end.
    fn turn(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && Pin::new(driver).poll(cx).is_ready()
        {
            self.driver = None;
        }
    }
}

/// The address that a host is written as, if it is one.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

fn roots(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let context = || format!("cannot read certificates from {}", path.display());
    let pem = fs::read(path).with_context(context)?;
    let roots = Certificate::stack_from_pem(&pem).with_context(context)?;
    anyhow::ensure!(!roots.is_empty(), "no certificate in {}", path.display());
    Ok(roots)
}

/// An I/O error's text without its number: `connection refused`.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
pub(crate) mod tests;
