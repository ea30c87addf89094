//! What clients send cannot break, forge or colour a line of the log, at any level.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use postback_core::testing::RedisServer;

use crate::{
    process::{Daemon, daemon, socket},
    support::{GOOD, JSON, read, request},
};

/// Escapes of a terminal in their forms of 7 and 8 bits, ends of lines, a page's script.
const HOSTILE: &str = "<script>\u{1b}[2J\u{9b}1m\u{7f}\r\nFORGED\u{2028}\u{85}FORGED\u{0}";

#[test]
fn what_clients_send_is_inert_in_the_log_at_any_level() {
    let redis = RedisServer::start();
    let log = redis.dir().join("log");
    let mut command = daemon(&redis.url_text(), &socket(&redis), &[]);
    // A file: at this level a pipe would fill up.
    let ingest = command.env("RUST_LOG", "trace").stderr(File::create(&log).unwrap());
    let mut ingest = Daemon(ingest.spawn().unwrap());
    let until = Instant::now() + Duration::from_secs(60);
    while !fs::read_to_string(&log).unwrap_or_default().contains("listening on") {
        assert!(Instant::now() < until, "it does not listen");
        std::thread::yield_now();
    }
    let json = serde_json::to_string(HOSTILE).unwrap();
    let in_header = HOSTILE.replace(['\r', '\n', '\0', '\u{7f}', '\u{1b}'], "");
    let mut requests = vec![
        request("POST", "/i", &[JSON], &GOOD.replace(r#""k":1"#, &format!(r#""k":{json}"#))),
        request("POST", "/i", &[JSON], &GOOD.replace(r#""k":1"#, &format!("{json}:1,{json}:1"))),
        request("POST", "/i", &[JSON], &GOOD.replace(r#""GET""#, &json)),
        request("POST", "/i", &[JSON], &GOOD.replace("http://a.com", &json[1..json.len() - 1])),
        request("POST", "/i", &[JSON], HOSTILE),
        request("POST", "/i", &[("Content-Type", &in_header)], GOOD),
        request("POST", &format!("/{in_header}"), &[JSON], GOOD),
        request("POST", &format!("/i?dry_run={in_header}"), &[JSON], GOOD),
        request("POST", "/i?dry_run=%1b[2J%0aFORGED", &[JSON], GOOD),
        request(HOSTILE, "/i", &[JSON], GOOD),
        HOSTILE.into(),
        b"POST /i HTTP/1.1\r\nHost: x\r\nX: \x1b[2J\xff\r\n\r\n".into(),
    ];
    for name in [
        "X-Request-Id",
        "traceparent",
        "User-Agent",
        "X-Forwarded-For",
        "Authorization",
        "Idempotency-Key",
        "Content-Encoding",
        "Expect",
    ] {
        requests.push(request("POST", "/i", &[JSON, (name, &in_header)], GOOD));
    }
    for bytes in requests {
        let mut stream = UnixStream::connect(socket(&redis)).unwrap();
        stream.write_all(&bytes).unwrap();
        assert!(read(stream).status >= 200, "{}", String::from_utf8_lossy(&bytes));
    }
    ingest.signal("-TERM");
    assert_eq!(ingest.0.wait().unwrap().code(), Some(0));
    let log = fs::read_to_string(&log).expect("text");
    assert!(log.contains(" TRACE "), "{log}");
    for line in log.lines() {
        assert!(line.starts_with("20"), "{line:?} in {log}");
        let moves = |c: char| c.is_control() || c == '\u{2028}';
        assert!(!line.contains(moves), "{line:?}");
    }
}
