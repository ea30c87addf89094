//! Faults of what is stored: records that another program wrote.

use std::time::{Duration, Instant};

use postback_core::{
    attempt::Cause,
    endpoint::Origin,
    id::{BatchId, LaneId},
    queue::{RowState, Shard, State},
};

use crate::chaos::trial::Scene;

/// How long until they must be found dead.
const WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

/// Writes records that cannot be read and puts them at the heads of busy lanes, as an outsider would. They must end
/// in the dead letters, and no deliver may die of them.
pub(super) async fn store(scene: &mut Scene) -> anyhow::Result<()> {
    let before = scene.stack.pids("deliver");
    let mut redis = scene.stack.redis().await?;
    let (host, port) = scene.stack.hosts[0].rsplit_once(':').unwrap_or_default();
    let origin = Origin { tls: false, host: host.to_owned(), port: port.parse()? };
    let mut ids = vec![];
    for record in records(&mut scene.rng) {
        let label = [None, Some("a"), Some("b")][ids.len() % 3];
        let lane = LaneId::of(&origin, label);
        let id = BatchId::new(lane, scene.rng.u64(..));
        let mut pipe = redis::pipe();
        pipe.atomic();
        pipe.cmd("SET").arg(format!("pb:{{0}}:batch:{id}")).arg(&record);
        pipe.cmd("LPUSH").arg(format!("pb:{{0}}:lane:{lane}")).arg(id.as_str());
        pipe.cmd("ZADD").arg("pb:{0}:lanes").arg("NX").arg(0).arg(lane.as_str());
        pipe.cmd("HINCRBY").arg("pb:{0}:stats").arg("pending").arg(rows(&record));
        pipe.exec_async(&mut redis).await?;
        ids.push(id);
    }
    let shard = scene.stack.shard()?;
    let since = Instant::now();
    for id in ids {
        while !is_dead(&shard, id).await? {
            anyhow::ensure!(since.elapsed() < WITHIN, "{id} is not dead after {WITHIN:?}");
            tokio::time::sleep(LOOK).await;
        }
    }
    anyhow::ensure!(scene.stack.pids("deliver") == before, "a deliver died of a record");
    Ok(())
}

async fn is_dead(shard: &Shard, id: BatchId) -> anyhow::Result<bool> {
    let states = shard.batch(id).await?.and_then(|batch| batch.states);
    let dead = |row: &RowState| row.state == State::Dead(Cause::Undecodable);
    Ok(states.is_some_and(|states| states.rows.iter().all(dead)))
}

/// What may lie under a batch's id that no ingest put there.
fn records(rng: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let mut noise = |length: usize| (0..length).map(|_| rng.u8(..)).collect::<Vec<u8>>();
    let stamp = 1_700_000_000_000u64.to_be_bytes();
    let versioned = |version: u8, rest: &[u8]| [&stamp[..], &[version, 0, 3], rest].concat();
    vec![
        vec![],
        b"garbage".to_vec(),
        noise(8),
        noise(2000),
        versioned(0, &noise(50)),
        versioned(1, &[]),
        versioned(1, &noise(300)),
        versioned(250, &noise(50)),
    ]
}

/// The rows that such a record seems to have.
fn rows(record: &[u8]) -> u16 {
    record.get(9..11).map_or(1, |n| u16::from_be_bytes([n[0], n[1]]).max(1))
}
