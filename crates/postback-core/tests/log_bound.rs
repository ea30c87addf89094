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

#[tokio::test]
async fn entries_have_the_fleet_s_time_where_redis_s_clock_was_set_back() {
    const DAYS_40_MS: u64 = 40 * 86_400_000;
    let server = RedisServer::start_with(&["--appendonly", "no"]);
    let queue = Queue::open(&server.url(), "pb", 1).unwrap();
    let shard = &queue.shards()[0];
    let mut redis = redis::Client::open(server.url_text()).unwrap().get_connection().unwrap();
    redis::cmd("HINCRBY")
        .arg("pb:{0}:clock")
        .arg("offset")
        .arg(DAYS_40_MS)
        .exec(&mut redis)
        .unwrap();
    let begin_ms = shard.now_ms().await.unwrap();
    shard.beat("w", Which::First, &[]).await.unwrap();
    let tell = async |numbers| {
        for number in numbers {
            let settle = Settle { number, log: vec![7; 5], ..Settle::default() };
            assert!(shard.settle("w", &settle).await.unwrap());
        }
    };
    tell(1..=20).await;
    // Written ahead of that time, as by a Redis whose clock was set back just now: what follows comes behind it.
    let ahead = (begin_ms + 3_600_000).to_string();
    redis::cmd("XADD").arg(&["pb:{0}:log", &ahead, "d", "12345"]).exec(&mut redis).unwrap();
    tell(21..=22).await;
    shard.trim_dead(10, Duration::from_secs(1)).await.unwrap();
    let entries: redis::streams::StreamRangeReply =
        redis::cmd("XRANGE").arg(&["pb:{0}:log", "-", "+"]).query(&mut redis).unwrap();
    assert_eq!(entries.ids.len(), 23);
    for entry in &entries.ids {
        let (ms, _) = entry.id.split_once('-').unwrap();
        assert!(ms.parse::<u64>().unwrap() >= begin_ms, "{} is before {begin_ms}", entry.id);
    }
}

#[tokio::test]
async fn the_daemons_own_warnings_go_after_30_days() {
    let server = RedisServer::start_with(&["--appendonly", "no"]);
    let queue = Queue::open(&server.url(), "pb", 1).unwrap();
    let mut redis = redis::Client::open(server.url_text()).unwrap().get_connection().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    for days in [31, 29] {
        let id = (now - Duration::from_secs(days * 86_400)).as_millis().to_string();
        redis::cmd("XADD").arg(&["pb:{0}:daemon_log", &id, "text", "x"]).exec(&mut redis).unwrap();
    }
    queue.shards()[0].trim_dead(10, Duration::from_secs(1)).await.unwrap();
    assert_eq!(queue.notices(10).await.unwrap().len(), 1);
}
