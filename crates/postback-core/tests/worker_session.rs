//! What a worker session may rely on: its repeated settles change nothing, and time never runs backwards.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use postback_core::{
    queue::{Queue, Reserve, Settle, Shard, Which},
    testing::RedisServer,
};

const HOUR_MS: u64 = 3_600_000;

fn ask<T: redis::FromRedisValue>(server: &RedisServer, words: &[&str]) -> T {
    let mut redis = redis::Client::open(server.url_text()).unwrap().get_connection().unwrap();
    redis::cmd(words[0]).arg(&words[1..]).query(&mut redis).unwrap()
}

async fn start() -> (RedisServer, Queue) {
    let server = RedisServer::start();
    let queue = Queue::open(&server.url(), "pb", 1).unwrap();
    queue.shards()[0].beat("w", Which::First, &[]).await.unwrap();
    (server, queue)
}

#[tokio::test]
async fn a_settle_that_is_repeated_after_the_lease_was_lost_is_logged_once() {
    let (server, queue) = start().await;
    let shard = &queue.shards()[0];
    ask::<()>(&server, &["ZADD", "pb:{0}:workers", "1", "w"]);
    shard.beat("other", Which::First, &[]).await.unwrap();
    for number in [1, 1, 1, 2, 2] {
        let settle =
            Settle { number, log: vec![7], counts: vec![("delivered", 1)], ..Settle::default() };
        assert!(!shard.settle("w", &settle).await.unwrap(), "a late settle was taken");
    }
    assert_eq!(ask::<u64>(&server, &["XLEN", "pb:{0}:log"]), 2);
    assert!(ask::<i64>(&server, &["TTL", "pb:{0}:worker:w"]) > 0, "it is kept for ever");
}

/// Redis's time as a worker and a page are told.
async fn times(shard: &Shard) -> [u64; 2] {
    let ask = Reserve {
        worker: "w",
        rows: 1,
        batches: 1,
        held: 0,
        of_lane: 1,
        wants: &[],
        only: false,
        room: &[],
    };
    [shard.reserve(&ask).await.unwrap().now_ms, shard.now_ms().await.unwrap()]
}

#[tokio::test]
async fn time_does_not_run_backwards_when_redis_s_clock_is_set_back() {
    let (server, queue) = start().await;
    let shard = &queue.shards()[0];
    // As if the last beat had been an hour later, and the clock set back since.
    let last: u64 = ask(&server, &["HINCRBY", "pb:{0}:clock", "last", &HOUR_MS.to_string()]);
    let before = times(shard).await;
    assert!(before.iter().all(|now| *now >= last), "{before:?} is before {last}");
    shard.beat("w", Which::Next, &[]).await.unwrap();
    let after = times(shard).await;
    assert!(after.iter().zip(before).all(|(after, before)| *after >= before), "{after:?}");
    let ahead = after[0] - ask::<(u64, u64)>(&server, &["TIME"]).0 * 1000;
    assert!(ahead > HOUR_MS / 2, "the offset is not kept: {ahead} ms");
    // And on it goes.
    while times(shard).await.iter().any(|now| *now <= after[0]) {}
}
