//! Starting: with what Redis it works, with what it does not, and what it tells of itself.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::Stack;

/// Runs to its end and returns exit code and standard error.
fn end_of(command: &mut Command) -> (Option<i32>, String) {
    let out = command.stderr(Stdio::piped()).output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < Duration::from_secs(30), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_redis_that_would_lose_postbacks_is_refused_by_name() {
    for (options, word) in [
        (["--maxmemory-policy", "allkeys-lru"], "noeviction"),
        (["--appendonly", "no"], "appendonly"),
    ] {
        let stack = Stack::start_with(&options);
        let (code, error) =
            end_of(stack.deliver_command().args(["--metrics-listen", "127.0.0.1:0"]));
        assert_eq!(code, Some(1));
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn a_fleet_has_one_number_of_shards() {
    let stack = Stack::start();
    stack.queue.check_server().await.unwrap(); // the first process runs with 1
    let options = ["--metrics-listen", "127.0.0.1:0", "--shards", "4"];
    let (code, error) = end_of(stack.deliver_command().args(options));
    assert_eq!(code, Some(1));
    assert!(error.contains("--shards is 4") && error.contains("runs with 1"), "{error}");
}

#[test]
fn wrong_options_exit_with_2_and_a_taken_port_with_1_naming_it() {
    let stack = Stack::start();
    let check = |options: &[&str], code, word: &str| {
        let (exit, error) = end_of(stack.deliver_command().args(options));
        assert_eq!(exit, Some(code), "{options:?}: {error}");
        assert!(error.contains(word), "{options:?}: {error}");
    };
    check(&["--timeout", "5 minutes"], 2, "--timeout");
    check(&["--timeout", "61s"], 2, "longer than 60 s");
    check(&["--retries", &["1s"; 21].join(",")], 2, "--retries");
    check(&["--allow-net", "10.0.0.0/99"], 2, "--allow-net");
    check(&["--redis-url", "http://u:secret@x"], 2, "redis://");
    check(&["--concurrency", "0"], 2, "--concurrency");
    check(&["--ca-file", "/nowhere.pem", "--metrics-listen", "127.0.0.1:0"], 1, "/nowhere.pem");
    check(&["--bind", "192.0.2.1", "--metrics-listen", "127.0.0.1:0"], 1, "--bind 192.0.2.1");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check(&["--metrics-listen", &address], 1, &format!("cannot listen on {address}"));
}

#[tokio::test]
async fn it_starts_before_redis_is_ready_only_with_it_and_counts_what_it_does() {
    let mut stack = Stack::start();
    stack.redis.kill();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let options = ["--allow-net", "127.0.0.0/8", "--metrics-listen", &listen];
    let mut child = stack.deliver_command().args(options).spawn().unwrap();
    let says = |path: &str, word: &str| get(port, path).is_some_and(|text| text.contains(word));
    until("/healthz", || says("/healthz", "200 OK")).await;
    assert!(says("/readyz", "503"));
    stack.redis.up();
    until("/readyz", || says("/readyz", "200 OK")).await;
    stack.enqueue_numbers("/x?n={n}", 0..3).await;
    stack.until(Duration::from_secs(30), "delivery", |stats| stats.delivered == 3).await;
    let metrics = get(port, "/metrics").unwrap();
    for line in [
        "postback_attempts_total{outcome=\"delivered\"} 3",
        "postback_outcomes_total{class=\"2xx\"} 3",
        "postback_in_flight 0",
        "postback_ready 1",
        "postback_response_seconds_count 3",
        "postback_redis_seconds_count{kind=\"reserve\"} ",
        "postback_redis_failures_total{kind=\"command\",reason=\"away\"} ",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
