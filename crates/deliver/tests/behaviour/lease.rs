//! A worker without a lease sends nothing of what it held, and changes nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, UNIX_EPOCH},
};

use postback_core::{queue::LEASE, when::When};

use crate::support::{Seen, Stack};

const SOON: Duration = Duration::from_secs(60);

fn repeats(seen: &[Seen]) -> usize {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for seen in seen {
        *times.entry(seen.id()).or_default() += 1;
    }
    seen.len() - times.len()
}

#[tokio::test]
async fn a_request_cut_off_with_its_lease_is_in_the_log_and_changes_nothing_else() {
    let mut stack = Stack::start();
    let id = stack.enqueue_numbers("/slow/1500?n={n}", 0..1).await[0].id;
    stack.deliver(&[]);
    stack.until_seen(1).await;
    stack.end_lease(&stack.holder().await).await;
    let stats = stack.until(SOON, "delivery", |s| s.delivered > 0).await;
    assert_eq!((stats.delivered, stats.pending, stats.taken_over), (1, 0, 1));
    assert_eq!((stack.seen().len(), repeats(&stack.seen())), (2, 1));
    let shown = stack.queue.postback(id.postback(0)).await.unwrap().unwrap();
    let ends: Vec<_> = shown.attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(ends, [None, Some(200)]);
}

/// As when the machine was suspended: the worker's own clock says that its lease is fresh.
#[tokio::test]
async fn a_worker_that_lost_its_lease_unawares_stops_at_its_next_settle() {
    let mut stack = Stack::start();
    stack.deliver(&["--per-host", "2"]);
    stack.enqueue_numbers("/slow/50?n={n}", 0..300).await;
    stack.until_seen(20).await;
    stack.end_lease(&stack.holder().await).await;
    let stats = stack.until(SOON, "delivery", |s| s.delivered == 300).await;
    assert!(stats.taken_over > 0);
    // Two in flight, and two more while they were told: 5 s until the next beat would be 200.
    let repeats = repeats(&stack.seen());
    assert!(repeats <= 8, "{repeats} repeats");
}

#[tokio::test]
async fn a_daemon_frozen_past_its_lease_sends_nothing_more_of_what_it_held() {
    let mut stack = Stack::start();
    let frozen = stack.deliver(&["--per-host", "8"]);
    stack.enqueue_numbers("/slow/20?n={n}", 0..3_000).await;
    stack.until_seen(200).await;
    stack.signal(frozen, "STOP");
    stack.deliver(&["--per-host", "8"]);
    let stats = stack.until(3 * LEASE, "delivery", |s| s.delivered == 3_000).await;
    assert!(stats.taken_over > 0);
    let before = stack.seen();
    stack.signal(frozen, "CONT");
    let pid = stack.pid(frozen).to_string();
    let shard = &stack.queue.shards()[0];
    let since = Instant::now();
    // Its new session: it has settled late, and lost what it held.
    loop {
        let workers = shard.workers().await.unwrap();
        if workers.iter().any(|w| w.figures.get("pid") == Some(&pid) && w.held == 0) {
            break;
        }
        assert!(since.elapsed() < SOON, "no new session: {workers:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stack.stats().await.delivered, 3_000, "a late settle counted");
    stack.signal(frozen, "TERM");
    assert!(stack.wait_exit(frozen).success());
    let seen = stack.seen();
    assert_eq!(seen.len(), before.len(), "it sent after its lease had ended");
    // In flight at the freeze, and the outcomes of 10 ms: one more on each connection.
    assert!(repeats(&seen) <= 16, "{} repeats", repeats(&seen));
}

#[tokio::test]
async fn a_beat_tells_since_when_the_process_runs_and_which_lanes_are_busy() {
    let mut stack = Stack::start();
    let id = stack.enqueue_numbers("/slow/20000?n={n}", 0..3).await[0].id;
    stack.deliver(&[]);
    let busy = format!("{}:3", id.lane());
    let shard = &stack.queue.shards()[0];
    let since = Instant::now();
    let figures = loop {
        let workers = shard.workers().await.unwrap();
        let told = workers.into_iter().map(|worker| worker.figures);
        if let Some(figures) = told.into_iter().find(|told| told.get("lanes") == Some(&busy)) {
            break figures;
        }
        assert!(since.elapsed() < SOON, "no beat told of three requests in flight");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let since_1970 = UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let began_ms = figures["since"].parse::<When>().unwrap().ms(since_1970);
    assert!(since_1970 - began_ms < SOON.as_millis() as u64, "{figures:?}");
    assert_eq!(figures["in_flight"], "3");
}
