//! The bare client: what hyper alone costs, which `deliver` is measured against.
//!
//! It sends the bytes that `deliver` would send for the same rows, over as many connections, on one thread, and reads
//! the bodies. It has no queue, no time limits, no retries, no log.

use std::{cell::Cell, net::SocketAddr, rc::Rc};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request,
    client::conn::http1::{self, SendRequest},
    header::{HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::rows::Rows;

/// So many different requests are made before the first is sent, and sent again and again.
const KINDS: u64 = 4096;

/// Options of `bare-client`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where the sink listens.
    #[arg(long)]
    sink: SocketAddr,
    /// Requests to send.
    #[arg(long, default_value_t = 100_000)]
    requests: u64,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 64)]
    connections: u64,
    /// Requests over a connection before it is closed and another one opened; 0: as many as there are.
    #[arg(long, default_value_t = 0)]
    each: u64,
    /// Seed of the rows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What differs between requests.
struct Kind {
    target: String,
    id: String,
    traceparent: String,
}

struct Client {
    options: Options,
    host: String,
    kinds: Vec<Kind>,
    begun: Cell<u64>,
}

/// Sends all requests.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let rows = Rows::new(options.seed);
    let kind = |number| Kind {
        target: rows.row(number).target(),
        id: format!("{number:022}-{}", number % 100),
        traceparent: format!("00-{number:032x}-{number:016x}-01"),
    };
    let client = Rc::new(Client {
        host: options.sink.to_string(),
        kinds: (0..KINDS).map(kind).collect(),
        begun: Cell::new(0),
        options,
    });
    let mut connections = JoinSet::new();
    for _ in 0..client.options.connections {
        connections.spawn_local(Rc::clone(&client).converse());
    }
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    Ok(())
}

impl Client {
    async fn converse(self: Rc<Self>) -> anyhow::Result<()> {
        let mut sender = self.connect().await?;
        let mut sent = 0;
        while let Some(number) = self.next() {
            if self.options.each > 0 && sent == self.options.each {
                (sender, sent) = (self.connect().await?, 0);
            }
            sent += 1;
            let kind = &self.kinds[(number % KINDS) as usize];
            let request = Request::get(&*kind.target)
                .header(HOST, &*self.host)
                .header(USER_AGENT, concat!("postback/", env!("CARGO_PKG_VERSION")))
                .header("webhook-id", &*kind.id)
                .header("webhook-timestamp", "1790000000")
                .header("traceparent", &*kind.traceparent)
                .body(Empty::new())?;
            sender.ready().await?;
            let answer = sender.send_request(request).await?;
            answer.into_body().collect().await?;
        }
        Ok(())
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
        let stream = TcpStream::connect(self.options.sink).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }

    fn next(&self) -> Option<u64> {
        let number = self.begun.get();
        (number < self.options.requests).then(|| self.begun.set(number + 1)).map(|()| number)
    }
}
