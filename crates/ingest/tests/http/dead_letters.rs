//! The page `/dead`: what it shows, and replay and drop: counted, confirmed, done.

use std::time::{Duration, Instant};

use postback_core::{attempt::Cause, queue::Queue, testing::RedisServer};
use serde_json::{Value, json};

use crate::{
    answers::front,
    fleet::{AS_JSON, Fleet, HOSTILE, HTML, act, is_inert, look, store},
    support::Front,
};

async fn fleet(redis: &RedisServer) -> Fleet {
    Fleet::start(redis, &[]).await
}

/// The ids that a page has.
fn ids(page: &Value) -> Vec<&str> {
    page["postbacks"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect()
}

/// The run once it is over.
fn over(front: &Front) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let run = look(front, "/dead/progress", AS_JSON).json()["run"].clone();
        if ["done", "stopped", "failed"].contains(&run["state"].as_str().unwrap()) {
            return run;
        }
        assert!(Instant::now() < until, "it does not end: {run}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn dead_rows_are_shown_with_what_is_known_of_them() {
    let (redis, front) = front(&["--redact", "token"]);
    let fleet = fleet(&redis).await;
    assert!(look(&front, "/dead", HTML).body.contains("No dead rows."));
    store(&front, "a.com", &["click-1"]);
    let dead = fleet.fail(Cause::Status, 404, "status 404").await;
    let page = look(&front, "/dead", AS_JSON).json();
    assert_eq!((&page["dead"], &page["next"]), (&json!(1), &Value::Null));
    let row = &page["postbacks"][0];
    for (name, value) in [
        ("id", json!(dead[0])),
        ("ref", json!("click-1")),
        ("host", json!("a.com:80")),
        ("method", json!("GET")),
        ("url", json!("http://a.com/p?n=click-1&token=***")),
        ("cause", json!("status")),
        ("state", json!("dead")),
        ("unmatched", json!([])),
        ("due_at", Value::Null),
        ("attempts", json!([])),
        ("last_status", json!(404)),
        ("attempts_made", json!(1)),
    ] {
        assert_eq!(row[name], value, "{name}");
    }
    assert!(row["died_at"].as_str().unwrap().ends_with("Z"));
    let html = look(&front, "/dead", HTML).body;
    assert!(html.contains(&format!("href=\"/postbacks/{}\"", dead[0])), "{html}");
    assert!(html.contains("token=***") && !html.contains("secret"), "{html}");
}

#[tokio::test]
async fn filters_are_those_of_postbackctl() {
    let (redis, front) = front(&[]);
    let fleet = fleet(&redis).await;
    store(&front, "a.com", &["1", "2"]);
    let a = fleet.fail(Cause::Status, 404, "status 404").await;
    store(&front, "b.com:8080", &["1"]);
    let b = fleet.fail(Cause::Timeout, 0, "timeout: no answer within 10s").await;
    let check = |query: &str, expect: &[&String]| {
        let page = look(&front, &format!("/dead?{query}"), AS_JSON).json();
        // Both batches may have died in the same millisecond.
        let (mut found, mut expect) = (ids(&page), expect.to_vec());
        found.sort_unstable();
        expect.sort();
        assert_eq!(found, expect, "{query}");
    };
    check("host=a.com", &[&a[0], &a[1]]);
    check("host=b.com%3A8080&cause=&ref=", &[&b[0]]);
    check("status=404&ref=2", &[&a[1]]);
    check("status=0", &[&b[0]]);
    check("cause=timeout", &[&b[0]]);
    check("since=1h", &[&b[0], &a[0], &a[1]]);
    check("until=1h", &[]);
    for (query, names) in [
        ("host=%2F%2F", "host"),
        ("status=x", "status"),
        ("cause=bad", "cause"),
        ("since=soon", "since"),
        ("from=x", "from"),
    ] {
        let answer = look(&front, &format!("/dead?{query}"), AS_JSON);
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["detail"].as_str().unwrap().starts_with(names), "{answer:?}");
    }
}

#[tokio::test]
async fn pages_are_linked_and_have_every_row_once() {
    let (redis, front) = front(&[]);
    let fleet = fleet(&redis).await;
    let mut dead = vec![];
    for n in 0..3 {
        store(&front, &format!("h{n}.com"), &["x"; 40]);
        dead.extend(fleet.fail(Cause::Status, 500, "status 500").await);
    }
    let (mut path, mut found) = ("/dead".to_owned(), vec![]);
    loop {
        let page = look(&front, &path, AS_JSON).json();
        found.extend(ids(&page).into_iter().map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => path = format!("/dead?from={next}"),
            None => break,
        }
    }
    dead.sort();
    found.sort();
    assert_eq!(found, dead);
    let first = look(&front, "/dead?cause=status", HTML).body;
    assert!(first.contains("href=\"/dead?cause=status&#38;from="), "{first}");
}

#[tokio::test]
async fn a_replay_is_counted_then_confirmed_then_done() {
    let (redis, front) = front(&[]);
    let fleet = fleet(&redis).await;
    store(&front, "a.com", &["1", "2"]);
    fleet.fail(Cause::Status, 404, "status 404").await;
    store(&front, "b.com", &["3"]);
    fleet.fail(Cause::Status, 404, "status 404").await;
    let fields = [("host", "a.com"), ("since", "2h")];
    let counted = act(&front, "/dead/replay", &fields, AS_JSON).json();
    assert_eq!((&counted["rows"], &counted["batches"]), (&json!(2), &json!(1)));
    assert_eq!((&counted["acted"], &counted["is_whole"]), (&json!(false), &json!(true)));
    assert_eq!(fleet.stats().await.dead, 3, "counting changes nothing");
    let page = act(&front, "/dead/replay", &fields, HTML);
    assert!(page.body.contains("2 dead rows in 1 batch will be replayed"), "{page:?}");
    for hidden in ["name=\"host\" value=\"a.com\"", "name=\"confirm\" value=\"yes\""] {
        assert!(page.body.contains(hidden), "{hidden} in {page:?}");
    }
    assert!(!page.body.contains("value=\"2h\""), "what `2h ago` is would move on");
    let done = act(&front, "/dead/replay", &[&fields[..], &[("confirm", "yes")]].concat(), HTML);
    assert_eq!((done.status, done.header("location")), (303, Some("/dead/progress")));
    let run = over(&front);
    for (name, value) in [
        ("action", json!("replay")),
        ("state", json!("done")),
        ("rows", json!(2)),
        ("changed", json!(2)),
        ("passed_over", json!(0)),
        ("which", json!("dead rows with host a.com, since 2h")),
    ] {
        assert_eq!(run[name], value, "{name}");
    }
    let stats = fleet.stats().await;
    assert_eq!((stats.dead, stats.pending), (1, 2));
    assert!(look(&front, "/dead/progress", HTML).body.contains("2 of 2 rows replayed (done)"));
}

#[tokio::test]
async fn ticked_rows_alone_are_dropped() {
    let (redis, front) = front(&[]);
    let fleet = fleet(&redis).await;
    store(&front, "a.com", &["1", "2", "3"]);
    let dead = fleet.fail(Cause::Status, 404, "status 404").await;
    let ticked = [("only", "rows"), ("row", &dead[0]), ("row", &dead[2]), ("confirm", "yes")];
    let run = act(&front, "/dead/drop", &ticked, AS_JSON);
    assert_eq!(run.status, 200);
    assert_eq!(over(&front)["changed"], 2);
    let left = look(&front, "/dead", AS_JSON).json();
    assert_eq!(ids(&left), [&dead[1]]);
    assert_eq!(fleet.stats().await.dropped, 2);
    // Nothing ticked is not everything.
    let none = act(&front, "/dead/drop", &[("only", "rows"), ("confirm", "yes")], HTML);
    assert_eq!(none.status, 400);
    assert!(none.body.contains("no row is ticked"), "{none:?}");
    assert_eq!(fleet.stats().await.dead, 1);
}

#[tokio::test]
async fn a_slow_replay_goes_on_by_itself_one_at_a_time_until_it_is_stopped() {
    let (redis, front) = front(&[]);
    let fleet = fleet(&redis).await;
    store(&front, "a.com", &["x"; 500]);
    fleet.fail(Cause::Status, 404, "status 404").await;
    let fields = [("confirm", "yes"), ("rate", "1/s")];
    let run = act(&front, "/dead/replay", &fields, AS_JSON).json();
    assert_eq!((&run["state"], &run["rows"]), (&json!("acting"), &json!(500)));
    let busy = act(&front, "/dead/replay", &fields, AS_JSON);
    assert_eq!((busy.status, &busy.json()["code"]), (409, &json!("busy")));
    assert!(look(&front, "/dead/progress", HTML).body.contains("action=\"/dead/stop\""));
    assert_eq!(act(&front, "/dead/stop", &[], HTML).status, 303);
    let run = over(&front);
    assert_eq!(run["state"], "stopped");
    let changed = run["changed"].as_u64().unwrap();
    assert_eq!(fleet.stats().await.pending, changed);
    assert!(changed < 500, "{run}");
    assert_eq!(act(&front, "/dead/stop", &[], AS_JSON).status, 409);
}

#[tokio::test]
async fn what_redis_loses_on_the_way_is_told_and_can_be_repeated() {
    let (mut redis, front) = front(&[]);
    let fleet = fleet(&redis).await;
    store(&front, "a.com", &["x"; 500]);
    fleet.fail(Cause::Status, 404, "status 404").await;
    let run = act(&front, "/dead/replay", &[("confirm", "yes"), ("rate", "5/s")], AS_JSON).json();
    assert_eq!(run["state"], "acting");
    redis.kill();
    let run = over(&front);
    assert_eq!(run["state"], "failed");
    assert!(run["error"].as_str().unwrap().contains("can be asked for again"), "{run}");
    redis.up();
    let queue = Queue::open(&redis.url(), "pb", 1).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let left = loop {
        match queue.shards()[0].stats().await {
            Ok(stats) => break stats.dead,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(left > 0);
    while act(&front, "/dead/replay", &[("confirm", "yes")], AS_JSON).status != 200 {
        assert!(Instant::now() < until, "redis is back, ingest does not see it");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(over(&front)["changed"].as_u64(), Some(left));
}

#[tokio::test]
async fn hostile_texts_are_inert() {
    let (redis, front) = front(&[]);
    let fleet = fleet(&redis).await;
    store(&front, "a.com", &[HOSTILE]);
    fleet.fail(Cause::Status, 404, HOSTILE).await;
    let page = look(&front, "/dead", HTML);
    assert!(is_inert(&page), "{page:?}");
    let page = act(&front, "/dead/replay", &[("ref", HOSTILE)], HTML);
    assert!(page.body.contains("1 dead row in 1 batch"), "{page:?}");
    assert!(!page.body.contains("<script>alert") && page.body.contains("\\u{202e}x"), "{page:?}");
}
