//! The bare client: what hyper alone costs, which `deliver` is measured against.
//!
//! It sends the bytes that `deliver` would send for the same rows, over as many connections, on one thread, and reads
//! the bodies. It has no queue, no time limits, no retries, no log. What it used is its one line of output.

use std::{
    cell::Cell,
    io::{self, Write as _},
    net::SocketAddr,
    rc::Rc,
    time::Instant,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request,
    client::conn::http1::{self, SendRequest},
    header::{HOST, HeaderName, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    isolation::{feed::addresses, measure::cpu_seconds},
    rows::Rows,
};

/// So many different requests are made before the first is sent, and sent again and again.
const KINDS: u64 = 4096;

// What is the same each time is parsed once, as in `deliver`.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("postback/", env!("CARGO_PKG_VERSION")));
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

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
    /// Requests over a connection before it is closed and another one opened, on average; 0: as many as there are.
    #[arg(long, default_value_t = 0.0)]
    each: f64,
    /// Connect to so many addresses in turn, 127.1.0.1 and on, at the port of --sink; 0: to --sink.
    #[arg(long, default_value_t = 0)]
    addresses: usize,
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
    sinks: Vec<SocketAddr>,
    kinds: Vec<Kind>,
    begun: Cell<u64>,
    connected: Cell<usize>,
}

/// What a client used, from the first connection to the last answer.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Used {
    pub(crate) connections: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
}

/// Sends all requests and writes what that used, as JSON.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let rows = Rows::new(options.seed);
    let (sink, count) = (options.sink, options.addresses);
    let sinks = if count == 0 {
        vec![sink]
    } else {
        addresses(1, count).map(|ip| (ip, sink.port()).into()).collect()
    };
    let kind = |number| Kind {
        target: rows.row(number).target(),
        id: format!("{number:022}-{}", number % 100),
        traceparent: format!("00-{number:032x}-{number:016x}-01"),
    };
    let client = Rc::new(Client {
        sinks,
        kinds: (0..KINDS).map(kind).collect(),
        begun: Cell::new(0),
        connected: Cell::new(0),
        options,
    });
    let me = std::process::id();
    let (start, before) = (Instant::now(), cpu_seconds(me)?);
    let mut connections = JoinSet::new();
    for _ in 0..client.options.connections {
        connections.spawn_local(Rc::clone(&client).converse());
    }
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    let used = Used {
        connections: client.connected.get() as u64,
        seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds(me)? - before,
    };
    writeln!(io::stdout().lock(), "{}", serde_json::to_string(&used)?)?;
    Ok(())
}

impl Client {
    async fn converse(self: Rc<Self>) -> anyhow::Result<()> {
        let each = self.options.each;
        let (mut host, mut sender) = self.connect().await?;
        let mut left = each;
        while let Some(number) = self.next() {
            if each > 0.0 && left < 1.0 {
                (host, sender) = self.connect().await?;
                left += each;
            }
            left -= 1.0;
            let kind = &self.kinds[(number % KINDS) as usize];
            let request = Request::get(&*kind.target)
                .header(HOST, &host)
                .header(USER_AGENT, AGENT)
                .header(WEBHOOK_ID, &*kind.id)
                .header(WEBHOOK_TIMESTAMP, "1790000000")
                .header(TRACEPARENT, &*kind.traceparent)
                .body(Empty::new())?;
            sender.ready().await?;
            let answer = sender.send_request(request).await?;
            answer.into_body().collect().await?;
        }
        Ok(())
    }

    /// A connection to the next address, and its `Host`.
    async fn connect(&self) -> anyhow::Result<(HeaderValue, SendRequest<Empty<Bytes>>)> {
        let sink = self.sinks[self.connected.replace(self.connected.get() + 1) % self.sinks.len()];
        let stream = TcpStream::connect(sink).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        Ok((sink.to_string().try_into()?, sender))
    }

    fn next(&self) -> Option<u64> {
        let number = self.begun.get();
        (number < self.options.requests).then(|| self.begun.set(number + 1)).map(|()| number)
    }
}
