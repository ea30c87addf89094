//! What is no HTTP, or may be read in two ways: refused with a problem, and nothing after it is taken for a request.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::{
    answers::{front, problem},
    support::{Answer, GOOD, JSON, ask, keys, read, request, send},
};

/// What a second request would be if the first one's end were misread.
fn smuggled() -> Vec<u8> {
    request("POST", "/ingest", &[JSON], GOOD)
}

/// Sends these bytes and a whole request after them; the one answer.
fn first_of_two(address: SocketAddr, bytes: &[u8]) -> Answer {
    let answer = send(address, &[bytes, &smuggled()].concat());
    assert!(!answer.body.contains("HTTP/1."), "two answers: {answer:?}");
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    answer
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[test]
fn a_head_that_can_be_read_in_two_ways_gets_a_problem_and_no_second_answer() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    let body = GOOD;
    let n = body.len();
    let whole = format!("{}0\r\n\r\n", chunk(body));
    for (headers, body) in [
        (format!("Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n"), &whole[..]),
        (format!("Transfer-Encoding: chunked\r\nContent-Length: {n}\r\n"), &whole),
        (format!("Content-Length: {n}\r\nContent-Length: {}\r\n", n + 1), body),
        (format!("Content-Length: {n}\r\nContent-Length: {n}\r\n"), body),
        (format!("Content-Length: {n}, {n}\r\n"), body),
        (format!("Content-Length: +{n}\r\n"), body),
        (format!("Content-Length: -{n}\r\n"), body),
        (format!("Content-Length: {n:#x}\r\n"), body),
        (format!("Content-Length: {n}.0\r\n"), body),
        ("Content-Length: 99999999999999999999\r\n".to_owned(), body),
        ("Content-Length:\r\n".to_owned(), body),
        (format!("Content-Length : {n}\r\n"), body),
        (format!("Content-Length\0: {n}\r\n"), body),
        (format!("X: y\r\n Content-Length: {n}\r\n"), body),
        (format!("X: y\r\n\tz\r\nContent-Length: {n}\r\n"), body),
        (format!("X: y\rz\r\nContent-Length: {n}\r\n"), body),
        (format!("X: y\0z\r\nContent-Length: {n}\r\n"), body),
        (format!("Host: y\r\nContent-Length: {n}\r\n"), body),
        ("Transfer-Encoding: chunked, identity\r\n".to_owned(), &whole),
        ("Transfer-Encoding: identity\r\n".to_owned(), &whole),
        ("Transfer-Encoding: gzip, chunked\r\n".to_owned(), &whole),
        ("Transfer-Encoding: xchunked\r\n".to_owned(), &whole),
        ("Transfer-Encoding: \"chunked\"\r\n".to_owned(), &whole),
        ("Transfer-Encoding:\x0bchunked\r\n".to_owned(), &whole),
        ("Transfer-Encoding : chunked\r\n".to_owned(), &whole),
        ("Transfer-Encoding:\r\n chunked\r\n".to_owned(), &whole),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".to_owned(), &whole),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(), &whole),
    ] {
        let answer = first_of_two(front.address, &post(&headers, body));
        assert_eq!(answer.status, 400, "{headers:?}: {answer:?}");
        problem(&answer, 400, "bad_request");
    }
    assert_eq!(keys(&redis), before);
}

#[test]
fn a_request_line_that_is_none_gets_a_problem() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    let rest = "Host: x\r\nContent-Type: application/json\r\n";
    for line in [
        "NONSENSE",
        "POST /ingest",
        "POST /ingest HTTP/2.0",
        "POST /ingest HTTP/0.9",
        "POST  /ingest HTTP/1.1",
        "POST /in gest HTTP/1.1",
        "PO(ST /ingest HTTP/1.1",
        "\u{1}\u{2}\u{3}",
    ] {
        let answer = first_of_two(front.address, format!("{line}\r\n{rest}\r\n").as_bytes());
        problem(&answer, 400, "bad_request");
    }
    problem(&send(front.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 400, "bad_request");
    problem(&send(front.address, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]), 400, "bad_request");
    let hostless = request("POST", "/ingest", &[JSON], GOOD);
    let hostless = String::from_utf8(hostless).unwrap().replace("Host: x\r\n", "");
    problem(&send(front.address, hostless.as_bytes()), 400, "bad_request");
    let old = format!("POST /ingest HTTP/1.0\r\n{rest}Transfer-Encoding: chunked\r\n\r\n");
    problem(&first_of_two(front.address, old.as_bytes()), 400, "bad_request");
    assert_eq!(keys(&redis), before);
}

#[test]
fn broken_chunks_get_one_problem_and_store_nothing() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    let good = chunk(GOOD);
    let n = GOOD.len();
    for body in [
        format!("x{good}0\r\n\r\n"),
        format!("-{good}0\r\n\r\n"),
        format!("+{good}0\r\n\r\n"),
        format!(" {good}0\r\n\r\n"),
        format!("0x{good}0\r\n\r\n"),
        format!("\r\n{good}0\r\n\r\n"),
        format!("10000000000000000{good}0\r\n\r\n"),
        format!("{n:x}\n{GOOD}\r\n0\r\n\r\n"),
        format!("{n:x}\r\n{GOOD}\n0\r\n\r\n"),
        format!("{n:x}\r\n{GOOD}x\r\n0\r\n\r\n"),
        format!("{:x}\r\n{GOOD}\r\n0\r\n\r\n", n - 1),
        format!("{n:x} 1\r\n{GOOD}\r\n0\r\n\r\n"),
        format!("{n:x};a\nb\r\n{GOOD}\r\n0\r\n\r\n"),
        format!("{good}0\n\n"),
        format!("{good}\r\n"),
    ] {
        let answer = first_of_two(front.address, &post("Transfer-Encoding: chunked\r\n", &body));
        let detail = problem(&answer, 400, "bad_request");
        assert!(detail.starts_with("the body was cut: "), "{body}: {detail}");
    }
    assert_eq!(keys(&redis), before);
    let good =
        post("Connection: close\r\nTransfer-Encoding: chunked\r\n", &format!("{good}0\r\n\r\n"));
    assert_eq!(send(front.address, &good).status, 202);
}

#[test]
fn a_head_over_its_limits_gets_431_however_long_it_is() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    // Host, Connection and Content-Length are three more.
    let headers = |n: usize| [vec![JSON], vec![("X", "y"); n - 4]].concat();
    for n in [97, 100, 101, 200] {
        let answer = send(front.address, &request("POST", "/ingest", &headers(n), GOOD));
        problem(&answer, 431, "head_too_large");
    }
    for length in [66_000, 200_000, 1_000_000] {
        let long = "x".repeat(length);
        let answer = send(front.address, &request("POST", "/ingest", &[JSON, ("X", &long)], GOOD));
        problem(&answer, 431, "head_too_large");
        let path = format!("/ingest?{long}");
        let answer = send(front.address, &request("POST", &path, &[JSON], GOOD));
        assert!([400, 431].contains(&answer.status), "{answer:?}");
        problem(&answer, answer.status, answer.json()["code"].as_str().unwrap());
    }
    assert_eq!(keys(&redis), before);
    let answer = send(front.address, &request("POST", "/ingest", &headers(96), GOOD));
    assert_eq!(answer.status, 202);
}

#[test]
fn a_body_that_nobody_reads_is_no_request() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    let inner = String::from_utf8(smuggled()).unwrap();
    let (n, chunked) = (inner.len(), format!("{}0\r\n\r\n", chunk(&inner)));
    for (line, status) in [
        ("POST /nowhere HTTP/1.1", 404),
        ("PUT /ingest HTTP/1.1", 405),
        ("GET /healthz HTTP/1.1", 200),
        ("POST /ingest HTTP/1.1", 415),
        ("POST /ingest?dry_run=x HTTP/1.1", 400),
    ] {
        for (length, body) in [
            (format!("Content-Length: {n}"), &inner),
            ("Transfer-Encoding: chunked".to_owned(), &chunked),
        ] {
            let bytes = format!("{line}\r\nHost: x\r\n{length}\r\n\r\n{body}");
            let answer = first_of_two(front.address, bytes.as_bytes());
            assert_eq!(answer.status, status, "{bytes}: {answer:?}");
        }
    }
    assert_eq!(keys(&redis), before);
}

/// Whoever sent all of a body that was not read may still be reading the answer, but sends no more: no second is waited.
#[test]
fn a_refused_client_that_has_sent_its_body_is_not_waited_for() {
    let (_redis, front) = front(&[]);
    let since = Instant::now();
    for _ in 0..20 {
        assert_eq!(front.post("/nowhere", GOOD).status, 404);
    }
    assert!(since.elapsed() < Duration::from_secs(10), "{:?} for 20", since.elapsed());
}

#[test]
fn after_the_last_answer_of_a_connection_nothing_is_a_request() {
    let (redis, front) = front(&[]);
    let closing = request("GET", "/healthz", &[], "");
    assert_eq!(first_of_two(front.address, &closing).status, 200);
    assert_eq!(
        first_of_two(front.address, &[&closing[..], b"NONSENSE\r\n\r\n"].concat()).status,
        200
    );
    // What Java's client sends first; actix-http closes the connection after it.
    let upgrade =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    let upgrade = post(&format!("{upgrade}Content-Length: 2\r\n"), "[]");
    problem(&first_of_two(front.address, &upgrade), 400, "bad_request");
    let tunnel = b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n";
    problem(&first_of_two(front.address, tunnel), 404, "not_found");
    assert_eq!(ask::<u64>(&redis, &["EXISTS", "pb:{0}:stats"]), 0);
}

#[test]
fn a_request_may_come_in_any_pieces() {
    let (_redis, front) = front(&[]);
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in smuggled() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(read(stream).status, 202);
    // 5 MB in chunks of 999 bytes.
    let spaces = chunk(&" ".repeat(999)).repeat(5000);
    let body = format!("{spaces}{}0\r\n\r\n", chunk(GOOD));
    let whole = post("Connection: close\r\nTransfer-Encoding: chunked\r\n", &body);
    assert_eq!(send(front.address, &whole).status, 202);
}

/// RFC 9112, 2.2, allows it; nginx reads it so too.
#[test]
fn a_line_of_a_head_may_end_in_a_bare_lf() {
    let (_redis, front) = front(&[]);
    let (head, body) = (String::from_utf8(smuggled()).unwrap(), GOOD);
    let head = head.strip_suffix(body).unwrap().replace("\r\n", "\n");
    assert_eq!(send(front.address, format!("{head}{body}").as_bytes()).status, 202);
}

#[test]
fn who_sends_no_more_after_a_request_gets_its_answer() {
    let (_redis, front) = front(&[]);
    let kept = String::from_utf8(smuggled()).unwrap().replace("Connection: close\r\n", "");
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.write_all(kept.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read(stream).status, 202);
}

#[test]
fn after_a_request_that_was_well_no_http_gets_a_problem_on_the_same_connection() {
    let (_redis, front) = front(&[]);
    let kept = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let both = send(front.address, format!("{kept}NONSENSE\r\n\r\n").as_bytes());
    assert_eq!(both.status, 200);
    let second = both.body.strip_prefix("ok\n").unwrap();
    problem(&read(second.as_bytes()), 400, "bad_request");
}

#[test]
fn after_a_refused_request_that_was_read_the_connection_serves_the_next() {
    let (redis, front) = front(&[]);
    let kept = post("Content-Length: 2\r\n", "[]");
    let answers = send(front.address, &[kept.clone(), kept, smuggled()].concat());
    assert_eq!(answers.status, 400);
    assert_eq!(answers.body.matches("HTTP/1.1 400 Bad Request\r\n").count(), 1, "{answers:?}");
    assert_eq!(answers.body.matches("HTTP/1.1 202 Accepted\r\n").count(), 1, "{answers:?}");
    drop(redis);
}

/// One byte after another, until the connection is closed; what came until then.
fn trickle(mut stream: TcpStream, byte: u8) -> Answer {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let since = Instant::now();
    let mut answer = Vec::new();
    while since.elapsed() < Duration::from_secs(60) {
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer) {
            Ok(0) => return read(&answer[..]),
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => drop(stream.write(&[byte])),
            Err(error) => panic!("{error}, after {answer:?}"),
        }
    }
    panic!("still open");
}

#[test]
fn a_head_or_a_body_that_comes_byte_by_byte_gets_408() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    let connect = || TcpStream::connect(front.address).unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            let mut stream = connect();
            stream.write_all(b"POST /ingest HTTP/1.1\r\nX: ").unwrap();
            trickle(stream, b'x')
        });
        let second = scope.spawn(|| {
            let mut stream = connect();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut whole = Vec::new();
            while !whole.ends_with(b"ok\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                whole.push(byte[0]);
            }
            stream.write_all(b"POST /ingest HTTP/1.1\r\nX: ").unwrap();
            trickle(stream, b'x')
        });
        let silent = scope.spawn(|| trickle_nothing(connect()));
        let body = scope.spawn(|| {
            let mut stream = connect();
            stream.write_all(&post("Content-Length: 1000000\r\n", "")).unwrap();
            trickle(stream, b' ')
        });
        for (answer, what) in [(first, "head"), (second, "head"), (body, "body")] {
            let detail = problem(&answer.join().unwrap(), 408, "request_timeout");
            assert!(detail.starts_with(&format!("the {what} took longer than")), "{detail}");
        }
        assert_eq!(silent.join().unwrap(), 0);
    });
    assert_eq!(keys(&redis), before);
}

/// How many bytes come on a connection on which nothing is asked, until it is closed.
fn trickle_nothing(mut stream: TcpStream) -> usize {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.read(&mut [0; 10]).unwrap()
}

#[test]
fn chunks_without_end_get_413_and_the_connection_is_closed() {
    let (redis, front) = front(&["--max-body", "1MiB"]);
    let before = keys(&redis);
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.write_all(&post("Transfer-Encoding: chunked\r\n", "")).unwrap();
    let reader = stream.try_clone().unwrap();
    let answer = thread::spawn(move || {
        let mut bytes = Vec::new();
        // That the rest of what is sent is not taken may end in a reset: the answer came before.
        drop((&reader).read_to_end(&mut bytes));
        read(&bytes[..])
    });
    let more = chunk(&" ".repeat(64 * 1024));
    let since = Instant::now();
    while stream.write_all(more.as_bytes()).is_ok() {
        assert!(since.elapsed() < Duration::from_secs(20), "it goes on reading");
    }
    problem(&answer.join().unwrap(), 413, "too_large");
    assert_eq!(keys(&redis), before);
}

#[test]
fn who_does_not_take_an_answer_is_cut_off() {
    let (_redis, front) = front(&["--max-body", "64MiB"]);
    let rows = vec![r#"{"k":1}"#; 10_000].join(",");
    let url = format!("http://a.com/{}", "x".repeat(2000));
    let body = format!(r#"{{"endpoint":{{"method":"GET","url":"{url}"}},"data":[{rows}]}}"#);
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.write_all(&request("POST", "/ingest?dry_run=1", &[JSON], &body)).unwrap();
    let since = Instant::now();
    while stream.write(b"x").is_ok() {
        assert!(since.elapsed() < Duration::from_secs(60), "it goes on waiting");
        thread::sleep(Duration::from_millis(100));
    }
}
