//! The daemon as a process: start-up, its socket file, signals, exit codes.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use postback_core::testing::RedisServer;

use crate::support::{GOOD, JSON, ask, read, request};

pub(crate) fn daemon(redis_url: &str, listen: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ingest"));
    command
        .args(["--redis-url", redis_url, "--admin-listen", "127.0.0.1:0", "--listen"])
        .arg(format!("unix:{}", listen.display()))
        .args(options)
        .stderr(Stdio::piped());
    command
}

/// A process that ends with the test.
pub(crate) struct Daemon(pub(crate) Child);

impl Daemon {
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A running daemon, and the rest of its log.
pub(crate) struct Running(Daemon, BufReader<std::process::ChildStderr>);

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut running = Running(Daemon(child), log);
        running.until("listening on");
        running
    }

    /// What it logs until a line has this in it, with that line.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut log = String::new();
        while !log.contains(text) {
            assert_ne!(self.1.read_line(&mut log).unwrap(), 0, "the daemon ended: {log}");
        }
        log
    }

    pub(crate) fn signal(&self, name: &str) {
        self.0.signal(name);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.0.id()
    }

    /// Its exit code and what it logged since it listened.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let code = self.0.0.wait().unwrap().code();
        let mut log = String::new();
        self.1.read_to_string(&mut log).unwrap();
        (code, log)
    }
}

pub(crate) fn socket(redis: &RedisServer) -> PathBuf {
    redis.dir().join("ingest.sock")
}

pub(crate) fn ended(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_unix_socket_is_for_owner_and_group_and_a_stale_one_is_replaced() {
    let redis = RedisServer::start();
    let path = socket(&redis);
    drop(UnixListener::bind(&path).unwrap());
    let ingest = Running::start(daemon(&redis.url_text(), &path, &[]));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&request("POST", "/ingest", &[JSON], GOOD)).unwrap();
    assert_eq!(read(stream).status, 202);

    let (code, log) = ended(daemon(&redis.url_text(), &path, &[]));
    assert_eq!(code, Some(1));
    assert!(log.contains("cannot listen on unix:") && log.contains("in use"), "{log}");
    assert_eq!(UnixStream::connect(&path).map(drop).ok(), Some(()));
    drop(ingest);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let redis = RedisServer::start();
    let path = socket(&redis);
    std::fs::write(&path, "precious").unwrap();
    assert_eq!(ended(daemon(&redis.url_text(), &path, &[])).0, Some(1));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_signal_lets_requests_in_progress_finish_and_exits_0() {
    for signal in ["-TERM", "-INT"] {
        let redis = RedisServer::start();
        let path = socket(&redis);
        let ingest = Running::start(daemon(&redis.url_text(), &path, &[]));
        // A connection that is kept alive but has nothing to do must not hold up the end.
        let idle = UnixStream::connect(&path).unwrap();
        let mut kept = UnixStream::connect(&path).unwrap();
        let whole = String::from_utf8(request("GET", "/healthz", &[], "")).unwrap();
        kept.write_all(whole.replace("Connection: close\r\n", "").as_bytes()).unwrap();
        kept.read_exact(&mut [0; 20]).unwrap();

        let mut stream = UnixStream::connect(&path).unwrap();
        let whole = request("POST", "/ingest", &[JSON, ("Expect", "100-continue")], GOOD);
        let (first, last) = whole.split_at(whole.len() - 5);
        stream.write_all(first).unwrap();
        // The interim answer tells that the request is in progress.
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        ingest.signal(signal);
        while UnixStream::connect(&path).is_ok() {
            std::thread::yield_now();
        }
        stream.write_all(last).unwrap();
        assert_eq!(read(stream).status, 202, "{signal}");
        let (code, log) = ingest.end();
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(ask::<u64>(&redis, &["HGET", "pb:{0}:stats", "accepted"]), 2);
        drop((idle, kept));
    }
}

#[test]
fn a_redis_that_would_lose_postbacks_is_refused() {
    for (options, remedy) in [
        (["--maxmemory-policy", "allkeys-lru"], "set it to noeviction"),
        (["--appendonly", "no"], "set it to yes"),
    ] {
        let redis = RedisServer::start_with(&options);
        let (code, log) = ended(daemon(&redis.url_text(), &socket(&redis), &[]));
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(remedy), "{log}");
    }
}

#[test]
fn another_number_of_shards_is_refused() {
    let redis = RedisServer::start();
    let ingest = Running::start(daemon(&redis.url_text(), &socket(&redis), &["--shards", "2"]));
    let other = redis.dir().join("other.sock");
    let (code, log) = ended(daemon(&redis.url_text(), &other, &["--shards", "3"]));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("--shards is 3"), "{log}");
    drop(ingest);
}

#[test]
fn it_starts_without_redis_but_stores_nothing_in_one_that_is_unfit() {
    let mut redis = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    redis.kill();
    let path = socket(&redis);
    let ingest = Running::start(daemon(&redis.url_text(), &path, &[]));
    redis.up();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&request("POST", "/ingest", &[JSON], GOOD)).unwrap();
    let answer = read(stream);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("not_enqueued")));
    assert_eq!(ask::<u64>(&redis, &["DBSIZE"]), 0);
    drop(ingest);
}

#[test]
fn the_log_tells_that_redis_is_away_but_not_its_password() {
    let redis = RedisServer::start();
    let mut command = daemon("redis://user:secret@127.0.0.1:1", &socket(&redis), &[]);
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("cannot reach redis at 127.0.0.1:1"), "{line}");
    assert!(!line.contains("secret"), "{line}");
    drop((Daemon(child), log));
}

#[test]
fn wrong_options_exit_with_2_before_anything_is_bound() {
    let redis = RedisServer::start();
    let path = socket(&redis);
    for options in [
        ["--admin-listen", "0.0.0.0:0"],
        ["--max-body", "many"],
        ["--max-rows", "0"],
        ["--redis-url", "http://x"],
        ["--what", "x"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingest"));
        command.arg("--listen").arg(format!("unix:{}", path.display())).args(options);
        let (code, log) = ended(command);
        assert_eq!(code, Some(2), "{options:?}: {log}");
    }
    assert!(!path.exists());
}
