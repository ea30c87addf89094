//! `/metrics`, to the letter of what a scraper gets.

use crate::{
    answers::front,
    support::{Answer, Front, GOOD, JSON, ask, request, send},
};

fn scrape(front: &Front, accept: &[(&str, &str)]) -> Answer {
    send(front.admin, &request("GET", "/metrics", accept, ""))
}

fn has(answer: &Answer, lines: &[&str]) {
    for line in lines {
        assert!(answer.body.lines().any(|l| l == *line), "{line} is not in {}", answer.body);
    }
}

#[test]
fn scrapers_get_the_format_that_they_take() {
    let (_redis, front) = front(&[]);
    let plain = scrape(&front, &[]);
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    has(&plain, &["# TYPE postback_rows_accepted_total counter", "postback_rows_accepted_total 0"]);
    assert!(!plain.body.contains("# EOF"), "{}", plain.body);
    let open =
        scrape(&front, &[("Accept", "application/openmetrics-text;version=1.0.0,*/*;q=0.1")]);
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    has(
        &open,
        &["# TYPE postback_rows_accepted counter", "postback_rows_accepted_total 0", "# EOF"],
    );
}

#[test]
fn requests_are_counted_by_purpose_status_and_code() {
    let (_redis, front) = front(&[]);
    assert_eq!(front.post("/ingest", GOOD).status, 202);
    assert_eq!(front.post("/i", GOOD).status, 202);
    assert_eq!(front.post("/ingest", "{").status, 400);
    assert_eq!(front.get("/ingest").status, 405);
    assert_eq!(front.get("/no/such/page?x=1").status, 404);
    assert_eq!(send(front.address, &request("BREW", "/ingest", &[], "")).status, 405);
    let answer = scrape(&front, &[]);
    has(
        &answer,
        &[
            "postback_requests_total{for=\"rows\",method=\"POST\",status=\"202\"} 2",
            "postback_requests_total{for=\"rows\",method=\"POST\",status=\"400\"} 1",
            "postback_requests_total{for=\"rows\",method=\"GET\",status=\"405\"} 1",
            "postback_requests_total{for=\"rows\",method=\"other\",status=\"405\"} 1",
            "postback_requests_total{for=\"pages\",method=\"GET\",status=\"404\"} 1",
            "postback_request_seconds_count{for=\"rows\",method=\"POST\"} 3",
            "postback_refused_requests_total{code=\"bad_request\"} 1",
            "postback_refused_requests_total{code=\"method_not_allowed\"} 2",
            "postback_refused_requests_total{code=\"not_found\"} 1",
            "postback_redis_seconds_count{kind=\"enqueue\"} 3", // once to learn that the script must be loaded
        ],
    );
}

#[test]
fn without_redis_a_scrape_tells_of_the_process_and_that_it_is_not_ready() {
    let (mut redis, front) = front(&[]);
    assert_eq!(front.post("/ingest", GOOD).status, 202);
    has(
        &scrape(&front, &[]),
        &["postback_ready 1", "postback_backlog_rows 2", "postback_workers 0"],
    );
    redis.kill();
    let answer = scrape(&front, &[]);
    assert_eq!(answer.status, 200);
    has(
        &answer,
        &[
            "postback_ready 0",
            "postback_requests_total{for=\"rows\",method=\"POST\",status=\"202\"} 1",
        ],
    );
    assert!(!answer.body.contains("postback_backlog_rows"), "{}", answer.body);
    assert!(answer.body.contains("postback_redis_failures_total{kind=\""), "{}", answer.body);
}

#[test]
fn open_breakers_workers_and_a_pause_are_counted_over_all_shards() {
    let (redis, front) = front(&["--shards", "3"]);
    ask::<()>(&redis, &["HSET", "pb:{0}:breakers", "lane-a", "1 why", "lane-b", "2 why"]);
    ask::<()>(&redis, &["HSET", "pb:{2}:breakers", "lane-c", "3 why"]);
    ask::<()>(&redis, &["ZADD", "pb:{1}:workers", "9999999999999", "alive", "1", "dead"]);
    ask::<()>(&redis, &["SADD", "pb:{1}:held:alive", "x", "y"]);
    ask::<()>(&redis, &["SET", "pb:{0}:paused", "1 moving"]);
    has(
        &scrape(&front, &[]),
        &[
            "postback_open_breakers 3",
            "postback_workers 1",
            "postback_fleet_held_batches 2",
            "postback_paused 1",
            "postback_max_backlog_bytes 1073741824",
        ],
    );
}

#[test]
fn a_refused_token_is_counted_too() {
    let dir = std::env::temp_dir().join(format!("postback-metrics-{}", std::process::id()));
    std::fs::write(&dir, "secret-token-of-clients\n").unwrap();
    let (_redis, front) = front(&["--token-file", dir.to_str().unwrap()]);
    assert_eq!(send(front.address, &request("POST", "/ingest", &[JSON], GOOD)).status, 401);
    std::fs::remove_file(dir).unwrap();
    has(&scrape(&front, &[]), &["postback_refused_requests_total{code=\"unauthorized\"} 1"]);
}
