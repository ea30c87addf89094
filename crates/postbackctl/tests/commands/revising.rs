//! `dead replay`, `dead drop` and `cancel`.

use std::time::{Duration, Instant};

use postback_core::{
    attempt::Cause,
    queue::{Queue, Reserve, Which},
    testing::RedisServer,
};
use serde_json::{Value, json as document};

use crate::support::{batches, enqueue, json, run, text};

/// Two hosts with 3 rows each, all dead of `cancelled`.
async fn six_dead() -> RedisServer {
    let server = RedisServer::start();
    enqueue(&server, "a.example", Duration::ZERO, &batches("a.example", "r1", 0..3)).await;
    enqueue(&server, "b.example", Duration::ZERO, &batches("b.example", "r2", 3..6)).await;
    assert_eq!(json(&server, &["cancel", "--yes"])["changed"], 6);
    server
}

/// Pending, dead and dropped rows.
fn figures(server: &RedisServer) -> [u64; 3] {
    let status = json(server, &["status"]);
    ["pending", "dead", "dropped"].map(|name| status[name].as_u64().unwrap())
}

#[tokio::test]
async fn nothing_is_changed_without_yes() {
    let server = six_dead().await;
    let expected = document!({
        "rows": 6, "batches": 2, "held": 0, "acted": false, "changed": 0, "passed_over": 0,
    });
    assert_eq!(json(&server, &["dead", "replay"]), expected);
    let out = run(&server, &["dead", "drop", "--host", "a.example"]);
    let told = "3 dead rows in 1 batch\nnothing was changed; with --yes they are dropped\n";
    assert_eq!(text(&out.stdout), told);
    assert_eq!(figures(&server), [0, 6, 0]);
}

#[tokio::test]
async fn every_filter_chooses_rows() {
    let server = six_dead().await;
    for (filter, rows) in [
        (&[][..], 6),
        (&["--request", "r1"], 3),
        (&["--host", "b.example"], 3),
        (&["--host", "b.example:80"], 3),
        (&["--host", "B.Example"], 3),
        (&["--host", "https://b.example"], 0),
        (&["--host", "example"], 0),
        (&["--ref", "4"], 1),
        (&["--ref", "4", "--request", "r1"], 0),
        (&["--cause", "cancelled"], 6),
        (&["--cause", "status"], 0),
        (&["--status", "0"], 6),
        (&["--status", "500"], 0),
        (&["--since", "1h"], 6),
        (&["--since", "2099-01-01T00:00:00Z"], 0),
        (&["--until", "1h"], 0),
        (&["--until", "2099-01-01T00:00:00Z"], 6),
    ] {
        let counted = json(&server, &[&["dead", "replay"], filter].concat());
        assert_eq!(counted["rows"], rows, "{filter:?}");
        let listed = json(&server, &[&["dead", "list"], filter].concat());
        assert_eq!(listed["postbacks"].as_array().unwrap().len(), rows, "{filter:?}");
    }
    assert_eq!(run(&server, &["dead", "drop", "--since", "yesterday"]).status.code(), Some(2));
    for words in [
        &["dead", "drop", "--host", "a/b"][..],
        &["dead", "replay", "--rate", "0"],
        &["dead", "replay", "--rate", "none"],
        &["cancel", "--cause", "status"],
    ] {
        assert_eq!(run(&server, words).status.code(), Some(2), "{words:?}");
    }
    let listed = text(&run(&server, &["dead", "list", "--limit", "6"]).stdout);
    assert!(!listed.contains("--limit"), "{listed}");
    let listed = text(&run(&server, &["dead", "list", "--limit", "5"]).stdout);
    assert!(listed.contains("there are more than 5; see --limit"), "{listed}");
}

#[tokio::test]
async fn what_is_replayed_is_served_again_as_if_never_tried() {
    let server = six_dead().await;
    let replayed = json(&server, &["dead", "replay", "--ref", "4", "--yes"]);
    assert_eq!((&replayed["rows"], &replayed["changed"]), (&1.into(), &1.into()));
    assert_eq!(figures(&server), [1, 5, 0]);
    let found = json(&server, &["find", "4"])["postbacks"][0].clone();
    assert_eq!((&found["state"], &found["cause"]), (&"pending".into(), &Value::Null));
    let queue = Queue::open(&server.url(), "pb", 1).unwrap();
    let shard = &queue.shards()[0];
    shard.beat("w", Which::First, &[]).await.unwrap();
    let ask = Reserve { worker: "w", rows: 9, batches: 9, of_lane: 9, ..Reserve::default() };
    let taken = shard.reserve(&ask).await.unwrap().batches;
    let states = taken[0].states.as_ref().unwrap();
    assert_eq!((taken.len(), states.rows[1].attempts), (1, 0));
    assert!(states.rows[1].is_pending() && states.rows[1].since_ms >= taken[0].stored_at_ms);
    // A worker holds the batch now: its dead siblings are passed over, and told of.
    let out = run(&server, &["dead", "drop", "--host", "b.example", "--yes"]);
    let told = "dropped: 0 dead rows\n2 rows passed over because workers hold their batches; \
        run the command again later\n";
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(text(&out.stdout), told);
}

#[tokio::test]
async fn dropped_rows_are_counted_and_gone() {
    let server = six_dead().await;
    assert_eq!(json(&server, &["dead", "drop", "--request", "r1", "--yes"])["changed"], 3);
    assert_eq!(figures(&server), [0, 3, 3]);
    assert_eq!(json(&server, &["dead", "list", "--request", "r1"])["postbacks"], document!([]));
    let keys: Vec<String> = {
        let client = redis::Client::open(server.url_text()).unwrap();
        redis::cmd("KEYS")
            .arg("pb:{0}:batch:*")
            .query(&mut client.get_connection().unwrap())
            .unwrap()
    };
    assert_eq!(keys.len(), 1);
}

#[tokio::test]
async fn ready_and_delayed_rows_are_cancelled_and_held_ones_passed_over() {
    let server = RedisServer::start();
    let hour = Duration::from_secs(3600);
    enqueue(&server, "a.example", Duration::ZERO, &batches("a.example", "held", 0..3)).await;
    let queue = Queue::open(&server.url(), "pb", 1).unwrap();
    queue.shards()[0].beat("w", Which::First, &[]).await.unwrap();
    let ask = Reserve { worker: "w", rows: 9, batches: 9, of_lane: 9, ..Reserve::default() };
    assert_eq!(queue.shards()[0].reserve(&ask).await.unwrap().batches.len(), 1);
    enqueue(&server, "a.example", Duration::ZERO, &batches("a.example", "ready", 3..6)).await;
    enqueue(&server, "a.example", hour, &batches("a.example", "delayed", 6..8)).await;
    let counted = text(&run(&server, &["cancel"]).stdout);
    assert!(
        counted.starts_with("8 pending rows in 3 batches, 3 of them with workers now\n"),
        "{counted}"
    );
    let out = run(&server, &["cancel", "--yes", "--json"]);
    let done: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&done["changed"], &done["passed_over"]), (&5.into(), &3.into()));
    assert_eq!(out.status.code(), Some(1), "rows were passed over");
    assert_eq!(figures(&server), [3, 5, 0]);
    let cause = Cause::Cancelled.to_string();
    assert_eq!(json(&server, &["find", "7"])["postbacks"][0]["cause"], cause);
}

#[tokio::test]
async fn a_replay_at_a_rate_goes_out_in_portions() {
    let server = RedisServer::start();
    enqueue(&server, "a.example", Duration::ZERO, &batches("a.example", "r", 0..300)).await;
    json(&server, &["cancel", "--yes"]);
    let start = Instant::now();
    let done = json(&server, &["dead", "replay", "--rate", "200/s", "--yes"]);
    assert_eq!(done["changed"], 300);
    // Not a matter of the machine's speed: a slower one takes longer.
    assert!(start.elapsed() >= Duration::from_millis(1400), "{:?}", start.elapsed());
    assert_eq!(figures(&server), [300, 0, 0]);
}

#[tokio::test]
async fn a_rate_is_reached_with_batches_of_one_row_and_not_caught_up_on() {
    let server = RedisServer::start();
    let some: Vec<_> = (0..600).flat_map(|n| batches("a.example", "r", n..n + 1)).collect();
    for page in some.chunks(100) {
        enqueue(&server, "a.example", Duration::ZERO, page).await;
    }
    json(&server, &["cancel", "--yes"]);
    let start = Instant::now();
    assert_eq!(json(&server, &["dead", "replay", "--rate", "400/s", "--yes"])["changed"], 600);
    // Not a matter of the machine's speed: a slower one takes longer.
    assert!(start.elapsed() >= Duration::from_millis(1300), "{:?}", start.elapsed());
}

#[tokio::test]
async fn with_another_number_of_shards_than_the_fleet_s_nothing_is_changed() {
    let server = six_dead().await;
    Queue::open(&server.url(), "pb", 1).unwrap().check_server().await.unwrap();
    let out = run(&server, &["dead", "drop", "--yes", "--shards", "4"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("--shards is 4"), "{}", text(&out.stderr));
    assert_eq!(figures(&server), [0, 6, 0]);
}

/// What 100,000 batches in one lane cost Redis: `cargo test --release -p postbackctl -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn no_command_over_100_000_batches_holds_redis_up() {
    let server = RedisServer::start();
    let client = redis::Client::open(server.url_text()).unwrap();
    let mut redis = client.get_connection().unwrap();
    for n in 0..1000 {
        let some: Vec<_> = (0..100)
            .flat_map(|i| {
                batches("a.example", if (n / 250) % 2 == 0 { "even" } else { "odd" }, i..i + 1)
            })
            .collect();
        enqueue(&server, "a.example", Duration::ZERO, &some).await;
    }
    for words in [
        &["cancel", "--request", "odd", "--yes"][..],
        &["cancel", "--yes"],
        &["dead", "replay", "--yes"],
        &["cancel", "--yes"],
        &["dead", "drop", "--yes"],
    ] {
        for set in ["CONFIG SET slowlog-log-slower-than 1000", "SLOWLOG RESET"] {
            let mut words = set.split(' ');
            let mut command = redis::cmd(words.next().unwrap());
            command.arg(words.collect::<Vec<_>>()).exec(&mut redis).unwrap();
        }
        let start = Instant::now();
        let done = json(&server, words);
        let took = start.elapsed();
        let slow: Vec<Vec<redis::Value>> =
            redis::cmd("SLOWLOG").arg("GET").arg(1_000_000).query(&mut redis).unwrap();
        let micros = slow.iter().map(|entry| redis::from_redis_value(entry[2].clone()).unwrap());
        let (changed, longest) = (&done["changed"], micros.max().unwrap_or(0u64));
        assert!(longest < 20_000, "{words:?}: a command took {longest} µs");
        println!(
            "{words:?}: {changed} rows in {took:.1?}, the longest command took {longest} µs (0: under 1,000)"
        );
    }
}
