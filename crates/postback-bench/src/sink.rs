//! The sink: an HTTP/1.1 server that plays the partner.
//!
//! A request's path chooses what it does: proper answers are in [`answer`], broken ones in [`fault`];
//! `sink --help` lists both. With `--tls` every connection is TLS by [`tls`]. What is written down of a
//! request lives in [`notes`].

mod answer;
mod fault;
mod lean;
mod notes;
mod tls;

#[cfg(test)]
mod tests;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt::Write as _,
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1};
use hyper_util::rt::TokioIo;
use postback_core::policy::parse_duration;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

use self::{
    fault::{Fault, HANG_UP},
    notes::Notes,
    tls::{Tls, TlsOptions},
};

/// Options of `sink`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = paths())]
pub(crate) struct Options {
    /// Address to listen on; with port 0 the port is in the first line printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Print each request as `METHOD /target`.
    #[arg(long)]
    print: bool,
    /// Append each request to this file, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsOptions,
    /// Answer each GET by the same few bytes with little work, and count: for measurements.
    #[arg(long, conflicts_with_all = ["print", "journal", "mode"])]
    lean: bool,
    /// With --lean: how long each answer waits.
    #[arg(long, default_value = "0s", value_parser = parse_duration, requires = "lean")]
    delay: Duration,
    /// With --lean: each request of so many is answered 500; 0: none.
    #[arg(long, default_value_t = 0, requires = "lean")]
    fail_every: u64,
}

/// What all connections share.
struct Sink {
    notes: RefCell<Notes>,
    /// Attempts seen of each `webhook-id` on `/flaky`.
    flaky: RefCell<HashMap<String, u32>>,
    /// Whether `/ill` is well again.
    is_healed: Cell<bool>,
    tls: Option<Tls>,
}

/// One connection.
struct Connection {
    sink: Rc<Sink>,
    /// From 1, in order of arrival.
    number: u64,
    /// What the request just read asked for.
    fault: Cell<Option<&'static Fault>>,
    /// The next request is read and not answered.
    doomed: Cell<bool>,
}

/// A connected stream, with TLS or without.
trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The TCP connection below.
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

/// Serves until killed; writes `listening on ADDR` first.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    if options.lean {
        return lean::run(&options).await;
    }
    let notes = Notes::open(options.print, options.journal.as_deref())?;
    let tls = Tls::set_up(&options.tls)?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    writeln!(io::stdout().lock(), "listening on {}", listener.local_addr()?)?;
    let sink = Sink {
        notes: RefCell::new(notes),
        flaky: RefCell::default(),
        is_healed: Cell::new(false),
        tls,
    };
    serve(listener, sink).await
}

async fn serve(listener: TcpListener, sink: Sink) -> ! {
    let sink = Rc::new(sink);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let number = sink.notes.borrow_mut().connection();
                let connection = Connection {
                    sink: Rc::clone(&sink),
                    number,
                    fault: Cell::new(None),
                    doomed: Cell::new(false),
                };
                tokio::task::spawn_local(connection.open(stream));
            }
            // Out of files, mostly: others will be closed soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

impl Connection {
    async fn open(self, stream: TcpStream) {
        // Without it, answers in two writes would wait for the client's delayed acknowledgement.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        match &self.sink.tls {
            None => self.converse(stream).await,
            Some(tls) => {
                // A client that does not trust us hangs up: nothing to report.
                if let Some(stream) = tls.accept(stream).await {
                    self.converse(stream).await;
                }
            }
        }
    }

    /// Answers request after request; a fault takes the socket back from hyper and breaks it as asked.
    async fn converse<S: Socket + 'static>(&self, mut stream: S) {
        loop {
            let service = hyper::service::service_fn(|request| self.answer(request));
            let mut http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // The end of a connection, and the error that a fault makes, are nothing to report.
            _ = (&mut http).await;
            let Some(fault) = self.fault.take() else { return };
            match fault.commit(http.into_parts().io.into_inner()).await {
                Some(kept) => stream = kept,
                None => return,
            }
        }
    }

    /// Answers one request, or sets the fault and fails, which makes hyper let go of the socket.
    async fn answer(&self, request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        match head.uri.path() {
            "/__count" => {
                return answer::with(StatusCode::OK, self.sink.notes.borrow().counts());
            }
            "/__heal" => {
                self.sink.is_healed.set(true);
                return answer::with(StatusCode::OK, "well again\n");
            }
            _ => {}
        }
        self.sink.notes.borrow_mut().record(self.number, &head, &body)?;
        let name = head.uri.path().split('/').nth(1).unwrap_or_default();
        let asked = if self.doomed.get() { Some(&HANG_UP) } else { Fault::by_name(name) };
        if let Some(asked) = asked {
            self.fault.set(Some(asked));
            anyhow::bail!("the socket is handed over to {}", asked.name);
        }
        answer::to(self, &head).await
    }
}

/// The part of the help that lists the paths.
fn paths() -> String {
    let faults = fault::TABLE.iter().map(|fault| (fault.path(), fault.about));
    let answers = answer::PATHS.map(|(path, about)| (path.to_owned(), about));
    let mut text = String::from("Paths (every other path is answered 200):\n");
    for (path, about) in answers.into_iter().chain(faults) {
        // Writing to a String cannot fail.
        _ = writeln!(text, "  {path:<22} {about}");
    }
    text
}
