//! Many clients, slow ones and such as go away: a process, its memory and its descriptors.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use postback_core::testing::RedisServer;

use crate::{
    answers::problem,
    process::Running,
    support::{Answer, GOOD, JSON, ask, keys, read, request, send},
};

/// An ingest in a process of its own.
pub(crate) struct Daemon {
    process: Running,
    pub(crate) address: SocketAddr,
}

impl Daemon {
    /// With so many open files at most.
    pub(crate) fn start(redis: &RedisServer, options: &[&str], files: usize) -> Daemon {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--nofile={files}"))
            .arg(env!("CARGO_BIN_EXE_ingest"))
            .args(["--redis-url", &redis.url_text(), "--admin-listen", "127.0.0.1:0"])
            .args(["--listen", &address.to_string()])
            .args(options)
            .stderr(Stdio::piped());
        Daemon { process: Running::start(command), address }
    }

    pub(crate) fn send(&self, request: &[u8]) -> Answer {
        send(self.address, request)
    }

    /// A line of `/proc/<pid>/status`, in bytes.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let kib = line.split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// How many sockets it has open. One that several of its descriptors stand for counts once,
    /// as with the one of the signals, of which each thread gets its own as it starts.
    fn sockets(&self) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.process.pid())).unwrap();
        // A descriptor may be closed between its being listed and being read.
        let open = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
        let sockets = open.filter(|path| path.to_string_lossy().starts_with("socket:"));
        sockets.collect::<BTreeSet<_>>().len()
    }

    /// Stops it; what it logged.
    fn log(self) -> String {
        self.process.signal("-TERM");
        let (code, log) = self.process.end();
        assert_eq!(code, Some(0), "{log}");
        log
    }
}

/// Lets the test's own process have as many open files as all tests here together need.
fn allow_files() {
    const FILES: usize = 9000;
    let pid = std::process::id().to_string();
    let done =
        Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={FILES}:")]).output();
    let done = done.unwrap();
    let why = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "this test opens {FILES} files; raise `ulimit -Hn`: {why}");
}

/// Asks on a connection that is kept.
fn is_well(mut stream: &TcpStream) -> bool {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\nok\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or_default() == 0 {
            return false;
        }
        text.push(byte[0]);
    }
    true
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::yield_now();
    }
}

/// The head of a request, and the beginning of a body of which this length is told.
fn begun(length: usize, body: &str) -> Vec<u8> {
    let length = length.to_string();
    let head = request("POST", "/ingest", &[JSON, ("Content-Length", &length)], "");
    [&head[..], body.as_bytes()].concat()
}

#[test]
fn an_idle_connection_takes_little_and_5000_leave_requests_served() {
    const IDLE: usize = 5000;
    allow_files();
    let redis = RedisServer::start();
    let daemon = Daemon::start(&redis, &[], IDLE + 1000);
    let good = request("POST", "/ingest", &[JSON], GOOD);
    assert_eq!(daemon.send(&good).status, 202);
    let before = daemon.memory("VmRSS");
    let idle: Vec<_> = (0..IDLE).map(|_| daemon.connect()).collect();
    assert!(idle.iter().all(is_well));
    let each = (daemon.memory("VmRSS") - before) / IDLE as u64;
    println!("an idle connection takes {each} bytes of memory");
    assert!(each < 60_000, "{each}");
    for _ in 0..100 {
        assert_eq!(daemon.send(&good).status, 202);
    }
    assert!(idle.iter().all(is_well), "an idle connection was closed");
    assert_eq!(ask::<u64>(&redis, &["HGET", "pb:{0}:stats", "accepted"]), 202);
}

#[test]
fn an_idle_connection_takes_little_after_a_long_body() {
    const KEPT: usize = 1000;
    const LENGTH: usize = 300_000;
    allow_files();
    let redis = RedisServer::start();
    let daemon = Daemon::start(&redis, &[], KEPT + 1000);
    let head =
        format!("Host: x\r\nContent-Type: application/json\r\nContent-Length: {LENGTH}\r\n\r\n");
    let whole = format!("POST /ingest HTTP/1.1\r\n{head}{}", " ".repeat(LENGTH));
    let ask = |mut stream: &TcpStream| {
        stream.write_all(whole.as_bytes()).unwrap();
        // The answer is shorter, and comes in one piece.
        let mut answer = [0; 1000];
        assert!(stream.read(&mut answer).unwrap() > 0 && answer.starts_with(b"HTTP/1.1 400 "));
    };
    ask(&daemon.connect());
    let before = daemon.memory("VmRSS");
    let kept: Vec<_> = (0..KEPT).map(|_| daemon.connect()).collect();
    kept.iter().for_each(ask);
    let each = (daemon.memory("VmRSS") - before) / KEPT as u64;
    println!("an idle connection takes {each} bytes of memory after a body of {LENGTH} bytes");
    assert!(each < 80_000, "{each}");
    assert!(kept.iter().all(is_well));
}

#[test]
fn a_slow_body_takes_what_has_come_of_it() {
    const SLOW: usize = 1000;
    allow_files();
    let redis = RedisServer::start();
    let daemon = Daemon::start(&redis, &[], SLOW + 1000);
    assert_eq!(daemon.send(&request("POST", "/ingest", &[JSON], GOOD)).status, 202);
    let before = daemon.memory("VmRSS");
    let slow: Vec<_> = (0..SLOW).map(|_| daemon.connect()).collect();
    let mut costs = Vec::new();
    let mut sent = 0;
    for part in [1, 49_999] {
        let text = " ".repeat(part);
        for mut stream in &slow {
            let bytes = if sent == 0 { begun(8_000_000, &text) } else { text.clone().into() };
            stream.write_all(&bytes).unwrap();
        }
        sent += part;
        // It has read all that was sent when nothing is left in its sockets.
        wait_until("the bodies are not read", || unread(daemon.address) == 0);
        let each = (daemon.memory("VmRSS") - before) / SLOW as u64;
        println!("a connection that has sent {sent} bytes of a body takes {each} bytes of memory");
        costs.push(each);
    }
    assert!(costs[0] < 60_000 && costs[1] < 160_000, "{costs:?}");
    drop(slow);
    wait_until("connections stay", || daemon.sockets() < 200);
}

/// How many bytes wait to be read by those who are connected at this address.
fn unread(address: SocketAddr) -> u64 {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", address.port());
    let waiting = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_ours = fields.next()?.ends_with(&port);
        let queue = fields.nth(2).filter(|_| is_ours)?.split_once(':')?.1.to_owned();
        // 0A: it listens.
        (!line.contains(" 0A ")).then(|| u64::from_str_radix(&queue, 16).unwrap())
    });
    waiting.sum()
}

#[test]
fn bodies_together_take_no_more_memory_than_is_kept_for_them() {
    const MIB: usize = 1024 * 1024;
    let redis = RedisServer::start();
    let daemon = Daemon::start(&redis, &["--max-body", "1MiB"], 1024);
    let good = request("POST", "/ingest", &[JSON], GOOD);
    assert_eq!(daemon.send(&good).status, 202);
    let before = daemon.memory("VmHWM");
    let most = begun(MIB, &" ".repeat(MIB - 1));
    // Memory is kept for 32; each waits for its last byte.
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = daemon.connect();
            drop(stream.write_all(&most));
            stream
        })
        .collect();
    // Refused or read: nothing is left in its sockets then.
    let is_answered = |stream: &&TcpStream| {
        stream.set_nonblocking(true).unwrap();
        stream.peek(&mut [0]).is_ok()
    };
    wait_until("too many are taken", || slow.iter().filter(is_answered).count() >= 68);
    wait_until("the bodies are not read", || unread(daemon.address) == 0);
    let refused: Vec<_> = slow.iter().filter(is_answered).collect();
    assert!(refused.len() < 100);
    for stream in refused {
        stream.set_nonblocking(false).unwrap();
        let answer = read(stream);
        problem(&answer, 503, "not_enqueued");
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(daemon.send(&good).status, 202, "short bodies have a share of their own");
    let cost = daemon.memory("VmHWM") - before;
    println!("100 bodies of 1 MiB, of which 32 fit: {cost} bytes of memory");
    assert!(cost < 64 * MIB as u64, "{cost}");
    drop(slow);
    wait_until("the memory is not given back", || {
        daemon.send(&[&most[..], b" "].concat()).status == 400
    });
    assert_eq!(ask::<u64>(&redis, &["HGET", "pb:{0}:stats", "accepted"]), 4);
    assert_eq!(daemon.log().lines().count(), 1);
}

#[test]
fn who_goes_away_in_mid_body_leaves_nothing_behind() {
    let redis = RedisServer::start();
    let daemon = Daemon::start(&redis, &[], 1024);
    let whole = request("POST", "/ingest", &[JSON], GOOD);
    // Its connection to Redis is made for the first one at the latest.
    assert_eq!(daemon.send(&whole).status, 202);
    let before = (keys(&redis), daemon.sockets());
    for _ in 0..50 {
        let mut reset = daemon.connect();
        reset.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        reset.write_all(&whole[..whole.len() - 1]).unwrap();
        // Closed with an answer unread: the connection is reset.
        reset.peek(&mut [0]).unwrap();
        drop(reset);
        let mut closed = daemon.connect();
        closed.write_all(&whole[..whole.len() - 1]).unwrap();
        drop(closed);
        daemon.connect().write_all(b"no HTTP\r\n\r\n").unwrap();
        drop(daemon.send(b"no HTTP\r\n\r\n"));
    }
    wait_until("connections stay", || daemon.sockets() <= before.1);
    assert_eq!(keys(&redis), before.0);
    let log = daemon.log();
    assert!(!log.lines().any(|line| !line.contains("stopping")), "{log}");
}

#[test]
fn at_the_limit_of_open_files_clients_wait_their_turn() {
    let redis = RedisServer::start();
    let daemon = Daemon::start(&redis, &[], 256);
    let kept: Vec<_> = (0..400).map(|_| daemon.connect()).collect();
    wait_until("it takes no connections", || daemon.sockets() > 100);
    // Those that it took are served; the others once there is room.
    for (served, stream) in kept.into_iter().enumerate() {
        assert!(is_well(&stream), "after {served}");
    }
    assert_eq!(daemon.send(&request("POST", "/ingest", &[JSON], GOOD)).status, 202);
    let log = daemon.log();
    assert!(!log.contains("accept"), "{log}");
}
