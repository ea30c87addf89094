//! The load: clients that each send one request to ingest after the other, and the rate they reach.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write as _},
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Uri,
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::rows::Rows;

/// Options of `load`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where ingest listens: plain http.
    #[arg(long, default_value = "http://127.0.0.1:8080/ingest")]
    url: Uri,
    /// Send the rows of the measurements, with this seed, to an endpoint at the origin of --endpoint.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: each URL tells the time at which its request was begun, in microseconds since 1970.
    #[arg(long, requires = "seed")]
    timed: bool,
    /// URL template of the endpoint; each row has the keys `mascot`, `location` and `click_id`.
    #[arg(
        long,
        default_value = "http://127.0.0.1:9999/data?title={mascot}&image={location}&id={click_id}"
    )]
    endpoint: String,
    /// Method of the endpoint.
    #[arg(long, default_value = "GET")]
    method: String,
    /// Requests to send.
    #[arg(long, default_value_t = 1000)]
    requests: u64,
    /// Rows in each request.
    #[arg(long, default_value_t = 100)]
    rows: u64,
    /// Clients, each with one connection and one request at a time.
    #[arg(long, default_value_t = 8)]
    clients: u64,
}

/// What the clients share.
struct Load {
    options: Options,
    host: String,
    /// Makes click ids of different runs different.
    run: u128,
    /// Requests begun.
    begun: Cell<u64>,
    answers: RefCell<BTreeMap<u16, u64>>,
    waits: RefCell<Vec<Duration>>,
}

/// Sends all requests and writes the figures; fails unless every answer was 202.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let host = options.url.authority().context("--url has no host")?.to_string();
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let load = Rc::new(Load {
        options,
        host,
        run,
        begun: Cell::default(),
        answers: RefCell::default(),
        waits: RefCell::default(),
    });
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..load.options.clients {
        clients.spawn_local(client(Rc::clone(&load)));
    }
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            client = clients.join_next() => match client {
                Some(result) => result??,
                None => break,
            },
            _ = second.tick() => write!(io::stderr().lock(), "\r{} ", load.figures(start))?,
        }
    }
    writeln!(io::stderr().lock())?;
    writeln!(io::stdout().lock(), "{}", load.figures(start))?;
    let accepted = load.answers.borrow().get(&202).copied().unwrap_or_default();
    anyhow::ensure!(accepted == load.options.requests, "not every answer was 202");
    Ok(())
}

/// Sends requests over one connection until none is left to begin.
async fn client(load: Rc<Load>) -> anyhow::Result<()> {
    let mut sender = connect(&load.host).await?;
    while let Some(number) = load.next() {
        if sender.is_closed() {
            sender = connect(&load.host).await?;
        }
        let request = Request::post(load.options.url.path())
            .header(header::HOST, &load.host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(load.body(number))))?;
        let start = Instant::now();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await?;
        load.waits.borrow_mut().push(start.elapsed());
        *load.answers.borrow_mut().entry(status).or_default() += 1;
    }
    Ok(())
}

/// Opens a connection to `host`, or `host:port`, and drives it.
pub(crate) async fn connect(host: &str) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let stream = TcpStream::connect(&address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

impl Load {
    /// The number of the next request, if one is left.
    fn next(&self) -> Option<u64> {
        let number = self.begun.get();
        let left = number < self.options.requests;
        left.then(|| self.begun.set(number + 1)).map(|()| number)
    }

    /// The JSON of one request.
    fn body(&self, number: u64) -> String {
        if let Some(seed) = self.options.seed {
            let rows = self.options.rows;
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let at = self.options.timed.then_some(since_1970.as_micros());
            return Rows::new(seed).request(&self.options.endpoint, number * rows, rows, at);
        }
        let endpoint = serde_json::json!({
            "url": self.options.endpoint,
            "method": self.options.method,
        });
        let mut body =
            format!(r#"{{"endpoint":{endpoint},"policy":{{"ref":"{{click_id}}"}},"data":["#);
        for row in 0..self.options.rows {
            let comma = if row == 0 { "" } else { "," };
            let id = number * self.options.rows + row;
            // Writing to a String cannot fail.
            _ = write!(
                body,
                r#"{comma}{{"mascot":"Gopher {row}","location":"https://blog.golang.org/gopher/gopher.png","click_id":"{:x}-{id}"}}"#,
                self.run
            );
        }
        body.push_str("]}");
        body
    }

    /// The figures so far, as one line.
    fn figures(&self, start: Instant) -> String {
        let seconds = start.elapsed().as_secs_f64();
        let answers = self.answers.borrow();
        let accepted = answers.get(&202).copied().unwrap_or_default();
        let rows = accepted * self.options.rows;
        let mut waits = self.waits.borrow_mut();
        waits.sort_unstable();
        let percentile = |p: usize| {
            let wait = waits.get(waits.len() * p / 100).copied().unwrap_or_default();
            wait.as_secs_f64() * 1000.0
        };
        let mut line = format!(
            "{accepted} requests with {rows} rows accepted in {seconds:.2} s: {:.0} rows/s, {:.0} requests/s, p50 {:.1} ms, p99 {:.1} ms",
            rows as f64 / seconds,
            accepted as f64 / seconds,
            percentile(50),
            percentile(99),
        );
        for (status, count) in answers.iter().filter(|(status, _)| **status != 202) {
            _ = write!(line, ", {count} times {status}");
        }
        line
    }
}
