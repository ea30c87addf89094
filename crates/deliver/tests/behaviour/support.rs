//! A private stack for tests: a redis-server, the sink as the partner, and `deliver` processes.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use postback_core::{
    batch::{Source, encode},
    endpoint::{BodyTemplate, EndpointTemplate, Method, Origin, Unmatched},
    id::LaneId,
    policy::Policy,
    queue::{Enqueue, EnqueueError, Enqueued, Queue, Stats},
    testing::RedisServer,
    value::{Row, Value},
};

/// A request as the partner saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Microseconds since 1970.
    pub(crate) at_us: u64,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Seen {
    pub(crate) fn id(&self) -> &str {
        self.headers.get("webhook-id").map_or("", String::as_str)
    }
}

pub(crate) struct Stack {
    pub(crate) redis: RedisServer,
    pub(crate) queue: Queue,
    pub(crate) port: u16,
    sink: Child,
    journal: PathBuf,
    delivers: Vec<Child>,
}

/// A program of this workspace, built by `cargo build --workspace`.
pub(crate) fn program(name: &str) -> Command {
    let mut path = std::env::current_exe().expect("a path");
    path.pop();
    path.set_file_name(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    Command::new(path)
}

/// Rows of one value each, the numbers from 0.
pub(crate) fn numbers(rows: u32) -> Vec<Row<'static>> {
    (0..rows).map(|n| vec![Value::Literal(n.to_string().into())]).collect()
}

impl Stack {
    pub(crate) fn start() -> Stack {
        Stack::start_with(&[])
    }

    pub(crate) fn start_with(redis_options: &[&str]) -> Stack {
        Stack::start_on(RedisServer::start_with(redis_options), 1)
    }

    pub(crate) fn start_with_shards(shards: u16) -> Stack {
        Stack::start_on(RedisServer::start(), shards)
    }

    fn start_on(redis: RedisServer, shards: u16) -> Stack {
        let journal = redis.dir().join("journal");
        let mut sink = program("postback-bench")
            .args(["sink", "--listen", "127.0.0.1:0", "--journal"])
            .arg(&journal)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the sink starts");
        let mut line = String::new();
        BufReader::new(sink.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("its first line");
        let port =
            line.trim().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let queue = Queue::open(&redis.url(), "pb", shards).expect("a queue");
        Stack { redis, queue, port, sink, journal, delivers: vec![] }
    }

    /// Starts a `deliver`; returns its number.
    pub(crate) fn deliver(&mut self, options: &[&str]) -> usize {
        self.spawn(&[&["--allow-net", "127.0.0.0/8"], options].concat())
    }

    /// Starts a `deliver` that may call public addresses only.
    pub(crate) fn deliver_guarded(&mut self) -> usize {
        self.spawn(&[])
    }

    pub(crate) fn deliver_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deliver"));
        command.env("REDIS_URL", self.redis.url_text());
        command
    }

    fn spawn(&mut self, options: &[&str]) -> usize {
        let child = self
            .deliver_command()
            .args(["--metrics-listen", "127.0.0.1:0"])
            .args(options)
            .spawn()
            .expect("deliver starts");
        self.delivers.push(child);
        self.delivers.len() - 1
    }

    /// Takes care of a `deliver` that a test started by itself; returns its number.
    pub(crate) fn adopt(&mut self, child: Child) -> usize {
        self.delivers.push(child);
        self.delivers.len() - 1
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, deliver: usize, signal: &str) {
        let pid = self.delivers[deliver].id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill");
        assert!(sent.success());
    }

    pub(crate) fn wait_exit(&mut self, deliver: usize) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.delivers[deliver].try_wait().expect("a child") {
                return status;
            }
            assert!(since.elapsed() < Duration::from_secs(60), "deliver did not exit");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn endpoint(&self, path: &str) -> EndpointTemplate {
        EndpointTemplate {
            method: Method::Get,
            url: format!("http://127.0.0.1:{}{path}", self.port),
            headers: vec![],
            body: BodyTemplate::None,
            reference: None,
            unmatched: Unmatched::Text(String::new()),
        }
    }

    pub(crate) async fn enqueue(
        &self,
        endpoint: &EndpointTemplate,
        policy: &Policy,
        rows: &[Row<'_>],
    ) -> Vec<Enqueued> {
        self.try_enqueue(endpoint, policy, rows).await.expect("stored")
    }

    pub(crate) async fn try_enqueue(
        &self,
        endpoint: &EndpointTemplate,
        policy: &Policy,
        rows: &[Row<'_>],
    ) -> Result<Vec<Enqueued>, EnqueueError> {
        let source = Source {
            request_id: "test".into(),
            traceparent: None,
            received_at_ms: 0,
            first_row: 0,
        };
        let batches = encode(endpoint, policy, &source, rows);
        let origin = Origin { tls: false, host: "127.0.0.1".into(), port: self.port };
        let lane = LaneId::of(&origin, policy.label.as_deref());
        let request = Enqueue {
            lane,
            name: "sink",
            delay: Duration::ZERO,
            batches: &batches,
            max_backlog: 0,
        };
        self.queue.enqueue(request).await
    }

    /// Rows `{n}` from 0.
    pub(crate) async fn enqueue_numbers(
        &self,
        path: &str,
        rows: std::ops::Range<u32>,
    ) -> Vec<Enqueued> {
        self.try_enqueue_numbers(path, rows).await.expect("stored")
    }

    pub(crate) async fn try_enqueue_numbers(
        &self,
        path: &str,
        rows: std::ops::Range<u32>,
    ) -> Result<Vec<Enqueued>, EnqueueError> {
        let rows: Vec<Row<'_>> = rows.map(|n| vec![Value::Literal(n.to_string().into())]).collect();
        self.try_enqueue(&self.endpoint(path), &Policy::default(), &rows).await
    }

    pub(crate) async fn stats(&self) -> Stats {
        self.queue.shards()[0].stats().await.expect("stats")
    }

    /// Waits until the counters satisfy a condition.
    pub(crate) async fn until(
        &self,
        within: Duration,
        what: &str,
        condition: impl Fn(&Stats) -> bool,
    ) -> Stats {
        let since = Instant::now();
        loop {
            let stats = self.queue.shards()[0].stats().await;
            if let Some(stats) = stats.as_ref().ok().filter(|stats| condition(stats)) {
                return *stats;
            }
            assert!(since.elapsed() < within, "{what} did not come within {within:?}: {stats:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the partner saw, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let text = std::fs::read_to_string(&self.journal).unwrap_or_default();
        // The sink may be writing: what has no newline yet is not a line.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let seen = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a journal line");
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let headers = line["headers"].as_object().expect("headers");
            let headers =
                headers.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()));
            let at_us = line["at_us"].as_u64().expect("a time");
            Seen { at_us, target: text("target"), headers: headers.collect() }
        };
        whole.lines().map(seen).collect()
    }

    /// Waits until the partner saw so many requests.
    pub(crate) async fn until_seen(&self, requests: usize) {
        let since = Instant::now();
        while self.seen().len() < requests {
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "the partner saw {} of {requests}",
                self.seen().len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for child in self.delivers.iter_mut().chain([&mut self.sink]) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
