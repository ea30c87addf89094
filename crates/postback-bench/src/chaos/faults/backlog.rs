//! A backlog of a million rows for one deliver.

use std::time::{Duration, Instant};

use crate::chaos::{script::BATCH, stack::Stack, tell, trial::Scene};

/// Requests of a batch each: a million rows.
pub(super) const REQUESTS: u64 = 3907;
/// Within this the rows must be stored.
const STORES: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(100);

/// Pauses deliver before the first row.
pub(super) async fn pause(stack: &Stack) -> anyhow::Result<()> {
    Ok(stack.shard()?.pause("chaos").await?)
}

/// Waits until all are stored, and lets deliver go on.
pub(super) async fn grow(scene: &mut Scene) -> anyhow::Result<()> {
    let shard = scene.stack.shard()?;
    let since = Instant::now();
    while scene.generator.accepted() < REQUESTS * BATCH as u64 {
        anyhow::ensure!(since.elapsed() < STORES, "the rows were not stored in {STORES:?}");
        tokio::time::sleep(LOOK).await;
    }
    let stats = shard.stats().await?;
    tell(format_args!(
        "{} rows are pending; redis uses {} MiB",
        stats.pending,
        shard.memory().await? >> 20
    ));
    Ok(shard.resume().await?)
}
