//! Faults of the network: a partner that swallows packets, and links between deliver and Redis.

use std::time::{Duration, Instant};

use crate::chaos::{tell, trial::Scene};

/// After this a deliver that hears nothing of Redis sends nothing more: 1 s without an acknowledgement, and its requests
/// in flight take up to 0.2 s.
const QUIET: Duration = Duration::from_secs(2);
/// Within this a deliver is back at work: a lease, and a new session.
const BACK: Duration = Duration::from_secs(45);
const LOOK: Duration = Duration::from_millis(100);

/// Drops what goes to the partner's first address.
pub(super) async fn black_hole(scene: &mut Scene, time: Duration) -> anyhow::Result<()> {
    let shard = scene.stack.shard()?;
    scene.stack.network.black_hole(true)?;
    let mut parked = false;
    for _ in 0..time.as_millis() / LOOK.as_millis() {
        tokio::time::sleep(LOOK).await; // for so long in all is the fault
        parked |= shard.lane_infos().await?.iter().any(|lane| lane.parked.is_some());
    }
    scene.stack.network.black_hole(false)?;
    anyhow::ensure!(parked, "no lane was parked: the partner was there");
    Ok(())
}

/// Takes the links of so many delivers to Redis down.
pub(super) async fn cut(scene: &mut Scene, delivers: usize, time: Duration) -> anyhow::Result<()> {
    for deliver in 0..delivers {
        scene.stack.network.link_to_redis(deliver, false)?;
    }
    tokio::time::sleep(QUIET).await;
    let quiet = scene.stack.seen().await?;
    tokio::time::sleep(time - QUIET).await; // cut for so long is the fault
    let end = scene.stack.seen().await?;
    for deliver in 0..delivers {
        scene.stack.network.link_to_redis(deliver, true)?;
    }
    tell(format_args!("figures {QUIET:?} after the cut: {quiet:?}, at its end: {end:?}"));
    for deliver in 0..delivers {
        anyhow::ensure!(quiet[deliver] == end[deliver], "deliver {deliver} sent on while cut off");
    }
    let since = Instant::now();
    while (scene.stack.seen().await?.iter().zip(&end).take(delivers))
        .any(|(now, end)| now.delivered == end.delivered)
    {
        anyhow::ensure!(since.elapsed() < BACK, "a deliver that was cut off delivers no more");
        tokio::time::sleep(LOOK).await;
    }
    scene.stack.until_ready().await
}
