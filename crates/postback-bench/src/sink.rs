//! The sink: an HTTP/1.1 server that plays the partner.
//!
//! Paths choose what it does: `/status/404`, `/slow/250` (milliseconds), `/flaky/2` (500 to the first
//! two attempts of a `webhook-id`, then 200), the broken ones in [`fault`], and 200 for all others.
//! `GET /__count` tells what came. What is written down of a request lives in [`notes`].

mod fault;
mod notes;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io::{self, Write},
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
use tokio::net::{TcpListener, TcpStream};

use self::{fault::Fault, notes::Notes};

/// Options of `sink`.
#[derive(Debug, clap::Args)]
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
}

/// What all connections share.
struct Sink {
    notes: RefCell<Notes>,
    /// Attempts seen of each `webhook-id` on `/flaky`.
    flaky: RefCell<HashMap<String, u32>>,
}

/// Serves until killed; writes `listening on ADDR` first.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let notes = Notes::open(options.print, options.journal.as_deref())?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    writeln!(io::stdout().lock(), "listening on {}", listener.local_addr()?)?;

    let sink = Rc::new(Sink { notes: RefCell::new(notes), flaky: RefCell::default() });
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let number = sink.notes.borrow_mut().connection();
                tokio::task::spawn_local(serve(Rc::clone(&sink), stream, number));
            }
            // Out of files, mostly: others will be closed soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Serves one connection; a fault takes the socket back from hyper and breaks it as asked.
async fn serve(sink: Rc<Sink>, stream: TcpStream, number: u64) {
    // Without it, answers in two writes would wait for the client's delayed acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let fault = Cell::new(None);
    let service = hyper::service::service_fn(|request| answer(&sink, number, request, &fault));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // The end of a connection, and the error that a fault makes, are nothing to report.
    _ = (&mut connection).await;
    if let Some(fault) = fault.take() {
        fault.commit(connection.into_parts().io.into_inner()).await;
    }
}

/// Answers one request, or sets `fault` and fails, which makes hyper let go of the socket.
async fn answer(
    sink: &Sink,
    connection: u64,
    request: Request<Incoming>,
    fault: &Cell<Option<Fault>>,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    if head.uri.path() == "/__count" {
        return reply(StatusCode::OK, sink.notes.borrow().counts());
    }
    sink.notes.borrow_mut().record(connection, &head, &body)?;

    let mut segments = head.uri.path().split('/').skip(1);
    let (what, number) = (segments.next().unwrap_or_default(), segments.next());
    let number: Option<u32> = number.and_then(|text| text.parse().ok());
    if let Some(asked) = Fault::by_name(what) {
        fault.set(Some(asked));
        anyhow::bail!("the socket is handed over to {asked:?}");
    }
    match (what, number) {
        ("status", Some(status)) => {
            reply(StatusCode::from_u16(u16::try_from(status)?)?, format!("status {status}\n"))
        }
        ("slow", Some(millis)) => {
            tokio::time::sleep(Duration::from_millis(millis.into())).await;
            reply(StatusCode::OK, "slow\n")
        }
        ("flaky", Some(failures)) => {
            let id = head.headers.get("webhook-id").and_then(|id| id.to_str().ok());
            let mut flaky = sink.flaky.borrow_mut();
            let seen = flaky.entry(id.unwrap_or_default().to_owned()).or_default();
            *seen += 1;
            if *seen <= failures {
                reply(StatusCode::INTERNAL_SERVER_ERROR, "not yet\n")
            } else {
                reply(StatusCode::OK, "at last\n")
            }
        }
        _ => reply(StatusCode::OK, "ok\n"),
    }
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> anyhow::Result<Response<Full<Bytes>>> {
    Ok(Response::builder().status(status).body(Full::new(body.into()))?)
}
