//! What cannot be read, or kills its worker, ends in the dead letters with its cause; the daemon and others go on.

use std::time::Duration;

use postback_core::{
    attempt::Cause,
    batch::{Source, encode},
    endpoint::Origin,
    id::{BatchId, LaneId},
    policy::Policy,
    queue::{State, Which},
    value::Value,
};

use crate::support::{Stack, numbers};

const SOON: Duration = Duration::from_secs(60);

/// Writes a batch straight into Redis, ready in the lane of the partner.
fn inject(stack: &Stack, bytes: &[u8], states: Option<&[u8]>) -> BatchId {
    let origin = Origin { tls: false, host: "127.0.0.1".into(), port: stack.port };
    let id = BatchId::new(LaneId::of(&origin, None), fastrand::u64(..));
    stack.inject(id, bytes, states);
    id
}

fn good(stack: &Stack, rows: u32) -> Vec<u8> {
    let source =
        Source { request_id: "r".into(), traceparent: None, received_at_ms: 0, first_row: 0 };
    encode(&stack.endpoint("/ok?n={n}"), &Policy::default(), &source, &numbers(rows))
        .remove(0)
        .bytes
}

/// A batch with one row, a list of lists of lists.
fn deep(stack: &Stack, depth: usize) -> Vec<u8> {
    let source =
        Source { request_id: "r".into(), traceparent: None, received_at_ms: 0, first_row: 0 };
    let row = [vec![Value::Null]];
    let batch = encode(&stack.endpoint("/ok?n={n}"), &Policy::default(), &source, &row).remove(0);
    assert_eq!(batch.bytes[3..7], [0; 4], "stored plain");
    let head = batch.bytes.strip_suffix(&[2, 1, 0]).expect("the row at its end");
    let row = [&[1][..], &[3, 1].repeat(depth), &[0]].concat();
    [head, &varint(row.len()), &row].concat()
}

/// A length as postcard writes it: seven bits a byte, the least first.
fn varint(mut n: usize) -> Vec<u8> {
    let mut bytes = vec![];
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

async fn cause(stack: &Stack, id: BatchId) -> Option<Cause> {
    let batch = stack.queue.shards()[0].batch(id).await.unwrap()?;
    match batch.states?.rows[0].state {
        State::Dead(cause) => Some(cause),
        _ => None,
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_dead_and_the_daemon_lives() {
    let mut stack = Stack::start();
    let good_one = good(&stack, 3);
    let newer = [&[2][..], &good_one[1..]].concat();
    let bomb = [&[1, 0, 1, 15, 0xff, 0xff, 0xff][..], &good_one[7..]].concat();
    let many = [&[1, 0xff, 0xff][..], &good_one[3..]].concat();
    let none = [&[1, 0, 0][..], &good_one[3..]].concat();
    let garbage: Vec<u8> = (0..500).map(|n| (n * 7) as u8).collect();
    let damaged = &b"\0\0\x03\0\0\0\0\0\0\0\0\0\0damaged"[..];
    let cases = [
        ("nothing", vec![], None),
        ("three bytes", vec![1, 0, 1], None),
        ("garbage", garbage, None),
        ("cut short", good_one[..good_one.len() - 1].to_vec(), None),
        ("a newer version", newer, None),
        ("a length that is not true", bomb, None),
        ("more rows than there are", many, None),
        ("no rows", none, None),
        ("lists in lists in lists", deep(&stack, 30_000), None),
        ("damaged states", good_one.clone(), Some(damaged)),
    ];
    let ids = cases.map(|(name, bytes, states)| (name, inject(&stack, &bytes, states)));
    stack.enqueue_numbers("/ok?n={n}", 0..1).await;
    let deliver = stack.deliver(&[]);
    stack.until(SOON, "the healthy row's delivery", |s| s.delivered == 1).await;
    for (name, id) in ids {
        let mut found = cause(&stack, id).await;
        while found.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            found = cause(&stack, id).await;
        }
        assert_eq!(found, Some(Cause::Undecodable), "{name}");
        let shown = stack.queue.postback(id.postback(0)).await.unwrap().expect(name);
        assert_eq!(shown.cause, Some(Cause::Undecodable), "{name}");
    }
    assert_eq!(stack.seen().len(), 1);
    stack.signal(deliver, "TERM");
    assert!(stack.wait_exit(deliver).success(), "the daemon did not live");
}

#[tokio::test]
async fn rows_that_kill_their_worker_are_dead_after_the_fourth_crash() {
    let mut stack = Stack::start();
    let id = stack.enqueue_numbers("/hang?n={n}", 0..2).await[0].id;
    let shard = stack.queue.shards()[0].clone();
    for crash in 1..=4 {
        let deliver = stack.deliver(&[]);
        stack.until_seen(2 * crash).await;
        stack.signal(deliver, "KILL");
        stack.wait_exit(deliver);
        let worker = shard.workers().await.unwrap().remove(0).worker;
        stack.redis_command(&["ZADD", "pb:{0}:workers", "1", &worker]); // 30 s later
        shard.beat("reaper", Which::First, &[]).await.unwrap();
        stack.redis_command(&["ZREM", "pb:{0}:workers", "reaper"]);
        let states = shard.batch(id).await.unwrap().unwrap().states.unwrap();
        assert_eq!(usize::from(states.crashes), crash);
    }
    let stats = stack.stats().await;
    assert_eq!((stats.dead, stats.pending), (2, 0));
    assert_eq!(cause(&stack, id).await, Some(Cause::WorkerCrash));
    assert_eq!(shard.dead(0).await.unwrap()[0].id, id);
    // Whoever comes then goes on with the others.
    stack.deliver(&[]);
    stack.enqueue_numbers("/ok?n={n}", 0..1).await;
    stack.until(SOON, "the next row's delivery", |s| s.delivered == 1).await;
}

#[tokio::test]
async fn a_settled_row_is_a_fresh_start_for_its_batch() {
    let mut stack = Stack::start();
    let id = stack.enqueue_numbers("/{n}", 0..2).await[0].id;
    stack.crash_twice().await;
    let shard = stack.queue.shards()[0].clone();
    assert_eq!(shard.batch(id).await.unwrap().unwrap().states.unwrap().crashes, 2);
    stack.deliver(&[]);
    stack.until(SOON, "delivery", |s| s.delivered == 2).await;
    assert!(shard.batch(id).await.unwrap().is_none());
}
