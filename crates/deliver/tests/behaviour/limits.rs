//! A host's rate holds over the whole fleet; descriptors that run out harm no row.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use postback_core::{
    policy::Policy,
    queue::{LaneChange, Settle, Which},
};

use crate::support::{Seen, Stack, numbers, program};

const SOON: Duration = Duration::from_secs(60);

/// Sets a rate with the operator's command.
fn limit(stack: &Stack, rate: &str) {
    let out = program("postbackctl")
        .env("REDIS_URL", stack.redis.url_text())
        .args(["limit", &format!("127.0.0.1:{}", stack.port), rate])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// The most requests in any 990 ms: a second, less what a request's way may vary.
fn most_in_a_second(seen: &[Seen]) -> usize {
    let within =
        |from: u64| seen.iter().filter(|s| (from..from + 990_000).contains(&s.at_us)).count();
    seen.iter().map(|seen| within(seen.at_us)).max().unwrap_or_default()
}

#[tokio::test]
async fn a_host_limited_to_5_a_second_gets_no_more_from_three_processes() {
    let mut stack = Stack::start();
    for _ in 0..3 {
        stack.deliver(&[]);
    }
    limit(&stack, "5/s");
    // Single rows and whole batches, while the processes compete for them.
    for n in 0..10 {
        stack.enqueue_numbers("/x?n={n}", n..n + 1).await;
    }
    stack.enqueue_numbers("/x?n={n}", 10..40).await;
    stack.until(SOON, "delivery", |stats| stats.delivered == 40).await;
    let seen = stack.seen();
    assert_eq!(seen.len(), 40);
    assert!(most_in_a_second(&seen) <= 5, "{} in a second", most_in_a_second(&seen));
    let took = (seen[39].at_us - seen[0].at_us) as f64 / 1e6;
    println!("40 rows at 5/s: {:.2}/s", 39.0 / took);
}

#[tokio::test]
async fn a_fast_rate_holds_too_and_a_lifted_one_binds_no_more() {
    let mut stack = Stack::start();
    limit(&stack, "100/s");
    stack.enqueue_numbers("/x?n={n}", 0..1500).await;
    stack.deliver(&[]);
    stack.until_seen(300).await;
    let seen = stack.seen();
    assert!(most_in_a_second(&seen) <= 100, "{} in a second", most_in_a_second(&seen));
    let took = (seen[seen.len() - 1].at_us - seen[0].at_us) as f64 / 1e6;
    println!("at 100/s: {:.1}/s", (seen.len() - 1) as f64 / took);
    limit(&stack, "none");
    // The rest at 100/s would take 10 s and more.
    stack.until(Duration::from_secs(5), "delivery", |stats| stats.delivered == 1500).await;
    assert_eq!(stack.seen().len(), 1500);
}

#[tokio::test]
async fn a_host_paused_by_its_limit_hears_nothing_more_and_others_go_on() {
    let mut stack = Stack::start();
    stack.deliver(&["--per-host", "2"]);
    stack.enqueue_numbers("/slow/20?n={n}", 0..600).await;
    stack.until_seen(20).await;
    limit(&stack, "0");
    // Whoever holds rows gives them back.
    let held = async || stack.queue.shards()[0].workers().await.unwrap().iter().any(|w| w.held > 0);
    let since = Instant::now();
    while held().await {
        assert!(since.elapsed() < SOON, "the worker kept batches");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seen = stack.seen().len();
    let other = Policy { label: Some("other".into()), ..Policy::default() };
    stack.enqueue(&stack.endpoint("/fine?n={n}"), &other, &numbers(50)).await;
    stack.until_seen(seen + 50).await;
    assert!(stack.seen()[seen..].iter().all(|seen| seen.target.starts_with("/fine")));
    limit(&stack, "none");
    stack.until(SOON, "delivery", |stats| stats.delivered == 650).await;
    assert_eq!(stack.seen().len(), 650, "a row was sent twice");
}

#[tokio::test]
async fn a_limited_lane_that_was_parked_goes_on_and_heeds_a_new_rate_at_once() {
    let mut stack = Stack::start();
    limit(&stack, "1/m");
    let mut stored = vec![];
    for n in 0..3 {
        stored.extend(stack.enqueue_numbers("/x?n={n}", 100 * n..100 * n + 100).await);
    }
    stack.deliver(&[]);
    stack.until_seen(1).await;
    // Another worker parks the lane for a moment: a probe comes, and the rows held here have no slot.
    let shard = &stack.queue.shards()[0];
    shard.beat("other", Which::First, &[]).await.unwrap();
    let park = LaneChange::Park(stored[0].id.lane(), Duration::from_millis(1), "test".into());
    let settle = Settle { number: 1, lanes: vec![park], ..Settle::default() };
    assert!(shard.settle("other", &settle).await.unwrap());
    shard.beat("other", Which::Last, &[]).await.unwrap();
    limit(&stack, "100/s");
    stack.until(Duration::from_secs(50), "delivery", |stats| stats.delivered == 300).await;
    assert_eq!(stack.seen().len(), 300);
}

#[tokio::test]
async fn what_crashed_two_workers_in_a_limited_lane_holds_up_no_other() {
    let mut stack = Stack::start();
    limit(&stack, "6/m");
    stack.enqueue_numbers("/x?n={n}", 0..20).await;
    stack.crash_twice().await;
    let other = Policy { label: Some("other".into()), ..Policy::default() };
    stack.enqueue(&stack.endpoint("/fine?n={n}"), &other, &numbers(50)).await;
    stack.deliver(&[]);
    let fine = || stack.seen().iter().filter(|seen| seen.target.starts_with("/fine")).count();
    let since = Instant::now();
    while fine() < 50 {
        assert!(since.elapsed() < Duration::from_secs(30), "{} of 50 were sent", fine());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stack.stats().await.pending >= 15, "the limited lane was not limited");
}

#[tokio::test]
async fn a_paused_fleet_gives_back_what_is_unsent_finishes_what_is_sent_and_stays_up() {
    let mut stack = Stack::start();
    let ctl = |stack: &Stack, word: &str| {
        let out =
            program("postbackctl").env("REDIS_URL", stack.redis.url_text()).arg(word).output();
        assert!(out.unwrap().status.success());
    };
    let delivers = [stack.deliver(&["--per-host", "4"]), stack.deliver(&["--per-host", "4"])];
    stack.enqueue_numbers("/slow/20?n={n}", 0..2000).await;
    stack.until_seen(50).await;
    ctl(&stack, "pause");
    let since = Instant::now();
    while stack.queue.shards()[0].workers().await.unwrap().iter().any(|worker| worker.held > 0) {
        assert!(since.elapsed() < SOON, "a paused worker kept batches");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stats = stack.stats().await;
    assert_eq!((stats.delivered, stats.dead), (stack.seen().len() as u64, 0));
    assert!(stats.pending > 0, "all was sent before the pause");
    ctl(&stack, "resume");
    stack.until(SOON, "delivery", |stats| stats.delivered == 2000).await;
    assert_eq!(stack.seen().len(), 2000, "a row was sent twice");
    for deliver in delivers {
        stack.signal(deliver, "TERM");
        assert!(stack.wait_exit(deliver).success());
    }
}

/// How many connections to the partner stand (proc(5): the remote port in hexadecimal, 01: established).
fn connections(stack: &Stack) -> usize {
    let port = format!(":{:04X}", stack.port);
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let stands = |line: &&str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        cells[2].ends_with(&port) && cells[3] == "01"
    };
    table.lines().skip(1).filter(stands).count()
}

#[tokio::test]
async fn at_most_8_connections_of_a_host_are_kept_and_none_for_longer_than_30_s() {
    let mut stack = Stack::start();
    stack.enqueue_numbers("/slow/200?n={n}", 0..128).await;
    stack.deliver(&[]);
    stack.until(SOON, "delivery", |stats| stats.delivered == 128).await;
    let since = Instant::now();
    while connections(&stack) > 8 {
        assert!(since.elapsed() < SOON, "{} connections are kept", connections(&stack));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(connections(&stack), 8);
    while connections(&stack) > 0 {
        assert!(since.elapsed() < SOON, "{} connections are kept", connections(&stack));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A `deliver` with a limit of descriptors; its words go into a file.
fn deliver_with(stack: &mut Stack, descriptors: u32) -> PathBuf {
    let log = stack.redis.dir().join("deliver.log");
    let child = Command::new("sh")
        .args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")])
        .arg(program("deliver").get_program())
        .args(["--allow-net", "127.0.0.0/8", "--metrics-listen", "127.0.0.1:0"])
        .env("REDIS_URL", stack.redis.url_text())
        .stderr(Stdio::from(std::fs::File::create(&log).unwrap()))
        .spawn()
        .unwrap();
    stack.adopt(child);
    log
}

#[tokio::test]
async fn few_descriptors_are_told_and_respected() {
    let mut stack = Stack::start();
    for lane in 0..40 {
        let policy =
            Policy { label: Some(lane.to_string()), retries_ms: Some(vec![]), ..Policy::default() };
        stack.enqueue(&stack.endpoint("/slow/20?n={n}"), &policy, &numbers(50)).await;
    }
    let log = deliver_with(&mut stack, 128);
    let stats = stack.until(SOON, "delivery", |s| s.delivered + s.dead == 2000).await;
    assert_eq!(stats.dead, 0);
    let text = std::fs::read_to_string(log).unwrap();
    assert!(
        text.contains("the limit of 128 file descriptors leaves room for 64 requests"),
        "{text}"
    );
    assert!(!text.contains("no connection could be opened"), "{text}");
}

#[tokio::test]
async fn running_out_of_descriptors_is_no_attempt() {
    let mut stack = Stack::start();
    for lane in 0..5 {
        let policy =
            Policy { label: Some(lane.to_string()), retries_ms: Some(vec![]), ..Policy::default() };
        stack.enqueue(&stack.endpoint("/slow/5?n={n}"), &policy, &numbers(8)).await;
    }
    // So few that not even what the process needs for itself leaves room.
    let log = deliver_with(&mut stack, 22);
    // After each shortage nothing is sent for a second: a row or two of these a second.
    let stats = stack.until(4 * SOON, "delivery", |s| s.delivered + s.dead == 40).await;
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains("no connection could be opened"), "there were enough: {text}");
    assert_eq!((stats.dead, stack.seen().len()), (0, 40), "{text}");
}
