//! A backlog: very many rows are there before anyone may deliver them.

use std::time::{Duration, Instant};

use crate::chaos::{tell, trial::Scene};

/// How long ingest may take for all of them.
const WITHIN: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(100);

/// Pauses the fleet until so many rows are stored.
pub(super) async fn pile_up(scene: &mut Scene, rows: u64) -> anyhow::Result<()> {
    let shard = scene.stack.shard()?;
    shard.pause("chaos").await?;
    let since = Instant::now();
    while scene.generator.accepted() < rows {
        anyhow::ensure!(since.elapsed() < WITHIN, "{rows} rows are not stored after {WITHIN:?}");
        tokio::time::sleep(LOOK).await;
    }
    tell(format_args!("{} rows wait after {:.0?}", scene.generator.accepted(), since.elapsed()));
    shard.resume().await?;
    Ok(())
}
