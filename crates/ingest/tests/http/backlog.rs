//! Back-pressure: too much waits, or Redis's memory runs out. Nothing is stored by half, and clients hear when to
//! come again.

use std::time::{Duration, Instant};

use postback_core::testing::RedisServer;

use crate::{
    answers::front,
    support::{Answer, Front, GOOD, JSON, ask, request, send},
};

fn full(answer: &Answer, what: &str) -> u64 {
    assert_eq!(answer.status, 503, "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["code"], "not_enqueued", "{answer:?}");
    assert!(problem["detail"].as_str().unwrap().contains(what), "{answer:?}");
    answer.header("retry-after").and_then(|n| n.parse().ok()).expect("seconds")
}

/// The memory that Redis uses, in bytes.
fn used(redis: &RedisServer) -> u64 {
    let info: String = ask(redis, &["INFO", "memory"]);
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    line.trim().parse().unwrap()
}

/// Sends until there is no room; the first refusal.
fn fill(front: &Front) -> Answer {
    let since = Instant::now();
    loop {
        let answer = front.post("/ingest", GOOD);
        if answer.status != 202 {
            return answer;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "still taken");
    }
}

#[test]
fn a_client_is_told_to_come_when_there_is_room_by_what_is_delivered() {
    let (redis, front) = front(&["--max-backlog", "4KiB"]);
    let before = full(&fill(&front), "the backlog is full");
    assert_eq!(before, 60, "nothing is delivered");
    let minute = |n: u64| format!("pb:{{0}}:minute:{n}");
    let now: u64 = ask::<(u64, u64)>(&redis, &["TIME"]).0;
    // As when deliver had sent 40 rows in the minute before and this one: one in two or three seconds.
    for minute in [minute(now / 60), minute(now / 60 - 1)] {
        ask::<u64>(&redis, &["HINCRBY", &minute, "delivered", "20"]);
    }
    let stored: u64 = ask(&redis, &["HGET", "pb:{0}:stats", "bytes"]);
    let rows: u64 = ask(&redis, &["HGET", "pb:{0}:stats", "pending"]);
    let seconds = full(&front.post("/ingest", GOOD), "the backlog is full");
    let new = stored / (rows / 2);
    let least = (stored + new).saturating_sub(4096) * 60 * rows / stored / 40;
    let most = ((stored + new).saturating_sub(4096) + 41) * 120 * rows / stored / 40 + 1;
    assert!((least.max(1)..=most).contains(&seconds), "{seconds} s, not {least} to {most}");
    for n in 0..2 {
        ask::<u64>(&redis, &["HINCRBY", &minute(now / 60 + n), "delivered", "2000000"]);
    }
    assert_eq!(full(&front.post("/ingest", GOOD), "the backlog is full"), 1);
}

#[test]
fn a_backlog_full_of_kept_answers_is_not_expected_to_drain_with_the_rows() {
    let (redis, front) = front(&["--max-backlog", "8KiB"]);
    let minute = format!("pb:{{0}}:minute:{}", ask::<(u64, u64)>(&redis, &["TIME"]).0 / 60);
    for n in 0.. {
        let headers = [JSON, ("Idempotency-Key", &n.to_string())];
        let answer = send(front.address, &request("POST", "/i", &headers, GOOD));
        if answer.status != 202 {
            assert!(n > 10, "{n}: {answer:?}");
            assert_eq!(full(&answer, "the backlog is full"), 60);
            break;
        }
        // As when its rows had been delivered at once.
        let id = answer.json()["batches"][0]["id"].as_str().unwrap().to_owned();
        let batch = format!("pb:{{0}}:batch:{id}");
        let size = -ask::<i64>(&redis, &["STRLEN", &batch]);
        ask::<u64>(&redis, &["DEL", &batch]);
        for (field, n) in [("bytes", size), ("pending", -2), ("delivered", 2)] {
            ask::<i64>(&redis, &["HINCRBY", "pb:{0}:stats", field, &n.to_string()]);
        }
        ask::<i64>(&redis, &["HINCRBY", &minute, "delivered", "2"]);
    }
}

#[test]
fn the_bound_is_split_over_the_shards() {
    let (redis, front) = front(&["--shards", "4", "--max-backlog", "16KiB"]);
    full(&fill(&front), "the backlog is full");
    let used: u64 = (0..4)
        .filter_map(|s| {
            ask::<Option<u64>>(&redis, &["HGET", &format!("pb:{{{s}}}:stats"), "bytes"])
        })
        .sum();
    assert!((3800..=4096).contains(&used), "{used} bytes in one of four shards");
}

#[test]
fn a_redis_that_is_nearly_full_gets_no_more_and_takes_again_when_there_is_room() {
    let (redis, front) = front(&[]);
    assert_eq!(front.post("/ingest", GOOD).status, 202);
    // So much that connections coming and going do not count.
    ask::<u64>(&redis, &["SETRANGE", "other", "20000000", "x"]);
    // Some hundredths are left, so that Redis itself refuses nothing yet.
    ask::<()>(&redis, &["CONFIG", "SET", "maxmemory", &(used(&redis) * 103 / 100).to_string()]);
    full(&fill(&front), "redis's memory is full");
    assert!(used(&redis) < ask::<(String, u64)>(&redis, &["CONFIG", "GET", "maxmemory"]).1);
    ask::<()>(&redis, &["CONFIG", "SET", "maxmemory", "0"]);
    let since = Instant::now();
    while front.post("/ingest", GOOD).status != 202 {
        assert!(since.elapsed() < Duration::from_secs(10), "not taken again");
    }
}

#[test]
fn with_little_memory_left_a_client_waits_for_what_is_over_and_not_for_the_whole_backlog() {
    let (redis, front) = front(&[]);
    assert_eq!(front.post("/ingest", GOOD).status, 202);
    ask::<u64>(&redis, &["SETRANGE", "other", "20000000", "x"]);
    // As when 200,000 rows of 100 bytes waited and 5,000 to 10,000 a second were sent.
    for (field, n) in [("bytes", "20000000"), ("pending", "200000")] {
        ask::<u64>(&redis, &["HINCRBY", "pb:{0}:stats", field, n]);
    }
    let minute = ask::<(u64, u64)>(&redis, &["TIME"]).0 / 60;
    for n in minute - 1..=minute + 1 {
        ask::<u64>(&redis, &["HINCRBY", &format!("pb:{{0}}:minute:{n}"), "delivered", "300000"]);
    }
    // About 700,000 bytes over 94 %.
    ask::<()>(&redis, &["CONFIG", "SET", "maxmemory", &(used(&redis) * 103 / 100).to_string()]);
    let seconds = full(&fill(&front), "redis's memory is full");
    assert!((1..=3).contains(&seconds), "{seconds} s, and 20 to 40 for all");
}

/// Texts that zstd cannot make shorter.
fn noise(seed: &mut u64) -> String {
    let mut text = String::new();
    while text.len() < 100 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text += &format!("{:016x}", *seed ^ *seed >> 29);
    }
    text
}

#[test]
fn memory_that_ends_in_the_middle_of_a_request_leaves_it_stored_whole_or_not_at_all() {
    let (redis, front) = front(&[]);
    assert_eq!(front.post("/ingest", GOOD).status, 202);
    let mut seed = 7;
    // Ten batches of 256 rows of 100 bytes: more than is left below.
    let mut body = || {
        let rows: Vec<String> =
            (0..2560).map(|_| format!(r#"{{"k":"{}"}}"#, noise(&mut seed))).collect();
        GOOD.replace(r#"{"k":1},{"k":2}"#, &rows.join(","))
    };
    let refused_by = |answer: &Answer| answer.json()["detail"].as_str().unwrap().to_owned();
    let (mut whole, mut why) = (0, Vec::new());
    // From no room to plenty, so that it ends before, within and after what one needs, its way in included.
    for n in 0..40 {
        let room = used(&redis) + n * 50_000;
        ask::<()>(&redis, &["CONFIG", "SET", "maxmemory", &room.to_string()]);
        let answer = front.post("/ingest", &body());
        match answer.status {
            202 => whole += 1,
            _ => why.push(refused_by(&answer)),
        }
    }
    ask::<()>(&redis, &["CONFIG", "SET", "maxmemory", "0"]);
    let stored = ask::<Vec<String>>(&redis, &["KEYS", "pb:{0}:batch:*"]).len();
    let listed: usize = ask::<Vec<String>>(&redis, &["KEYS", "pb:{0}:lane:*"])
        .iter()
        .map(|lane| ask::<usize>(&redis, &["LLEN", lane]))
        .sum();
    let accepted: usize = ask(&redis, &["HGET", "pb:{0}:stats", "accepted"]);
    let batches = accepted.saturating_sub(2) / 2560 * 10 + 1;
    assert_eq!((accepted, stored, listed), (2 + whole * 2560, batches, batches), "{why:?}");
    assert!(whole > 0 && !why.is_empty(), "both happen: {whole} stored, {why:?}");
}
