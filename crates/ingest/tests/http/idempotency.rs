//! A request that is repeated with its `Idempotency-Key` is stored once, and gets the first answer again.

use std::thread;

use postback_core::testing::RedisServer;

use crate::{
    answers::front,
    support::{Answer, Front, GOOD, JSON, ask, keys, request, send},
};

fn post(front: &Front, key: &str, body: &str) -> Answer {
    let headers = [JSON, ("Idempotency-Key", key)];
    send(front.address, &request("POST", "/ingest", &headers, body))
}

fn accepted(redis: &RedisServer) -> u64 {
    ask::<Option<u64>>(redis, &["HGET", "pb:{0}:stats", "accepted"]).unwrap_or_default()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["code"], code, "{answer:?}");
}

/// What the counter of bytes must say: every batch, every row's state, every kept answer with what it costs beside. Of
/// it that of answers: the answers alone.
fn bytes(redis: &RedisServer) -> (u64, u64) {
    let counter =
        |name| ask::<Option<u64>>(redis, &["HGET", "pb:{0}:stats", name]).unwrap_or_default();
    let held = |kind: &str, more: u64| {
        let keys = ask::<Vec<String>>(redis, &["KEYS", &format!("pb:{{0}}:{kind}:*")]);
        keys.iter().map(|key| ask::<u64>(redis, &["STRLEN", key]) + more).sum::<u64>()
    };
    let answers = held("idem", 280);
    assert_eq!(counter("answers"), answers);
    (counter("bytes"), held("batch", 0) + held("rows", 0) + answers)
}

/// Moves Redis's time, as the fleet reckons it.
fn later(redis: &RedisServer, hours: u64) {
    let ms = (hours * 3_600_000).to_string();
    ask::<u64>(redis, &["HINCRBY", "pb:{0}:clock", "offset", &ms]);
}

#[test]
fn a_repeated_request_gets_the_first_answer_and_is_stored_once() {
    let (redis, front) = front(&[]);
    let first = post(&front, "a key", GOOD);
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.header("idempotent-replayed"), None);
    let before = keys(&redis);
    for _ in 0..3 {
        let again = post(&front, "a key", GOOD);
        assert_eq!((again.status, &again.body), (202, &first.body));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        // The answer names the first request; the header is this one's.
        assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    }
    assert_eq!((accepted(&redis), keys(&redis)), (2, before));
    let other = post(&front, "another key", GOOD);
    assert_ne!(other.body, first.body);
    let without = front.post("/ingest", GOOD);
    assert_ne!(without.json()["batches"], first.json()["batches"]);
    assert_eq!(accepted(&redis), 6);
    let (counted, held) = bytes(&redis);
    assert_eq!(counted, held);
    let kept: u64 = ask::<Vec<String>>(&redis, &["KEYS", "pb:{0}:idem:*"])
        .iter()
        .map(|key| ask::<u64>(&redis, &["STRLEN", key]) + 280)
        .sum();
    let metrics = send(front.admin, &request("GET", "/metrics", &[], "")).body;
    assert!(metrics.contains(&format!("postback_kept_answer_bytes {kept}\n")), "{kept}: {metrics}");
}

#[test]
fn another_body_under_the_key_gets_422_and_stores_nothing() {
    let (redis, front) = front(&[]);
    let first = post(&front, "k", GOOD);
    let before = (keys(&redis), bytes(&redis));
    // Other blanks make another body: what the client sent is compared, not what it means.
    for body in [GOOD.replace("1", "3"), format!("{GOOD} ")] {
        refused(&post(&front, "k", &body), 422, "idempotency_key_reused");
    }
    assert_eq!((keys(&redis), bytes(&redis)), before);
    assert_eq!(post(&front, "k", GOOD).body, first.body);
}

#[test]
fn ten_in_parallel_are_stored_once_and_all_hear_the_same() {
    let (redis, front) = front(&[]);
    let rows = vec![r#"{"k":1}"#; 600].join(",");
    let body = GOOD.replace(r#"{"k":1},{"k":2}"#, &rows);
    for round in 0..5 {
        let key = format!("round {round}");
        let answers: Vec<Answer> = thread::scope(|scope| {
            let ask = || post(&front, &key, &body);
            let asked: Vec<_> = (0..10).map(|_| scope.spawn(ask)).collect();
            asked.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for answer in &answers {
            assert_eq!((answer.status, &answer.body), (202, &answers[0].body));
        }
        assert_eq!(answers[0].json()["batches"].as_array().unwrap().len(), 3);
        assert_eq!(accepted(&redis), 600 * (round + 1));
    }
}

#[test]
fn an_answer_is_forgotten_after_its_time_and_its_bytes_with_it() {
    let (redis, front) = front(&["--idempotency-ttl", "2h"]);
    let first = post(&front, "k", GOOD);
    later(&redis, 1);
    assert_eq!(post(&front, "k", GOOD).body, first.body);
    later(&redis, 1);
    let second = post(&front, "k", GOOD);
    assert_eq!((second.status, accepted(&redis)), (202, 4));
    assert_ne!(second.body, first.body);
    assert_eq!(ask::<u64>(&redis, &["ZCARD", "pb:{0}:idems"]), 1);
    later(&redis, 2);
    // Another key's request clears up; another body under an outdated key is no other body.
    assert_eq!(post(&front, "l", GOOD).status, 202);
    assert_eq!(ask::<Vec<String>>(&redis, &["KEYS", "pb:{0}:idem:*"]).len(), 1);
    assert_eq!(post(&front, "k", &GOOD.replace("1", "3")).status, 202);
    let (counted, held) = bytes(&redis);
    assert_eq!(counted, held);
}

#[test]
fn a_refused_request_does_not_use_up_its_key() {
    let (redis, front) = front(&[]);
    refused(&post(&front, "k", "{}"), 400, "bad_request");
    ask::<()>(&redis, &["CONFIG", "SET", "maxmemory", "1"]);
    refused(&post(&front, "k", GOOD), 503, "not_enqueued");
    ask::<()>(&redis, &["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(keys(&redis), ask::<usize>(&redis, &["EXISTS", "pb:{0}:clock"]));
    let stored = loop {
        let answer = post(&front, "k", &format!("{GOOD} "));
        if answer.status == 202 {
            break answer;
        }
    };
    assert_eq!(stored.json()["accepted"], 2);
}

#[test]
fn a_repeated_request_is_answered_also_when_there_is_no_room_for_new_ones() {
    let (redis, front) = front(&["--max-backlog", "1KiB"]);
    let first = post(&front, "k", GOOD);
    while front.post("/ingest", GOOD).status == 202 {}
    refused(&post(&front, "l", GOOD), 503, "not_enqueued");
    let before = keys(&redis);
    assert_eq!(post(&front, "k", GOOD).body, first.body);
    refused(&post(&front, "k", &format!("{GOOD} ")), 422, "idempotency_key_reused");
    assert_eq!(keys(&redis), before);
}

#[test]
fn answers_count_against_the_backlog_until_their_time_is_over() {
    let (redis, front) = front(&["--max-backlog", "8KiB"]);
    let mut stored = 0;
    while post(&front, &stored.to_string(), GOOD).status == 202 {
        stored += 1;
    }
    assert!((8..20).contains(&stored), "{stored} answers of at least 280 bytes in 8 KiB");
    while front.post("/ingest", GOOD).status == 202 {}
    later(&redis, 24);
    assert_eq!(front.post("/ingest", GOOD).status, 202);
    assert_eq!(ask::<u64>(&redis, &["ZCARD", "pb:{0}:idems"]), 0);
    let (counted, held) = bytes(&redis);
    assert_eq!(counted, held);
}

#[test]
fn answers_deleted_by_hand_do_not_count_for_good() {
    let (redis, front) = front(&[]);
    for key in ["a", "b", "c"] {
        assert_eq!(post(&front, key, GOOD).status, 202);
    }
    let kept = || ask::<Vec<String>>(&redis, &["KEYS", "pb:{0}:idem:*"]);
    ask::<u64>(&redis, &["DEL", &kept()[0]]);
    for key in ["a", "b", "c"] {
        assert_eq!(post(&front, key, GOOD).status, 202);
    }
    assert_eq!(accepted(&redis), 8);
    let (counted, held) = bytes(&redis);
    assert_eq!(counted, held);
    for key in kept() {
        ask::<u64>(&redis, &["DEL", &key]);
    }
    later(&redis, 24);
    assert_eq!(post(&front, "d", GOOD).status, 202);
    let (counted, held) = bytes(&redis);
    assert_eq!(counted, held);
}

#[test]
fn an_answer_that_a_newer_version_kept_is_not_told_as_nothing_stored() {
    let (redis, front) = front(&[]);
    let first = post(&front, "k", GOOD);
    let kept: Vec<String> = ask(&redis, &["KEYS", "pb:{0}:idem:*"]);
    let version = |version: &str| ask::<u64>(&redis, &["SETRANGE", &kept[0], "0", version]);
    version("\u{2}");
    let before = (keys(&redis), bytes(&redis));
    let refused = post(&front, "k", GOOD);
    assert_eq!((refused.status, &refused.json()["code"]), (503, &"unknown".into()), "{refused:?}");
    assert!(refused.json()["detail"].as_str().unwrap().contains("with the same Idempotency-Key"));
    assert_eq!((keys(&redis), bytes(&redis)), before);
    version("\u{1}");
    assert_eq!(post(&front, "k", GOOD).body, first.body);
}

#[test]
fn a_key_is_one_text_of_255_ascii_characters_at_most() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    for key in ["", "é", "a\tb", &"x".repeat(256)] {
        refused(&post(&front, key, GOOD), 400, "bad_request");
    }
    let twice = [JSON, ("Idempotency-Key", "a"), ("Idempotency-Key", "a")];
    refused(&send(front.address, &request("POST", "/i", &twice, GOOD)), 400, "bad_request");
    assert_eq!(keys(&redis), before);
    assert_eq!(post(&front, &"x".repeat(255), GOOD).status, 202);
    assert_eq!(post(&front, "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", GOOD).status, 202);
}

#[test]
fn a_dry_run_uses_up_no_key() {
    let (redis, front) = front(&[]);
    let headers = [JSON, ("Idempotency-Key", "k")];
    let dry = send(front.address, &request("POST", "/i?dry_run=1", &headers, GOOD));
    assert_eq!(dry.status, 200);
    assert_eq!(ask::<u64>(&redis, &["EXISTS", "pb:{0}:idems"]), 0);
    assert_eq!(post(&front, "k", &format!("{GOOD} ")).status, 202);
}
