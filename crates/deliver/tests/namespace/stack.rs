//! Redis, `ingest` and `deliver` in a namespace, and what is seen of their network.

use std::{
    fs,
    io::{Read, Write},
    net::IpAddr,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, Instant},
};

use postback_core::{
    batch::{Source, encode},
    endpoint::{BodyTemplate, Endpoint, EndpointTemplate, Method, Origin, Unmatched},
    id::{LaneId, PostbackId},
    policy::Policy,
    queue::{Enqueue, Queue},
    testing::RedisServer,
    view::{Postback, Standing},
};
use serde_json::{Value, json};

use crate::{
    dns::Dns,
    partners::{Contact, Partners},
};

/// For what needs no time limit of a step to run out.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Where ingest's pages are on 127.0.0.1: a service of ours that nobody may call through us.
pub(crate) const ADMIN: u16 = 18081;

/// A stack. Redis and ingest are on unix sockets: only deliver opens connections.
pub(crate) struct Stack {
    pub(crate) dns: Dns,
    pub(crate) partners: Partners,
    pub(crate) queue: Queue,
    redis: RedisServer,
    daemons: Vec<Child>,
}

impl Stack {
    pub(crate) fn start() -> Stack {
        let redis = RedisServer::start();
        let queue = Queue::open(&redis.url(), "pb", 1).expect("a queue");
        let partners = Partners::default();
        partners.listen(80);
        Stack { dns: Dns::start(), partners, queue, redis, daemons: vec![] }
    }

    /// Starts a `deliver`; returns its number.
    pub(crate) fn deliver(&mut self, options: &[&str]) -> usize {
        self.deliver_with(options, &[])
    }

    pub(crate) fn deliver_with(&mut self, options: &[&str], variables: &[(&str, &str)]) -> usize {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deliver"));
        command.args(["--metrics-listen", "127.0.0.1:0"]).args(options);
        self.spawn(command.envs(variables.iter().copied()))
    }

    pub(crate) fn ingest(&mut self) {
        let mut path = PathBuf::from(env!("CARGO_BIN_EXE_deliver"));
        path.set_file_name("ingest");
        assert!(
            path.exists(),
            "{} is missing: run `cargo build --workspace` first",
            path.display()
        );
        let listen = format!("--listen=unix:{}", self.socket().display());
        let admin = format!("--admin-listen=127.0.0.1:{ADMIN}");
        self.spawn(Command::new(path).args([listen, admin]));
        let since = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            assert!(since.elapsed() < SOON, "ingest did not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn socket(&self) -> PathBuf {
        self.redis.dir().join("ingest.sock")
    }

    fn spawn(&mut self, command: &mut Command) -> usize {
        let child = command.env("REDIS_URL", self.redis.url_text()).spawn();
        self.daemons.push(child.expect("the daemon starts"));
        self.daemons.len() - 1
    }

    /// Kills a daemon, its memory of names with it.
    pub(crate) fn kill(&mut self, daemon: usize) {
        self.daemons[daemon].kill().expect("it runs");
        self.daemons[daemon].wait().expect("it ends");
    }

    /// Asks ingest for one postback without retries; `None` when it is refused with 400.
    pub(crate) fn post(&self, url: &str) -> Option<PostbackId> {
        let endpoint = json!({"method": "GET", "url": url});
        let body = json!({"endpoint": endpoint, "data": [{}], "policy": {"retries": []}});
        let body = body.to_string();
        let head = "POST /ingest HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let mut stream = UnixStream::connect(self.socket()).expect("ingest listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let body: Value = serde_json::from_str(body).expect("JSON");
        match head.split(' ').nth(1) {
            Some("400") => None,
            Some("202") => {
                let batch = &body["batches"][0];
                let id = format!("{}-{}", batch["id"].as_str().expect("an id"), batch["first"]);
                Some(id.parse().expect("an id"))
            }
            _ => panic!("ingest answered {answer} for {url}"),
        }
    }

    /// Writes one postback without retries straight into Redis, in a lane that has nothing to do with its URL.
    pub(crate) async fn store(&self, url: &str) -> PostbackId {
        self.store_with(url, vec![]).await
    }

    /// The same with retries after so many milliseconds.
    pub(crate) async fn store_with(&self, url: &str, retries_ms: Vec<u64>) -> PostbackId {
        let template = template(url);
        let policy = Policy { retries_ms: Some(retries_ms), ..Policy::default() };
        let source = Source {
            request_id: "test".into(),
            traceparent: None,
            received_at_ms: 0,
            first_row: 0,
            nginx_ms: None,
        };
        let batches = encode(&template, &policy, &source, &[vec![]]);
        let made_up = Origin { tls: false, host: "made-up.test".into(), port: 1 };
        let lane = LaneId::of(&made_up, Some(url));
        let request = Enqueue {
            lane,
            name: "made up",
            delay: Duration::ZERO,
            batches: &batches,
            max_backlog: 0,
        };
        self.queue.enqueue(request).await.expect("stored")[0].id.postback(0)
    }

    /// Waits until a postback satisfies a condition.
    pub(crate) async fn until(
        &self,
        id: PostbackId,
        within: Duration,
        condition: impl Fn(&Postback) -> bool,
    ) -> Postback {
        let since = Instant::now();
        loop {
            // `None`: it was delivered between the two places that are looked at, and is found the next time.
            let found = self.queue.postback(id).await.expect("redis");
            if let Some(found) = found.as_ref().filter(|found| condition(found)) {
                return found.clone();
            }
            assert!(since.elapsed() < within, "not as expected within {within:?}: {found:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a postback is delivered or dead.
    pub(crate) async fn end(&self, id: PostbackId) -> Postback {
        self.until(id, SOON, |postback| postback.state != Standing::Pending).await;
        // Its attempts may have been read before its last one; they are there with the state.
        self.until(id, SOON, |_| true).await
    }

    /// The connections to partners since there were so many.
    pub(crate) fn contacts_since(&self, before: usize) -> Vec<Contact> {
        self.partners.contacts().split_off(before)
    }

    /// The addresses that were called so far.
    pub(crate) fn called(&self) -> Vec<IpAddr> {
        self.partners.contacts().iter().map(|contact| contact.to.ip()).collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            drop(daemon.kill());
            drop(daemon.wait());
        }
    }
}

fn template(url: &str) -> EndpointTemplate {
    EndpointTemplate {
        method: Method::Get,
        url: url.to_owned(),
        headers: vec![],
        body: BodyTemplate::None,
        reference: None,
        unmatched: Unmatched::Text(String::new()),
    }
}

/// Where an URL leads; `None`: it is not one that Postback takes.
pub(crate) fn origin(url: &str) -> Option<Origin> {
    Endpoint::compile(template(url)).ok().map(|endpoint| endpoint.origin().clone())
}

/// How many TCP connections this namespace has tried to open: counted by the kernel before the first packet.
pub(crate) fn opened() -> u64 {
    let text = fs::read_to_string("/proc/net/snmp").expect("the kernel's counters");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, opened) = pairs.find(|(name, _)| *name == "ActiveOpens").expect("the counter");
    opened.parse().expect("a number")
}
