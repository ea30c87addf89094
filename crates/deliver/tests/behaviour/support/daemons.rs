//! One `ingest` and one `deliver` on a stack, with their logs and their health.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Stack, program};

/// What a daemon answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) took: Duration,
}

impl Answer {
    /// The problem's code; empty where there is none.
    pub(crate) fn code(&self) -> &str {
        let code = self.text.split_once("\"code\":\"").and_then(|(_, rest)| rest.split_once('"'));
        code.map_or("", |(code, _)| code)
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Option<Answer> {
    let since = Instant::now();
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, text, took: since.elapsed() })
}

pub(crate) struct Daemons {
    pub(crate) stack: Stack,
    ingest: Child,
    deliver: usize,
    port: u16,
}

impl Daemons {
    /// Starts both, which reach Redis by these URLs.
    pub(crate) fn start(mut stack: Stack, ingest_url: &str, deliver_url: &str) -> Daemons {
        let dir = stack.redis.dir().to_owned();
        let shards = stack.queue.shards().len().to_string();
        let log = |name: &str| {
            Stdio::from(std::fs::File::create(dir.join(name)).expect("a file for the log"))
        };
        let ingest = program("ingest")
            .env("REDIS_URL", ingest_url)
            .env("POSTBACK_SHARDS", &shards)
            .arg(format!("--listen=unix:{}", dir.join("ingest.sock").display()))
            .arg(format!("--admin-listen=unix:{}", dir.join("admin.sock").display()))
            .stderr(log("ingest.log"))
            .spawn()
            .expect("ingest starts");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let port = port.expect("a free port").port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_deliver"));
        command.env("REDIS_URL", deliver_url).env("POSTBACK_SHARDS", &shards);
        command.args(["--allow-net", "127.0.0.0/8"]);
        let child = command
            .arg(format!("--metrics-listen=127.0.0.1:{port}"))
            .stderr(log("deliver.log"))
            .spawn()
            .expect("deliver starts");
        let deliver = stack.adopt(child);
        let daemons = Daemons { stack, ingest, deliver, port };
        daemons.until("both daemons", || {
            daemons.ingest_get("/healthz").is_some() && daemons.deliver_get("/healthz").is_some()
        });
        daemons
    }

    pub(crate) fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let since = Instant::now();
        while !condition() {
            let late = since.elapsed() > Duration::from_secs(30);
            assert!(!late, "{what} did not come\n{}\n{}", self.log("ingest"), self.log("deliver"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn socket(&self) -> PathBuf {
        self.stack.redis.dir().join("ingest.sock")
    }

    /// Posts one row with a number to a partner's path.
    pub(crate) fn post(&self, path: &str, n: u32) -> Answer {
        self.post_with(path, n, "")
    }

    /// The same with more header lines.
    pub(crate) fn post_with(&self, path: &str, n: u32, headers: &str) -> Answer {
        let url = format!("http://127.0.0.1:{}{path}", self.stack.port);
        self.post_body(
            &format!(
                r#"{{"endpoint":{{"method":"GET","url":"{url}?n={{n}}"}},"data":[{{"n":{n}}}]}}"#
            ),
            headers,
        )
    }

    /// Posts a request as it is.
    pub(crate) fn post_body(&self, body: &str, headers: &str) -> Answer {
        let head = "POST /ingest HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
        let length = body.len();
        let request = format!("{head}{headers}Content-Length: {length}\r\n\r\n{body}");
        let stream = UnixStream::connect(self.socket()).expect("ingest listens");
        exchange(stream, &request).expect("an answer")
    }

    pub(crate) fn ingest_get(&self, path: &str) -> Option<Answer> {
        exchange(UnixStream::connect(self.socket()).ok()?, &get(path))
    }

    /// An operators' page as JSON.
    pub(crate) fn page(&self, path: &str) -> serde_json::Value {
        let socket = self.stack.redis.dir().join("admin.sock");
        let request = get(path).replacen("Host: x", "Host: x\r\nAccept: application/json", 1);
        let answer = exchange(UnixStream::connect(socket).expect("ingest listens"), &request);
        let text = answer.expect("an answer").text;
        let (_, body) = text.split_once("\r\n\r\n").expect("a head");
        serde_json::from_str(body).expect("JSON")
    }

    pub(crate) fn deliver_get(&self, path: &str) -> Option<Answer> {
        exchange(TcpStream::connect(("127.0.0.1", self.port)).ok()?, &get(path))
    }

    /// The statuses of both `/readyz`.
    pub(crate) fn ready(&self) -> (u16, u16) {
        let status = |answer: Option<Answer>| answer.map_or(0, |answer| answer.status);
        (status(self.ingest_get("/readyz")), status(self.deliver_get("/readyz")))
    }

    /// What a daemon logged so far.
    pub(crate) fn log(&self, daemon: &str) -> String {
        let path = self.stack.redis.dir().join(format!("{daemon}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// The lines of a daemon's log that hold a text.
    pub(crate) fn lines(&self, daemon: &str, text: &str) -> Vec<String> {
        let log = self.log(daemon);
        log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// The processor time that both have used.
    pub(crate) fn cpu(&self) -> Duration {
        let ticks = [self.ingest.id(), self.stack.pid(self.deliver)].map(ticks).iter().sum::<u64>();
        Duration::from_millis(10 * ticks)
    }

    /// The memory of `ingest`, KiB.
    pub(crate) fn ingest_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.ingest.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
        number.expect("a number")
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

/// User and system time in hundredths of a second (proc(5), fields 14 and 15).
fn ticks(pid: u32) -> u64 {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(Path::new(&path)).expect("it runs");
    let fields = text.rsplit_once(") ").expect("a name").1.split(' ').skip(11).take(2);
    fields.map(|n| n.parse::<u64>().expect("ticks")).sum()
}

impl Drop for Daemons {
    fn drop(&mut self) {
        drop(self.ingest.kill());
        drop(self.ingest.wait());
    }
}
