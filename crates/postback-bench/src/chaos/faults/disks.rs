//! Faults of disks: full under Redis's append-only file, full under the logs.

use std::time::{Duration, Instant};

use crate::chaos::{stack::Filler, tell, trial::Scene};

/// How long the disk is full.
const FULL: Duration = Duration::from_secs(8);
/// How often it is filled again: what was freed is taken too.
const LOOK: Duration = Duration::from_millis(50);
/// How long it may take until Redis notices.
const NOTICED: Duration = Duration::from_secs(20);

/// Fills the disk of the append-only file until Redis refuses writes, and for a while after that.
pub(super) async fn append_only_file(scene: &mut Scene) -> anyhow::Result<()> {
    let mut filler = Filler::new(&scene.stack.folder().join("redis"))?;
    let refused = scene.generator.refused();
    let since = Instant::now();
    while scene.generator.refused() == refused {
        anyhow::ensure!(
            since.elapsed() < NOTICED,
            "Redis did not notice its full disk in {NOTICED:?}"
        );
        filler.fill()?;
        tokio::time::sleep(LOOK).await;
    }
    tell(format_args!("refused after {:.1?}", since.elapsed()));
    fill_for(&mut filler, FULL).await?;
    drop(filler);
    scene.stack.until_ready().await
}

/// Fills the disk of supervisord's log folder for a while.
pub(super) async fn logs(scene: &mut Scene) -> anyhow::Result<()> {
    let mut filler = Filler::new(&scene.stack.folder().join("log"))?;
    fill_for(&mut filler, FULL).await?;
    drop(filler);
    scene.stack.until_ready().await
}

async fn fill_for(filler: &mut Filler, time: Duration) -> anyhow::Result<()> {
    let since = Instant::now();
    while since.elapsed() < time {
        filler.fill()?;
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
