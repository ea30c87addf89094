//! Faults of Redis itself: gone, full, read-only, with another password.

use std::time::{Duration, Instant};

use redis::{aio::MultiplexedConnection, cmd};

use crate::chaos::trial::Scene;

/// Below a lease of 30 s.
const AWAY: Duration = Duration::from_secs(20);
/// How long Redis refuses.
const REFUSES: Duration = Duration::from_secs(8);
/// How long a backlog is let grow.
const GROWS: Duration = Duration::from_secs(3);
/// How long it may take to drain.
const DRAINS: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Stops Redis and starts it again later.
pub(super) async fn away(scene: &mut Scene) -> anyhow::Result<()> {
    scene.stack.supervisorctl(&["stop", "redis"]).await?;
    tokio::time::sleep(AWAY).await; // away for so long is the fault
    scene.stack.supervisorctl(&["start", "redis"]).await?;
    scene.stack.until_ready().await
}

/// Lets a backlog grow, takes the memory away, and lets it drain while ingest is refused.
pub(super) async fn full(scene: &mut Scene) -> anyhow::Result<()> {
    let shard = scene.stack.shard()?;
    let mut redis = scene.stack.redis().await?;
    shard.pause("chaos").await?;
    tokio::time::sleep(GROWS).await; // what is accepted meanwhile is the backlog
    let before: String = ask(&mut redis, &["CONFIG", "GET", "maxmemory"]).await.map(second)?;
    ask::<()>(&mut redis, &["CONFIG", "SET", "maxmemory", "1mb"]).await?;
    let refused = scene.generator.refused();
    shard.resume().await?;
    let since = Instant::now();
    while shard.stats().await?.pending > 0 {
        anyhow::ensure!(since.elapsed() < DRAINS, "a full Redis did not drain in {DRAINS:?}");
        tokio::time::sleep(LOOK).await;
    }
    anyhow::ensure!(
        scene.generator.refused() > refused,
        "ingest refused nothing while Redis was full"
    );
    ask::<()>(&mut redis, &["CONFIG", "SET", "maxmemory", &before]).await?;
    scene.stack.until_ready().await
}

/// Makes Redis a replica of nothing, which takes no writes, and a master again.
pub(super) async fn read_only(scene: &mut Scene) -> anyhow::Result<()> {
    let mut redis = scene.stack.redis().await?;
    ask::<()>(&mut redis, &["REPLICAOF", "127.0.0.1", "1"]).await?;
    tokio::time::sleep(REFUSES).await; // refusing for so long is the fault
    ask::<()>(&mut redis, &["REPLICAOF", "NO", "ONE"]).await?;
    scene.stack.until_ready().await
}

/// Sets a password that no program has, and takes it back.
pub(super) async fn password(scene: &mut Scene) -> anyhow::Result<()> {
    let mut redis = scene.stack.redis().await?;
    ask::<()>(&mut redis, &["CONFIG", "SET", "requirepass", "secret"]).await?;
    // Who is connected stays trusted: only new connections are asked.
    for kind in ["normal", "pubsub"] {
        ask::<u64>(&mut redis, &["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await?;
    }
    tokio::time::sleep(REFUSES).await; // refusing for so long is the fault
    ask::<()>(&mut redis, &["CONFIG", "SET", "requirepass", ""]).await?;
    scene.stack.until_ready().await
}

async fn ask<T: redis::FromRedisValue>(
    redis: &mut MultiplexedConnection,
    words: &[&str],
) -> redis::RedisResult<T> {
    let mut command = cmd(words.first().unwrap_or(&""));
    command.arg(words.get(1..)).query_async(redis).await
}

/// The value in an answer to CONFIG GET.
fn second((_, value): (String, String)) -> String {
    value
}
