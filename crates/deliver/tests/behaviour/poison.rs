//! What cannot be read, or kills whoever holds it, ends in the dead letters with its cause; the daemon lives.

use std::time::Duration;

use postback_core::{
    attempt::Cause,
    batch::{EncodedBatch, Source, encode},
    id::{BatchId, LaneId},
    policy::Policy,
    queue::{Enqueue, RowStates, State},
    value::Value,
    view::Standing,
};

use crate::support::{Stack, numbers};

const SOON: Duration = Duration::from_secs(60);

/// Stores any bytes as a batch in a lane of its own.
async fn store(stack: &Stack, label: &str, rows: u16, bytes: Vec<u8>) -> BatchId {
    let batches = [EncodedBatch { rows, bytes }];
    let endpoint = postback_core::endpoint::Endpoint::compile(stack.endpoint("/x")).unwrap();
    let lane = LaneId::of(endpoint.origin(), Some(label));
    let request =
        Enqueue { lane, name: label, delay: Duration::ZERO, batches: &batches, max_backlog: 0 };
    stack.queue.enqueue(request).await.unwrap()[0].id
}

/// A batch of one row as ingest stores it.
fn good(stack: &Stack, value: Value<'_>) -> Vec<u8> {
    let source = Source {
        request_id: "asked".into(),
        traceparent: None,
        received_at_ms: 0,
        first_row: 0,
        nginx_ms: None,
    };
    let endpoint = stack.endpoint("/poison?n={n}");
    encode(&endpoint, &Policy::default(), &source, &[vec![value]]).remove(0).bytes
}

/// Stored forms that cannot be sent, each with its name and what the log says of it.
fn poison(stack: &Stack) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = good(stack, Value::Null);
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        bad
    };
    // One row of one value: a list in a list in a list, 30,000 deep; before it its length as postcard has it.
    let deep = [&[1][..], &[3, 1].repeat(30_000), &[0]].concat();
    let length = deep.len();
    let length =
        [(length & 127) as u8 | 128, (length >> 7 & 127) as u8 | 128, (length >> 14) as u8];
    assert_eq!(good[good.len() - 3..], [2, 1, 0], "a row of two bytes: one value, null");
    let nested = [&good[..good.len() - 3], &length, &deep].concat();
    let endless = [&good[..good.len() - 3], &[255, 255, 255, 255, 15, 1]].concat();
    vec![
        ("empty", vec![], "too short"),
        ("short", good[..5].to_vec(), "too short"),
        ("truncated", good[..good.len() / 2].to_vec(), "head"),
        ("newer", with(0, &[3]), "format version 3, this program reads 2: upgrade deliver"),
        ("no rows", with(1, &[0, 0]), "row count"),
        ("too many rows", with(1, &[255, 255]), "rows"),
        ("another count", with(1, &[0, 7]), "rows"),
        ("no zstd", with(3, &[0, 0, 1, 0]), "zstd"),
        ("vast", with(3, &[255, 255, 255, 255]), "zstd"),
        ("endless row", endless, "rows"),
        ("nested", nested, ""),
        ("noise", (0..200u8).map(|n| n.wrapping_mul(37)).collect(), "version 0"),
    ]
}

#[tokio::test]
async fn what_cannot_be_read_is_dead_with_its_reason_and_holds_up_nobody() {
    let mut stack = Stack::start();
    let mut stored = Vec::new();
    for (name, bytes, why) in poison(&stack) {
        let rows = bytes.get(1..3).map_or(1, |n| u16::from_be_bytes([n[0], n[1]]).max(1));
        stored.push((name, store(&stack, name, rows, bytes).await, why, rows));
    }
    let damaged = store(&stack, "states", 1, good(&stack, Value::Null)).await;
    let rows = format!("pb:{{0}}:rows:{damaged}");
    redis::cmd("SET")
        .arg(rows)
        .arg("damaged by a hand")
        .exec(&mut stack.redis_connection())
        .unwrap();
    stored.push(("states", damaged, "states are damaged", 1));
    stack.enqueue_numbers("/fine?n={n}", 0..100).await;
    let deliver = stack.deliver(&[]);
    let dead: u64 = stored.iter().map(|(.., rows)| u64::from(*rows)).sum();
    stack.until(SOON, "the end", |s| s.delivered == 100 && s.dead == dead && s.pending == 0).await;
    assert!(stack.seen().iter().all(|seen| seen.target.starts_with("/fine")));
    for (name, id, why, _) in stored {
        let shown = stack.queue.postback(id.postback(0)).await.unwrap().unwrap();
        assert_eq!(
            (shown.state, shown.cause),
            (Standing::Dead, Some(Cause::Undecodable)),
            "{name}"
        );
        let page = stack.queue.shards()[0].log(true, None).await.unwrap();
        let id = id.postback(0).to_string();
        let record = page.records.iter().find(|record| record.id == id);
        let said = record.and_then(|record| record.error.as_deref()).unwrap_or_default();
        assert!(record.is_some() && said.contains(why), "{name}: {record:?}");
    }
    stack.signal(deliver, "TERM");
    assert!(stack.wait_exit(deliver).success(), "the daemon had died");
}

/// The batch's states, whoever holds it.
async fn states(stack: &Stack, id: BatchId) -> RowStates {
    stack.queue.shards()[0].batch(id).await.unwrap().unwrap().states.unwrap()
}

/// A deliver takes the rows, is killed with them, and its lease runs out.
async fn crash(stack: &mut Stack, seen: usize) {
    let deliver = stack.deliver(&[]);
    stack.until_seen(seen).await;
    let holder = stack.holder().await;
    stack.signal(deliver, "KILL");
    stack.wait_exit(deliver);
    stack.end_lease(&holder).await;
}

#[tokio::test]
async fn what_kills_four_delivers_without_a_settled_row_is_dead_and_the_fifth_lives() {
    let mut stack = Stack::start();
    let stored = stack.enqueue_numbers("/hang?n={n}", 0..3).await;
    for n in 1..=3 {
        crash(&mut stack, 3 * n).await;
        let states = states(&stack, stored[0].id).await;
        assert_eq!(usize::from(states.crashes), n);
        assert!(states.rows.iter().all(|row| row.is_pending()), "dead too early");
    }
    crash(&mut stack, 12).await;
    let stats = stack.stats().await;
    assert_eq!((stats.dead, stats.pending), (3, 0));
    let dead = states(&stack, stored[0].id).await;
    assert!(dead.rows.iter().all(|row| row.state == State::Dead(Cause::WorkerCrash)));
    let shown = stack.queue.postback(stored[0].id.postback(1)).await.unwrap().unwrap();
    assert_eq!((shown.state, shown.cause), (Standing::Dead, Some(Cause::WorkerCrash)));
    let deliver = stack.deliver(&[]);
    stack.enqueue_numbers("/fine?n={n}", 0..10).await;
    stack.until(SOON, "delivery", |stats| stats.delivered == 10).await;
    assert_eq!(stack.seen().len(), 22, "a dead row was sent");
    stack.signal(deliver, "TERM");
    assert!(stack.wait_exit(deliver).success());
}

#[tokio::test]
async fn a_settled_row_resets_the_count_of_crashes() {
    let mut stack = Stack::start();
    let policy = Policy { retries_ms: Some(vec![3_600_000]), ..Policy::default() };
    let stored = stack.enqueue(&stack.endpoint("/hang?n={n}"), &policy, &numbers(2)).await;
    for n in 1..=3 {
        crash(&mut stack, 2 * n).await;
    }
    assert_eq!(states(&stack, stored[0].id).await.crashes, 3);
    // Cut off by the drain: that is an attempt, told and settled.
    let deliver = stack.deliver(&["--drain", "10ms"]);
    stack.until_seen(8).await;
    stack.signal(deliver, "TERM");
    assert!(stack.wait_exit(deliver).success());
    let states = states(&stack, stored[0].id).await;
    assert_eq!((states.crashes, states.rows[0].attempts), (0, 1));
}

#[tokio::test]
async fn states_that_end_within_a_run_keep_no_worker_from_beating() {
    let mut stack = Stack::start();
    let stored = stack.enqueue_numbers("/hang?n={n}", 0..1).await;
    for n in 1..=3 {
        crash(&mut stack, n).await;
    }
    let deliver = stack.deliver(&[]);
    stack.until_seen(4).await;
    let holder = stack.holder().await;
    let rows = format!("pb:{{0}}:rows:{}", stored[0].id);
    redis::cmd("APPEND").arg(rows).arg("damaged").exec(&mut stack.redis_connection()).unwrap();
    stack.signal(deliver, "KILL");
    stack.wait_exit(deliver);
    stack.end_lease(&holder).await;
    assert_eq!(stack.stats().await.dead, 1);
}
