//! One partner's trouble is not another's.

use std::time::{Duration, Instant};

use postback_core::{
    policy::Policy,
    queue::{LaneChange, Reserve, RowStates, Settle, SettledBatch, Which},
    view::Standing,
};

use crate::support::{Stack, numbers};

const SOON: Duration = Duration::from_secs(60);

/// A lane of its own at the same partner.
fn lane(label: &str) -> Policy {
    Policy { label: Some(label.into()), ..Policy::default() }
}

#[tokio::test]
async fn ten_slow_lanes_with_a_backlog_do_not_hold_up_a_healthy_one() {
    let mut stack = Stack::start();
    for slow in 0..10 {
        let policy = lane(&format!("slow{slow}"));
        stack.enqueue(&stack.endpoint("/slow/20000?n={n}"), &policy, &numbers(3000)).await;
    }
    stack.deliver(&[]);
    stack.until_seen(400).await;
    stack.enqueue(&stack.endpoint("/fine?n={n}"), &lane("fine"), &numbers(1000)).await;
    // The slow ones answer after 20 s at the earliest: until then all that is delivered is fine.
    let since = Instant::now();
    stack.until(Duration::from_secs(15), "the healthy lane", |s| s.delivered >= 1000).await;
    println!("1,000 rows beside ten slow lanes: {:?}", since.elapsed());
}

#[tokio::test]
async fn more_slow_lanes_than_slots_leave_some_for_a_prompt_one() {
    let mut stack = Stack::start();
    stack.deliver(&["--concurrency", "64"]);
    stack.enqueue(&stack.endpoint("/fine?n={n}"), &lane("fine"), &numbers(10)).await;
    stack.until(SOON, "the healthy lane", |s| s.delivered == 10).await;
    for slow in 0..100 {
        let policy = lane(&format!("slow{slow}"));
        stack.enqueue(&stack.endpoint("/slow/20000?n={n}"), &policy, &numbers(20)).await;
    }
    // All slots but the kept ones are taken: strangers leave the sixteenth part of them.
    stack.until_seen(10 + 60).await;
    stack.enqueue(&stack.endpoint("/fine?n={n}"), &lane("fine"), &numbers(500)).await;
    // Until the first slow one is over, after 10 s, all that is delivered is fine.
    stack.until(Duration::from_secs(9), "the healthy lane", |s| s.delivered == 510).await;
}

#[tokio::test]
async fn lanes_that_waited_for_a_slot_go_on_after_a_pause() {
    let mut stack = Stack::start();
    stack.deliver(&["--concurrency", "8"]);
    for n in 0..100 {
        stack.enqueue(&stack.endpoint("/slow/50?n={n}"), &lane(&n.to_string()), &numbers(1)).await;
    }
    let mut redis = redis::Client::open(stack.redis.url_text()).unwrap().get_connection().unwrap();
    for _ in 0..3 {
        let seen = stack.seen().len();
        redis::cmd("SET").arg("pb:{0}:paused").arg("test").exec(&mut redis).unwrap();
        // Everything unsent is given back: nobody holds anything.
        let since = Instant::now();
        while stack.queue.shards()[0].workers().await.unwrap().iter().any(|worker| worker.held > 0)
        {
            assert!(since.elapsed() < SOON, "the paused worker kept batches");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        redis::cmd("DEL").arg("pb:{0}:paused").exec(&mut redis).unwrap();
        stack.until_seen((seen + 5).min(100)).await;
    }
    stack.until(SOON, "delivery", |stats| stats.delivered == 100).await;
}

/// Parks a lane whose next probe is due at once, as a worker would that saw ten failures.
async fn park(stack: &Stack) {
    let shard = &stack.queue.shards()[0];
    shard.beat("other", Which::First, &[]).await.unwrap();
    let ask = Reserve { worker: "other", rows: 1, batches: 1, of_lane: 1, ..Reserve::default() };
    let batch = shard.reserve(&ask).await.unwrap().batches.remove(0);
    let settle = Settle {
        number: 1,
        batches: vec![SettledBatch { id: batch.id, rows: batch.rows, leave: true, states: None }],
        lanes: vec![LaneChange::Park(batch.id.lane(), Duration::from_millis(1), "test".into())],
        ..Settle::default()
    };
    assert!(shard.settle("other", &settle).await.unwrap());
    shard.beat("other", Which::Last, &[]).await.unwrap();
}

#[tokio::test]
async fn expired_rows_at_a_parked_lane_s_head_do_not_keep_it_parked() {
    let mut stack = Stack::start();
    let policy = Policy { expires_in_ms: Some(1), ..lane("x") };
    stack.enqueue(&stack.endpoint("/x?n={n}"), &policy, &numbers(200)).await;
    park(&stack).await;
    let fresh = stack.enqueue(&stack.endpoint("/x?n={n}"), &lane("x"), &numbers(300)).await;
    stack.deliver(&[]);
    let within = Duration::from_secs(20); // less than the 30 s of one parking
    stack
        .until(within, "all rows' ends", |stats| (stats.dead, stats.delivered) == (200, 300))
        .await;
    let shown = stack.queue.postback(fresh[0].id.postback(0)).await.unwrap().unwrap();
    assert_eq!(shown.state, Standing::Delivered);
}

#[tokio::test]
async fn what_crashed_two_workers_is_served_beside_busy_lanes() {
    let mut stack = Stack::start();
    let suspicious = stack.enqueue(&stack.endpoint("/x?n={n}"), &lane("s"), &numbers(1)).await;
    stack.crash_twice().await;
    for busy in 0..6 {
        let policy = lane(&busy.to_string());
        stack.enqueue(&stack.endpoint("/slow/50?n={n}"), &policy, &numbers(5000)).await;
    }
    stack.deliver(&[]);
    let since = Instant::now();
    let id = suspicious[0].id.postback(0);
    while stack.queue.postback(id).await.unwrap().is_none_or(|p| p.state != Standing::Delivered) {
        assert!(since.elapsed() < SOON, "it was not served beside the others");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(stack.stats().await.pending > 0, "the busy lanes had ended before");
}

#[tokio::test]
async fn requests_cut_off_by_our_own_stop_do_not_park_the_partner() {
    let mut stack = Stack::start();
    stack.enqueue_numbers("/hang?n={n}", 0..30).await;
    let deliver = stack.deliver(&["--drain", "100ms"]);
    stack.until_seen(30).await;
    stack.signal(deliver, "TERM");
    assert!(stack.wait_exit(deliver).success());
    let mut redis = redis::Client::open(stack.redis.url_text()).unwrap().get_connection().unwrap();
    let exists: bool = redis::cmd("EXISTS").arg("pb:{0}:breakers").query(&mut redis).unwrap();
    assert!(!exists, "our own stop counted as the partner's failure");
    assert_eq!(
        stack.queue.shards()[0].workers().await.unwrap(),
        [],
        "its lease was not given back"
    );
}

#[tokio::test]
async fn ten_failures_in_a_row_park_the_lane_for_30_s_then_one_row_probes_it() {
    let mut stack = Stack::start();
    // Each row is answered 500 twice: the lane is parked, and opened by a later attempt of some row.
    let policy = Policy { retries_ms: Some(vec![1; 20]), ..lane("x") };
    stack.enqueue(&stack.endpoint("/flaky/2?n={n}"), &policy, &numbers(20)).await;
    stack.deliver(&["--per-host", "4"]);
    let mut redis = redis::Client::open(stack.redis.url_text()).unwrap().get_connection().unwrap();
    let mut is_parked =
        || redis::cmd("EXISTS").arg("pb:{0}:breakers").query::<bool>(&mut redis).unwrap();
    let since = Instant::now();
    while !is_parked() {
        assert!(since.elapsed() < SOON, "the lane was not parked");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let seen = stack.seen().len();
    assert!((10..=14).contains(&seen), "{seen} requests until the lane was parked");
    // Other lanes of the same worker go on at once.
    stack.enqueue(&stack.endpoint("/fine?n={n}"), &lane("fine"), &numbers(50)).await;
    stack.until(Duration::from_secs(20), "the other lane", |stats| stats.delivered == 50).await;
    assert_eq!(stack.seen().len(), seen + 50, "the parked lane was sent to");
    stack.until_seen(seen + 51).await;
    assert!(since.elapsed() > Duration::from_secs(28), "the probe came early");
}

#[tokio::test]
async fn what_crashed_two_workers_holds_up_nobody_once_another_has_it() {
    let mut stack = Stack::start();
    // Each of two is busy with a request that does not end.
    let mut first = None;
    for n in 1..=2 {
        stack.enqueue(&stack.endpoint("/hang?n={n}"), &lane(&n.to_string()), &numbers(1)).await;
        let deliver = stack.deliver(&["--timeout", "60s"]);
        stack.until_seen(n).await;
        match first {
            // It must not take the second one's row.
            None => stack.signal(*first.insert(deliver), "STOP"),
            Some(first) => stack.signal(first, "CONT"),
        }
    }
    stack.queue.shards()[0].pause("while it is prepared").await.unwrap();
    let suspicious =
        stack.enqueue(&stack.endpoint("/hang?s={n}"), &lane("s"), &numbers(1)).await[0].id;
    let states = RowStates { crashes: 2, ..RowStates::new(1) };
    stack.redis_set(&format!("pb:{{0}}:rows:{suspicious}"), &states.encode());
    stack.queue.shards()[0].resume().await.unwrap();
    // Both meet it, and wait to hold nothing; the third takes it.
    while stack.redis_command(&["EXISTS", "pb:{0}:alone"]) != redis::Value::Int(1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await; // longer than any worker goes without asking
    assert_eq!(stack.seen().len(), 2);
    stack.deliver(&["--timeout", "60s"]);
    stack.until_seen(3).await;
    stack.enqueue(&stack.endpoint("/ok?n={n}"), &lane("ok"), &numbers(50)).await;
    stack.until(Duration::from_secs(20), "delivery", |stats| stats.delivered == 50).await;
    assert_eq!(stack.stats().await.pending, 3);
}
