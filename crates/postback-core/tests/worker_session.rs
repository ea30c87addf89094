//! What a worker session may rely on: its repeated settles change nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use postback_core::{
    queue::{Queue, Settle, Which},
    testing::RedisServer,
};

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
