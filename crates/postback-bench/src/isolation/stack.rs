//! A private stack for one measurement: a redis-server, the sink as a process, `deliver` processes.
//!
//! All of it goes when the [`Stack`] is dropped. What is put into the queue is in `feed`, what is read off
//! the processes in `measure`.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use postback_core::{queue::Queue, testing::RedisServer};

use super::measure;

/// How long a program may take until it serves.
const START: Duration = Duration::from_secs(30);

/// What a stack is made of.
#[derive(Debug, Default)]
pub(crate) struct Plan<'a> {
    /// Further options of the sink.
    pub(crate) sink: &'a [&'a str],
    /// Whether the sink writes its journal.
    pub(crate) journal: bool,
    /// Whether the sink has TLS, and deliver trusts its certificate.
    pub(crate) tls: bool,
    /// Further options of each `deliver`.
    pub(crate) deliver: &'a [&'a str],
    /// Further options of Redis.
    pub(crate) redis: &'a [&'a str],
}

/// A running stack.
#[derive(Debug)]
pub(crate) struct Stack {
    // In the order in which they are to be stopped.
    pub(crate) delivers: Vec<Program>,
    pub(crate) sink: Program,
    pub(crate) redis: RedisServer,
    /// Where the delivers serve their figures.
    pub(crate) metrics: Vec<SocketAddr>,
    /// The port of the sink, on every loopback address.
    pub(crate) port: u16,
    pub(crate) journal: PathBuf,
    pub(crate) ca_file: Option<PathBuf>,
}

/// A child process that is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Program(pub(crate) Child);

impl Program {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that is gone already is what is wanted.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The path of a program of this workspace: beside the running one.
pub(crate) fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    anyhow::ensure!(path.exists(), "{name} is missing beside this program: build the workspace");
    Ok(path)
}

/// A command that runs a program of this workspace with as many descriptors as the hard limit allows.
pub(crate) fn program(name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -Sn "$(ulimit -Hn)"; exec "$0" "$@""#]).arg(beside(name)?);
    Ok(command)
}

/// Starts a program that writes `listening on ADDR` first; the program and its port.
pub(crate) fn listening(command: &mut Command) -> anyhow::Result<(Program, u16)> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start a server")?;
    let output = child.stdout.take();
    let server = Program(child);
    let mut line = String::new();
    BufReader::new(output.context("the server has no output")?).read_line(&mut line)?;
    let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
    let port = port.with_context(|| format!("the server did not tell its port: `{line}`"))?;
    Ok((server, port))
}

/// A running `ingest`.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) program: Program,
    /// Where it takes requests, unless the options say otherwise.
    pub(crate) listen: SocketAddr,
    /// Where its pages are.
    pub(crate) admin: SocketAddr,
}

impl Ingest {
    /// Starts one and waits until it is ready.
    pub(crate) async fn start(redis: &RedisServer, options: &[&str]) -> anyhow::Result<Ingest> {
        let (listen, admin) = (free_port()?, free_port()?);
        let mut command = program("ingest")?;
        command.env("REDIS_URL", redis.url_text()).env("RUST_LOG", "error");
        command
            .env("INGEST_LISTEN", listen.to_string())
            .env("INGEST_ADMIN_LISTEN", admin.to_string());
        command.args(options);
        let program = Program(command.spawn().context("cannot start ingest")?);
        let since = Instant::now();
        while !measure::is_ready(admin).await {
            anyhow::ensure!(since.elapsed() < START, "ingest is not ready after {START:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Ingest { program, listen, admin })
    }
}

impl Stack {
    /// Starts Redis and the sink.
    pub(crate) fn start(plan: &Plan<'_>) -> anyhow::Result<Stack> {
        let redis = RedisServer::start_with(plan.redis);
        let journal = redis.dir().join("journal");
        let ca_file = plan.tls.then(|| redis.dir().join("ca.pem"));
        let mut command = program("postback-bench")?;
        command.args(["sink", "--listen", "0.0.0.0:0"]).args(plan.sink);
        if plan.journal {
            command.arg("--journal").arg(&journal);
        }
        if let Some(ca_file) = &ca_file {
            command.args(["--tls", "good", "--ca-file"]).arg(ca_file);
        }
        let (sink, port) = listening(&mut command)?;
        Ok(Stack { delivers: vec![], sink, redis, metrics: vec![], port, journal, ca_file })
    }

    /// Starts Redis, the sink and one `deliver`.
    pub(crate) async fn start_with_deliver(plan: &Plan<'_>) -> anyhow::Result<Stack> {
        let mut stack = Stack::start(plan)?;
        stack.deliver(plan.deliver).await?;
        Ok(stack)
    }

    /// Starts a further `deliver` and waits until it is ready.
    pub(crate) async fn deliver(&mut self, options: &[&str]) -> anyhow::Result<()> {
        let metrics = free_port()?;
        let mut command = program("deliver")?;
        command.env("REDIS_URL", self.redis.url_text()).env("RUST_LOG", "error");
        command.args(["--allow-net", "127.0.0.0/8", "--metrics-listen", &metrics.to_string()]);
        if let Some(ca_file) = &self.ca_file {
            command.arg("--ca-file").arg(ca_file);
        }
        let child = command.args(options).spawn().context("cannot start deliver")?;
        self.delivers.push(Program(child));
        self.metrics.push(metrics);
        let since = Instant::now();
        while !measure::is_ready(metrics).await {
            anyhow::ensure!(since.elapsed() < START, "deliver is not ready after {START:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The queue, over a connection of its own.
    pub(crate) fn queue(&self) -> anyhow::Result<Queue> {
        Ok(Queue::open(&self.redis.url(), "pb", 1)?)
    }

    /// Where the sink tells what it counted.
    pub(crate) fn sink_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

/// A port that was free just now: deliver does not tell which one it was given.
pub(crate) fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
