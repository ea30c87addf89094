//! A private stack for tests: a redis-server, the sink as the partner, and `deliver` processes.

mod daemons;
mod proxy;
mod sink;

use std::{
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use postback_core::{
    batch::{Source, encode},
    endpoint::{BodyTemplate, Endpoint, EndpointTemplate, Method, Unmatched},
    id::{BatchId, LaneId},
    policy::Policy,
    queue::{Enqueue, EnqueueError, Enqueued, Queue, Reserve, Stats, Which},
    testing::RedisServer,
    value::{Row, Value},
};

pub(crate) use self::{
    daemons::{Answer, Daemons},
    proxy::{How, Proxy},
    sink::{Seen, Sink},
};

pub(crate) struct Stack {
    pub(crate) redis: RedisServer,
    pub(crate) queue: Queue,
    pub(crate) port: u16,
    sink: Sink,
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

/// Runs a check on every case at once.
pub(crate) fn all<const N: usize, T, F>(cases: [T; N], check: fn(T) -> F)
where
    T: Copy + std::fmt::Debug + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let run = move |case| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(check(case));
    };
    let running = cases.map(|case| std::thread::spawn(move || run(case)));
    let ended = cases.into_iter().zip(running);
    let failed: Vec<_> =
        ended.filter_map(|(case, run)| run.join().is_err().then_some(case)).collect();
    assert!(failed.is_empty(), "failed: {failed:?}");
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
        let sink = Sink::start(redis.dir(), "partner", &[]);
        let queue = Queue::open(&redis.url(), "pb", shards).expect("a queue");
        Stack { redis, queue, port: sink.port, sink, delivers: vec![] }
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
        self.spawn_command(self.deliver_command().args(options))
    }

    /// Starts a `deliver` as prepared from [`Stack::deliver_command`].
    pub(crate) fn spawn_command(&mut self, command: &mut Command) -> usize {
        let child =
            command.args(["--metrics-listen", "127.0.0.1:0"]).spawn().expect("deliver starts");
        self.delivers.push(child);
        self.delivers.len() - 1
    }

    /// Takes care of a `deliver` that a test started by itself; returns its number.
    pub(crate) fn adopt(&mut self, child: Child) -> usize {
        self.delivers.push(child);
        self.delivers.len() - 1
    }

    /// The process id of a `deliver`.
    pub(crate) fn pid(&self, deliver: usize) -> u32 {
        self.delivers[deliver].id()
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
            nginx_ms: None,
        };
        let batches = encode(endpoint, policy, &source, rows);
        let compiled = Endpoint::compile(endpoint.clone()).expect("an endpoint");
        let lane = LaneId::of(compiled.origin(), policy.label.as_deref());
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

    pub(crate) fn redis_connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.redis.url_text()).expect("a URL");
        client.get_connection().expect("redis")
    }

    /// Asks Redis itself.
    pub(crate) fn redis_command(&self, words: &[&str]) -> redis::Value {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query(&mut self.redis_connection()).expect("an answer")
    }

    pub(crate) fn redis_set(&self, key: &str, value: &[u8]) {
        let set = redis::cmd("SET").arg(key).arg(value).exec(&mut self.redis_connection());
        set.expect("stored");
    }

    pub(crate) fn redis_time_ms(&self) -> u64 {
        let now: (u64, u64) =
            redis::cmd("TIME").query(&mut self.redis_connection()).expect("an answer");
        now.0 * 1000 + now.1 / 1000
    }

    /// Writes a batch straight into Redis, ready in its lane; the counters know it too.
    pub(crate) fn inject(&self, id: BatchId, bytes: &[u8], states: Option<&[u8]>) {
        let stored = [&self.redis_time_ms().to_be_bytes()[..], bytes].concat();
        let rows = bytes.get(1..3).map_or(1, |n| u16::from_be_bytes([n[0], n[1]]).max(1));
        let size = stored.len() + states.map_or(0, <[u8]>::len);
        let lane = id.lane();
        let mut write = redis::pipe();
        write.cmd("SET").arg(format!("pb:{{0}}:batch:{id}")).arg(stored);
        if let Some(states) = states {
            write.cmd("SET").arg(format!("pb:{{0}}:rows:{id}")).arg(states);
        }
        for (field, n) in [("accepted", rows.into()), ("pending", rows.into()), ("bytes", size)] {
            write.cmd("HINCRBY").arg("pb:{0}:stats").arg(field).arg(n);
        }
        write.cmd("RPUSH").arg(format!("pb:{{0}}:lane:{lane}")).arg(id.as_str());
        write.cmd("ZADD").arg("pb:{0}:lanes").arg("NX").arg(1).arg(lane.as_str());
        write.exec(&mut self.redis_connection()).expect("stored");
    }

    /// Ends a worker's lease, as if 30 s had gone by, and lets another worker take over what it held.
    pub(crate) async fn end_lease(&self, worker: &str) {
        self.redis_command(&["ZADD", "pb:{0}:workers", "1", worker]);
        self.queue.shards()[0].beat("reaper", Which::First, &[]).await.expect("a beat");
        self.queue.shards()[0].beat("reaper", Which::Last, &[]).await.expect("a beat");
    }

    /// The one worker that holds something.
    pub(crate) async fn holder(&self) -> String {
        let since = Instant::now();
        loop {
            let workers = self.queue.shards()[0].workers().await.expect("workers");
            if let Some(holder) = workers.into_iter().find(|worker| worker.held > 0) {
                return holder.worker;
            }
            assert!(since.elapsed() < Duration::from_secs(30), "nobody holds anything");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Two workers take the only batch that is ready and die with it.
    pub(crate) async fn crash_twice(&self) {
        let shard = &self.queue.shards()[0];
        for worker in ["w0", "w1"] {
            shard.beat(worker, Which::First, &[]).await.expect("a beat");
            let ask = Reserve { worker, rows: 1, batches: 1, of_lane: 1, ..Reserve::default() };
            assert_eq!(shard.reserve(&ask).await.expect("an answer").batches.len(), 1);
            self.redis_command(&["ZADD", "pb:{0}:workers", "1", worker]); // its lease ends
            shard.beat("reaper", Which::First, &[]).await.expect("a beat");
        }
    }

    /// What the partner saw, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.sink.seen()
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
        for child in &mut self.delivers {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
