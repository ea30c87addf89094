//! BullMQ, which is what many use for this work today: measured by the same requests to the same sink.
//!
//! A producer adds jobs in bulk while workers send their requests by undici over connections that are kept. Both are in
//! `bullmq/`, with the versions of what they need; npm installs that into a folder beside this program. Redis is a
//! private one with the settings that Postback is measured with. What is measured comes after some thousand jobs that
//! are not, so that node has compiled what it runs.

use std::{
    fmt, fs,
    io::{BufRead, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use postback_core::testing::RedisServer;

use crate::{
    isolation::{
        measure::{cpu_seconds, page},
        stack::Program,
        tell,
    },
    rows::Rows,
};

/// What is written into the folder before npm fills it.
const FILES: [(&str, &str); 4] = [
    ("package.json", include_str!("../bullmq/package.json")),
    ("package-lock.json", include_str!("../bullmq/package-lock.json")),
    ("producer.mjs", include_str!("../bullmq/producer.mjs")),
    ("worker.mjs", include_str!("../bullmq/worker.mjs")),
];
/// What is tried, of which the best counts.
const SETUPS: [Setup; 4] = [
    Setup { workers: 1, concurrency: 64 },
    Setup { workers: 1, concurrency: 256 },
    Setup { workers: 1, concurrency: 512 },
    Setup { workers: 2, concurrency: 64 },
];
/// Redis's options: the append-only file as in production (`everysec` is the default), but never rewritten.
const REDIS: [&str; 2] = ["--auto-aof-rewrite-percentage", "0"];
/// Jobs of one `addBulk`, as many as rows of a request to ingest.
const AT_ONCE: u64 = 100;
/// Jobs before those that are measured, unless these are fewer.
const BEFORE: u64 = 5000;
/// Different requests, sent again and again.
const KINDS: u64 = 4096;
/// How long the sink may wait for the next request.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked what the sink has.
const LOOK: Duration = Duration::from_millis(20);
/// Until jobs whose request is answered are taken out of the queue.
const SETTLE: Duration = Duration::from_millis(300);

/// How BullMQ is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Processes that send requests.
    pub(crate) workers: usize,
    /// Requests in flight in each, and connections.
    pub(crate) concurrency: u64,
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.workers, self.concurrency)
    }
}

/// What BullMQ reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rival {
    pub(crate) setup: Setup,
    /// From the first `addBulk` to the last request at the sink.
    pub(crate) deliveries_per_second: f64,
    /// CPU seconds per 100,000 jobs of the process that adds them.
    pub(crate) producer: f64,
    /// CPU seconds per 100,000 jobs of the processes that send their requests.
    pub(crate) workers: f64,
    /// CPU seconds per 100,000 jobs of Redis.
    pub(crate) redis: f64,
}

/// Measures BullMQ at each concurrency and tells the best; `None` where node or npm or what npm installs is missing.
pub(crate) async fn measure(sink: SocketAddr, jobs: u64) -> anyhow::Result<Option<Rival>> {
    let folder = match install().await {
        Ok(folder) => folder,
        Err(error) => {
            tell(format_args!("BullMQ is not measured: {error:#}"));
            return Ok(None);
        }
    };
    let mut best: Option<Rival> = None;
    for setup in SETUPS {
        let rival = trial(&folder, sink, jobs, setup).await?;
        tell(format_args!(
            "BullMQ, workers × concurrency {setup}: {:.0} deliveries/s",
            rival.deliveries_per_second
        ));
        let is_best =
            best.is_none_or(|best| rival.deliveries_per_second > best.deliveries_per_second);
        best = if is_best { Some(rival) } else { best };
    }
    Ok(best)
}

/// Installs BullMQ beside this program, unless it is there; tells the folder.
async fn install() -> anyhow::Result<PathBuf> {
    let folder = std::env::current_exe()?.with_file_name("bullmq");
    let lock = folder.join("package-lock.json");
    let is_there = folder.join("node_modules/.package-lock.json").exists()
        && fs::read_to_string(lock).is_ok_and(|text| text == FILES[1].1);
    fs::create_dir_all(&folder)?;
    for (name, text) in FILES {
        fs::write(folder.join(name), text)?;
    }
    let run = async |name: &str, arguments: &[&str]| {
        let mut command = tokio::process::Command::new(name);
        command.args(arguments).current_dir(&folder).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.with_context(|| format!("{name} is missing"))?;
        let error = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{name} failed: {}", error.trim());
        Ok(())
    };
    run("node", &["--version"]).await?;
    if !is_there {
        run("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).await?;
    }
    Ok(folder)
}

/// A node process that has said that it is ready, and its input, which keeps it.
struct Node {
    process: Program,
    input: ChildStdin,
}

impl Node {
    fn start(
        folder: &Path,
        script: &str,
        redis: &RedisServer,
        more: [&str; 2],
    ) -> anyhow::Result<Node> {
        let mut child = Command::new("node")
            .current_dir(folder)
            .env("NODE_ENV", "production")
            .arg(script)
            .arg(redis.dir().join("redis.sock"))
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start node")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let process = Program(child);
        let mut line = String::new();
        BufReader::new(output.context("node has no output")?).read_line(&mut line)?;
        anyhow::ensure!(line == "ready\n", "{script} of BullMQ did not start");
        Ok(Node { process, input: input.context("node has no input")? })
    }

    fn cpu(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.process.pid())
    }
}

/// Runs one set-up.
async fn trial(folder: &Path, sink: SocketAddr, jobs: u64, setup: Setup) -> anyhow::Result<Rival> {
    let redis = RedisServer::start_with(&REDIS);
    let rows = Rows::new(1);
    let targets: Vec<String> = (0..KINDS).map(|number| rows.row(number).target()).collect();
    let file = redis.dir().join("targets");
    fs::write(&file, targets.join("\n"))?;
    let start = |script: &str, more: [&str; 2]| Node::start(folder, script, &redis, more);
    let (origin, concurrency) = (format!("http://{sink}"), setup.concurrency.to_string());
    let workers: Vec<Node> = (0..setup.workers)
        .map(|_| start("worker.mjs", [&origin, &concurrency]))
        .collect::<anyhow::Result<_>>()?;
    let mut producer = start("producer.mjs", [&file.display().to_string(), &AT_ONCE.to_string()])?;
    deliver(&mut producer, sink, jobs.min(BEFORE)).await?;
    let used = |producer: &Node| {
        let workers = workers.iter().map(Node::cpu).sum::<anyhow::Result<f64>>()?;
        anyhow::Ok([producer.cpu()?, workers, cpu_seconds(redis.pid())?])
    };
    let before = used(&producer)?;
    let took = deliver(&mut producer, sink, jobs).await?;
    let after = used(&producer)?;
    let [producer, workers, redis] =
        [0, 1, 2].map(|n| (after[n] - before[n]) / jobs as f64 * 100_000.0);
    let deliveries_per_second = jobs as f64 / took.as_secs_f64();
    Ok(Rival { setup, deliveries_per_second, producer, workers, redis })
}

/// Requests that the sink has had.
async fn requests(sink: SocketAddr) -> anyhow::Result<u64> {
    let counts: serde_json::Value = serde_json::from_str(&page(sink, "/__count").await?)?;
    counts["requests"].as_u64().context("the sink does not tell its requests")
}

/// Adds so many jobs and waits until each reached the sink; tells how long that took.
async fn deliver(producer: &mut Node, sink: SocketAddr, jobs: u64) -> anyhow::Result<Duration> {
    let before = requests(sink).await?;
    let start = Instant::now();
    writeln!(producer.input, "{jobs}").context("BullMQ's producer is gone")?;
    let (mut seen, mut at) = (0, start);
    while seen < jobs {
        tokio::time::sleep(LOOK).await;
        let now = requests(sink).await? - before;
        if now > seen {
            (seen, at) = (now, Instant::now());
        }
        let is_patient = at.elapsed() < PATIENCE;
        anyhow::ensure!(is_patient, "of {jobs} jobs of BullMQ the sink has {seen} requests only");
    }
    tokio::time::sleep(SETTLE).await;
    let seen = requests(sink).await? - before;
    anyhow::ensure!(seen == jobs, "of {jobs} jobs of BullMQ the sink has {seen} requests");
    Ok(at - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_fixed_and_no_registry_is_named() {
        let [(_, package), (_, lock), ..] = FILES;
        assert!(!package.contains(['^', '~', '*']), "{package}");
        assert!(!lock.contains(r#""resolved""#));
    }
}
