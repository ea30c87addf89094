//! A signal ends deliver in time, whatever it is at, and gives back what it has not sent.

use std::time::{Duration, Instant};

use crate::support::Stack;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn twenty_stops_under_load_repeat_nothing_and_count_no_crash() {
    let mut stack = Stack::start();
    let rows = 12_000;
    stack.enqueue_numbers("/slow/5?n={n}", 0..rows).await;
    let mut running = [stack.deliver(&["--per-host", "4"]), stack.deliver(&["--per-host", "4"])];
    for n in 0..20 {
        stack.until_seen(100 * (n + 1)).await;
        let signal = if n % 2 == 0 { "TERM" } else { "INT" };
        stack.signal(running[n % 2], signal);
        assert!(stack.wait_exit(running[n % 2]).success());
        running[n % 2] = stack.deliver(&["--per-host", "4"]);
    }
    let stats = stack.until(SOON, "delivery", |s| s.delivered == u64::from(rows)).await;
    assert_eq!((stats.taken_over, stats.pending, stats.dead), (0, 0, 0));
    assert_eq!(stack.seen().len(), rows as usize, "a row was sent twice");
}

/// In each state a signal ends it within the drain, five seconds for the last outcomes, and one more.
#[tokio::test]
async fn it_ends_in_time_with_redis_gone_frozen_or_never_there() {
    for state in ["never there", "gone", "frozen"] {
        let mut stack = Stack::start();
        if state == "never there" {
            stack.redis.kill();
        }
        let deliver = stack.deliver(&["--drain", "1s"]);
        if state == "never there" {
            tokio::time::sleep(Duration::from_millis(300)).await; // it waits for Redis
        } else {
            stack.enqueue_numbers("/hang?n={n}", 0..100).await;
            stack.until_seen(10).await;
        }
        match state {
            "gone" => stack.redis.kill(),
            "frozen" => stack.redis.signal("STOP"),
            _ => {}
        }
        let since = Instant::now();
        stack.signal(deliver, "TERM");
        assert!(stack.wait_exit(deliver).success(), "redis {state}");
        println!("redis {state}: ended after {:?}", since.elapsed());
        // supervisord kills it 10 s after the drain.
        assert!(since.elapsed() < Duration::from_secs(11), "redis {state}: {:?}", since.elapsed());
        stack.redis.signal("CONT");
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_the_lease_brings_the_rows_back() {
    let mut stack = Stack::start();
    stack.enqueue_numbers("/hang?n={n}", 0..5).await;
    let deliver = stack.deliver(&["--drain", "60s"]);
    stack.until_seen(5).await;
    stack.signal(deliver, "TERM");
    stack.until(SOON, "the drain", |s| s.pending == 5).await;
    tokio::time::sleep(Duration::from_millis(200)).await; // signals of one kind that are pending are one
    stack.signal(deliver, "TERM");
    assert_eq!(stack.wait_exit(deliver).code(), Some(1));
    let held: u64 = stack.queue.shards()[0].workers().await.unwrap().iter().map(|w| w.held).sum();
    assert_eq!(held, 1, "the lease has the batch");
}

#[tokio::test]
async fn a_paused_deliver_stops_at_once_too() {
    let mut stack = Stack::start();
    stack.queue.shards()[0].pause("test").await.unwrap();
    let deliver = stack.deliver(&[]);
    stack.enqueue_numbers("/ok?n={n}", 0..5).await;
    let shard = stack.queue.shards()[0].clone();
    while shard.workers().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let since = Instant::now();
    stack.signal(deliver, "TERM");
    assert!(stack.wait_exit(deliver).success());
    assert!(since.elapsed() < Duration::from_secs(11));
    assert_eq!((stack.seen().len(), stack.stats().await.pending), (0, 5));
    assert!(shard.workers().await.unwrap().is_empty(), "it kept its lease");
}
