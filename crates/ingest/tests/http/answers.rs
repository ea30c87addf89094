//! Every row of the table of answers, and that what is refused leaves nothing behind.

use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use postback_core::testing::RedisServer;

use crate::support::{Answer, Front, GOOD, JSON, ask, keys, read, request, send};

pub(crate) fn front(options: &[&str]) -> (RedisServer, Front) {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), options);
    (redis, front)
}

/// A problem as RFC 9457 has it; its detail.
pub(crate) fn problem(answer: &Answer, status: u16, code: &str) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let body = answer.json();
    assert_eq!(body["status"], status, "{answer:?}");
    assert_eq!(body["code"], code, "{answer:?}");
    assert_eq!(body["type"], "about:blank");
    assert!(!body["title"].as_str().unwrap().is_empty());
    assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"));
    body["detail"].as_str().unwrap().to_owned()
}

#[test]
fn a_stored_request_gets_202_with_its_batches_and_unmatched_names() {
    let (redis, front) = front(&[]);
    for path in ["/ingest", "/ingest.php", "/i", "/i?x=1", "/index.html", "/i?dry_run=0"] {
        let headers = [JSON, ("X-Request-Id", "abc-1")];
        let answer = send(front.address, &request("POST", path, &headers, GOOD));
        assert_eq!(answer.status, 202, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-request-id"), Some("abc-1"));
        let body = answer.json();
        let id = body["batches"][0]["id"].as_str().unwrap().to_owned();
        let expect = serde_json::json!({
            "request_id": "abc-1",
            "accepted": 2,
            "batches": [{"id": id, "first": 0, "rows": 2}],
            "unmatched": {"bar": 2},
        });
        assert_eq!(body, expect);
        assert!(ask::<bool>(&redis, &["EXISTS", &format!("pb:{{0}}:batch:{id}")]));
    }
}

#[test]
fn ten_thousand_rows_are_forty_batches_in_row_order() {
    let (_redis, front) = front(&[]);
    let rows = vec![r#"{"k":"v"}"#; 10_000].join(",");
    let url = "http://a.com/{k}";
    let body = format!(r#"{{"endpoint":{{"method":"GET","url":"{url}"}},"data":[{rows}]}}"#);
    let answer = front.post("/ingest", &body).json();
    assert_eq!(answer["accepted"], 10_000);
    let batches = answer["batches"].as_array().unwrap();
    assert_eq!(batches.len(), 40);
    assert_eq!(batches.iter().map(|b| b["rows"].as_u64().unwrap()).sum::<u64>(), 10_000);
    let one_more = body.replace("[{", r#"[{"k":1},{"#);
    let detail = problem(&front.post("/ingest", &one_more), 413, "too_many_rows");
    assert_eq!(detail, "data: more than 10000 rows: send them in parts");
}

#[test]
fn a_wrong_request_gets_400_that_names_the_place_and_stores_nothing() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    let check = |body: &str, place: &str| {
        let detail = problem(&front.post("/ingest", body), 400, "bad_request");
        assert!(detail.starts_with(&format!("{place}: ")), "{body}: {detail}");
    };
    let with = |from: &str, to: &str| {
        assert!(GOOD.contains(from));
        GOOD.replace(from, to)
    };
    check("", "request");
    check("nonsense", "request");
    check("[]", "request");
    check(&format!("{GOOD}x"), "request");
    check(&with(r#""data":"#, r#""data":[],"data":"#), "request");
    check(&with(r#""data":"#, r#""date":"#), "date");
    check(
        &with(r#"{"k":1}"#, &format!("{}1{}", r#"{"k":"#.repeat(200), "}".repeat(200))),
        "request",
    );
    check(&with("GET", "get"), "endpoint.method");
    check(&with("http:", "ftp:"), "endpoint.url");
    check(&with("a.com", "{k}.com"), "endpoint.url");
    check(&with("{k}", "{k"), "endpoint.url");
    let headers = |json: &str| with(r#"GET","#, &format!(r#"GET","headers":{json},"#));
    check(&headers(r#"{"Host":"b.com"}"#), "endpoint.headers.Host");
    check(&headers(r#"{"X":"a\r\nb"}"#), "endpoint.headers.X");
    check(&with(r#"{"k":2}"#, r#"{"k":1,"k":2}"#), "data[1]");
    check(&with(r#"{"k":2}"#, "2"), "data[1]");
    check(&with(r#"{"k":2}"#, &format!(r#"{{"k":"{}"}}"#, "x".repeat(9000))), "data[1]");
    check(&with(r#"[{"k":1},{"k":2}]"#, "[]"), "data");
    check(&with(r#""data""#, r#""policy":{"unmatched":{"reject":true}},"data""#), "data[0].bar");
    check(&with(r#""data""#, r#""policy":{"timeout":"61s"},"data""#), "policy.timeout");
    assert_eq!(keys(&redis), before);
}

#[test]
fn what_is_no_plain_json_gets_415_and_stores_nothing() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    let check = |headers: &[(&str, &str)], status: u16| {
        let answer = send(front.address, &request("POST", "/ingest", headers, GOOD));
        match status {
            415 => drop(problem(&answer, 415, "unsupported_media_type")),
            _ => assert_eq!(answer.status, status, "{headers:?}"),
        }
    };
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/problem+json",
        "",
        "application/json; charset=iso-8859-1",
        "json",
    ] {
        check(&[("Content-Type", content_type)], 415);
    }
    check(&[], 415);
    check(&[JSON, JSON], 415);
    for coding in ["br", "deflate", "x", "gzip, identity", "gzip, gzip", ""] {
        let answer = send(
            front.address,
            &request("POST", "/ingest", &[JSON, ("Content-Encoding", coding)], GOOD),
        );
        problem(&answer, 415, "unsupported_media_type");
        assert_eq!(answer.header("accept-encoding"), Some("gzip, zstd"), "{coding}");
    }
    check(&[JSON, ("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")], 415);
    assert_eq!(keys(&redis), before);
    check(&[JSON, ("Content-Encoding", "identity")], 202);
    for content_type in [
        "application/json; charset=utf-8",
        "Application/JSON;charset=\"UTF-8\"",
        "application/json;x=y",
    ] {
        check(&[("Content-Type", content_type)], 202);
    }
}

#[test]
fn a_body_over_the_limit_gets_413_by_its_announced_and_by_its_real_length() {
    let (redis, front) = front(&["--max-body", "100KiB"]);
    let before = keys(&redis);
    let long = " ".repeat(100 * 1024 + 1);
    problem(&front.post("/ingest", &long), 413, "too_large");
    let chunked = format!(
        "POST /ingest HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    );
    problem(&send(front.address, chunked.as_bytes()), 413, "too_large");
    problem(&front.post("/ingest", &long[1..]), 400, "bad_request");
    assert_eq!(keys(&redis), before);
}

#[test]
fn a_much_longer_body_can_still_read_its_413() {
    let (_redis, front) = front(&["--max-body", "1KiB"]);
    problem(&front.post("/ingest", &" ".repeat(20_000_000)), 413, "too_large");
}

#[test]
fn another_path_gets_404_and_another_method_405_with_allow() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    for path in ["/", "/x", "/I", "/i/", "/i2", "/ingest/x", "/metrics", "/in_gest"] {
        problem(&front.post(path, GOOD), 404, "not_found");
    }
    for method in
        ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW", "get", "post", "CONNECT", "TRACE"]
    {
        let answer = send(front.address, &request(method, "/ingest", &[JSON], GOOD));
        problem(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
    let answer = front.post("/readyz", "");
    problem(&answer, 405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    assert_eq!(keys(&redis), before);
}

#[test]
fn a_head_with_too_much_in_it_is_refused() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    let long = "x".repeat(70_000);
    let answer = send(front.address, &request("POST", "/ingest", &[JSON, ("X", &long)], GOOD));
    problem(&answer, 431, "head_too_large");
    let many = vec![("X", "y"); 101];
    let answer = send(front.address, &request("POST", "/ingest", &many, GOOD));
    problem(&answer, 431, "head_too_large");
    problem(&send(front.address, b"NONSENSE\r\n\r\n"), 400, "bad_request");
    assert_eq!(keys(&redis), before);
}

#[test]
fn a_body_that_is_cut_stores_nothing() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    let whole = request("POST", "/ingest", &[JSON], GOOD);
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.write_all(&whole[..whole.len() - 1]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = read(stream);
    assert!([0, 400].contains(&answer.status), "{answer:?}");
    assert_eq!(keys(&redis), before);
}

#[test]
fn a_backlog_over_the_limit_gets_503_not_enqueued() {
    let (redis, front) = front(&["--max-backlog", "1KiB"]);
    let mut full = None;
    for _ in 0..100 {
        let answer = front.post("/ingest", GOOD);
        if answer.status != 202 {
            full = Some(answer);
            break;
        }
    }
    let full = full.expect("a bounded backlog");
    let before = keys(&redis);
    problem(&full, 503, "not_enqueued");
    assert!(full.header("retry-after").is_some());
    problem(&front.post("/ingest", GOOD), 503, "not_enqueued");
    assert_eq!(keys(&redis), before);
}

#[test]
fn without_redis_requests_and_readyz_get_503_within_two_seconds_and_dry_runs_work() {
    let mut redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &[]);
    assert_eq!(front.get("/readyz").status, 200);
    redis.kill();
    let within = |since: Instant| assert!(since.elapsed() < Duration::from_secs(2));
    // Each worker thread learns on its own connection, of which the first answer tells nothing, that Redis is gone.
    let since = Instant::now();
    let away = loop {
        let one = Instant::now();
        let answer = front.post("/ingest", GOOD);
        within(one);
        if answer.json()["code"] != "unknown" {
            break answer;
        }
        assert!(since.elapsed() < Duration::from_secs(20));
    };
    problem(&away, 503, "not_enqueued");
    assert!(away.header("retry-after").is_some());
    let since = Instant::now();
    for address in [front.address, front.admin] {
        problem(&send(address, &request("GET", "/readyz", &[], "")), 503, "not_ready");
        assert_eq!(send(address, &request("GET", "/healthz", &[], "")).status, 200);
    }
    within(since);
    assert_eq!(front.post("/ingest?dry_run=1", GOOD).status, 200);
    redis.up();
    let since = Instant::now();
    while front.post("/ingest", GOOD).status != 202 {
        assert!(since.elapsed() < Duration::from_secs(20), "ingest did not come back");
    }
}

#[test]
fn a_redis_that_does_not_answer_gets_503_unknown_within_two_seconds() {
    let (redis, front) = front(&[]);
    // Every thread has a connection that was found fit: before that a silent Redis was surely asked for nothing.
    for _ in 0..32 {
        assert_eq!(front.post("/ingest", GOOD).status, 202);
    }
    ask::<()>(&redis, &["CLIENT", "PAUSE", "5000", "ALL"]);
    let since = Instant::now();
    problem(&front.post("/ingest", GOOD), 503, "unknown");
    let other = Instant::now();
    problem(&front.get("/readyz"), 503, "not_ready");
    assert!(other - since < Duration::from_secs(2) && other.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_full_or_read_only_redis_gets_503_not_enqueued() {
    let (redis, front) = front(&[]);
    assert_eq!(front.post("/ingest", GOOD).status, 202);
    ask::<()>(&redis, &["CONFIG", "SET", "maxmemory", "1"]);
    problem(&front.post("/ingest", GOOD), 503, "not_enqueued");
    ask::<()>(&redis, &["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(front.post("/ingest", GOOD).status, 202);
    let before = keys(&redis);
    ask::<()>(&redis, &["REPLICAOF", "127.0.0.1", "1"]);
    problem(&front.post("/ingest", GOOD), 503, "not_enqueued");
    ask::<()>(&redis, &["REPLICAOF", "NO", "ONE"]);
    assert_eq!(keys(&redis), before);
}

#[test]
fn metrics_count_rows_and_are_for_operators_only() {
    let (_redis, front) = front(&["--shards", "3"]);
    let metrics = || send(front.admin, &request("GET", "/metrics", &[], ""));
    assert!(metrics().body.contains("postback_rows_accepted_total 0\n"));
    for host in ["a", "b", "c", "d"] {
        let answer = front.post("/ingest", &GOOD.replace("a.com", &format!("{host}.com")));
        assert_eq!(answer.status, 202);
    }
    let answer = metrics();
    for line in [
        "postback_rows_accepted_total 8",
        "postback_backlog_rows 8",
        "postback_dead_rows 0",
        "postback_kept_answer_bytes 0",
    ] {
        assert!(answer.body.contains(&format!("{line}\n")), "{answer:?}");
    }
    problem(&front.get("/metrics"), 404, "not_found");
    problem(&send(front.admin, &request("POST", "/ingest", &[JSON], GOOD)), 404, "not_found");
}

/// As when another program uses the keys: the script fails when it is half done.
#[test]
fn a_script_that_fails_half_way_gets_503_unknown() {
    let (redis, front) = front(&[]);
    ask::<()>(&redis, &["SET", "pb:{0}:names", "not ours"]);
    let answer = front.post("/ingest", GOOD);
    let detail = problem(&answer, 503, "unknown");
    assert!(detail.contains("WRONGTYPE"), "{detail}");
}
