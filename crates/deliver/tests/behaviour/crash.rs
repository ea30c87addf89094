//! Nothing is lost, and nothing sent twice without need, when daemons or Redis go away.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use postback_core::{
    policy::Policy,
    queue::State,
    value::{Row, Value},
};

use crate::support::{Seen, Stack, numbers};

const SOON: Duration = Duration::from_secs(60);

/// How often each target arrived, and that its repeats carry the same id.
fn arrivals(seen: &[Seen]) -> BTreeMap<&str, usize> {
    let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut times = BTreeMap::new();
    for seen in seen {
        ids.entry(&seen.target).or_default().insert(seen.id());
        *times.entry(seen.target.as_str()).or_default() += 1;
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "a repeat has another webhook-id");
    times
}

#[tokio::test]
async fn after_kill_9_under_load_every_row_arrives_and_repeats_carry_the_same_id() {
    let mut stack = Stack::start();
    let killed = stack.deliver(&["--per-host", "32"]);
    let survivor = stack.deliver(&["--per-host", "32"]);
    stack.enqueue_numbers("/slow/20?n={n}", 0..6_000).await;
    stack.until_seen(500).await;
    stack.signal(killed, "KILL");
    stack.wait_exit(killed);
    let stats = stack.until(Duration::from_secs(120), "delivery", |s| s.delivered == 6_000).await;
    assert!(stats.taken_over > 0, "the survivor took nothing over");
    assert_eq!((stats.pending, stats.dead), (0, 0));
    let seen = stack.seen();
    let times = arrivals(&seen);
    assert_eq!(times.len(), 6_000);
    let repeats = seen.len() - times.len();
    // In flight at the kill, and 10 ms of outcomes: one more request on each connection.
    assert!(repeats <= 2 * 32, "{repeats} repeats");
    println!("kill -9: {repeats} repeats, {} batches taken over", stats.taken_over);
    stack.signal(survivor, "TERM");
    assert!(stack.wait_exit(survivor).success());
}

#[tokio::test]
async fn sigterm_under_load_repeats_nothing_and_gives_back_what_is_unsent() {
    let mut stack = Stack::start();
    let first = stack.deliver(&[]);
    stack.enqueue_numbers("/slow/20?n={n}", 0..4_000).await;
    stack.until_seen(500).await;
    stack.signal(first, "TERM");
    assert!(stack.wait_exit(first).success());
    let stopped = stack.stats().await;
    assert_eq!(stopped.delivered, stack.seen().len() as u64, "an outcome was not settled");
    assert!(stopped.pending > 0, "nothing was left to give back");
    let since = Instant::now();
    stack.deliver(&[]);
    stack.until(SOON, "delivery", |stats| stats.delivered == 4_000).await;
    assert!(since.elapsed() < Duration::from_secs(25), "the rest waited for a lease to run out");
    let seen = stack.seen();
    assert_eq!((seen.len(), arrivals(&seen).len()), (4_000, 4_000));
}

#[tokio::test]
async fn a_request_cut_off_at_the_end_of_the_drain_counts_as_an_attempt_and_is_retried() {
    let mut stack = Stack::start();
    let last = Policy { retries_ms: Some(vec![]), ..Policy::default() };
    let endpoint = stack.endpoint("/hang?n={n}");
    let stored = stack.enqueue(&endpoint, &last, &numbers(1)).await;
    let other = stack.enqueue(&endpoint, &Policy::default(), &numbers(1)).await;
    let deliver = stack.deliver(&["--drain", "100ms"]);
    stack.until_seen(2).await;
    stack.signal(deliver, "TERM");
    assert!(stack.wait_exit(deliver).success());
    for id in [stored[0].id, other[0].id] {
        let batch = stack.queue.shards()[0].batch(id).await.unwrap().unwrap();
        let row = batch.states.unwrap().rows[0];
        assert!(matches!(row.state, State::Pending(at) if at > 0), "{row:?}");
        assert_eq!(row.attempts, 1);
    }
}

#[tokio::test]
async fn a_redis_filled_to_maxmemory_still_drains() {
    let mut stack = Stack::start_with(&["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"]);
    let (mut rows, mut rng) = (0u64, fastrand::Rng::with_seed(1));
    let full = loop {
        let values: Vec<Row<'_>> = (rows..rows + 1000)
            .map(|n| {
                let ballast: String = (0..200).map(|_| rng.alphanumeric()).collect();
                vec![Value::Literal(n.to_string().into()), Value::Text(ballast.into())]
            })
            .collect();
        match stack
            .try_enqueue(&stack.endpoint("/x?n={n}&b={b}"), &Policy::default(), &values)
            .await
        {
            Ok(_) => rows += 1000,
            Err(error) => break error.to_string(),
        }
    };
    assert!(full.contains("OOM"), "{full}");
    let accepted = stack.stats().await.accepted;
    assert_eq!(accepted, rows, "a refused request was stored in part");
    stack.deliver(&[]);
    stack.until(Duration::from_secs(120), "delivery", |s| s.delivered == accepted).await;
    assert_eq!(arrivals(&stack.seen()).len() as u64, accepted);
}

#[tokio::test]
async fn a_redis_away_for_60_s_comes_back_to_workers_that_keep_their_batches() {
    let mut stack = Stack::start_with(&["--appendfsync", "always"]);
    let deliver = stack.deliver(&["--per-host", "4"]);
    stack.enqueue_numbers("/slow/30?n={n}", 0..2_000).await;
    stack.until_seen(200).await;
    stack.redis.kill();
    let seen = stack.seen().len();
    tokio::time::sleep(Duration::from_secs(60)).await; // Redis away for so long is the case
    let meanwhile = stack.seen().len() - seen;
    stack.redis.up();
    let stats = stack.until(SOON, "delivery", |s| s.delivered == 2_000).await;
    assert_eq!((stats.taken_over, stats.dead), (0, 0), "a crash was counted");
    let seen = stack.seen();
    assert_eq!((seen.len(), arrivals(&seen).len()), (2_000, 2_000), "a row was sent twice");
    // One second of sending without an answer from Redis, four connections, 30 ms each.
    println!("while Redis was away {meanwhile} requests went out");
    assert!(meanwhile <= 400, "{meanwhile} requests went out while Redis was away");
    stack.signal(deliver, "TERM");
    assert!(stack.wait_exit(deliver).success());
}
