//! The load: requests to ingest, and the rate and the waits that come of it.
//!
//! In a closed loop each client sends one request after the other. With `--rate` requests are due at even distances
//! whatever becomes of those before, and a wait counts from then: one that had to queue for a connection shows.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write as _},
    rc::Rc,
    sync::Arc,
    thread,
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
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet};

use crate::{histogram::Histogram, isolation::feed::addresses, rows::Rows};

/// Options of `load`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where ingest listens: plain http.
    #[arg(long, default_value = "http://127.0.0.1:8080/ingest")]
    url: Uri,
    /// Send the rows of the measurements, with this seed, to an endpoint at the origin of --endpoint.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: each URL tells the time at which its request was begun (--rate: due), in microseconds since 1970.
    #[arg(long, requires = "seed")]
    timed: bool,
    /// With --seed: the requests' endpoints take so many hosts in turn, 127.1.0.1 and on, at the port of --endpoint.
    #[arg(long, requires = "seed", default_value_t = 0)]
    hosts: usize,
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
    /// Requests per second, evenly spaced; waits count from when a request was due, and --clients is the most that are
    /// under way at once. Without it each client sends as soon as it has its answer.
    #[arg(long, value_parser = parse_rate)]
    rate: Option<f64>,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (1e-3..=1e6).contains(rate));
    rate.ok_or_else(|| "not a number of requests per second from 0.001 to 1000000".into())
}

/// What the clients share.
struct Load {
    options: Options,
    host: String,
    /// The endpoints' origins.
    origins: Vec<String>,
    /// Microseconds from 1970 to `start`; makes click ids of different runs different, too.
    run: u128,
    start: Instant,
    /// Requests begun.
    begun: Cell<u64>,
    /// With a rate: a permit for each request that is due and not sent.
    due: Arc<Semaphore>,
    answers: RefCell<BTreeMap<u16, u64>>,
    waits: RefCell<Histogram>,
}

/// Sends all requests and writes the figures; fails unless every answer was 202.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let host = options.url.authority().context("--url has no host")?.to_string();
    let origins = origins(&options)?;
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let load = Rc::new(Load {
        options,
        host,
        origins,
        run,
        start: Instant::now(),
        begun: Cell::default(),
        due: Arc::new(Semaphore::new(0)),
        answers: RefCell::default(),
        waits: RefCell::default(),
    });
    if let Some(rate) = load.options.rate {
        let (start, requests, due) = (load.start, load.options.requests, Arc::clone(&load.due));
        thread::spawn(move || pace(start, rate, requests, &due));
    }
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
            _ = second.tick() => write!(io::stderr().lock(), "\r{} ", load.figures())?,
        }
    }
    writeln!(io::stderr().lock())?;
    writeln!(io::stdout().lock(), "{}", load.figures())?;
    let accepted = load.answers.borrow().get(&202).copied().unwrap_or_default();
    anyhow::ensure!(accepted == load.options.requests, "not every answer was 202");
    Ok(())
}

fn origins(options: &Options) -> anyhow::Result<Vec<String>> {
    if options.hosts == 0 {
        return Ok(vec![options.endpoint.clone()]);
    }
    let port = options.endpoint.parse::<Uri>()?.port_u16().context("--endpoint has no port")?;
    Ok(addresses(1, options.hosts).map(|ip| format!("http://{ip}:{port}")).collect())
}

/// Lets one request after the other be sent when it is due: on a thread of its own, since tokio's timers wake on whole
/// milliseconds.
fn pace(start: Instant, rate: f64, requests: u64, due: &Semaphore) {
    for number in 0..requests {
        thread::sleep(due_after(number, rate).saturating_sub(start.elapsed()));
        due.add_permits(1);
    }
}

/// When a request is due, from the start on.
fn due_after(number: u64, rate: f64) -> Duration {
    Duration::from_secs_f64(number as f64 / rate)
}

/// Sends requests over one connection until none is left to begin.
async fn client(load: Rc<Load>) -> anyhow::Result<()> {
    let mut sender = connect(&load.host).await?;
    while let Some(number) = load.next() {
        let due = load.options.rate.map(|rate| due_after(number, rate));
        let begun = due.unwrap_or_else(|| load.start.elapsed());
        let request = Request::post(load.options.url.path())
            .header(header::HOST, &load.host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(load.body(number, begun))))?;
        if due.is_some() {
            // Requests are begun in the order in which they are due.
            load.due.acquire().await?.forget();
        }
        let since = load.start + due.unwrap_or_else(|| load.start.elapsed());
        if sender.is_closed() {
            sender = connect(&load.host).await?;
        }
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await?;
        load.waits.borrow_mut().add(since.elapsed().as_micros() as u64);
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

    /// The JSON of one request that is begun so long after the start.
    fn body(&self, number: u64, begun: Duration) -> String {
        if let Some(seed) = self.options.seed {
            let rows = self.options.rows;
            let at = self.options.timed.then_some(self.run + begun.as_micros());
            let origin = &self.origins[(number % self.origins.len() as u64) as usize];
            return Rows::new(seed).request(origin, number * rows, rows, at);
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
    fn figures(&self) -> String {
        let seconds = self.start.elapsed().as_secs_f64();
        let answers = self.answers.borrow();
        let accepted = answers.get(&202).copied().unwrap_or_default();
        let rows = accepted * self.options.rows;
        let mut line = format!(
            "{accepted} requests with {rows} rows accepted in {seconds:.2} s: {:.0} rows/s, {:.0} requests/s, {}",
            rows as f64 / seconds,
            accepted as f64 / seconds,
            self.waits.borrow().millis(),
        );
        for (status, count) in answers.iter().filter(|(status, _)| **status != 202) {
            _ = write!(line, ", {count} times {status}");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_even_distances() {
        let due = |number| due_after(number, 250.0).as_micros();
        assert_eq!([0, 1, 2, 1000].map(due), [0, 4000, 8000, 4_000_000]);
    }

    #[test]
    fn each_request_is_let_go_once() {
        let due = Semaphore::new(0);
        pace(Instant::now(), 1e6, 100, &due);
        assert_eq!(due.available_permits(), 100);
    }

    #[test]
    fn a_rate_is_a_number_above_zero() {
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        assert_eq!(parse_rate("2000"), Ok(2000.0));
        for text in ["0", "-1", "inf", "NaN", "", "fast"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
