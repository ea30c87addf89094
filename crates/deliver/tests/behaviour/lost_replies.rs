//! Replies of Redis that never arrive, arrive in part or late; commands that never reach it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::support::{Daemons, How, Proxy, Seen, Stack, all};

use How::{After, Before, Late, Within};

const SOON: Duration = Duration::from_secs(60);
/// Half a lease: what came back by a lease's end took longer.
const NO_LEASE_ENDED: Duration = Duration::from_secs(15);

/// A `deliver` whose commands pass a proxy that is told what to lose.
fn proxied() -> (Stack, Proxy) {
    let mut stack = Stack::start();
    let proxy = Proxy::start(&stack.redis);
    let mut command = stack.deliver_command();
    command.env("REDIS_URL", proxy.url()).args(["--allow-net", "127.0.0.0/8"]);
    stack.spawn_command(&mut command);
    (stack, proxy)
}

fn arrivals(seen: &[Seen]) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    seen.iter().for_each(|seen| *times.entry(seen.target.clone()).or_default() += 1);
    times
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < SOON, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Loses something of one command of a `deliver` under load: each row is sent once, counted once and logged once.
async fn check((command, how): (&'static str, How)) {
    let (stack, proxy) = proxied();
    if ["check", "beat first"].contains(&command) {
        return check_start(stack, command, how).await;
    }
    stack.enqueue_numbers("/slow/20?n={n}", 0..500).await;
    stack.until_seen(20).await;
    proxy.lose(command, how);
    // More than one reserve takes, so that every loop goes on.
    stack.enqueue_numbers("/slow/20?n={n}", 500..1_500).await;
    until(command, || proxy.has_lost()).await;
    let since = Instant::now();
    let stats = stack.until(SOON, command, |stats| stats.delivered == 1_500).await;
    let took = since.elapsed();
    assert!(took < NO_LEASE_ENDED, "{command} {how:?}: {took:?}, as if a lease had to end");
    check_end(&stack, 1_500, &format!("{command} {how:?}")).await;
    assert_eq!((stats.taken_over, stats.accepted), (0, 1_500), "{command} {how:?}");
}

/// Of what a starting `deliver` asks, which has nothing yet.
async fn check_start(stack: Stack, command: &'static str, how: How) {
    let mut stack = stack;
    // Another one, so that the loss meets its start.
    let proxy_dir = stack.redis.dir().join("second");
    std::fs::create_dir(&proxy_dir).unwrap();
    let proxy = Proxy::start_in(&stack.redis, &proxy_dir);
    proxy.lose(command, how);
    let mut second = stack.deliver_command();
    second.env("REDIS_URL", proxy.url()).args(["--allow-net", "127.0.0.0/8"]);
    stack.spawn_command(&mut second);
    until(command, || proxy.has_lost()).await;
    until("a reserve", || proxy.seen("reserve") > 0).await;
    stack.enqueue_numbers("/slow/20?n={n}", 0..1_500).await;
    stack.until(SOON, command, |stats| stats.delivered == 1_500).await;
    check_end(&stack, 1_500, &format!("{command} {how:?}")).await;
    let workers = stack.queue.shards()[0].workers().await.unwrap();
    assert_eq!(workers.len(), 2, "{command} {how:?}: {workers:?}");
}

/// Each of so many rows arrived once, counts once, and is in the log once; nobody holds anything.
async fn check_end(stack: &Stack, rows: usize, case: &str) {
    stack.until(SOON, "an empty queue", |stats| stats.pending == 0 && stats.bytes == 0).await;
    let seen = stack.seen();
    let times = arrivals(&seen);
    assert_eq!((seen.len(), times.len()), (rows, rows), "{case}: sent twice, or not");
    let stats = stack.stats().await;
    assert_eq!((stats.delivered, stats.dead), (rows as u64, 0), "{case}: {stats:?}");
    let (mut logged, mut before) = (BTreeMap::new(), None);
    loop {
        let page = stack.queue.shards()[0].log(false, before.as_deref()).await.unwrap();
        for record in page.records {
            *logged.entry(record.id.to_string()).or_insert(0) += 1;
        }
        before = page.before;
        if before.is_none() {
            break;
        }
    }
    let twice = logged.iter().find(|(_, n)| **n != 1);
    assert_eq!((logged.len(), twice), (rows, None), "{case}: in the log");
    let held = stack.queue.shards()[0].workers().await.unwrap();
    assert!(held.iter().all(|worker| worker.held == 0), "{case}: {held:?}");
}

#[test]
fn whatever_reply_deliver_loses_each_row_is_sent_counted_and_logged_once_without_a_lease_s_end() {
    all(
        [
            ("reserve", Before),
            ("reserve", After),
            ("reserve", Within),
            ("reserve", Late),
            ("settle", Before),
            ("settle", After),
            ("settle", Within),
            ("settle", Late),
            ("beat", Before),
            ("beat", After),
            ("beat", Late),
            ("beat first", Before),
            ("beat first", After),
            ("check", Before),
            ("check", After),
            ("check", Late),
        ],
        check,
    );
}

/// What a client that repeats a request with its key until it hears of it has done: one row, sent once.
async fn check_key((how, shown): (How, &'static str)) {
    let stack = Stack::start();
    let proxy = Proxy::start(&stack.redis);
    let url = stack.redis.url_text();
    let daemons = Daemons::start(stack, &proxy.url(), &url);
    for n in 100..120 {
        assert_eq!(daemons.post("/x", n).status, 202);
    }
    proxy.lose("enqueue", how);
    let key = "Idempotency-Key: order-7\r\n";
    let first = daemons.post_with("/x", 0, key);
    assert_eq!((first.status, first.code()), (503, "unknown"), "{how:?}: {first:?}");
    assert!(first.text.contains("repeat the request with the same Idempotency-Key"), "{first:?}");
    daemons.until("the answer", || daemons.post_with("/x", 0, key).status == 202);
    let again = daemons.post_with("/x", 0, key);
    assert!(again.text.contains("idempotent-replayed: true"), "{again:?}");
    let id = again.text.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let id = format!("{}-0", id.expect("an id"));
    daemons.stack.until(SOON, "delivery", |stats| stats.pending == 0).await;
    let seen: Vec<Seen> =
        daemons.stack.seen().into_iter().filter(|seen| seen.target == "/x?n=0").collect();
    assert_eq!(seen.iter().map(Seen::id).collect::<Vec<_>>(), [id], "{how:?}: {shown}");
}

#[test]
fn a_request_that_is_repeated_with_its_key_after_a_lost_answer_is_sent_once() {
    all(
        [(Before, "stored by the repetition"), (After, "stored at first"), (Within, "the same")],
        check_key,
    );
}

/// What a client hears of an enqueue with a lost reply, and that its row is sent at most once.
async fn check_enqueue((command, how, code): (&'static str, How, &'static str)) {
    let stack = Stack::start();
    let proxy = Proxy::start(&stack.redis);
    let url = stack.redis.url_text();
    let daemons = Daemons::start(stack, &proxy.url(), &url);
    if command == "enqueue" {
        // Every thread of ingest has its connection, and Redis the script.
        for n in 100..120 {
            assert_eq!(daemons.post("/x", n).status, 202);
        }
    }
    proxy.lose(command, how);
    let answer = daemons.post("/x", 0);
    let (status, retry) = if code.is_empty() { (202, false) } else { (503, true) };
    assert_eq!((answer.status, answer.code()), (status, code), "{command} {how:?}: {answer:?}");
    assert_eq!(answer.text.to_lowercase().contains("retry-after: "), retry, "{answer:?}");
    assert!(answer.took < Duration::from_secs(2), "{command} {how:?}: {answer:?}");
    assert!(proxy.has_lost(), "{command} {how:?}");
    daemons.until("a row taken", || daemons.post("/x", 1).status == 202);
    let seen = |n: u32| {
        let target = format!("/x?n={n}");
        daemons.stack.seen().iter().filter(|seen| seen.target == target).count()
    };
    daemons.until("the next row", || seen(1) > 0);
    daemons.stack.until(SOON, "delivery", |stats| stats.pending == 0).await;
    // Where the row got to Redis it was sent.
    let times = usize::from(code.is_empty() || how != Before);
    assert_eq!(seen(0), if code == "not_enqueued" { 0 } else { times }, "{command} {how:?}");
}

#[test]
fn a_client_hears_unknown_when_the_answer_to_its_rows_was_lost_and_they_are_sent_once() {
    all(
        [
            ("enqueue", Before, "unknown"),
            ("enqueue", After, "unknown"),
            ("enqueue", Within, "unknown"),
            ("enqueue", Late, "unknown"),
        ],
        check_enqueue,
    );
}
