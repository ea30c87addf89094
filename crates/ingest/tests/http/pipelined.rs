//! Requests that are sent before the one ahead of them is answered: served one after the other, each as if it were alone.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use postback_core::testing::RedisServer;

use crate::{
    answers::{front, problem},
    many::Daemon,
    support::{Answer, GOOD, JSON, ask, read, request, send},
};

/// On a connection that is kept.
fn kept(method: &str, path: &str, body: &str) -> Vec<u8> {
    let text = String::from_utf8(request(method, path, &[JSON], body)).unwrap();
    text.replace("Connection: close\r\n", "").into_bytes()
}

/// Cuts one answer off; that of a HEAD has no body, whatever its length says.
fn first(rest: &mut &[u8], is_head: bool) -> Answer {
    let end = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let length = read(&rest[..end]).header("content-length").unwrap().parse::<usize>().unwrap();
    let end = end + if is_head { 0 } else { length };
    let answer = read(&rest[..end]);
    *rest = &rest[end..];
    answer
}

#[test]
fn each_request_gets_its_own_form_of_answer_whatever_comes_behind_it() {
    let (redis, front) = front(&[]);
    let post = || kept("POST", "/ingest", GOOD);
    let old = b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec();
    let close = request("GET", "/healthz", &[], "");
    let all = [post(), kept("HEAD", "/healthz", ""), post(), old, post(), close].concat();
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.write_all(&all).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let mut rest = &bytes[..];
    for (status, is_head, connection) in [
        (202, false, None),
        (200, true, None),
        (202, false, None),
        (200, false, Some("keep-alive")),
        (202, false, None),
        (200, false, Some("close")),
    ] {
        let answer = first(&mut rest, is_head);
        let got = (answer.status, answer.header("connection"));
        assert_eq!(
            got,
            (status, connection),
            "{answer:?} in {:?}",
            String::from_utf8_lossy(&bytes)
        );
    }
    assert_eq!(rest, b"");
    assert_eq!(ask::<u64>(&redis, &["HGET", "pb:{0}:stats", "accepted"]), 6);
}

#[test]
fn however_many_come_behind_the_last_answer_none_is_answered() {
    let (redis, front) = front(&[]);
    let refused = "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
    for last in [request("GET", "/healthz", &[], ""), refused.as_bytes().to_vec()] {
        for behind in [1, 2, 3, 300] {
            let more = kept("POST", "/ingest", GOOD).repeat(behind);
            let answer = send(front.address, &[&last[..], &more].concat());
            assert!([200, 404].contains(&answer.status), "{answer:?}");
            assert!(!answer.body.contains("HTTP/1."), "two answers: {answer:?}");
        }
    }
    assert_eq!(ask::<u64>(&redis, &["EXISTS", "pb:{0}:stats"]), 0);
}

#[test]
fn a_head_that_begins_behind_an_answered_request_gets_408() {
    let (_redis, front) = front(&[]);
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let bytes = [&kept("GET", "/healthz", "")[..], b"POST /ing"].concat();
    stream.write_all(&bytes).unwrap();
    let both = read(stream);
    let second = both.body.strip_prefix("ok\n").unwrap();
    problem(&read(second.as_bytes()), 408, "request_timeout");
}

#[test]
fn who_takes_no_answers_costs_little_however_many_requests_it_sends() {
    const CLIENTS: u64 = 100;
    let redis = RedisServer::start();
    let daemon = Daemon::start(&redis, &["--client-rate", "none"], 1000);
    assert_eq!(daemon.send(&request("POST", "/ingest", &[JSON], GOOD)).status, 202);
    let before = daemon.memory("VmRSS");
    let many = kept("GET", "/openapi.json", "").repeat(2000);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = TcpStream::connect(daemon.address).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
            // It is taken no further when the answers fill what the system keeps of them.
            let since = Instant::now();
            while stream.write(&many).is_ok() {
                assert!(since.elapsed() < Duration::from_secs(20), "it goes on reading");
            }
            stream
        })
        .collect();
    let each = (daemon.memory("VmHWM") - before) / CLIENTS;
    println!("a client that takes no answers takes {each} bytes of memory");
    assert!(each < 150_000, "{each}");
    drop(clients);
}
