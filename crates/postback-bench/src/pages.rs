//! The pages' benchmark: how long each takes over a full delivery log, as one table of figures.
//!
//! A private redis-server is filled with a log of attempts, rows that wait and dead rows; `ingest` from the same folder as
//! this program shows it. What is put in is in `pages/fill.rs`.

mod fill;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use postback_core::{queue::Queue, testing::RedisServer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use self::fill::Filled;
use crate::isolation::{
    stack::Ingest,
    table::{aligned, conditions, digits},
    until_stopped,
};

/// Every page that is measured. `{id}`, `{ref}` and `{request}` stand for the postback whose attempt is the oldest in the
/// log, `{cursor}` for a place in the middle of it.
const PATHS: [&str; 21] = [
    "/",
    "/requests",
    "/requests?limit=500",
    "/requests?before={cursor}",
    "/requests?state=dead",
    "/requests?state=pending",
    "/requests?host=host-7.example",
    // One record has it, the oldest.
    "/requests?status=418",
    "/requests?q={ref}",
    "/requests?q={request}",
    "/requests?q=no-such-ref",
    "/postbacks/{id}",
    "/postbacks/{waiting}",
    "/postbacks/{dead}",
    "/errors",
    "/errors?since=1h",
    "/dead",
    "/dead?host=host-7.example",
    "/hosts",
    "/workers",
    "/try",
];
/// What a page should take at most, milliseconds.
const GOAL: f64 = 200.0;
/// How long a page may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Options of `pages`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Attempts in the log
    #[arg(long, default_value_t = 100_000)]
    attempts: usize,
    /// Rows that wait
    #[arg(long, default_value_t = 100_000)]
    waiting: u64,
    /// Dead rows
    #[arg(long, default_value_t = 5000)]
    dead: u64,
    /// How often each page is asked for
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

/// What came of asking for a page.
struct Answer {
    status: u16,
    bytes: usize,
    took: Duration,
}

/// Measures and prints the table; fails when a page is not 200.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    until_stopped(measure_all(&options)).await
}

async fn measure_all(options: &Options) -> anyhow::Result<()> {
    let (before, start) = (conditions(&format!("{options:?}")), Instant::now());
    let redis = RedisServer::start();
    let queue = Queue::open(&redis.url(), "pb", 1)?;
    let filled = fill::fill(&queue, options.attempts, options.waiting, options.dead).await?;
    _ = writeln!(io::stderr().lock(), "filled after {:.1?}", start.elapsed());
    let ingest = Ingest::start(&redis, &[]).await?;
    let pages: Vec<(&str, &str)> =
        PATHS.iter().flat_map(|path| [(*path, "HTML"), (*path, "JSON")]).collect();
    let mut answers: Vec<Vec<Answer>> = pages.iter().map(|_| vec![]).collect();
    for _ in 0..options.rounds.max(1) {
        for ((path, form), answers) in pages.iter().zip(&mut answers) {
            answers.push(ask(ingest.admin, &filled.path(path), form).await?);
        }
    }
    let head = ["page", "form", "status", "KiB", "min ms", "median ms", "max ms", "goal"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines.extend(
        pages.iter().zip(&mut answers).map(|((path, form), answers)| line(path, form, answers)),
    );
    let took = start.elapsed().as_secs();
    write!(io::stdout().lock(), "{before}{filled}took: {took} s\n\n{}", aligned(&lines))?;
    let is_bad = |answers: &&Vec<Answer>| answers.iter().any(|answer| answer.status != 200);
    let bad = answers.iter().filter(is_bad).count();
    anyhow::ensure!(bad == 0, "{bad} of {} pages were not 200", pages.len());
    Ok(())
}

fn line(path: &str, form: &str, answers: &mut [Answer]) -> Vec<String> {
    answers.sort_by_key(|answer| answer.took);
    let ms = |answer: &Answer| answer.took.as_secs_f64() * 1000.0;
    let median = &answers[answers.len() / 2];
    let worst = answers.iter().find(|answer| answer.status != 200).unwrap_or(median);
    let met = if ms(median) < GOAL { "met" } else { "missed" };
    vec![
        path.to_owned(),
        form.to_owned(),
        worst.status.to_string(),
        (median.bytes / 1024).to_string(),
        digits(ms(&answers[0]), 1),
        digits(ms(median), 1),
        digits(ms(&answers[answers.len() - 1]), 1),
        format!("< {GOAL} ms: {met}"),
    ]
}

/// A page over a connection of its own, until its last byte.
async fn ask(admin: SocketAddr, path: &str, form: &str) -> anyhow::Result<Answer> {
    let accept = if form == "HTML" { "text/html" } else { "application/json" };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {admin}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    let since = Instant::now();
    let asked = async {
        let mut stream = TcpStream::connect(admin).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        anyhow::Ok(bytes)
    };
    let bytes = tokio::time::timeout(PATIENCE, asked)
        .await
        .with_context(|| format!("no answer to {path} within {PATIENCE:?}"))??;
    let took = since.elapsed();
    let head = bytes.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    let status = head.with_context(|| format!("no HTTP from {path}"))?;
    Ok(Answer { status, bytes: bytes.len(), took })
}

impl Filled {
    /// A path of [`PATHS`] with what the placeholders stand for.
    fn path(&self, path: &str) -> String {
        let path = path.replace("{id}", &self.id).replace("{ref}", &self.reference);
        let path = path.replace("{request}", &self.request_id).replace("{cursor}", &self.cursor);
        path.replace("{waiting}", &self.waiting).replace("{dead}", &self.dead)
    }
}
