//! How often one client may ask. Rates of one an hour: what a test has used up does not come back meanwhile.

use std::{io::Write, net::SocketAddr, os::unix::net::UnixStream};

use postback_core::testing::RedisServer;

use crate::{
    answers::problem,
    process::{Running, daemon, socket},
    support::{Answer, Front, GOOD, JSON, keys, read, request, send},
};

fn front(options: &[&str]) -> (RedisServer, Front) {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &[&["--client-rate", "1/h"], options].concat());
    (redis, front)
}

fn post(forwarded: &[&str]) -> Vec<u8> {
    let forwarded = forwarded.iter().map(|value| ("X-Forwarded-For", *value));
    request("POST", "/ingest", &forwarded.chain([JSON]).collect::<Vec<_>>(), GOOD)
}

/// Sends from another of the box's addresses.
fn send_from(source: &str, address: SocketAddr, request: &[u8]) -> Answer {
    let connected = actix_web::rt::System::new().block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    connected.set_nonblocking(false).unwrap();
    (&connected).write_all(request).unwrap();
    read(connected)
}

#[test]
fn a_client_over_its_rate_gets_429_and_another_does_not_notice() {
    let (redis, front) = front(&[]);
    let before = {
        assert_eq!(send(front.address, &post(&["203.0.113.9"])).status, 202);
        keys(&redis)
    };
    // Whatever it asks for, and whatever it claims beside what the proxy saw.
    for request in [
        post(&["203.0.113.9"]),
        post(&["::ffff:203.0.113.9"]),
        post(&["198.51.100.1, 203.0.113.9"]),
        post(&["127.0.0.1", "203.0.113.9"]),
        request("GET", "/ingest", &[("X-Forwarded-For", "203.0.113.9")], ""),
        request("POST", "/elsewhere", &[("X-Forwarded-For", "203.0.113.9")], ""),
    ] {
        let answer = send(front.address, &request);
        problem(&answer, 429, "too_many_requests");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3600).contains(&seconds), "{seconds}");
    }
    assert_eq!(keys(&redis), before);
    assert_eq!(send(front.address, &post(&["203.0.113.10"])).status, 202);
    assert_eq!(send(front.address, &post(&["203.0.113.9, 203.0.113.11"])).status, 202);
}

#[test]
fn a_forged_header_from_an_untrusted_peer_does_not_escape_the_limit() {
    let (_redis, front) = front(&["--trust-proxy", "127.0.0.1/32"]);
    let send = |source: &str, forwarded: &[&str]| {
        send_from(source, front.address, &post(forwarded)).status
    };
    assert_eq!(send("127.0.0.2", &["203.0.113.1"]), 202);
    for forged in [&[][..], &["203.0.113.2"], &["127.0.0.1"], &["203.0.113.3", "127.0.0.1"]] {
        assert_eq!(send("127.0.0.2", forged), 429, "{forged:?}");
    }
    // It has not used up what belongs to the addresses that it named.
    assert_eq!(send("127.0.0.1", &["203.0.113.1"]), 202);
    assert_eq!(send("127.0.0.3", &["203.0.113.1"]), 202);
}

#[test]
fn the_box_itself_and_health_are_not_limited() {
    let (_redis, front) = front(&[]);
    for _ in 0..3 {
        assert_eq!(send(front.address, &post(&[])).status, 202);
        assert_eq!(send(front.address, &post(&["127.0.0.1"])).status, 202);
        for address in [front.address, front.admin] {
            for path in ["/healthz", "/readyz"] {
                let asked = request("GET", path, &[("X-Forwarded-For", "203.0.113.9")], "");
                assert_eq!(send(address, &asked).status, 200);
            }
        }
    }
}

#[test]
fn no_limit_is_none() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &["--client-rate", "none"]);
    for _ in 0..3 {
        assert_eq!(send(front.address, &post(&["203.0.113.9"])).status, 202);
    }
}

#[test]
fn guessing_tokens_is_throttled_too() {
    let tokens = std::env::temp_dir().join(format!("postback-tokens-{}", std::process::id()));
    std::fs::write(&tokens, "a-token-of-some-length").unwrap();
    let path = tokens.to_str().unwrap();
    let (_redis, front) = front(&["--token-file", path, "--admin-token-file", path]);
    std::fs::remove_file(&tokens).unwrap();
    for address in [front.address, front.admin] {
        let guess = request(
            "POST",
            "/ingest",
            &[JSON, ("X-Forwarded-For", "203.0.113.9"), ("Authorization", "Bearer guess")],
            GOOD,
        );
        problem(&send(address, &guess), 401, "unauthorized");
        problem(&send(address, &guess), 429, "too_many_requests");
    }
}

#[test]
fn a_body_is_not_waited_for() {
    let (_redis, front) = front(&[]);
    assert_eq!(send(front.address, &post(&["203.0.113.9"])).status, 202);
    let whole = post(&["203.0.113.9"]);
    let head = &whole[..whole.len() - GOOD.len()];
    problem(&send(front.address, head), 429, "too_many_requests");
}

#[test]
fn the_log_has_one_line_for_a_client_and_few_for_many() {
    let redis = RedisServer::start();
    let path = socket(&redis);
    let ingest = Running::start(daemon(&redis.url_text(), &path, &["--client-rate", "1/h"]));
    for n in 0..12 {
        for _ in 0..3 {
            let mut stream = UnixStream::connect(&path).unwrap();
            let head = format!(
                "GET /ingest HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: 203.0.113.{n}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            assert!(read(stream).status >= 400);
        }
    }
    ingest.signal("-TERM");
    let (code, log) = ingest.end();
    assert_eq!(code, Some(0));
    let lines: Vec<_> = log.lines().filter(|line| line.contains("gets 429")).collect();
    assert_eq!(lines.len(), 10, "{log}");
    for (n, line) in lines.iter().enumerate() {
        assert!(line.contains(&format!("client 203.0.113.{n} sends more than 1/h")), "{line}");
    }
}
