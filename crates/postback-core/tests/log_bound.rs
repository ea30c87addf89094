//! The delivery log is bounded by bytes, what comes in pushing the oldest out, and by age.

use std::time::{Duration, SystemTime};

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

#[tokio::test]
async fn entries_of_both_logs_go_after_30_days() {
    let server = RedisServer::start_with(&["--appendonly", "no"]);
    let queue = Queue::open(&server.url(), "pb", 1).unwrap();
    let shard = &queue.shards()[0];
    let mut redis = redis::Client::open(server.url_text()).unwrap().get_connection().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    for name in ["log", "errors"] {
        for days in [32, 31, 29] {
            let id = (now - Duration::from_secs(days * 86_400)).as_millis().to_string();
            let key = format!("pb:{{0}}:{name}");
            redis::cmd("XADD").arg(key).arg(&[&id, "d", "12345"]).exec(&mut redis).unwrap();
        }
        let bytes = format!("{name}_bytes");
        redis::cmd("HSET").arg(&["pb:{0}:stats", &bytes, "15"]).exec(&mut redis).unwrap();
    }
    shard.trim_dead(10, Duration::from_secs(1)).await.unwrap();
    for name in ["log", "errors"] {
        let key = format!("pb:{{0}}:{name}");
        let entries: u64 = redis::cmd("XLEN").arg(key).query(&mut redis).unwrap();
        assert_eq!(entries, 1, "{name}");
        let bytes = format!("{name}_bytes");
        let bytes: u64 =
            redis::cmd("HGET").arg(&["pb:{0}:stats", &bytes]).query(&mut redis).unwrap();
        assert_eq!(bytes, 5, "{name}");
    }
}
