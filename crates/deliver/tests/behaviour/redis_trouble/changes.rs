//! Redis comes late, restarts, forgets its scripts or keys, or comes back as one that would lose postbacks.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{SOON, ask, tell, try_ask};
use crate::support::{Daemons, Stack, all};

/// Both daemons start while there is no Redis, or one that does not answer.
async fn check_start(signal: Option<&'static str>) {
    let mut stack = Stack::start();
    let url = stack.redis.url_text();
    let pid = stack.redis.pid().to_string();
    let send = |name: &str| {
        let sent = std::process::Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    };
    match signal {
        Some(name) => send(name),
        None => stack.redis.kill(),
    }
    let mut daemons = Daemons::start(stack, &url, &url);
    let refused = &|n| {
        for _ in 0..3 {
            let answer = daemons.post("/x", n);
            assert_eq!((answer.status, answer.code()), (503, "not_enqueued"), "{answer:?}");
            assert!(answer.text.to_lowercase().contains("retry-after"), "{answer:?}");
            assert!(answer.took < Duration::from_secs(2), "{answer:?}");
        }
    };
    // Many at once: none waits for all before it.
    std::thread::scope(|scope| (0..32).for_each(|n| _ = scope.spawn(move || refused(n))));
    assert_eq!(daemons.ready(), (503, 503));
    match signal {
        Some(_) => send("CONT"),
        None => daemons.stack.redis.up(),
    }
    daemons.until("readiness", || daemons.ready() == (200, 200));
    daemons.until("a row taken", || daemons.post("/x", 99).status == 202);
    daemons.stack.until_seen(1).await;
    for (daemon, bad) in [("ingest", "requests get 503"), ("deliver", "waiting for it")] {
        let lines = daemons.lines(daemon, bad);
        assert!((1..=2).contains(&lines.len()), "{lines:?}");
    }
    assert!(daemons.stack.seen().iter().all(|seen| seen.target == "/x?n=99"));
}

#[test]
fn both_daemons_start_before_redis_and_go_on_when_it_comes() {
    all([None, Some("STOP")], check_start);
}

/// Waits until Redis holds a key's field, or any value.
fn until_key(daemons: &Daemons, command: &str) {
    daemons
        .until(command, || ask::<redis::Value>(&daemons.stack.redis, command) != redis::Value::Nil);
}

#[tokio::test]
async fn a_flush_of_scripts_or_of_all_keys_costs_no_error_and_leaves_no_worker_in_limbo() {
    let stack = Stack::start();
    let url = stack.redis.url_text();
    let daemons = Daemons::start(stack, &url, &url);
    let taken = |n| assert_eq!(daemons.post("/x", n).status, 202);
    daemons.until("a row taken", || daemons.post("/x", 0).status == 202);
    daemons.stack.until_seen(1).await;
    for n in 1..4 {
        tell(&daemons.stack.redis, "SCRIPT FLUSH");
        taken(n);
        daemons.stack.until_seen(1 + n as usize).await;
    }
    // Rows that are in flight, unsent and waiting for a retry when all keys go.
    daemons.stack.enqueue_numbers("/slow/20?b={n}", 0..4_000).await;
    daemons.stack.enqueue_numbers("/status/500?b={n}", 0..5).await;
    daemons.stack.until_seen(4 + 64).await;
    tell(&daemons.stack.redis, "FLUSHALL");
    let since = Instant::now();
    taken(100);
    daemons.until("a row after FLUSHALL", || {
        daemons.stack.seen().iter().any(|seen| seen.target == "/x?n=100")
    });
    println!("FLUSHALL: a new row was sent after {:?}", since.elapsed());
    until_key(&daemons, "HGET pb:{0}:clock shards");
    // What the old session held and had in flight when the keys went tells nothing that counts.
    let stats = daemons.stack.until(SOON, "delivery", |stats| stats.delivered == 1).await;
    assert_eq!((stats.accepted, stats.pending, stats.dead), (1, 0, 0));
    let raw: BTreeMap<String, i64> = ask(&daemons.stack.redis, "HGETALL pb:{0}:stats");
    assert!(raw.values().all(|n| *n >= 0), "{raw:?}");
    let workers: Vec<String> = ask(&daemons.stack.redis, "ZRANGE pb:{0}:workers 0 -1");
    assert_eq!(workers.len(), 1, "{workers:?}");
    for (keys, known) in [("worker:", &workers), ("held:", &workers), ("rows:", &vec![])] {
        let left: Vec<String> = ask(&daemons.stack.redis, &format!("KEYS pb:{{0}}:{keys}*"));
        // The number of a late settle is kept for an hour, so that a repeat of it is not logged twice.
        let stays = |key: &str| ask::<i64>(&daemons.stack.redis, &format!("TTL {key}")) == -1;
        let unknown = |key: &&String| {
            !known.iter().any(|worker| key.ends_with(worker.as_str())) && stays(key)
        };
        assert_eq!(left.iter().find(unknown), None, "brought back by a late settle");
    }
    assert_eq!(daemons.lines("deliver", "starting a new session").len(), 1);
    assert_eq!(daemons.lines("deliver", "waiting for it"), Vec::<String>::new());
}

#[tokio::test]
async fn a_restart_of_redis_between_two_requests_costs_neither() {
    let stack = Stack::start_with(&["--appendfsync", "always"]);
    let url = stack.redis.url_text();
    let mut daemons = Daemons::start(stack, &url, &url);
    for n in 0..20 {
        daemons.until("a row taken", || daemons.post("/x", n).status == 202);
    }
    daemons.stack.redis.kill();
    daemons.stack.redis.up();
    daemons.until("loaded", || try_ask::<String>(&daemons.stack.redis, "PING").is_ok());
    for n in 20..40 {
        let answer = daemons.post("/x", n);
        assert_eq!(answer.status, 202, "{n}: {answer:?}");
    }
    daemons.stack.until(SOON, "delivery", |stats| stats.delivered == 40).await;
}

#[tokio::test]
async fn a_redis_that_would_lose_postbacks_gets_none_and_what_it_holds_is_sent() {
    let stack = Stack::start();
    let url = stack.redis.url_text();
    let daemons = Daemons::start(stack, &url, &url);
    daemons.until("a row taken", || daemons.post("/x", 0).status == 202);
    daemons.stack.enqueue_numbers("/slow/100?b={n}", 0..8_000).await;
    tell(&daemons.stack.redis, "CONFIG SET maxmemory-policy allkeys-lru");
    daemons.until("a refusal", || daemons.post("/x", 1).code() == "not_enqueued");
    daemons.until("deliver's line", || !daemons.lines("deliver", "would lose").is_empty());
    daemons.stack.until(SOON, "delivery", |stats| stats.pending == 0).await;
    assert_eq!(daemons.ready(), (503, 200));
    tell(&daemons.stack.redis, "CONFIG SET maxmemory-policy noeviction");
    daemons.until("a row taken", || daemons.post("/x", 2).status == 202);
    daemons.until("deliver's line", || !daemons.lines("deliver", "keeps postbacks").is_empty());
    let told = daemons.lines("deliver", "would lose");
    assert!(told.len() == 1 && told[0].contains("noeviction"), "{told:?}");
    let told = daemons.lines("ingest", "would lose");
    assert!(told.len() == 1 && told[0].contains("noeviction"), "{told:?}");
}

#[tokio::test]
async fn requests_refused_while_redis_is_away_take_no_memory() {
    let stack = Stack::start();
    let url = stack.redis.url_text();
    let mut daemons = Daemons::start(stack, &url, &url);
    daemons.until("a row taken", || daemons.post("/x", 0).status == 202);
    daemons.stack.redis.kill();
    let refuse = || (0..1_500).for_each(|n| assert_eq!(daemons.post("/x", n).status, 503));
    refuse(); // buffers find their size
    let before = daemons.ingest_memory();
    refuse();
    refuse();
    let after = daemons.ingest_memory();
    println!("ingest: {before} KiB before, {after} KiB after 3,000 refused requests");
    assert!(after < before + 2_048, "{before} KiB before, {after} KiB after");
}
