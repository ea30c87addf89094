//! What is enqueued arrives, once and as it should. Real Redis, real `deliver`, a real partner.

use std::{collections::BTreeSet, time::Duration};

use postback_core::{
    attempt::Cause,
    policy::{Policy, Success},
    queue::{RowState, State},
    value::{Row, Value},
    view::Standing,
};

use crate::support::Stack;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn ten_thousand_rows_are_forty_batches_and_each_row_arrives_once() {
    let mut stack = Stack::start();
    let stored = stack.enqueue_numbers("/data?n={n}", 0..10_000).await;
    assert_eq!(stored.len(), 40);
    stack.deliver(&[]);
    stack.until(SOON, "delivery", |stats| stats.delivered == 10_000).await;
    let seen = stack.seen();
    let targets: BTreeSet<_> = seen.iter().map(|seen| seen.target.clone()).collect();
    let ids: BTreeSet<_> = seen.iter().map(|seen| seen.id().to_owned()).collect();
    assert_eq!((seen.len(), targets.len(), ids.len()), (10_000, 10_000, 10_000));
    assert!((0..10_000).all(|n| targets.contains(&format!("/data?n={n}"))));
    let stats = stack.stats().await;
    assert_eq!((stats.pending, stats.dead, stats.bytes), (0, 0, 0));
}

fn uuid(rng: &mut fastrand::Rng) -> String {
    let hex = format!("{:032x}", rng.u128(..));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[tokio::test]
async fn a_row_of_eight_short_fields_takes_at_most_100_bytes_in_redis() {
    let stack = Stack::start();
    let mut rng = fastrand::Rng::with_seed(7);
    let words =
        ["gopher", "installs", "campaign", "android", "purchase", "organic", "level", "bonus"];
    let rows: Vec<Row<'_>> = (0..25_600)
        .map(|n| {
            let word = |rng: &mut fastrand::Rng| Value::Text(words[rng.usize(..8)].into());
            vec![
                Value::Text(uuid(&mut rng).into()),
                Value::Literal(n.to_string().into()),
                Value::Literal(rng.u32(..1_000_000).to_string().into()),
                Value::Text(
                    format!("https://cdn.example.com/{}.png", words[rng.usize(..8)]).into(),
                ),
                word(&mut rng),
                word(&mut rng),
                word(&mut rng),
                word(&mut rng),
            ]
        })
        .collect();
    let endpoint = stack.endpoint("/d?a={a}&b={b}&c={c}&d={d}&e={e}&f={f}&g={g}&h={h}");
    stack.enqueue(&endpoint, &Policy::default(), &rows[..256]).await; // scripts and buffers are there now
    let before = stack.queue.shards()[0].memory().await.unwrap();
    stack.enqueue(&endpoint, &Policy::default(), &rows).await;
    let after = stack.queue.shards()[0].memory().await.unwrap();
    let bytes = (after - before) / rows.len() as u64;
    let stored = stack.stats().await.bytes / (rows.len() as u64 + 256);
    println!("{stored} bytes stored, {bytes} bytes of Redis's memory a row");
    assert!(bytes <= 100, "{bytes} bytes a row");
}

#[tokio::test]
async fn a_failed_row_is_retried_with_the_same_id_and_its_siblings_are_not() {
    let mut stack = Stack::start();
    let policy = Policy { retries_ms: Some(vec![50, 50]), ..Policy::default() };
    let rows: Vec<Row<'_>> = (0..2).map(|n| vec![Value::Literal(n.to_string().into())]).collect();
    stack.enqueue(&stack.endpoint("/flaky/2?n={n}"), &policy, &rows).await;
    stack.enqueue(&stack.endpoint("/fine?n={n}"), &policy, &rows).await;
    stack.deliver(&[]);
    stack.until(SOON, "delivery", |stats| stats.delivered == 4).await;
    let seen = stack.seen();
    let flaky: Vec<_> = seen.iter().filter(|seen| seen.target.starts_with("/flaky")).collect();
    let ids: BTreeSet<_> = flaky.iter().map(|seen| seen.id()).collect();
    assert_eq!((flaky.len(), ids.len(), seen.len()), (6, 2, 8));
}

#[tokio::test]
async fn a_row_dies_after_its_last_retry_and_is_found_with_its_attempts() {
    let mut stack = Stack::start();
    let policy = Policy { retries_ms: Some(vec![20, 20]), ..Policy::default() };
    let row = [vec![Value::Text("x".into())]];
    let stored = stack.enqueue(&stack.endpoint("/status/503?n={n}"), &policy, &row).await;
    let terminal = stack.enqueue(&stack.endpoint("/status/404?n={n}"), &policy, &row).await;
    stack.deliver(&[]);
    stack.until(SOON, "two dead rows", |stats| stats.dead == 2).await;
    let shown = stack.queue.postback(stored[0].id.postback(0)).await.unwrap().unwrap();
    assert_eq!((shown.state, shown.cause), (Standing::Dead, Some(Cause::Status)));
    let statuses: Vec<_> = shown.attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [Some(503), Some(503), Some(503)]);
    let shown = stack.queue.postback(terminal[0].id.postback(0)).await.unwrap().unwrap();
    assert_eq!((shown.cause, shown.attempts.len()), (Some(Cause::Status), 1));
    let dead = stack.queue.shards()[0].dead(0).await.unwrap();
    assert_eq!(dead.len(), 2);
    let states =
        stack.queue.shards()[0].batch(stored[0].id).await.unwrap().unwrap().states.unwrap();
    let since_ms = states.rows[0].since_ms;
    assert!(since_ms > 0, "no time of death");
    let expected =
        RowState { state: State::Dead(Cause::Status), attempts: 3, status: 503, since_ms };
    assert_eq!(states.rows, [expected]);
}

#[tokio::test]
async fn a_row_past_its_time_is_dead_without_an_attempt() {
    let mut stack = Stack::start();
    let policy = Policy { expires_in_ms: Some(1), ..Policy::default() };
    let stored = stack.enqueue(&stack.endpoint("/late?n={n}"), &policy, &[vec![Value::Null]]).await;
    tokio::time::sleep(Duration::from_millis(5)).await; // the row's own time, not a wait for something
    stack.deliver(&[]);
    stack.until(SOON, "a dead row", |stats| stats.dead == 1).await;
    let shown = stack.queue.postback(stored[0].id.postback(0)).await.unwrap().unwrap();
    assert_eq!((shown.cause, shown.attempts.len()), (Some(Cause::Expired), 0));
    assert!(stack.seen().is_empty());
}

#[tokio::test]
async fn without_allow_net_a_private_address_is_dead_as_blocked_and_hears_nothing() {
    let mut stack = Stack::start();
    let stored = stack.enqueue_numbers("/x?n={n}", 0..1).await;
    stack.deliver_guarded();
    stack.until(SOON, "a dead row", |stats| stats.dead == 1).await;
    let shown = stack.queue.postback(stored[0].id.postback(0)).await.unwrap().unwrap();
    assert_eq!((shown.cause, shown.attempts.len()), (Some(Cause::Blocked), 1));
    assert!(stack.seen().is_empty());
}

#[tokio::test]
async fn a_delivered_body_that_fails_the_rule_is_retried_then_dead_by_rule() {
    let mut stack = Stack::start();
    let success = Success { body_contains: Some("never there".into()), ..Success::default() };
    let policy = Policy { retries_ms: Some(vec![10]), success, ..Policy::default() };
    let stored = stack.enqueue(&stack.endpoint("/ok?n={n}"), &policy, &[vec![Value::Null]]).await;
    stack.deliver(&[]);
    stack.until(SOON, "a dead row", |stats| stats.dead == 1).await;
    let shown = stack.queue.postback(stored[0].id.postback(0)).await.unwrap().unwrap();
    assert_eq!((shown.cause, shown.attempts.len()), (Some(Cause::Rule), 2));
}

#[tokio::test]
async fn several_shards_deliver_like_one() {
    let mut stack = Stack::start_with_shards(4);
    for host in 0..8 {
        let policy = Policy { label: Some(format!("l{host}")), ..Policy::default() };
        stack.enqueue(&stack.endpoint("/x?n={n}"), &policy, &[vec![Value::Null]]).await;
    }
    stack.deliver(&["--shards", "4"]);
    let mut delivered = 0;
    for shard in stack.queue.shards() {
        let accepted = shard.stats().await.unwrap().accepted;
        while shard.stats().await.unwrap().delivered < accepted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        delivered += accepted;
    }
    assert_eq!((delivered, stack.seen().len()), (8, 8));
}
