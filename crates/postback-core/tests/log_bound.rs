//! The delivery log is bounded by bytes: what comes in pushes the oldest out.

use postback_core::{
    queue::{Queue, Settle, Which},
    testing::RedisServer,
};

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn the_log_keeps_at_most_128_mib_and_the_newest() {
    let server = RedisServer::start_with(&["--appendonly", "no"]);
    let queue = Queue::open(&server.url(), "pb", 1).unwrap();
    let shard = &queue.shards()[0];
    shard.beat("w", Which::First, &[]).await.unwrap();
    for number in 1..=140 {
        let settle = Settle { number, log: vec![7; MIB as usize], ..Settle::default() };
        assert!(shard.settle("w", &settle).await.unwrap());
    }
    assert_eq!(shard.stats().await.unwrap().log_bytes, 128 * MIB);
    let mut redis = redis::Client::open(server.url_text()).unwrap().get_connection().unwrap();
    let entries: u64 = redis::cmd("XLEN").arg("pb:{0}:log").query(&mut redis).unwrap();
    assert_eq!(entries, 128);
}
