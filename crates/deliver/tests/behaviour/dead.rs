//! Dead letters: shown at once, replayed with time of their own, bounded by count and age.

use std::time::Duration;

use postback_core::{
    endpoint::EndpointTemplate,
    policy::Policy,
    queue::{Placed, Revised, Revision, State},
    value::{Row, Value},
    view::Standing,
};

use crate::support::{Stack, program};

const SOON: Duration = Duration::from_secs(60);

/// A row with the path that the sink answers by.
fn path(path: &str) -> Row<'static> {
    vec![Value::Text(path.to_owned().into())]
}

fn by_path(stack: &Stack) -> EndpointTemplate {
    stack.endpoint("/{+n}")
}

#[tokio::test]
async fn a_dead_row_shows_at_once_while_its_siblings_wait_for_a_retry() {
    let mut stack = Stack::start();
    let policy = Policy { retries_ms: Some(vec![3_600_000]), ..Policy::default() };
    let rows = [path("status/503"), path("status/404"), path("ok")];
    let id = stack.enqueue(&by_path(&stack), &policy, &rows).await[0].id;
    stack.deliver(&[]);
    stack.until(SOON, "the end of two rows", |s| s.dead == 1 && s.delivered == 1).await;
    assert_eq!(stack.queue.shards()[0].dead(0).await.unwrap()[0].id, id);
    let mut standings = vec![];
    for row in 0..3 {
        standings.push(stack.queue.postback(id.postback(row)).await.unwrap().unwrap().state);
    }
    assert_eq!(standings, [Standing::Pending, Standing::Dead, Standing::Delivered]);
}

#[tokio::test]
async fn a_replayed_row_has_its_whole_time_again() {
    let mut stack = Stack::start();
    let (expires_in, retries) = (Some(2000), Some(vec![]));
    let policy = Policy { expires_in_ms: expires_in, retries_ms: retries, ..Policy::default() };
    let id = stack.enqueue(&by_path(&stack), &policy, &[path("status/404")]).await[0].id;
    stack.deliver(&[]);
    stack.until(SOON, "a death", |s| s.dead == 1).await;
    let shard = &stack.queue.shards()[0];
    let stored_at_ms = shard.batch(id).await.unwrap().unwrap().stored_at_ms;
    while shard.now_ms().await.unwrap() <= stored_at_ms + 2000 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let batch = [Placed { id, depth: 0, from_tail: false }];
    let revised = shard.revise(&batch, Revision::Replay, |_| vec![0]).await.unwrap();
    assert_eq!(revised, [Revised::Done(1)]);
    stack.until_seen(2).await;
    stack.until(SOON, "a second death", |s| s.dead == 1 && s.pending == 0).await;
    let states = shard.batch(id).await.unwrap().unwrap().states.unwrap();
    assert!(matches!(states.rows[0].state, State::Dead(_)));
    assert_eq!((states.rows[0].attempts, states.rows[0].status), (1, 404));
    let shown = stack.queue.postback(id.postback(0)).await.unwrap().unwrap();
    assert_eq!(shown.attempts.len(), 2, "the log keeps the attempts before the replay");
}

#[tokio::test]
async fn beyond_their_number_the_oldest_dead_letters_are_dropped_and_counted() {
    let mut stack = Stack::start();
    stack.deliver(&["--max-dead", "2"]);
    let mut ids = vec![];
    for n in 0..5u64 {
        let rows = [path("status/404"), path("status/404")];
        ids.push(stack.enqueue(&by_path(&stack), &Policy::default(), &rows).await[0].id);
        stack.until(SOON, "a death", |s| s.dead + s.dropped == 2 * (n + 1)).await;
    }
    let stats = stack.until(SOON, "the bound", |s| s.dead == 4).await;
    assert_eq!((stats.dropped, stats.pending, stats.delivered), (6, 0, 0));
    let shard = &stack.queue.shards()[0];
    let left: Vec<_> = shard.dead(0).await.unwrap().iter().map(|dead| dead.id).collect();
    assert_eq!(left, [ids[4], ids[3]]);
    assert!(shard.batch(ids[0]).await.unwrap().is_none(), "a dropped batch is still stored");
}

#[tokio::test]
async fn dead_letters_beyond_their_age_are_dropped_but_not_their_siblings() {
    let mut stack = Stack::start();
    stack.deliver(&["--dead-age", "1s"]);
    let policy = Policy { retries_ms: Some(vec![3_600_000]), ..Policy::default() };
    let rows = [path("status/503"), path("status/404")];
    stack.enqueue(&by_path(&stack), &policy, &rows).await;
    let stats = stack.until(SOON, "a drop", |s| s.dropped == 1).await;
    assert_eq!((stats.dead, stats.pending), (0, 1));
}

#[tokio::test]
async fn a_row_s_own_death_counts_for_its_age() {
    let mut stack = Stack::start();
    let policy = Policy { retries_ms: Some(vec![9_000]), ..Policy::default() };
    let rows = [path("status/503"), path("status/404")];
    let id = stack.enqueue(&by_path(&stack), &policy, &rows).await[0].id;
    stack.deliver(&["--dead-age", "7s"]);
    // The first death is dropped while the second is young: 7 s, 9 s and 16 s from now, each up to 5 s later.
    stack.until(SOON, "the second death", |s| s.dead == 1 && s.dropped == 1).await;
    let states = stack.queue.shards()[0].batch(id).await.unwrap().unwrap().states.unwrap();
    assert!(matches!(states.rows[0].state, State::Dead(_)), "{states:?}");
    stack.until(SOON, "its end", |s| s.dead == 0 && s.dropped == 2).await;
}

#[tokio::test]
async fn a_damaged_dead_batch_does_not_keep_others_from_being_dropped() {
    let mut stack = Stack::start();
    let first = stack.deliver(&[]);
    let mut ids = vec![];
    for n in 1..4 {
        ids.push(
            stack.enqueue(&by_path(&stack), &Policy::default(), &[path("status/404")]).await[0].id,
        );
        stack.until(SOON, "a death", |s| s.dead == n).await;
    }
    stack.signal(first, "TERM");
    stack.wait_exit(first);
    stack.redis_command(&["APPEND", &format!("pb:{{0}}:rows:{}", ids[1]), "damaged"]);
    stack.deliver(&["--max-dead", "1"]);
    let stats = stack.until(SOON, "the bound", |s| s.dropped == 2).await;
    assert_eq!(stats.dead, 1);
    assert_eq!(stack.queue.shards()[0].dead(0).await.unwrap()[0].id, ids[2]);
}

/// Runs `postbackctl dead replay` at a rate; what it printed as JSON.
async fn replay(stack: &Stack, rate: &str) -> serde_json::Value {
    let mut command = program("postbackctl");
    command.env("REDIS_URL", stack.redis.url_text());
    command.args(["dead", "replay", "--yes", "--json", "--rate", rate]);
    let out = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    serde_json::from_slice(&out.stdout).unwrap()
}

#[tokio::test]
async fn rows_that_die_again_are_replayed_once() {
    let mut stack = Stack::start();
    let policy = Policy { retries_ms: Some(vec![]), ..Policy::default() };
    let rows: Vec<_> = (0..20).map(|_| path("status/404")).collect();
    stack.enqueue(&by_path(&stack), &policy, &rows).await;
    stack.deliver(&[]);
    stack.until(SOON, "the deaths", |s| s.dead == 20).await;
    assert_eq!(replay(&stack, "40/s").await["changed"], 20);
    stack.until_seen(40).await;
    stack.until(SOON, "the deaths", |s| s.dead == 20 && s.pending == 0).await;
    assert_eq!(stack.seen().len(), 40);
}

#[tokio::test]
async fn a_replay_at_a_rate_waits_for_a_slow_partner() {
    let mut stack = Stack::start();
    let rows: Vec<_> = (0..30).map(|_| path("slow/4000")).collect();
    let id = stack.enqueue(&by_path(&stack), &Policy::default(), &rows).await[0].id;
    let batch = [Placed { id, depth: 0, from_tail: false }];
    let all = |_: &_| (0..30).collect();
    stack.queue.shards()[0].revise(&batch, Revision::Cancel, all).await.unwrap();
    stack.deliver(&[]);
    let done = replay(&stack, "100/s").await;
    assert_eq!((&done["changed"], &done["passed_over"]), (&30.into(), &0.into()));
    stack.until(SOON, "delivery", |s| s.delivered == 30).await;
    assert_eq!(stack.seen().len(), 30);
}
